//! Names that come, change and go.

use std::fs::{self, File as Handle};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::latency::Durations;
use crate::{Error, Latencies};

/// What [`change_names`] did.
#[derive(Debug, Clone)]
pub struct Names {
    /// `mkdir` of each directory.
    pub made: Latencies,
    /// `rename` of each file.
    pub renamed: Latencies,
    /// `unlink` of every second file.
    pub removed: Latencies,
    /// The names that the folder has to hold afterwards, sorted.
    pub left: Vec<String>,
}

/// In the empty folder `dir`: makes `count` directories and, untimed, empty files; renames all files;
/// removes every second one. One after the other.
///
/// # Errors
/// When something of that fails.
pub fn change_names(dir: &Path, count: usize) -> Result<Names, Error> {
    let at = |kind: &str, n: usize| dir.join(name(kind, n));
    let made = each(0..count, |n| {
        let path = at("d", n);
        fs::create_dir(&path).map_err(Error::io("mkdir", &path))
    })?;
    for n in 0..count {
        let path = at("old", n);
        Handle::create_new(&path).map_err(Error::io("create", &path))?;
    }
    let renamed = each(0..count, |n| {
        let path = at("old", n);
        fs::rename(&path, at("new", n)).map_err(Error::io("rename", &path))
    })?;
    let removed = each((0..count).step_by(2), |n| {
        let path = at("new", n);
        fs::remove_file(&path).map_err(Error::io("unlink", &path))
    })?;
    let directories = (0..count).map(|n| name("d", n));
    let files = (1..count).step_by(2).map(|n| name("new", n));
    Ok(Names {
        made,
        renamed,
        removed,
        left: directories.chain(files).collect(),
    })
}

/// Removes a directory with all that is in it, as `rm -r` does; how long that took.
///
/// # Errors
/// When something cannot be removed, or is there afterwards.
pub fn remove_tree(path: &Path) -> Result<Duration, Error> {
    let start = Instant::now();
    fs::remove_dir_all(path).map_err(Error::io("remove", path))?;
    let elapsed = start.elapsed();
    if path.exists() {
        return Err(Error::Unexpected {
            path: PathBuf::from(path),
        });
    }
    Ok(elapsed)
}

fn name(kind: &str, n: usize) -> String {
    format!("{kind}{n:06}")
}

fn each(
    numbers: impl Iterator<Item = usize>,
    mut one: impl FnMut(usize) -> Result<(), Error>,
) -> Result<Latencies, Error> {
    let durations = Durations::default();
    let begin = Instant::now();
    for n in numbers {
        let start = Instant::now();
        one(n)?;
        durations.record(start.elapsed());
    }
    Ok(Latencies {
        elapsed: begin.elapsed(),
        each: durations.sorted(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_change_and_what_is_told_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let done = change_names(dir.path(), 13).unwrap();
        let counts = [&done.made, &done.renamed, &done.removed].map(Latencies::count);
        assert_eq!(counts, [13, 13, 7]);
        let mut found: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        found.sort_unstable();
        assert_eq!(found, done.left);
    }

    #[test]
    fn a_tree_goes_with_all_that_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(tree.join("a/b/c"), "x").unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        assert!(remove_tree(&tree).is_err());
    }
}
