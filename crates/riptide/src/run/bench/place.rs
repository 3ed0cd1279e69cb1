//! The folder with the tree that is read, made in the folder that is measured.
//!
//! A folder of a new name is made in DIR, so that nothing of the user's is touched, and removed with all
//! that is in it when the measurement ends, however it ends. A file beside the tree says how large it
//! is: who is given such a folder as DIR measures what is there, and neither writes nor removes.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use bench::{File, Tree};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::options::BenchOptions;
use crate::run::real_path;

/// A tree on what is measured.
pub(super) struct Place {
    /// The folder it lies in.
    pub(super) root: PathBuf,
    /// What lies there.
    pub(super) tree: Tree,
    /// The large file's size, and the small ones' number.
    pub(super) size: u64,
    pub(super) files: usize,
    /// Ours to remove; not there for a tree that was found.
    made: Option<TempDir>,
}

impl Place {
    /// Writes a tree into a new folder in `dir`, or takes the one that `dir` is.
    /// Ends with an error as soon as `stopped` says so.
    pub(super) fn make(
        dir: &Path,
        options: &BenchOptions,
        stopped: &mut dyn FnMut() -> bool,
    ) -> anyhow::Result<Self> {
        let meta = fs::metadata(dir).with_context(|| dir.display().to_string())?;
        ensure!(meta.is_dir(), "{} is not a folder", dir.display());
        let dir = real_path(dir)?;
        if let Some((size, files)) = kept(&dir)? {
            return Self::of_kept(dir, size, files, options);
        }
        let (size, files) = (size(options), files(options));
        let tree = Tree::new(size, files);
        has_room(&dir, &tree, options.write)?;
        let made = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(&dir)
            .with_context(|| {
                format!(
                    "cannot write into {}; a tree that -keep left can be measured without",
                    dir.display()
                )
            })?;
        let place = Self {
            root: made.path().to_owned(),
            tree,
            size,
            files,
            made: Some(made),
        };
        place.write(stopped).context("writing the tree")?;
        Ok(place)
    }

    /// The tree that a null mount of `options` shows.
    pub(super) fn of_null(dir: &Path, options: &BenchOptions) -> Self {
        let (size, files) = (size(options), files(options));
        Self {
            root: dir.to_owned(),
            tree: Tree::new(size, files),
            size,
            files,
            made: None,
        }
    }

    fn of_kept(
        dir: PathBuf,
        size: u64,
        files: usize,
        options: &BenchOptions,
    ) -> anyhow::Result<Self> {
        let there = format!("{} holds a tree that -keep left", dir.display());
        ensure!(!options.write, "{there}: -write needs a folder beside it");
        ensure!(!options.keep, "{there}: it stays without -keep");
        let asked = (options.size.unwrap_or(size), options.files.unwrap_or(files));
        ensure!(
            asked == (size, files),
            "{there}, of -sizeMB={} and -files={files}: no others can be measured there",
            size >> 20
        );
        Ok(Self {
            root: dir,
            tree: Tree::new(size, files),
            size,
            files,
            made: None,
        })
    }

    /// Removes what was made, or leaves it and says where.
    pub(super) fn end(self, keep: bool) -> anyhow::Result<Option<PathBuf>> {
        match self.made {
            Some(made) if keep => Ok(Some(made.keep())),
            Some(made) => {
                let path = made.path().to_owned();
                made.close()
                    .with_context(|| format!("cannot remove {}", path.display()))?;
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// All files of the tree.
    fn all(&self) -> Vec<&File> {
        self.tree
            .many()
            .into_iter()
            .chain([self.tree.big()])
            .collect()
    }

    fn write(&self, stopped: &mut dyn FnMut() -> bool) -> anyhow::Result<()> {
        let mut last = None;
        for file in self.all() {
            let path = self.root.join(&file.path);
            let parent = path.parent().map(Path::to_owned);
            if let Some(parent) = parent.filter(|parent| last.as_ref() != Some(parent)) {
                ensure!(!stopped(), "stopped");
                fs::create_dir_all(&parent).with_context(|| parent.display().to_string())?;
                last = Some(parent);
            }
            let at = || path.display().to_string();
            let mut handle = fs::File::create_new(&path).with_context(at)?;
            write_pattern(&mut handle, file).with_context(at)?;
            // Pages that are not written yet cannot be dropped.
            if file.size > 0 {
                handle.sync_all().with_context(at)?;
            }
        }
        let plan = json!({ "size": self.size, "files": self.files });
        let path = self.root.join(PLAN);
        fs::write(&path, plan.to_string()).with_context(|| path.display().to_string())
    }
}

fn write_pattern(handle: &mut fs::File, file: &File) -> std::io::Result<()> {
    let mut buffer = vec![0; WRITTEN_AT_ONCE.min(file.size as usize)];
    let mut offset = 0;
    while offset < file.size {
        let left = (file.size - offset) as usize;
        let bytes = &mut buffer[..left.min(WRITTEN_AT_ONCE)];
        file.pattern().fill(offset, bytes);
        handle.write_all(bytes)?;
        offset += bytes.len() as u64;
    }
    Ok(())
}

/// The size and the number of files of the tree that `dir` is, if it is one.
fn kept(dir: &Path) -> anyhow::Result<Option<(u64, usize)>> {
    let path = dir.join(PLAN);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.with_context(|| path.display().to_string())?,
    };
    let plan: Value = serde_json::from_str(&text).unwrap_or_default();
    let number = |name: &str, most: u64| plan[name].as_u64().filter(|n| (1..=most).contains(n));
    match (number("size", MOST_BYTES), number("files", MOST_FILES)) {
        (Some(size), Some(files)) => Ok(Some((size, files as usize))),
        _ => bail!("{} is not what riptide bench writes", path.display()),
    }
}

/// Refuses what would fill a disk.
fn has_room(dir: &Path, tree: &Tree, writes: bool) -> anyhow::Result<()> {
    let stat = rustix::fs::statvfs(dir).with_context(|| dir.display().to_string())?;
    // Some file systems count nothing.
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let trees = if writes { 2 } else { 1 };
    let small = tree.small().iter().map(|file| file.size).sum::<u64>();
    let needed = trees * (tree.big().size + small) + SPARE;
    ensure!(
        stat.f_blocks == 0 || free >= needed,
        "{} has {} MiB left and {} MiB are needed; -sizeMB makes it less",
        dir.display(),
        free >> 20,
        needed >> 20
    );
    Ok(())
}

/// Bytes of the large file.
pub(super) fn size(options: &BenchOptions) -> u64 {
    options.size.unwrap_or(256 << 20)
}

/// Small files with content.
pub(super) fn files(options: &BenchOptions) -> usize {
    options.files.unwrap_or(1000)
}

const PREFIX: &str = "riptide-bench-";
/// The file that tells of a tree.
const PLAN: &str = "riptide-bench.json";
/// As much as the flags allow.
const MOST_BYTES: u64 = 16_384 << 20;
const MOST_FILES: u64 = 100_000;
/// For folders, names, and what writing makes besides.
const SPARE: u64 = 64 << 20;
const WRITTEN_AT_ONCE: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::BenchPlace;

    fn options(dir: &Path) -> BenchOptions {
        BenchOptions {
            place: BenchPlace::Folder(dir.to_owned()),
            size: Some(3 << 20),
            files: Some(5),
            operations: 1,
            rounds: 1,
            write: false,
            keep: false,
            json: false,
        }
    }

    fn refusal(dir: &Path, options: &BenchOptions) -> String {
        match Place::make(dir, options, &mut || false) {
            Ok(_) => "made".to_owned(),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn what_was_made_is_gone_afterwards_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("mine"), "x").unwrap();
        let place = Place::make(dir.path(), &options(dir.path()), &mut || false).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        bench::walk(&place.root.join(bench::MANY), place.tree.entries()).unwrap();
        assert_eq!(place.end(false).unwrap(), None);
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].as_ref().unwrap().file_name(), "mine");
        let stopped = Place::make(dir.path(), &options(dir.path()), &mut || true);
        assert!(stopped.is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        // Also when somebody gives up.
        drop(Place::make(dir.path(), &options(dir.path()), &mut || false).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_tree_that_was_kept_is_measured_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let made = Place::make(dir.path(), &options(dir.path()), &mut || false).unwrap();
        let kept = made.end(true).unwrap().unwrap();
        let plain = BenchOptions {
            size: None,
            files: None,
            ..options(&kept)
        };
        let again = Place::make(&kept, &plain, &mut || false).unwrap();
        assert_eq!((again.size, again.files), (3 << 20, 5));
        again.end(false).unwrap();
        assert!(kept.join("big.bin").exists());
        let other = BenchOptions {
            files: Some(6),
            ..plain.clone()
        };
        assert!(refusal(&kept, &other).contains("of -sizeMB=3 and -files=5"));
        let writes = BenchOptions {
            write: true,
            ..plain.clone()
        };
        assert!(refusal(&kept, &writes).contains("-write needs a folder beside it"));
        fs::write(kept.join(PLAN), "{\"size\": 1e30}").unwrap();
        assert!(refusal(&kept, &plain).contains("is not what riptide bench writes"));
    }

    #[test]
    fn nonsense_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        let options = options(dir.path());
        assert!(refusal(&file, &options).ends_with("file is not a folder"));
        assert!(refusal(&dir.path().join("none"), &options).contains("No such file"));
        assert!(refusal(Path::new("/proc"), &options).contains("cannot write into /proc"));
        let tree = Tree::new(u64::MAX >> 8, 1);
        let full = has_room(dir.path(), &tree, false).unwrap_err().to_string();
        assert!(full.contains("-sizeMB makes it less"), "{full}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
