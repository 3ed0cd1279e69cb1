//! What happens around a mount: before it, when it is ready, and at its end.
//!
//! [`check_fuse`] and [`check_cache_dir`] look at the machine, [`MountPoint`]
//! makes sure that the folder can be mounted on, [`Signals`] unmount it,
//! [`systemd`] tells the service manager, and [`background`] whoever waits for a mount to be there.

pub mod background;
mod mount_point;
mod requirements;
pub mod systemd;
mod termination;

pub use mount_point::{MountPoint, MountPointError, mounted_at};
pub use requirements::{RequirementError, check_cache_dir, check_fuse};
pub use termination::Signals;
