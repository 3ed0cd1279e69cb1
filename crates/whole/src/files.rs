//! Whole files, from the outside.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use context::Interrupt;
use parking_lot::Mutex;
use seaweed::ContentKey;

use crate::fill::{self, Shared};
use crate::filling::Source;
use crate::pace::Pace;
use crate::queue::{Job, Queue, Standing};
use crate::store::{Store, Whole};
use crate::{Config, FilesStats};

/// Files as a whole on a local disk. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Files(Arc<Inside>);

struct Inside {
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What came of wanting a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// It is here.
    Here,
    /// It waits, or is on its way.
    Coming,
    /// Too many wait already.
    Refused,
}

/// How a file stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing is known of it.
    Absent,
    /// It waits to be brought in.
    Waiting,
    /// So many bytes of its data are here.
    Partial {
        /// Those that are.
        done: u64,
        /// All of them.
        total: u64,
    },
    /// It is here whole.
    Complete,
    /// It could not be brought in the last time, in words.
    Failed(String),
}

/// A file that is here, or on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its content; none for one that is on its way.
    pub key: Option<ContentKey>,
    /// The path it was opened under last, or brought in under before this start.
    pub name: Arc<str>,
    /// Its length.
    pub size: u64,
    /// Bytes of its data that are here.
    pub here: u64,
    /// Bytes of its data.
    pub data: u64,
    /// When it was opened last, in milliseconds since 1970; 0 for one that is on its way.
    pub used_ms: u64,
    /// Whether somebody has it open.
    pub open: bool,
}

/// What was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evicted {
    /// Files.
    pub files: u64,
    /// Bytes of disk.
    pub bytes: u64,
    /// Files that stay because they are open.
    pub kept: u64,
}

/// What checking a file has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It has the bytes that were brought in.
    Good,
    /// It has others. It was removed.
    Damaged,
    /// It is not here, or not any more.
    Absent,
    /// It could not be read.
    Unreadable(String),
}

impl Files {
    /// Opens the folder, and begins to find out what was kept there.
    ///
    /// # Errors
    /// When the folder cannot be used, or there are no more threads.
    pub fn open(config: &Config) -> io::Result<Self> {
        let stats = Arc::new(FilesStats::default());
        let store = Arc::new(Store::open(config, Arc::clone(&stats))?);
        let shared = Arc::new(Shared {
            store,
            queue: Queue::default(),
            pace: Pace::new(config.bytes_per_second),
            foreground: Arc::clone(&config.foreground),
            patience: config.patience,
            closing: Interrupt::new()?,
            stats,
        });
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = fill::start(&shared, config.fillers)?;
        let (store, ended) = (Arc::clone(&shared.store), Arc::clone(&stop));
        let load = move || {
            if let Err(error) = store.load(&ended) {
                tracing::warn!(%error, "what is kept of whole files cannot be listed");
            }
        };
        let loader = std::thread::Builder::new().name("whole-files".to_owned());
        threads.push(loader.spawn(load)?);
        Ok(Self(Arc::new(Inside {
            shared,
            stop,
            threads: Mutex::new(threads),
        })))
    }

    /// Opens the file with this content, if it is here whole. `name` is the path it is opened
    /// under, for lists, if that is known.
    pub fn find(&self, key: &ContentKey, name: Option<&str>) -> Option<Whole> {
        self.0.shared.store.find(key, name)
    }

    /// Has a file of `size` bytes brought in; before others, if it was `opened`.
    pub fn want(
        &self,
        key: ContentKey,
        size: u64,
        name: &str,
        source: Arc<dyn Source>,
        opened: bool,
    ) -> Want {
        let Shared { store, queue, .. } = &*self.0.shared;
        if store.contains(&key) {
            return Want::Here;
        }
        let name = name.into();
        let job = Job {
            key,
            size,
            name,
            source,
        };
        let queued = queue.push(job, opened);
        self.0.shared.show();
        match queued {
            true => Want::Coming,
            false => Want::Refused,
        }
    }

    /// No name has this content any more: it goes, or does not come. Those who have it open
    /// keep it.
    pub fn outdated(&self, key: &ContentKey) {
        let Shared {
            store,
            queue,
            stats,
            ..
        } = &*self.0.shared;
        let waited = queue.forget(key);
        if store.remove(key).is_some() || waited {
            stats.outdated.inc();
        }
        self.0.shared.show();
    }

    /// How a file stands.
    pub fn state(&self, key: &ContentKey) -> State {
        let Shared { store, queue, .. } = &*self.0.shared;
        if store.contains(key) {
            return State::Complete;
        }
        match queue.standing(key) {
            None if store.contains(key) => State::Complete,
            None => State::Absent,
            Some(Standing::Waiting) => State::Waiting,
            Some(Standing::Filling { done, total }) => State::Partial { done, total },
            Some(Standing::Failed(reason)) => State::Failed(reason),
        }
    }

    /// Every file below `under`, or it itself, by name: those that are here and those on their way.
    pub fn list(&self, under: &str) -> Vec<Listed> {
        let Shared { store, queue, .. } = &*self.0.shared;
        let here = store.list().into_iter().map(|(key, slot, open)| Listed {
            key: Some(key),
            name: slot.name,
            size: slot.size,
            here: slot.size,
            data: slot.size,
            used_ms: slot.used,
            open,
        });
        let coming = queue
            .active()
            .into_iter()
            .filter_map(|(name, size, standing)| {
                let Standing::Filling { done, total } = standing else {
                    return None;
                };
                Some(Listed {
                    key: None,
                    name,
                    size,
                    here: done,
                    data: total,
                    used_ms: 0,
                    open: false,
                })
            });
        let mut all: Vec<Listed> = here.chain(coming).collect();
        all.retain(|file| is_under(&file.name, under));
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Removes every file below `under`, or it itself, that nobody has open.
    pub fn evict(&self, under: &str) -> Evicted {
        let store = &self.0.shared.store;
        let mut evicted = Evicted::default();
        for (key, slot, _) in store.list() {
            if !is_under(&slot.name, under) {
                continue;
            }
            match store.remove_unused(&key) {
                Some(slot) => {
                    evicted.files += 1;
                    evicted.bytes += slot.disk;
                }
                None => evicted.kept += 1,
            }
        }
        evicted
    }

    /// Reads a file that is here and compares it with its checksums.
    pub fn verify(&self, key: &ContentKey) -> Verdict {
        match self.0.shared.store.verify(key) {
            None => Verdict::Absent,
            Some(Ok(true)) => Verdict::Good,
            Some(Ok(false)) => Verdict::Damaged,
            Some(Err(error)) => Verdict::Unreadable(error.to_string()),
        }
    }

    /// A file in the place of the others, without a name, to try things with.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn probe(&self) -> io::Result<File> {
        let (path, file) = self.0.shared.store.temporary()?;
        std::fs::remove_file(path)?;
        Ok(file)
    }

    /// How many files were brought in so far.
    pub fn brought_in(&self) -> u64 {
        self.0.shared.stats.filled.get()
    }

    /// What was counted so far.
    pub fn stats(&self) -> &Arc<FilesStats> {
        self.0.shared.store.show();
        &self.0.shared.stats
    }

    /// Ends all threads. What is on its way is lost.
    pub fn close(&self) {
        self.0.close();
    }
}

impl Inside {
    fn close(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.shared.closing.raise();
        self.shared.queue.close();
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of whole files panicked");
            }
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files")
            .field("store", &self.0.shared.store)
            .finish_non_exhaustive()
    }
}

/// Whether a path is `under`, or below it.
fn is_under(path: &str, under: &str) -> bool {
    let under = under.trim_end_matches('/');
    path.strip_prefix(under)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_under_itself_and_what_is_above_it() {
        for (path, under, is) in [
            ("/a/b", "/", true),
            ("/a/b", "/a", true),
            ("/a/b", "/a/", true),
            ("/a/b", "/a/b", true),
            ("/a/bc", "/a/b", false),
            ("/a", "/a/b", false),
        ] {
            assert_eq!(is_under(path, under), is, "{path} {under}");
        }
    }
}
