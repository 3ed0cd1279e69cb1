//! An archive of a source tree, unpacked by tar(1).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::pattern::mix;
use crate::{Error, File, make_folders};

/// An archive that lies outside of what is measured.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    files: Vec<File>,
}

impl Archive {
    /// Packs `count` files in folders of 20, of a few bytes to 64 KiB, half of them below 4 KiB, as
    /// sources have. The archive and what it is made of lie in `scratch`.
    ///
    /// # Errors
    /// When it cannot be written, or there is no tar(1).
    pub fn pack(scratch: &Path, count: usize) -> Result<Self, Error> {
        let (path, sources) = (scratch.join("sources.tar"), scratch.join("sources"));
        let files: Vec<File> = (0..count).map(source).collect();
        make_folders(&sources, &files)?;
        for file in &files {
            let path = sources.join(&file.path);
            fs::write(&path, file.content()).map_err(Error::io("write", &path))?;
        }
        tar("-cf", &path, &sources, &["."])?;
        Ok(Self { path, files })
    }

    /// What is in it, from where it is unpacked.
    #[must_use]
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// Unpacks it in the folder `dir`; how long that took, the start of tar(1) included.
    ///
    /// # Errors
    /// When tar(1) fails.
    pub fn unpack(&self, dir: &Path) -> Result<Duration, Error> {
        let start = Instant::now();
        tar("-xf", &self.path, dir, &[])?;
        Ok(start.elapsed())
    }
}

/// The `n`th file of the tree.
fn source(n: usize) -> File {
    let random = mix(n as u64);
    // 2^4 to 2^16 bytes: as many between 16 and 32 as between 32 and 64 KiB.
    let scale = 4 + random % 12;
    let size = (1 << scale) + (random >> 8) % (1 << scale);
    File {
        path: format!("src/d{:03}/f{n:05}.c", n / PER_DIR),
        size,
    }
}

fn tar(what: &str, archive: &Path, dir: &Path, paths: &[&str]) -> Result<(), Error> {
    let output = Command::new("tar")
        .arg("-C")
        .arg(dir)
        .arg(what)
        .arg(archive)
        .args(paths)
        .stdin(Stdio::null())
        .output()
        .map_err(Error::io("run tar in", dir))?;
    if output.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Error::io("run tar in", dir)(io::Error::other(told)))
}

/// Files in one folder of the archive.
const PER_DIR: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_is_unpacked() {
        let (scratch, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let archive = Archive::pack(scratch.path(), 45).unwrap();
        archive.unpack(dir.path()).unwrap();
        assert_eq!(archive.files().len(), 45);
        for file in archive.files() {
            let found = fs::read(dir.path().join(&file.path)).unwrap();
            assert_eq!(found, file.content(), "{}", file.path);
        }
    }

    #[test]
    fn sizes_are_those_of_sources() {
        let sizes: Vec<u64> = (0..1000).map(|n| source(n).size).collect();
        assert!(sizes.iter().all(|size| (16..65536).contains(size)));
        let below = sizes.iter().filter(|size| **size < 4096).count();
        assert!((500..800).contains(&below), "{below}");
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_with_the_words_of_tar() {
        let scratch = tempfile::tempdir().unwrap();
        let archive = Archive::pack(scratch.path(), 1).unwrap();
        let error = archive.unpack(&scratch.path().join("none")).unwrap_err();
        assert!(error.to_string().contains("none"), "{error}");
    }
}
