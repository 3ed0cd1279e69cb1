//! What the end-to-end tests share: a real cluster ([`Scene`]), the real
//! `riptide` mounted on it ([`Mount`]), entries that no ordinary upload makes
//! ([`Craft`]), a network that can be cut ([`Proxy`]), and ways to read and
//! compare. The tests themselves are in `tests/`, one module a subject.

mod binary;
mod compare;
mod craft;
mod data;
mod exercise;
mod kinds;
mod mapped;
mod meddler;
mod mount;
mod proxy;
mod readers;
mod reading;
mod scene;
mod sidecar;
mod slow_disk;
mod timing;

pub use binary::riptide;
pub use compare::{Difference, Node, differences, walk};
pub use craft::Craft;
pub use data::{Random, noise, text};
pub use exercise::{Exercise, Way};
pub use kinds::{NESTED_MANIFEST, Sample, plant};
pub use mapped::read_mapped;
pub use meddler::Meddler;
pub use mount::{Mount, Refused};
pub use proxy::Proxy;
pub use readers::{Readers, Tally};
pub use reading::{assert_reads, read_at};
pub use scene::Scene;
pub use sidecar::{Sidecar, all_needles, data_folder, grow_on_every_server, put_on_every_server};
pub use slow_disk::{Forgetting, SlowDisk};
pub use timing::{Bound, eventually};

/// Leaves a test that cannot run here, saying why: mounting needs root and `/dev/fuse`.
#[macro_export]
macro_rules! needs_fuse {
    () => {
        if let Some(reason) = $crate::cannot_mount() {
            println!("skipped: {reason}");
            return;
        }
    };
}

/// Why nothing can be mounted here, if so.
#[must_use]
pub fn cannot_mount() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root");
    }
    if !std::path::Path::new("/dev/fuse").exists() {
        return Some("needs /dev/fuse");
    }
    None
}
