//! Writing a chunk past the page cache.
//!
//! The mount's reader has just got these bytes, and the kernel keeps them as pages of the file that
//! was read. A second copy as pages of the cache's file helps nobody, and for a mount that reads
//! at full speed making it is a third of all CPU time (measured: new pages cost more than copying).
//! So whole blocks of large chunks go to the disk from where they are, if the file system can
//! do that and the memory is aligned for it; everything else is written as usual.

use std::fs::File;
use std::io::{self, IoSlice, Write};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// What O_DIRECT asks of addresses, offsets and lengths: the page size suffices on every device
/// whose blocks are not larger; one where they are refuses, and is written as usual.
const ALIGNMENT: usize = 4096;
/// Below this, the wait for the device costs more than the pages.
const LARGE: usize = 256 << 10;

/// Writes `data`, then `tail`, to an empty file.
pub(super) fn write(file: &mut File, data: &[u8], tail: &[u8]) -> io::Result<()> {
    let done = past_the_page_cache(file, data);
    let mut parts = [IoSlice::new(&data[done..]), IoSlice::new(tail)];
    let mut parts = &mut parts[..];
    while !parts.is_empty() {
        match file.write_vectored(parts) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut parts, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// How much of `data` could be written that way. What went wrong with the rest shows when that is
/// written as usual.
fn past_the_page_cache(file: &mut File, data: &[u8]) -> usize {
    let aligned = data.as_ptr().addr().is_multiple_of(ALIGNMENT);
    if data.len() < LARGE || !aligned {
        return 0;
    }
    let Ok(flags) = fcntl_getfl(&*file) else {
        return 0;
    };
    if fcntl_setfl(&*file, flags | OFlags::DIRECT).is_err() {
        return 0;
    }
    let whole = data.len() / ALIGNMENT * ALIGNMENT;
    let mut done = 0;
    while done < whole && done.is_multiple_of(ALIGNMENT) {
        match file.write(&data[done..whole]) {
            Ok(0) => break,
            Ok(written) => done += written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    // Without this the rest would be refused, which shows then.
    let _ = fcntl_setfl(&*file, flags);
    done
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd;

    use super::super::super::pool::Pool;
    use super::*;

    #[test]
    fn every_length_and_alignment_arrives() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chunk");
        let pool = Pool::new(64 << 20, ledger::Account::unlimited());
        let mut buffer = pool.take((4 << 20) + 4096).unwrap();
        let all = buffer.as_mut_slice();
        for (at, byte) in all.iter_mut().enumerate() {
            *byte = (at * 31 % 251) as u8;
        }
        for len in [0, 1, LARGE - 1, LARGE, LARGE + 1, (4 << 20) - 1, 4 << 20] {
            for start in [0, 1, ALIGNMENT] {
                let data = &all[start..][..len];
                let mut file = File::create(&path).unwrap();
                write(&mut file, data, b"tail").unwrap();
                let mut expected = data.to_vec();
                expected.extend_from_slice(b"tail");
                assert!(fs::read(&path).unwrap() == expected, "{start} {len}");
                let flags = fcntl_getfl(file.as_fd()).unwrap();
                assert!(!flags.contains(OFlags::DIRECT));
            }
        }
    }

    #[test]
    fn a_full_device_is_an_error_not_a_short_file() {
        let pool = Pool::new(64 << 20, ledger::Account::unlimited());
        let buffer = pool.take(4 << 20).unwrap();
        let mut full = File::options().write(true).open("/dev/full").unwrap();
        let error = write(&mut full, buffer.as_ref(), b"tail").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
