//! All volumes of a volume server.
//!
//! A thread looks at the folders and at every volume in them every few seconds; others load
//! and merge indexes. Whoever asks for a needle does not depend on them: news of a volume is
//! read by the one who needs it, and when a volume is not known at all, the folders are listed at
//! once if they have changed since the last time.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};
use seaweed::FileId;
use stats::{Export, Exporter};

use crate::budget::Budget;
use crate::context::{Context, Job};
use crate::files::{Paths, remote_file_system};
use crate::lent::{Files, Inodes};
use crate::raw::Wait;
use crate::saved::{Folder, FolderError, SavedIndexes};
use crate::scan::{self, Stamp};
use crate::volume::Volume;
use crate::{DataDir, Miss, Needle, VerifyRanges, VolumeState, VolumeStats, VolumeSummary};

/// What a store shall read, and its limits.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The folders, as the volume server has them. Of a volume in several the first that has
    /// a needle serves it.
    pub dirs: Vec<DataDir>,
    /// How ranges of needles are checked.
    pub verify: VerifyRanges,
    /// Volumes served at most, each with two open files.
    pub max_volumes: usize,
    /// Memory for all indexes, at 16 bytes a needle. Volumes beyond it are declined.
    pub max_index_bytes: u64,
    /// Memory for the sums of blocks; a thousandth of the data that is read in ranges.
    pub sums_bytes: u64,
    /// Time between looks at the folders.
    pub scan_interval: Duration,
    /// Threads that load indexes.
    pub loaders: usize,
    /// Where indexes are saved for the next time, if anywhere.
    pub saved: Option<SavedIndexes>,
}

impl StoreConfig {
    /// The usual limits: 4096 volumes, 8 GiB of indexes (500 million needles), 64 MiB of sums; no index is
    /// saved.
    pub fn new(dirs: Vec<DataDir>) -> Self {
        Self {
            dirs,
            verify: VerifyRanges::default(),
            max_volumes: 4096,
            max_index_bytes: 8 << 30,
            sums_bytes: 64 << 20,
            scan_interval: Duration::from_secs(5),
            loaders: 2,
            saved: None,
        }
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is nothing to read.
    #[error("no data folder is given")]
    NoDirs,
    /// A folder cannot be listed.
    #[error("data folder {path}: {error}", path = path.display())]
    Dir {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// Indexes cannot be saved where they should be.
    #[error("folder of saved indexes {path}: {error}", path = path.display())]
    Saved {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        error: FolderError,
    },
    /// No thread.
    #[error("start a thread: {0}")]
    Thread(#[source] io::Error),
}

/// What becomes of a wish to borrow a volume's files.
#[derive(Debug)]
pub enum Lending {
    /// These are they.
    Files(Files),
    /// Those that are held already are the right ones.
    Same,
}

/// Reads needles of all volumes in some folders.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    config: StoreConfig,
    context: Arc<Context>,
    /// By id; those of one id in the order of the folders.
    volumes: RwLock<HashMap<u32, Vec<Arc<Volume>>>>,
    scanning: Mutex<Scanned>,
    /// For the pause between scans.
    sleep: (Mutex<()>, Condvar),
}

#[derive(Debug)]
struct Scanned {
    /// When the last scan began; nothing before the first.
    began: Option<Instant>,
    stamps: Vec<Option<Stamp>>,
    /// By folder and base name.
    known: BTreeMap<(usize, String), Arc<Volume>>,
    /// Folders that could not be listed the last time; said once.
    failing: HashSet<usize>,
}

impl Store {
    /// Starts to read the folders. Returns at once: volumes are served as they are found.
    ///
    /// # Errors
    /// When a folder is not there.
    pub fn open(config: StoreConfig) -> Result<Arc<Self>, OpenError> {
        if config.dirs.is_empty() {
            return Err(OpenError::NoDirs);
        }
        for dir in &config.dirs {
            for path in [Some(&dir.data), dir.index.as_ref()].into_iter().flatten() {
                std::fs::read_dir(path).map_err(|error| OpenError::Dir {
                    path: path.clone(),
                    error,
                })?;
            }
        }
        let budget = Budget::new(config.max_volumes, config.max_index_bytes);
        let folder = config.saved.clone().map(|saved| {
            let path = saved.dir.clone();
            let folder = Folder::open(saved, &config.dirs);
            folder.map_err(|error| OpenError::Saved { path, error })
        });
        let context = Context::new(
            config.verify,
            config.sums_bytes,
            budget,
            folder.transpose()?,
        );
        let context = Arc::new(context);
        let shared = Arc::new(Shared {
            scanning: Mutex::new(Scanned {
                began: None,
                stamps: vec![None; config.dirs.len()],
                known: BTreeMap::new(),
                failing: HashSet::new(),
            }),
            config,
            context,
            volumes: RwLock::default(),
            sleep: (Mutex::new(()), Condvar::new()),
        });
        let store = Arc::new(Self {
            shared: Arc::clone(&shared),
            threads: Mutex::default(),
        });
        // From here on an error drops the store, which ends the threads that run already.
        let scanner = Arc::clone(&shared);
        store.spawn("volume-scan", move || scanner.scan_forever())?;
        for _ in 0..shared.config.loaders.max(1) {
            let context = Arc::clone(&shared.context);
            store.spawn("volume-load", move || context.work())?;
        }
        if shared.context.folder.is_some() {
            let context = Arc::clone(&shared.context);
            store.spawn("volume-save", move || context.work_saves())?;
        }
        Ok(store)
    }

    /// Finds a needle. It sees every upload and every deletion that a volume server on this host
    /// has answered before the call.
    ///
    /// # Errors
    /// See [`Miss`]: each means that the volume server's HTTP has to be asked.
    pub fn find(&self, id: FileId) -> Result<Needle, Miss> {
        self.counted(id, Wait::Yes)
    }

    /// Like [`find`](Self::find), but gives [`Miss::WouldWait`] where it would have to wait for
    /// a disk or for other threads.
    ///
    /// # Errors
    /// As for [`find`](Self::find).
    pub fn try_find(&self, id: FileId) -> Result<Needle, Miss> {
        self.counted(id, Wait::No)
    }

    /// Lends the files of a volume to a process that may read them, unless those that it holds are
    /// the ones. They are looked at as a whole before: what forbids to serve them forbids to
    /// lend them.
    ///
    /// # Errors
    /// See [`Miss`].
    pub fn lend(&self, volume: u32, held: Option<Inodes>) -> Result<Lending, Miss> {
        self.shared.lend(volume, held)
    }

    /// All volumes, served or not, by id.
    pub fn volumes(&self) -> Vec<VolumeSummary> {
        let mut volumes: Vec<_> = self.shared.all().iter().map(|v| v.summary()).collect();
        volumes.sort_by_key(|volume| volume.id);
        volumes
    }

    /// A number that grows whenever a volume comes, goes, or changes its state.
    pub fn generation(&self) -> u64 {
        self.shared.context.generation()
    }

    /// Waits until the generation is another than `seen`, or the time is over, or the store is
    /// closed; returns it.
    pub fn wait_change(&self, seen: u64, timeout: Duration) -> u64 {
        self.shared.context.wait_change(seen, timeout)
    }

    /// Waits until the folders were listed and all indexes are loaded. Returns whether they are.
    pub fn wait_ready(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            let generation = self.generation();
            if self.is_ready() {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.shared.context.is_closing() {
                return false;
            }
            self.wait_change(generation, left.min(Duration::from_millis(100)));
        }
    }

    /// Looks at the folders and all volumes now, instead of within the next seconds.
    pub fn rescan(&self) {
        self.shared.scan(Instant::now());
        self.shared.inspect_all();
    }

    /// Its numbers.
    pub fn stats(&self) -> &Arc<VolumeStats> {
        &self.shared.context.stats
    }

    /// Bytes of all indexes in memory.
    pub fn index_bytes(&self) -> u64 {
        self.shared.context.budget.index_bytes()
    }

    /// Bytes of saved indexes that are mapped.
    pub fn saved_index_bytes(&self) -> u64 {
        let folder = self.shared.context.folder.as_ref();
        folder.map_or(0, Folder::mapped)
    }

    /// Bytes of sums of blocks in memory.
    pub fn sums_bytes(&self) -> u64 {
        self.shared.context.sums.held()
    }

    /// Volumes whose files are open, two each; pairs that needles still hold count as well.
    pub fn open_pairs(&self) -> usize {
        self.shared.context.budget.volumes()
    }

    /// Ends the threads. Needles that were found stay readable.
    pub fn close(&self) {
        self.shared.context.close();
        drop(self.shared.sleep.0.lock());
        self.shared.sleep.1.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock());
        for _ in &threads {
            self.shared.context.send(Job::Stop);
        }
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the volume store has panicked");
            }
        }
    }

    fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), OpenError> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
        self.threads.lock().push(thread.map_err(OpenError::Thread)?);
        Ok(())
    }

    fn is_ready(&self) -> bool {
        let listed = self.shared.scanning.lock().began.is_some();
        listed && !self.shared.all().iter().any(|volume| volume.is_loading())
    }

    fn counted(&self, id: FileId, wait: Wait) -> Result<Needle, Miss> {
        let found = self.shared.find(id, wait);
        let stats = &self.shared.context.stats;
        match &found {
            Ok(_) => stats.found.inc(),
            Err(miss) => stats.count(miss),
        }
        found
    }
}

impl Export for Store {
    /// What was counted, and what there is now.
    fn export(&self, to: &mut dyn Exporter) {
        self.stats().export(to);
        let gauges = [
            (
                "volume_index_bytes",
                "Bytes of indexes in memory",
                self.index_bytes(),
            ),
            (
                "volume_index_saved_bytes",
                "Bytes of saved indexes mapped",
                self.saved_index_bytes(),
            ),
            (
                "volume_sums_bytes",
                "Bytes of sums of blocks",
                self.sums_bytes(),
            ),
            (
                "volume_open_pairs",
                "Pairs of files open",
                self.open_pairs() as u64,
            ),
        ];
        for (name, help, value) in gauges {
            to.gauge(name, help, &[], value as f64);
        }
        let mut states = BTreeMap::from([("serving", 0u32), ("loading", 0)]);
        for volume in self.volumes() {
            let label = match &volume.state {
                VolumeState::Serving => "serving",
                VolumeState::Loading { .. } => "loading",
                VolumeState::Declined(reason) => reason.label(),
            };
            *states.entry(label).or_default() += 1;
        }
        for (state, count) in states {
            let labels = [("state", state)];
            to.gauge("volume_volumes", "Volumes", &labels, count.into());
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn find(&self, id: FileId, wait: Wait) -> Result<Needle, Miss> {
        let began = Instant::now();
        let miss = match self.find_in_known(id, wait) {
            Ok(needle) => return Ok(needle),
            Err(miss) => miss,
        };
        // The volume may have come, or moved to another folder, a moment ago.
        let elsewhere = matches!(&miss, Miss::NotHere | Miss::Declined(_));
        if !elsewhere || !self.may_have_changed() {
            return Err(miss);
        }
        if wait == Wait::No {
            return Err(Miss::WouldWait);
        }
        self.scan(began);
        self.find_in_known(id, wait)
    }

    fn find_in_known(&self, id: FileId, wait: Wait) -> Result<Needle, Miss> {
        let volumes = self.volumes.read();
        let mut known = volumes.get(&id.volume).map_or(&[][..], Vec::as_slice);
        // Nearly always there is one, and the lock must not be held while it is read.
        let several: Vec<_>;
        let one;
        match known {
            [only] => {
                one = Arc::clone(only);
                known = std::slice::from_ref(&one);
            }
            more => {
                several = more.to_vec();
                known = &several;
            }
        }
        drop(volumes);
        let mut answer = Miss::NotHere;
        for volume in known {
            match volume.find(id, &self.context, wait) {
                Ok(needle) => return Ok(needle),
                Err(miss) if weight(&miss) > weight(&answer) => answer = miss,
                Err(_) => {}
            }
        }
        Err(answer)
    }

    fn lend(&self, volume: u32, held: Option<Inodes>) -> Result<Lending, Miss> {
        let began = Instant::now();
        match self.lend_known(volume, held) {
            Err(Miss::NotHere | Miss::Declined(_)) if self.may_have_changed() => {
                self.scan(began);
                self.lend_known(volume, held)
            }
            lent => lent,
        }
    }

    fn lend_known(&self, volume: u32, held: Option<Inodes>) -> Result<Lending, Miss> {
        let known = self.volumes.read().get(&volume).cloned();
        let mut answer = Miss::NotHere;
        for volume in known.unwrap_or_default() {
            match volume.lend(held, &self.context) {
                Ok(lending) => return Ok(lending),
                Err(miss) if weight(&miss) > weight(&answer) => answer = miss,
                Err(_) => {}
            }
        }
        Err(answer)
    }

    /// Whether a scan could find something that the last one did not.
    fn may_have_changed(&self) -> bool {
        let Some(scanned) = self.scanning.try_lock() else {
            return true;
        };
        let stamps = self.config.dirs.iter().zip(&scanned.stamps);
        stamps.into_iter().any(|(dir, stamp)| match stamp {
            Some(stamp) => stamp.is_outdated(&Stamp::of(dir)),
            // It could not be listed; whoever misses must not try that all the time.
            None => scanned.began.is_none_or(|began| began.elapsed() > RETRY),
        })
    }

    fn all(&self) -> Vec<Arc<Volume>> {
        self.volumes.read().values().flatten().cloned().collect()
    }

    fn scan_forever(&self) {
        while !self.context.is_closing() {
            self.scan(Instant::now());
            self.inspect_all();
            let mut sleep = self.sleep.0.lock();
            if !self.context.is_closing() {
                self.sleep.1.wait_for(&mut sleep, self.config.scan_interval);
            }
        }
    }

    fn inspect_all(&self) {
        for volume in self.all() {
            if self.context.is_closing() {
                return;
            }
            volume.inspect(&self.context);
        }
    }

    /// Lists the folders, unless a scan that began after `wanted` was done by another.
    fn scan(&self, wanted: Instant) {
        let mut scanned = self.scanning.lock();
        if scanned.began.is_some_and(|began| began > wanted) {
            return;
        }
        let began = Instant::now();
        let mut changed = false;
        for at in 0..self.config.dirs.len() {
            changed |= self.scan_dir(at, &mut scanned);
        }
        if changed {
            let mut volumes: HashMap<u32, Vec<Arc<Volume>>> = HashMap::new();
            for volume in scanned.known.values() {
                volumes
                    .entry(volume.id())
                    .or_default()
                    .push(Arc::clone(volume));
            }
            *self.volumes.write() = volumes;
        }
        // Last: it says that all of the above is done.
        let first = scanned.began.replace(began).is_none();
        drop(scanned);
        if changed || first {
            self.context.bump();
        }
    }

    /// Returns whether there are other volumes than before.
    fn scan_dir(&self, at: usize, scanned: &mut Scanned) -> bool {
        let dir = &self.config.dirs[at];
        let stamp = Stamp::of(dir);
        self.context.stats.scans.inc();
        let listed = match scan::list(dir) {
            Ok(listed) => listed,
            Err(error) => {
                // What was known stays: each volume notices itself when its files are gone.
                if scanned.failing.insert(at) {
                    tracing::warn!("data folder {}: {error}", dir.data.display());
                }
                scanned.stamps[at] = None;
                return false;
            }
        };
        scanned.failing.remove(&at);
        scanned.stamps[at] = Some(stamp);
        let remote = remote_file_system(&dir.data);
        let mut changed = false;
        let mut here = HashSet::new();
        for named in listed {
            let key = (at, named.base.clone());
            here.insert(named.base.clone());
            if scanned.known.contains_key(&key) {
                continue;
            }
            let paths = Paths::new(dir, &named.base);
            let volume = Arc::new(Volume::new(named.id, &named.collection, paths, remote));
            scanned.known.insert(key, volume);
            changed = true;
        }
        scanned.known.retain(|(of, base), _| {
            let stays = *of != at || here.contains(base);
            changed |= !stays;
            stays
        });
        changed
    }
}

/// A folder that cannot be listed is tried again after this long.
const RETRY: Duration = Duration::from_millis(100);

/// Of the misses of several folders the heaviest is the answer.
fn weight(miss: &Miss) -> u32 {
    match miss {
        Miss::NotHere => 0,
        Miss::Declined(_) => 1,
        Miss::Absent(_) => 2,
        Miss::Expired => 3,
        Miss::Loading => 4,
        Miss::WouldWait => 5,
        Miss::Io(_) => 6,
        Miss::Corrupt(_) => 7,
    }
}
