//! Every pointer of libibverbs and librdmacm, each owned by a type that frees it in the right order.
//!
//! An [`Id`] (rdma_cm_id) owns the event [`Channel`] that reports about it. A [`Queue`] owns an
//! `Id` together with the queue pair on it, the completion queue and its channel. A [`Context`] is
//! an open device of the connection manager.
//!
//! The libraries lock what they share between threads (rdma_cm(7), "thread-safe"; ibv_post_send,
//! ibv_poll_cq and ibv_req_notify_cq likewise), so these types are `Send`. Calls on one object that
//! must not overlap with its end are kept apart by `&mut self` and by drop.

mod channel;
mod cm;
mod context;
mod library;
mod queue;
mod work;

use std::io;

pub(crate) use channel::{Channel, Notice};
pub(crate) use cm::{Id, Incoming};
pub(crate) use context::{Context, Devices, Pd};
pub(crate) use library::library;
pub(crate) use queue::Queue;
pub(crate) use work::{Completion, CompletionKind, Work};

/// For calls that return -1 and set errno, and those that return an error number.
fn check(result: libc::c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        ..0 => Err(io::Error::last_os_error()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}
