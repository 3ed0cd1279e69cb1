//! The page cache between a workload and what is measured.

use std::fs;
use std::path::Path;

use rustix::fs::{Advice, fadvise};

use crate::{Caching, Error, File};

/// Has the kernel drop the pages it keeps of a file, so that the next read reaches the mount. What
/// is written has to be synced before; what the mount itself keeps stays.
///
/// # Errors
/// When the file cannot be opened.
pub fn drop_pages(root: &Path, file: &File) -> Result<(), Error> {
    let handle = file.open(root, Caching::Buffered)?;
    let path = root.join(&file.path);
    fadvise(&handle, 0, None, Advice::DontNeed).map_err(Error::io("drop the pages of", &path))
}

/// Reads a file whole, past the kernel's pages, and compares it.
///
/// # Errors
/// When it cannot be read, or is not what is expected.
pub fn compare(root: &Path, file: &File, expected: &[u8]) -> Result<(), Error> {
    drop_pages(root, file)?;
    let path = root.join(&file.path);
    let found = fs::read(&path).map_err(Error::io("read", &path))?;
    if found.len() != expected.len() {
        return Err(Error::WrongSize {
            path,
            expected: expected.len() as u64,
            found: found.len() as u64,
        });
    }
    let words = found.chunks(8).zip(expected.chunks(8)).enumerate();
    for (i, (found, expected)) in words {
        if found != expected {
            let word = |bytes: &[u8]| {
                let mut word = [0; 8];
                word[..bytes.len()].copy_from_slice(bytes);
                u64::from_le_bytes(word)
            };
            return Err(Error::WrongBytes {
                path,
                offset: i as u64 * 8,
                expected: word(expected),
                found: word(found),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::written;

    #[test]
    fn a_file_is_compared_to_its_last_byte() {
        let (dir, tree) = written(20_003, 1);
        let big = tree.big();
        let mut content = big.content();
        compare(dir.path(), big, &content).unwrap();
        content[20_002] ^= 1;
        let wrong = compare(dir.path(), big, &content);
        assert!(matches!(
            wrong,
            Err(Error::WrongBytes { offset: 20_000, .. })
        ));
        let short = compare(dir.path(), big, &content[1..]);
        assert!(matches!(short, Err(Error::WrongSize { found: 20_003, .. })));
    }
}
