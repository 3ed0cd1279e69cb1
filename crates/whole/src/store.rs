//! The folder of whole files, and the room there is.
//!
//! ```text
//! <place>/<ab>/<key>        the bytes of a file, with its holes
//!             /<key>.sum    its record; its time is that of the last use
//! <place>/tmp/              files being filled
//! ```
//!
//! A file is filled elsewhere and moved here, its record first, so that whatever is left of one after a
//! crash has no partner, or not the one it should have, and is removed. A file that is
//! longer than [`SYNCED`] is on disk before it is moved. For a shorter one that costs more than it
//! is worth: it is read and compared with its checksums when it is opened for the first time
//! after a start.

mod check;
mod keep;
mod room;

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use reader::Place;
use seaweed::ContentKey;

use crate::index::{Index, Pin, Slot};
use crate::record::{BYTES_MAX, Record};
use crate::{Config, FilesStats};
pub(crate) use room::{NoRoom, Room};

/// Changes with the format: what another version left is not ours to read.
const WHAT: &str = "riptide-files-1";
/// Files up to this are checked at their first open instead of being synced.
pub(crate) const SYNCED: u64 = 1 << 20;
/// How old the time of last use on disk may be.
const USE_NOTED: Duration = Duration::from_secs(60);

/// The files kept in one place.
#[derive(Debug)]
pub(crate) struct Store {
    place: Place,
    capacity: u64,
    min_free: u64,
    state: Mutex<State>,
    next_temporary: AtomicU64,
    stats: Arc<FilesStats>,
}

#[derive(Debug, Default)]
struct State {
    index: Index,
    /// Bytes that files being filled may take.
    reserved: u64,
    /// All that was kept is in the index.
    loaded: bool,
}

/// A whole file that is open, and so is not evicted. Its bytes do not change.
#[derive(Debug)]
pub struct Whole {
    file: File,
    size: u64,
    _pin: Pin,
}

impl Whole {
    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Its length.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Store {
    /// Takes a place below the folder, and removes what was left unfinished there.
    pub(crate) fn open(config: &Config, stats: Arc<FilesStats>) -> io::Result<Self> {
        let place = Place::claim(&config.dir, WHAT, &config.cluster)?;
        for entry in fs::read_dir(place.path().join("tmp"))? {
            fs::remove_file(entry?.path())?;
        }
        Ok(Self {
            place,
            capacity: config.capacity_bytes,
            min_free: config.min_free_bytes,
            state: Mutex::default(),
            next_temporary: AtomicU64::new(0),
            stats,
        })
    }

    /// Finds what was kept, and removes what makes no sense. What is looked for meanwhile is found.
    pub(crate) fn load(&self, stop: &AtomicBool) -> io::Result<()> {
        for folder in fs::read_dir(self.place.path())? {
            let folder = folder?;
            let is_ours = folder.file_name().len() == 2 && folder.file_type()?.is_dir();
            if !is_ours {
                continue;
            }
            for entry in fs::read_dir(folder.path())? {
                if stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let entry = entry?;
                let name = entry.file_name();
                let name = name.to_str().unwrap_or_default();
                let key = name.strip_suffix(".sum").unwrap_or(name).parse();
                let known = key.is_ok_and(|key| self.admit(&key));
                // Under the lock: a file that has just come is not taken for a leftover.
                let state = self.state.lock();
                let came = key.is_ok_and(|key| state.index.get(&key).is_some());
                if !known && !came {
                    let _ = fs::remove_file(entry.path());
                    self.stats.leftovers.inc();
                }
            }
        }
        self.state.lock().loaded = true;
        if let Err(error) = self.make_room(0) {
            tracing::info!(%error, "whole files");
        }
        self.show();
        Ok(())
    }

    /// Opens the file with this content, if it is here whole.
    pub(crate) fn find(&self, key: &ContentKey, name: Option<&str>) -> Option<Whole> {
        let found = self.use_slot(key, name).or_else(|| {
            let loaded = self.state.lock().loaded;
            (!loaded && self.admit(key)).then(|| self.use_slot(key, name))?
        });
        let slot = found?;
        match self.open_checked(key, &slot) {
            Ok(Some(file)) => {
                self.note_use(key, &slot);
                self.stats.hits.inc();
                Some(Whole {
                    file,
                    size: slot.size,
                    _pin: slot.pin,
                })
            }
            Ok(None) => {
                tracing::warn!(
                    name = &*slot.name,
                    "dropped a whole file that is not as it was written"
                );
                self.stats.damaged.inc();
                self.remove(key);
                None
            }
            Err(error) => {
                tracing::warn!(name = &*slot.name, %error, "dropped a whole file that cannot be opened");
                self.stats.disk_errors.inc();
                self.remove(key);
                None
            }
        }
    }

    /// Whether it is here; does not count as a use.
    pub(crate) fn contains(&self, key: &ContentKey) -> bool {
        let (known, loaded) = {
            let state = self.state.lock();
            (state.index.get(key).is_some(), state.loaded)
        };
        known || !loaded && self.admit(key)
    }

    /// Every file, with whether it is open.
    pub(crate) fn list(&self) -> Vec<(ContentKey, Slot, bool)> {
        let state = self.state.lock();
        let each = |(key, slot): (&ContentKey, &Slot)| {
            let is_open = slot.is_open();
            // Looking at it does not hold it.
            let pin = Pin::default();
            let slot = Slot {
                pin,
                ..slot.clone()
            };
            (*key, slot, is_open)
        };
        state.index.iter().map(each).collect()
    }

    /// Removes a file. Those who have it open keep it.
    pub(crate) fn remove(&self, key: &ContentKey) -> Option<Slot> {
        let mut state = self.state.lock();
        let slot = state.index.remove(key)?;
        self.delete(key);
        drop(state);
        self.show();
        Some(slot)
    }

    /// Removes a file unless somebody has it open.
    pub(crate) fn remove_unused(&self, key: &ContentKey) -> Option<Slot> {
        {
            let state = self.state.lock();
            state.index.get(key).filter(|slot| !slot.is_open())?;
        }
        // Opened in between, it goes as one that is out of date does: harmlessly.
        self.remove(key)
    }

    /// Puts a file that is on disk into the index; whether it is there and makes sense.
    fn admit(&self, key: &ContentKey) -> bool {
        if self.state.lock().index.get(key).is_some() {
            return true;
        }
        let Some((record, used)) = self.read_record(key) else {
            return false;
        };
        // Under the lock, under which files come and go: what was read of one that was replaced
        // meanwhile says nothing of the one that is there now.
        let mut state = self.state.lock();
        if state.index.get(key).is_some() {
            return true;
        }
        let Ok(metadata) = fs::symlink_metadata(self.path(key)) else {
            return false;
        };
        let as_written = metadata.is_file()
            && metadata.len() == record.size
            && mtime_ns(&metadata) == record.mtime_ns;
        if !as_written {
            return false;
        }
        let slot = Slot {
            name: record.name.as_str().into(),
            size: record.size,
            mtime_ns: record.mtime_ns,
            disk: footprint(&metadata, &record),
            used,
            noted: used,
            checked: record.size > SYNCED,
            pin: Pin::default(),
        };
        state.index.insert(*key, slot);
        true
    }

    fn use_slot(&self, key: &ContentKey, name: Option<&str>) -> Option<Slot> {
        let mut state = self.state.lock();
        state
            .index
            .open(key, name, now_ms())
            .map(|slot| slot.clone())
    }

    /// The record of a file, and when it was used last.
    fn read_record(&self, key: &ContentKey) -> Option<(Record, u64)> {
        let file = File::open(self.sum_path(key)).ok()?;
        let metadata = file.metadata().ok()?;
        let mut bytes = Vec::new();
        file.take(BYTES_MAX).read_to_end(&mut bytes).ok()?;
        let record = Record::parse(&bytes).filter(|record| record.key == *key)?;
        Some((record, ms_of(metadata.modified().ok()?)))
    }

    /// Keeps the time of last use for the next start, now and then.
    fn note_use(&self, key: &ContentKey, slot: &Slot) {
        if slot.used.saturating_sub(slot.noted) < USE_NOTED.as_millis() as u64 {
            return;
        }
        if let Some(slot) = self.state.lock().index.get_mut(key) {
            slot.noted = slot.used;
        }
        let times = FileTimes::new().set_modified(SystemTime::now());
        let noted = OpenOptions::new()
            .write(true)
            .open(self.sum_path(key))
            .and_then(|file| file.set_times(times));
        if let Err(error) = noted {
            tracing::debug!(%error, "the last use of a whole file is not noted");
        }
    }

    fn delete(&self, key: &ContentKey) {
        for path in [self.path(key), self.sum_path(key)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    self.stats.disk_errors.inc();
                    tracing::warn!(path = %path.display(), %error, "cannot remove a whole file");
                }
                _ => {}
            }
        }
    }

    /// Brings the gauges up to date.
    pub(crate) fn show(&self) {
        let mut state = self.state.lock();
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.stats.held.set(signed(state.index.bytes()));
        self.stats.files.set(signed(state.index.len() as u64));
    }

    fn path(&self, key: &ContentKey) -> PathBuf {
        let folder = format!("{:02x}", key.as_bytes()[0]);
        self.place.path().join(folder).join(key.to_string())
    }

    fn sum_path(&self, key: &ContentKey) -> PathBuf {
        let mut path = self.path(key).into_os_string();
        path.push(".sum");
        path.into()
    }
}

/// Bytes of disk that a file and its record take.
fn footprint(metadata: &fs::Metadata, record: &Record) -> u64 {
    let sum = (100 + record.name.len() + 20 * record.runs.len()) as u64;
    metadata.blocks() * 512 + sum.next_multiple_of(4096)
}

fn mtime_ns(metadata: &fs::Metadata) -> i64 {
    let seconds = metadata.mtime().saturating_mul(1_000_000_000);
    seconds.saturating_add(metadata.mtime_nsec())
}

pub(crate) fn now_ms() -> u64 {
    ms_of(SystemTime::now())
}

fn ms_of(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
