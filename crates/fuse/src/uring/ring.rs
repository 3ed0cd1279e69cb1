//! One io_uring with one FUSE entry in it.
//!
//! An entry is a pair of buffers that the kernel puts a request into and takes its reply out of.
//! REGISTER gives them to the kernel once; COMMIT_AND_FETCH hands a reply over and waits for the
//! next request, both in one system call. (Linux 6.14, `Documentation/filesystems/fuse/fuse-io-uring.rst`
//! and uapi `linux/fuse.h`.)

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use io_uring::squeue::Entry128;
use io_uring::{IoUring, cqueue, opcode, types};
use zerocopy::{Immutable, IntoBytes};

use crate::device::Device;
use crate::memory::Mapping;

/// The ring of one thread.
pub(super) struct Ring {
    ring: IoUring<Entry128, cqueue::Entry>,
    device: Arc<Device>,
    /// Where the entry's buffers are; the kernel reads it when it registers them.
    buffers: Box<[libc::iovec; 2]>,
}

// SAFETY: the pointers in `buffers` are addresses for the kernel and never followed here.
unsafe impl Send for Ring {}

/// `enum fuse_uring_cmd`.
const REGISTER: u32 = 1;
const COMMIT_AND_FETCH: u32 = 2;

/// `struct fuse_uring_cmd_req`, which lies in the second half of a 128-byte submission.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Command {
    flags: u64,
    commit_id: u64,
    queue: u16,
    padding: [u8; 6],
}

/// Where `addr` and `len` are in a submission (`struct io_uring_sqe`).
const SQE_ADDR: usize = 16;
const SQE_LEN: usize = 24;

/// One submission is under way at a time; the kernel rounds up.
const SLOTS: u32 = 2;

/// Whether this process gets rings, before the kernel relies on it.
///
/// # Errors
/// See [`Ring::new`].
pub(super) fn probe() -> io::Result<()> {
    set_up().map(drop)
}

fn set_up() -> io::Result<IoUring<Entry128, cqueue::Entry>> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(SLOTS)
}

impl Ring {
    /// A ring for the calling thread alone; its work is done only while the thread waits in it.
    ///
    /// # Errors
    /// The kernel's: EPERM where io_uring is disabled, EINVAL before Linux 6.1.
    pub(super) fn new(device: Arc<Device>) -> io::Result<Self> {
        let nowhere = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        Ok(Self {
            ring: set_up()?,
            device,
            buffers: Box::new([nowhere; 2]),
        })
    }

    /// Gives the kernel the entry's buffers: from here on requests may come. Says at once
    /// whether the kernel refuses.
    ///
    /// # Safety
    /// Both buffers stay mapped until the ring is dropped, and nobody refers into them while
    /// [`next`](Self::next) waits.
    pub(super) unsafe fn register(
        &mut self,
        queue: u16,
        header: &mut Mapping,
        payload: &mut [u8],
    ) -> io::Result<()> {
        *self.buffers = [&mut header[..], payload].map(|buffer| libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        });
        let mut entry = self.command(REGISTER, queue, 0);
        let start = (&raw mut entry).cast::<u8>();
        const { assert!(size_of::<Entry128>() == 128) };
        let address = self.buffers.as_ptr() as u64;
        // SAFETY: an `Entry128` is the kernel's `struct io_uring_sqe` with 128 bytes (asserted),
        // in which both fields lie at these places and any value of them is valid.
        unsafe {
            start.add(SQE_ADDR).cast::<u64>().write_unaligned(address);
            start.add(SQE_LEN).cast::<u32>().write_unaligned(2);
        }
        self.push(&entry)?;
        self.ring.submit()?;
        // A success is not reported, only the first request; what is reported at once failed.
        match self.ring.completion().next().map(|done| done.result()) {
            Some(error) if error < 0 => Err(io::Error::from_raw_os_error(-error)),
            _ => Ok(()),
        }
    }

    /// Tells the kernel that there will be no queues: it uses the device instead.
    pub(super) fn decline(&mut self) -> io::Result<()> {
        let entry = self.command(REGISTER, u16::MAX, 0);
        self.push(&entry)?;
        self.ring.submit()?;
        let _ = self.ring.completion().next();
        Ok(())
    }

    /// Hands over the reply to the request `unique` that lies in the buffers. It leaves with
    /// the next wait.
    pub(super) fn commit(&mut self, queue: u16, unique: u64) -> io::Result<()> {
        let entry = self.command(COMMIT_AND_FETCH, queue, unique);
        self.push(&entry)
    }

    /// Waits for the next request.
    ///
    /// # Errors
    /// ENOTCONN or ECONNABORTED once the file system is unmounted.
    pub(super) fn next(&mut self) -> io::Result<()> {
        loop {
            match self.ring.submit_and_wait(1) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            if let Some(done) = self.ring.completion().next() {
                return match done.result() {
                    error if error < 0 => Err(io::Error::from_raw_os_error(-error)),
                    _ => Ok(()),
                };
            }
        }
    }

    fn command(&self, operation: u32, queue: u16, commit_id: u64) -> Entry128 {
        let command = Command {
            flags: 0,
            commit_id,
            queue,
            padding: [0; 6],
        };
        let mut bytes = [0; 80];
        bytes[..size_of::<Command>()].copy_from_slice(command.as_bytes());
        let device = types::Fd(self.device.as_fd().as_raw_fd());
        opcode::UringCmd80::new(device, operation)
            .cmd(bytes)
            .build()
    }

    fn push(&mut self, entry: &Entry128) -> io::Result<()> {
        // SAFETY: what the entry refers to, `buffers` and the device, lives as long as the ring.
        let pushed = unsafe { self.ring.submission().push(entry) };
        pushed.map_err(|_| io::Error::other("the submission queue is full"))
    }
}
