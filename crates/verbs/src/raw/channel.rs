//! Where the connection manager reports, and what.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr::NonNull;

use rdma_mummy_sys as sys;
use rdma_mummy_sys::rdma_cm_event_type as kind;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// Where events are read; its descriptor is readable when there are some, and never blocks.
pub(crate) struct Channel(NonNull<sys::rdma_event_channel>);

// SAFETY: a channel may be used from any thread.
unsafe impl Send for Channel {}

impl Channel {
    pub(crate) fn open() -> io::Result<Self> {
        // SAFETY: takes nothing.
        let channel = unsafe { sys::rdma_create_event_channel() };
        let channel = Self(NonNull::new(channel).ok_or_else(io::Error::last_os_error)?);
        // SAFETY: the descriptor is open until the channel is destroyed.
        unblock(unsafe { BorrowedFd::borrow_raw(channel.as_raw_fd()) })?;
        Ok(channel)
    }

    pub(super) fn as_ptr(&self) -> *mut sys::rdma_event_channel {
        self.0.as_ptr()
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        // SAFETY: the channel is alive; its descriptor never changes.
        unsafe { self.0.as_ref() }.fd
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // SAFETY: every identifier on it is gone: an `Id` owns its channel and goes first.
        unsafe { sys::rdma_destroy_event_channel(self.0.as_ptr()) };
    }
}

/// What the connection manager reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    AddressResolved,
    RouteResolved,
    Established,
    AddressError,
    RouteError,
    ConnectError,
    Unreachable,
    Rejected,
    Disconnected,
    DeviceRemoved,
    /// Of no consequence here.
    Other(u32),
}

impl Notice {
    pub(super) fn new(what: kind::Type) -> Self {
        match what {
            kind::RDMA_CM_EVENT_ADDR_RESOLVED => Self::AddressResolved,
            kind::RDMA_CM_EVENT_ROUTE_RESOLVED => Self::RouteResolved,
            kind::RDMA_CM_EVENT_ESTABLISHED => Self::Established,
            kind::RDMA_CM_EVENT_ADDR_ERROR => Self::AddressError,
            kind::RDMA_CM_EVENT_ROUTE_ERROR => Self::RouteError,
            kind::RDMA_CM_EVENT_CONNECT_ERROR => Self::ConnectError,
            kind::RDMA_CM_EVENT_UNREACHABLE => Self::Unreachable,
            kind::RDMA_CM_EVENT_REJECTED => Self::Rejected,
            kind::RDMA_CM_EVENT_DISCONNECTED => Self::Disconnected,
            kind::RDMA_CM_EVENT_DEVICE_REMOVAL => Self::DeviceRemoved,
            other => Self::Other(other),
        }
    }
}

/// Makes reads of an event descriptor return at once.
pub(super) fn unblock(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = fcntl_getfl(fd)?;
    Ok(fcntl_setfl(fd, flags | OFlags::NONBLOCK)?)
}
