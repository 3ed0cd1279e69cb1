//! Reading a file in every way a program does, and expecting the same bytes.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;

use crate::{Random, read_mapped};

/// Reads `path` whole, by random ranges, through a memory map, and by eight
/// threads at once, and expects `bytes` each time. The kernel's pages are
/// dropped in between, so that each way asks the mount.
///
/// # Panics
/// When a read fails or differs; the message names path, way and place.
pub fn assert_reads(path: &Path, bytes: &[u8]) {
    let shown = path.display();
    let metadata = fs::metadata(path).unwrap_or_else(|e| panic!("stat {shown}: {e}"));
    assert_eq!(metadata.len(), bytes.len() as u64, "size of {shown}");

    let whole = fs::read(path).unwrap_or_else(|e| panic!("read {shown}: {e}"));
    assert_same(&whole, bytes, 0, &format!("{shown} whole"));

    forget_pages(path);
    random_ranges(path, bytes, RANGES, 1);

    forget_pages(path);
    let mapped = read_mapped(path).unwrap_or_else(|e| panic!("mmap {shown}: {e}"));
    assert_same(&mapped, bytes, 0, &format!("{shown} by mmap"));

    forget_pages(path);
    thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || random_ranges(path, bytes, RANGES / 4, 100 + thread));
        }
    });
}

/// Exactly the bytes of `[offset, offset + len)`, fewer only at the end of the file.
///
/// # Errors
/// When a read fails.
pub fn read_at(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut have = 0;
    while have < len {
        let count = file.read_at(&mut bytes[have..], offset + have as u64)?;
        if count == 0 {
            break;
        }
        have += count;
    }
    bytes.truncate(have);
    Ok(bytes)
}

fn random_ranges(path: &Path, bytes: &[u8], count: usize, seed: u64) {
    let file = File::open(path).unwrap_or_else(|e| panic!("open {}: {e}", path.display()));
    let mut random = Random::new(seed);
    let size = bytes.len() as u64;
    for _ in 0..count {
        // Also at and beyond the end, also across page and chunk edges.
        let offset = random.below(size + 10);
        let longest = LENGTHS[random.below(4) as usize];
        let len = 1 + random.below(longest);
        let expected_end = (offset + len).min(size);
        let expected = &bytes[offset.min(size) as usize..expected_end as usize];
        let got = read_at(&file, offset, len as usize);
        let got = got.unwrap_or_else(|e| panic!("{} at {offset}+{len}: {e}", path.display()));
        assert_same(
            &got,
            expected,
            offset,
            &format!("{} at {offset}+{len}", path.display()),
        );
    }
}

/// Has the kernel drop what it holds of a file, so that the next read is a request.
fn forget_pages(path: &Path) {
    let file = File::open(path).unwrap_or_else(|e| panic!("open {}: {e}", path.display()));
    let forgotten = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    assert!(
        forgotten.is_ok(),
        "fadvise {}: {forgotten:?}",
        path.display()
    );
}

/// Like `assert_eq`, but tells the first difference instead of megabytes.
fn assert_same(got: &[u8], expected: &[u8], at: u64, what: &str) {
    if got == expected {
        return;
    }
    let differs = got.iter().zip(expected).position(|(a, b)| a != b);
    let place = differs.unwrap_or(got.len().min(expected.len()));
    panic!(
        "{what}: {} bytes instead of {}, different from {} on: {:?} instead of {:?}",
        got.len(),
        expected.len(),
        at + place as u64,
        &got[place..got.len().min(place + 16)],
        &expected[place..expected.len().min(place + 16)],
    );
}

/// Enough to hit every edge of the small files, and the chunks of the large ones.
const RANGES: usize = 60;
const LENGTHS: [u64; 4] = [16, 4096, 70_000, 3 << 20];
