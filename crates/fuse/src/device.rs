//! The connection to the kernel: an open /dev/fuse.
//!
//! One read(2) takes one whole request, one write(2) or writev(2) delivers one
//! whole reply. The connection ends when the file system is unmounted or
//! aborted; from then on nothing can be read or written.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use zerocopy::IntoBytes;

use crate::abi::OutHeader;

/// An open /dev/fuse, and whether its connection has ended.
#[derive(Debug)]
pub(crate) struct Device {
    fd: OwnedFd,
    ended: AtomicBool,
}

/// What a read of the device brought.
#[derive(Debug)]
pub(crate) enum Received {
    /// A request of so many bytes.
    Request(usize),
    /// The file system is unmounted or aborted.
    Ended,
}

/// Why the kernel did not take a reply.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Undelivered {
    /// Nobody waits for it any more (interrupted, or the mount is gone).
    #[error("nobody waits for the reply")]
    Unwanted,
    /// It broke the protocol.
    #[error("the kernel refused the reply: {0}")]
    Refused(io::Error),
}

/// Slices of a reply that are sent without an allocation, header included.
const FEW: usize = 17;

impl Device {
    /// Opens /dev/fuse.
    pub(crate) fn open() -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        Ok(Self::from_fd(rustix::fs::open(
            "/dev/fuse",
            flags,
            Mode::empty(),
        )?))
    }

    /// Takes over what fusermount3 opened.
    pub(crate) fn from_fd(fd: OwnedFd) -> Self {
        Self {
            fd,
            ended: AtomicBool::new(false),
        }
    }

    /// Whether the connection is known to have ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Waits for the next request.
    ///
    /// # Errors
    /// The kernel's, for what should never happen.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        loop {
            if self.has_ended() {
                return Ok(Received::Ended);
            }
            match rustix::io::read(&self.fd, &mut *buffer) {
                Ok(length) => return Ok(Received::Request(length)),
                // ENOENT: the request was interrupted before it could be copied.
                Err(Errno::INTR | Errno::AGAIN | Errno::NOENT) => {}
                Err(Errno::NODEV | Errno::CONNABORTED) => {
                    self.ended.store(true, Ordering::Release);
                    return Ok(Received::Ended);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends a reply (or with `unique` 0 a notification, its code in `error`).
    pub(crate) fn send(
        &self,
        unique: u64,
        error: i32,
        body: &[IoSlice<'_>],
    ) -> rustix::io::Result<()> {
        let length: usize = body.iter().map(|slice| slice.len()).sum();
        let header = OutHeader {
            len: u32::try_from(size_of::<OutHeader>() + length).map_err(|_| Errno::TOOBIG)?,
            error,
            unique,
        };
        let header = IoSlice::new(header.as_bytes());
        let written = if body.len() < FEW {
            let mut slices = [header; FEW];
            slices[1..=body.len()].copy_from_slice(body);
            rustix::io::writev(&self.fd, &slices[..=body.len()])
        } else {
            let slices: Vec<_> = std::iter::once(header)
                .chain(body.iter().copied())
                .collect();
            rustix::io::writev(&self.fd, &slices)
        };
        written.map(|_| ())
    }

    /// Sends a reply and sorts out what a failure means.
    pub(crate) fn reply(
        &self,
        unique: u64,
        error: i32,
        body: &[IoSlice<'_>],
    ) -> Result<(), Undelivered> {
        self.send(unique, error, body).map_err(|errno| match errno {
            Errno::NOENT | Errno::NODEV | Errno::CONNABORTED | Errno::PERM => Undelivered::Unwanted,
            errno => Undelivered::Refused(errno.into()),
        })
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
