//! pread(2) into memory that is not Rust's, and without waiting for a disk.
//!
//! [`fill`] reads a contiguous piece of a file into several places with one system call, where
//! possible. The places are pointers and stay pointers: one of them may be memory that another
//! process maps as well, of which no reference may ever exist, because its content can change at
//! any moment. Only the kernel writes through them.
//!
//! With [`Wait::No`] the kernel takes what is in the page cache and nothing else (`RWF_NOWAIT`).
//! File systems that cannot promise this say so, which counts as "it would wait", or, with
//! [`Wait::IfUntold`], is no reason not to read. Of tmpfs, which has no disk, it counts as no wait: what
//! was swapped out is all that could take long, and a page of a map of needles can be as well.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Whether a read may wait for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// It may.
    Yes,
    /// It takes what is in the page cache.
    No,
    /// It takes what is in the page cache, and waits only where the file system cannot tell what
    /// that is.
    IfUntold,
}

/// Why a piece of a file was not read.
#[derive(Debug)]
pub(crate) enum FillError {
    /// It is not in the page cache, and waiting was not allowed.
    WouldWait,
    /// The file ends before the piece does.
    End,
    /// The kernel's answer.
    Io(io::Error),
}

/// Memory that the kernel writes to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    start: *mut u8,
    len: usize,
}

impl Place {
    /// A slice; the borrow must last until the read is over, which the caller sees to by
    /// calling [`fill`] at once.
    pub(crate) fn of(slice: &mut [u8]) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            len: slice.len(),
        }
    }

    /// Any memory.
    pub(crate) fn new(start: *mut u8, len: usize) -> Self {
        Self { start, len }
    }
}

/// Reads from `offset` on until all places are full.
///
/// # Safety
/// Every place must be memory that may be written to for the time of the call, and of which
/// no reference is used meanwhile.
///
/// # Errors
/// See [`FillError`]. The content of the places is then undefined, but initialised where it was.
pub(crate) unsafe fn fill<const N: usize>(
    file: &File,
    mut offset: u64,
    places: [Place; N],
    wait: Wait,
) -> Result<(), FillError> {
    let mut vectors = places.map(|place| libc::iovec {
        iov_base: place.start.cast(),
        iov_len: place.len,
    });
    let mut flags = match wait {
        Wait::Yes => 0,
        Wait::No | Wait::IfUntold => libc::RWF_NOWAIT,
    };
    let mut first = 0;
    loop {
        while first < N && vectors[first].iov_len == 0 {
            first += 1;
        }
        if first == N {
            return Ok(());
        }
        let at = libc::off_t::try_from(offset).map_err(|_| FillError::End)?;
        let rest = &vectors[first..];
        // SAFETY: the vectors describe memory that the caller vouches for, shortened by what
        // was read already; the descriptor is open as long as `file` is borrowed.
        let read = unsafe {
            libc::preadv2(
                file.as_raw_fd(),
                rest.as_ptr(),
                rest.len() as libc::c_int,
                at,
                flags,
            )
        };
        match usize::try_from(read) {
            Ok(0) => return Err(FillError::End),
            Ok(read) => {
                offset += read as u64;
                advance(&mut vectors[first..], read);
            }
            Err(_) => {
                let error = io::Error::last_os_error();
                match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EOPNOTSUPP)
                        if flags != 0 && (wait == Wait::IfUntold || is_in_memory(file)) =>
                    {
                        flags = 0;
                    }
                    Some(libc::EAGAIN | libc::EOPNOTSUPP) if flags != 0 => {
                        return Err(FillError::WouldWait);
                    }
                    _ => return Err(FillError::Io(error)),
                }
            }
        }
    }
}

/// Reads one slice full.
pub(crate) fn read(file: &File, offset: u64, to: &mut [u8], wait: Wait) -> Result<(), FillError> {
    // SAFETY: the slice is borrowed mutably for the whole call.
    unsafe { fill(file, offset, [Place::of(to)], wait) }
}

/// Reads two slices full, one behind the other in the file.
pub(crate) fn read_two(
    file: &File,
    offset: u64,
    [first, second]: [&mut [u8]; 2],
    wait: Wait,
) -> Result<(), FillError> {
    // SAFETY: both slices are borrowed mutably for the whole call, so they are apart.
    unsafe { fill(file, offset, [Place::of(first), Place::of(second)], wait) }
}

/// Reads three slices full, one behind the other in the file.
pub(crate) fn read_three(
    file: &File,
    offset: u64,
    [first, second, third]: [&mut [u8]; 3],
    wait: Wait,
) -> Result<(), FillError> {
    let places = [Place::of(first), Place::of(second), Place::of(third)];
    // SAFETY: all slices are borrowed mutably for the whole call, so they are apart.
    unsafe { fill(file, offset, places, wait) }
}

/// Whether the file is one of tmpfs: no others of a size can be sealed (fcntl(2)). That is asked of the kernel
/// alone, where statfs(2) would ask the server of a network file system.
fn is_in_memory(file: &File) -> bool {
    rustix::fs::fcntl_get_seals(file).is_ok()
}

/// Takes what was read off the front.
fn advance(vectors: &mut [libc::iovec], mut read: usize) {
    for vector in vectors {
        let step = read.min(vector.iov_len);
        vector.iov_base = vector.iov_base.cast::<u8>().wrapping_add(step).cast();
        vector.iov_len -= step;
        read -= step;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn places_are_filled_in_order() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let (mut a, mut b, mut c) = ([0; 3], [0; 0], [0; 4]);
        read_three(&file, 2, [&mut a, &mut b, &mut c], Wait::Yes).unwrap();
        assert_eq!((&a, &c), (b"234", b"5678"));
        let end = read(&file, 7, &mut c, Wait::Yes);
        assert!(matches!(end, Err(FillError::End)), "{end:?}");
        let far = read(&file, u64::MAX, &mut c, Wait::Yes);
        assert!(matches!(far, Err(FillError::End)), "{far:?}");
        read(&file, u64::MAX, &mut [], Wait::Yes).unwrap();
    }

    #[test]
    fn what_was_just_written_is_there_without_waiting_or_the_file_system_cannot_say() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 8192]).unwrap();
        let mut buffer = [0; 8192];
        match read(&file, 0, &mut buffer, Wait::No) {
            Ok(()) => assert_eq!(buffer, [7; 8192]),
            Err(error) => assert!(matches!(error, FillError::WouldWait), "{error:?}"),
        }
        read(&file, 0, &mut buffer, Wait::IfUntold).unwrap();
        assert_eq!(buffer, [7; 8192]);
    }

    #[test]
    fn a_file_system_without_a_disk_is_never_waited_for() {
        // Files in memory without a name (memfd_create(2)) are files of tmpfs, wherever that is mounted.
        let memory = rustix::fs::memfd_create("volume", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let mut file = File::from(memory);
        file.write_all(&[7; 8192]).unwrap();
        assert!(is_in_memory(&file));
        let mut buffer = [0; 8192];
        read(&file, 0, &mut buffer, Wait::No).unwrap();
        assert_eq!(buffer, [7; 8192]);
        let end = read(&file, 1, &mut buffer, Wait::No);
        assert!(matches!(end, Err(FillError::End)), "{end:?}");
        assert!(!is_in_memory(&File::open("/proc/self/exe").unwrap()));
    }
}
