//! Names and attributes: a walk, a `stat` of everything, and single questions
//! that the kernel may not answer by itself.

use std::fs::{self, DirEntry};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::latency::Durations;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat, StatxFlags, open, stat, statx};
use rustix::io::Errno;

use crate::{Error, File, Latencies};

/// Lists a folder and all below it by `readdir` alone, as `find` does, and
/// returns the time. `expected` entries must be found.
///
/// # Errors
/// When a folder cannot be read, or the number differs.
pub fn walk(dir: &Path, expected: usize) -> Result<Duration, Error> {
    each_below(dir, expected, |entry| {
        // The type comes with the name: no `stat` is made.
        let kind = entry.file_type();
        Ok(kind.map_err(Error::io("list", dir))?.is_dir())
    })
}

/// The same with a `stat` of each entry as it is found, as `find -ls` and `ls -lR` do.
///
/// # Errors
/// When something cannot be read, or the number differs.
pub fn walk_and_stat(dir: &Path, expected: usize) -> Result<Duration, Error> {
    each_below(dir, expected, |entry| {
        let found = entry.metadata();
        Ok(found.map_err(Error::io("stat", &entry.path()))?.is_dir())
    })
}

/// Goes through all that is below `dir`, and into what `is_folder` says is a folder.
fn each_below(
    dir: &Path,
    expected: usize,
    is_folder: impl Fn(&DirEntry) -> Result<bool, Error>,
) -> Result<Duration, Error> {
    let start = Instant::now();
    let (mut pending, mut found) = (vec![dir.to_owned()], 0);
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).map_err(Error::io("list", &dir))? {
            let entry = entry.map_err(Error::io("list", &dir))?;
            found += 1;
            if is_folder(&entry)? {
                pending.push(entry.path());
            }
        }
    }
    let elapsed = start.elapsed();
    if found != expected {
        return Err(Error::WrongCount {
            path: dir.to_owned(),
            expected,
            found,
        });
    }
    Ok(elapsed)
}

/// `stat` of each file, by path.
///
/// # Errors
/// When one is not there or has another size.
pub fn stat_all(root: &Path, files: &[&File]) -> Result<Latencies, Error> {
    let durations = Durations::default();
    let begin = Instant::now();
    for file in files {
        let path = root.join(&file.path);
        let start = Instant::now();
        let found: Stat = stat(&path).map_err(Error::io("stat", &path))?;
        durations.record(start.elapsed());
        expect_size(file, root, found.st_size.cast_unsigned())?;
    }
    Ok(Latencies {
        elapsed: begin.elapsed(),
        each: durations.sorted(),
    })
}

/// Asks `times` for the attributes of one file, each time past the kernel's
/// cache (`AT_STATX_FORCE_SYNC`): one GETATTR each. The name is looked up once
/// and the file is not opened (`O_PATH`), since a mount may answer from what
/// it keeps of an open file.
///
/// # Errors
/// When it is not there, or has another size.
pub fn forced_getattr(root: &Path, file: &File, times: usize) -> Result<Latencies, Error> {
    let path = root.join(&file.path);
    let handle = open(&path, OFlags::PATH, Mode::empty()).map_err(Error::io("open", &path))?;
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
    let durations = Durations::default();
    let begin = Instant::now();
    for _ in 0..times {
        let start = Instant::now();
        let found = statx(&handle, "", flags, StatxFlags::BASIC_STATS)
            .map_err(Error::io("statx", &path))?;
        durations.record(start.elapsed());
        expect_size(file, root, found.stx_size)?;
    }
    Ok(Latencies {
        elapsed: begin.elapsed(),
        each: durations.sorted(),
    })
}

/// Looks for `times` names that are not in `dir`, each once: one LOOKUP each.
/// `seed` makes them names that no earlier call looked for.
///
/// # Errors
/// When one is there, or the answer is anything but "no such file".
pub fn missing_lookup(dir: &Path, times: usize, seed: u64) -> Result<Latencies, Error> {
    let durations = Durations::default();
    let begin = Instant::now();
    for i in 0..times {
        let path = dir.join(format!("missing-{seed:x}-{i}"));
        let start = Instant::now();
        let found = statx(CWD, &path, AtFlags::empty(), StatxFlags::BASIC_STATS);
        durations.record(start.elapsed());
        match found {
            Err(Errno::NOENT) => {}
            Err(other) => return Err(Error::io("look up", &path)(other)),
            Ok(_) => return Err(Error::Unexpected { path }),
        }
    }
    Ok(Latencies {
        elapsed: begin.elapsed(),
        each: durations.sorted(),
    })
}

fn expect_size(file: &File, root: &Path, found: u64) -> Result<(), Error> {
    if found == file.size {
        return Ok(());
    }
    Err(Error::WrongSize {
        path: root.join(&file.path),
        expected: file.size,
        found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::written;
    use crate::{MANY, Tree};

    #[test]
    fn a_walk_finds_files_and_folders() {
        let (dir, tree) = written(8, 60);
        let many = dir.path().join(MANY);
        walk(&many, tree.entries()).unwrap();
        walk_and_stat(&many, tree.entries()).unwrap();
        assert!(matches!(
            walk(&many, tree.entries() + 1),
            Err(Error::WrongCount { .. })
        ));
    }

    #[test]
    fn every_file_is_asked_for_and_a_wrong_size_is_found() {
        let (dir, tree) = written(8, 10);
        let done = stat_all(dir.path(), &tree.many()).unwrap();
        assert_eq!(done.count(), 40);
        let other = Tree::new(9, 10);
        let found = stat_all(dir.path(), &[other.big()]);
        assert!(matches!(found, Err(Error::WrongSize { found: 8, .. })));
    }

    #[test]
    fn attributes_are_asked_as_often_as_told() {
        let (dir, tree) = written(8, 1);
        let done = forced_getattr(dir.path(), tree.big(), 9).unwrap();
        assert_eq!(done.count(), 9);
    }

    #[test]
    fn a_name_that_is_there_is_not_missing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(missing_lookup(dir.path(), 5, 1).unwrap().count(), 5);
        fs::write(dir.path().join("missing-2-3"), "").unwrap();
        assert!(matches!(
            missing_lookup(dir.path(), 5, 2),
            Err(Error::Unexpected { .. })
        ));
    }
}
