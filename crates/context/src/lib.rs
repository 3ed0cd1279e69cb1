//! What every request carries with it: how long it may take and whether
//! the caller has given up.
//!
//! A FUSE request starts on a thread that waits in the kernel, then may block
//! in a socket or in a gRPC call. Both kinds of waiting must end when the
//! application is killed (FUSE_INTERRUPT) or when the request has had its
//! time. [`Interrupt`] is therefore two things at once: a descriptor that
//! poll(2) can watch, and a waker for a future. [`Context`] couples it with a
//! deadline and is passed by reference down the whole call tree; nothing
//! below it reads a global or a thread-local.

mod interrupt;
mod request;

pub use interrupt::Interrupt;
pub use request::{Context, Stopped};
