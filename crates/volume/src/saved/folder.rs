//! The folder of saved indexes: one file for each `.idx`, named after its path.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use seaweed::crc::crc32c;

use super::file::open_header;
use super::writer::Writer;
use super::{Header, Origin, Refused, Saved, Stopped, merge};
use crate::DataDir;
use crate::files::remote_file_system;
use crate::index::Run;

/// Where indexes are saved, and how much.
#[derive(Debug, Clone)]
pub struct SavedIndexes {
    /// A folder of its own; it is made if it is not there.
    pub dir: PathBuf,
    /// Bytes of all files in it.
    pub limit: u64,
    /// A shorter index is read anew faster than it is worth a file.
    pub min_entries: u64,
}

impl SavedIndexes {
    /// In this folder, with the usual limits: 16 GiB, from 65536 entries on.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            limit: 16 << 30,
            min_entries: 64 << 10,
        }
    }

    /// Makes the folder, or checks the one that is there, so that what is wrong is known before there are volumes.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn prepare(&self) -> Result<(), FolderError> {
        Folder::open(self.clone(), &[]).map(drop)
    }
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It cannot be made or looked at.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Others could write to it.
    #[error("it must belong to the user of this process, and nobody else may write to it")]
    Writable,
    /// Volumes are in it.
    #[error("it is a folder of volumes, where nothing is written")]
    Volumes,
    /// What is mapped from there could change.
    #[error("it lies on {0}; a local folder is needed")]
    Remote(&'static str),
}

/// Why an index was not saved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SaveError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("all saved indexes would have more than {0} bytes")]
    Limit(u64),
    #[error("the saved index that it is made of is damaged: {0}")]
    Source(Refused),
    #[error("what was written cannot be used: {0}")]
    Written(Refused),
    #[error("the store is closed")]
    Closing,
}

/// A folder that is in use.
#[derive(Debug)]
pub(crate) struct Folder {
    config: SavedIndexes,
    /// Not to be tried again, should they still be there.
    refused: Mutex<HashSet<PathBuf>>,
    mapped: Arc<AtomicU64>,
    tidied: Mutex<Instant>,
}

impl Folder {
    /// Makes the folder, or checks the one that is there.
    pub(crate) fn open(config: SavedIndexes, volumes: &[DataDir]) -> Result<Self, FolderError> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&config.dir)?;
        let metadata = fs::metadata(&config.dir)?;
        let own = metadata.uid() == rustix::process::geteuid().as_raw();
        if !own || metadata.mode() & 0o022 != 0 {
            return Err(FolderError::Writable);
        }
        if let Some(kind) = remote_file_system(&config.dir) {
            return Err(FolderError::Remote(kind));
        }
        let same = |dir: &PathBuf| {
            fs::metadata(dir)
                .is_ok_and(|other| (other.dev(), other.ino()) == (metadata.dev(), metadata.ino()))
        };
        let of_volumes = |dir: &DataDir| same(&dir.data) || dir.index.as_ref().is_some_and(same);
        if volumes.iter().any(of_volumes) {
            return Err(FolderError::Volumes);
        }
        Ok(Self {
            config,
            refused: Mutex::default(),
            mapped: Arc::default(),
            tidied: Mutex::new(Instant::now()),
        })
    }

    /// Entries from which on an index is saved.
    pub(crate) fn min_entries(&self) -> u64 {
        self.config.min_entries
    }

    /// Bytes of saved indexes that are in use.
    pub(crate) fn mapped(&self) -> u64 {
        self.mapped.load(Ordering::Relaxed)
    }

    /// Opens what was saved of an `.idx`, which has `len` bytes. What is refused is removed.
    pub(crate) fn load(&self, origin: &Origin, idx: &File, len: u64) -> Result<Saved, Refused> {
        let path = self.path_of(&origin.path);
        if self.refused.lock().contains(&path) {
            return Err(Refused::Absent);
        }
        let saved = Saved::open(&path, origin, idx, len, &self.mapped);
        if saved
            .as_ref()
            .is_err_and(|why| !matches!(why, Refused::Absent))
        {
            self.discard(origin);
        }
        saved
    }

    /// Throws away what was saved of an `.idx`.
    pub(crate) fn discard(&self, origin: &Origin) {
        let path = self.path_of(&origin.path);
        if remove(&path) {
            return;
        }
        self.refused.lock().insert(path);
    }

    /// Writes what `runs`, newest first, and `saved` below them say together: the first `covered` bytes of `idx`.
    /// Returns it opened.
    pub(crate) fn save(
        &self,
        (origin, idx, covered): (&Origin, &File, u64),
        runs: &[&Run],
        saved: Option<&Saved>,
        is_closing: impl Fn() -> bool,
    ) -> Result<Saved, SaveError> {
        if origin.path.as_os_str().len() > Header::MAX_PATH {
            return Err(io::Error::from(io::ErrorKind::InvalidFilename).into());
        }
        let path = self.path_of(&origin.path);
        let samples = Origin::samples(idx, covered)?;
        let part = Part::create(&path)?;
        let in_words = |error: io::Error| match error.kind() {
            io::ErrorKind::QuotaExceeded if error.raw_os_error().is_none() => {
                SaveError::Limit(self.config.limit)
            }
            _ => SaveError::Io(error),
        };
        let room = self.config.limit.saturating_sub(self.used_beside(&path)?);
        let mut writer = Writer::new(part.file.try_clone()?, room).map_err(in_words)?;
        let mut count = 0u64;
        let merged = merge(runs, saved, |key, place| {
            count += 1;
            if count.is_multiple_of(LOOK) && is_closing() {
                return Err(SaveError::Closing);
            }
            writer.push(key, place).map_err(in_words)
        });
        merged.map_err(|stopped| match stopped {
            Stopped::Refused(why) => SaveError::Source(why),
            Stopped::Told(error) => error,
        })?;
        writer
            .finish(origin.clone(), covered, samples)
            .map_err(in_words)?;
        part.rename(&path)?;
        let saved = Saved::open(&path, origin, idx, covered, &self.mapped);
        let saved = saved.map_err(|why| {
            self.discard(origin);
            SaveError::Written(why)
        })?;
        self.refused.lock().remove(&path);
        Ok(saved)
    }

    /// Removes what is of no use any more, if that was not done for a while.
    pub(crate) fn tidy_when_due(&self) {
        let mut tidied = self.tidied.lock();
        if tidied.elapsed() >= TIDY {
            self.tidy();
            *tidied = Instant::now();
        }
    }

    /// Removes files whose `.idx` is gone or another one by now, and what writers have left that were ended.
    pub(crate) fn tidy(&self) {
        let Ok(listed) = fs::read_dir(&self.config.dir) else {
            return;
        };
        for path in listed.flatten().map(|entry| entry.path()) {
            let useless = match extension(&path) {
                Some(INDEX) => self.is_orphan(&path),
                Some(PART) => is_old(&path),
                _ => false,
            };
            if useless {
                remove(&path);
            }
        }
    }

    fn is_orphan(&self, path: &Path) -> bool {
        let origin = match open_header(path) {
            Ok((_, header)) => header.origin,
            Err(Refused::Absent | Refused::Io(_)) => return false,
            Err(_) => return true,
        };
        if self.path_of(&origin.path) != path {
            return true;
        }
        match fs::metadata(&origin.path) {
            Ok(metadata) => metadata.ino() != origin.inode,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Bytes of all files but one.
    fn used_beside(&self, path: &Path) -> io::Result<u64> {
        let mut used = 0;
        for entry in fs::read_dir(&self.config.dir)? {
            let entry = entry?;
            let other = entry.path();
            if extension(&other) == Some(INDEX) && other != path {
                // It may have been removed since.
                used += entry.metadata().map_or(0, |metadata| metadata.len());
            }
        }
        Ok(used)
    }

    /// Where the index of an `.idx` is saved. Two paths of the same name here would take turns, since the header tells
    /// them apart.
    fn path_of(&self, idx: &Path) -> PathBuf {
        let base = idx.file_stem().unwrap_or_default().to_string_lossy();
        let base: String = base.chars().take(NAME).collect();
        let sum = crc32c(idx.as_os_str().as_bytes());
        self.config.dir.join(format!("{base}-{sum:08x}.{INDEX}"))
    }
}

/// A file that is not complete; removed unless it is renamed.
struct Part {
    file: File,
    path: Option<PathBuf>,
}

impl Part {
    /// One that is to be renamed to `to`.
    fn create(to: &Path) -> io::Result<Self> {
        // Also where two stores of this process save the same one.
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let path = to.with_extension(format!("{}-{number}.{PART}", std::process::id()));
        // Left by a process of the same number.
        remove(&path);
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Self {
            file,
            path: Some(path),
        })
    }

    fn rename(mut self, to: &Path) -> io::Result<()> {
        if let Some(path) = &self.path {
            fs::rename(path, to)?;
            self.path = None;
        }
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            remove(path);
        }
    }
}

fn remove(path: &Path) -> bool {
    match fs::remove_file(path) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn extension(path: &Path) -> Option<&str> {
    path.extension()?.to_str()
}

fn is_old(path: &Path) -> bool {
    let age = fs::metadata(path).and_then(|metadata| metadata.modified());
    age.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > ABANDONED))
}

const INDEX: &str = "index";
const PART: &str = "part";

/// Characters of the volume's name that the file's name begins with.
const NAME: usize = 100;

/// Keys between two looks whether the store is closed.
const LOOK: u64 = 1 << 16;

/// How often files without an `.idx` are looked for. Not at the start: disks may not be mounted yet.
pub(crate) const TIDY: Duration = Duration::from_secs(600);

/// A file that is not complete and was not written to for so long has no writer.
const ABANDONED: Duration = Duration::from_secs(3600);
