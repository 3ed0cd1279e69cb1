//! Registering backing files for passthrough, by ioctl on the device.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::abi::{BackingMap, IOC_BACKING_CLOSE, IOC_BACKING_OPEN};

/// Registers `file`; the kernel keeps its own reference to it.
pub(crate) fn open(device: impl AsFd, file: BorrowedFd<'_>) -> rustix::io::Result<u32> {
    let map = BackingMap {
        fd: file.as_raw_fd(),
        flags: 0,
        padding: 0,
    };
    let device = device.as_fd().as_raw_fd();
    // SAFETY: the request reads one `fuse_backing_map` and `map` is one; the
    // descriptors are open for the length of the call.
    let id = unsafe { libc::ioctl(device, IOC_BACKING_OPEN as _, &raw const map) };
    u32::try_from(id).map_err(|_| last_errno())
}

/// Drops the registration.
pub(crate) fn close(device: impl AsFd, id: u32) -> rustix::io::Result<()> {
    let device = device.as_fd().as_raw_fd();
    // SAFETY: the request reads one `uint32_t` and `id` is one.
    let done = unsafe { libc::ioctl(device, IOC_BACKING_CLOSE as _, &raw const id) };
    if done < 0 { Err(last_errno()) } else { Ok(()) }
}

fn last_errno() -> Errno {
    let raw = std::io::Error::last_os_error().raw_os_error();
    Errno::from_raw_os_error(raw.unwrap_or(libc::EIO))
}
