//! One volume: its files as they are now.
//!
//! A volume is served from a [`Pair`] of files, or declined with a reason. [`Volume::look_again`]
//! compares that with what is on disk and replaces the pair where it is outdated. It is called
//! from time to time, and by whoever finds something that newer files could explain.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Mutex, RwLock};
use seaweed::FileId;
use seaweed::volume::{OffsetWidth, Ttl, Version, VolumeInfo};

use crate::context::{Context, Job};
use crate::files::Paths;
use crate::lent::{self, Files, Inodes};
use crate::needle::Needle;
use crate::pair::{Doubt, Pair};
use crate::raw::Wait;
use crate::{Lending, Miss, Reason};

/// A volume and its state.
#[derive(Debug)]
pub(crate) struct Volume {
    id: u32,
    collection: String,
    paths: Paths,
    /// Set when the folder is not a local one.
    remote: Option<&'static str>,
    state: RwLock<State>,
    /// Held by the one who looks at the files.
    looking: Mutex<Looked>,
}

#[derive(Debug, Clone)]
enum State {
    Serving(Arc<Pair>),
    Declined(Reason),
}

/// What was seen at the last look.
#[derive(Debug)]
struct Looked {
    at: Option<Instant>,
    info: VolumeInfo,
    /// Length and time of change of `.vif`.
    info_stamp: Option<(u64, SystemTime)>,
}

/// What a volume is and how it is doing.
#[derive(Debug, Clone)]
pub struct VolumeSummary {
    /// Its id.
    pub id: u32,
    /// Its collection; empty for the default one.
    pub collection: String,
    /// The folder that holds its data.
    pub dir: PathBuf,
    /// Whether it is served.
    pub state: VolumeState,
    /// What its super block says: form of the records, TTL, revision. Nothing when declined.
    pub version: Option<Version>,
    /// Bytes of an offset in its index.
    pub offset_width: Option<OffsetWidth>,
    /// Given to needles without a TTL of their own.
    pub ttl: Option<Ttl>,
    /// Grows by one with every vacuum.
    pub revision: Option<u16>,
    /// Its `.vif` says that it takes no writes.
    pub read_only: bool,
    /// Needles it has; what was loaded so far while it loads.
    pub needles: u64,
    /// Keys that were deleted and not yet vacuumed away; 0 while it loads.
    pub deleted: u64,
    /// Bytes of `.dat`.
    pub dat_bytes: u64,
}

/// Whether a volume is served.
#[derive(Debug, Clone, PartialEq)]
pub enum VolumeState {
    /// It is.
    Serving,
    /// What was loaded of the index is served.
    Loading {
        /// From 0 to 1.
        progress: f64,
    },
    /// It is not.
    Declined(Reason),
}

impl Volume {
    /// A volume that was not looked at yet.
    pub(crate) fn new(
        id: u32,
        collection: &str,
        paths: Paths,
        remote: Option<&'static str>,
    ) -> Self {
        Self {
            id,
            collection: collection.to_owned(),
            paths,
            remote,
            state: RwLock::new(State::Declined(Reason::NoData)),
            looking: Mutex::new(Looked {
                at: None,
                info: VolumeInfo::default(),
                info_stamp: None,
            }),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Finds a needle by what the files say now.
    pub(crate) fn find(
        &self,
        id: FileId,
        context: &Arc<Context>,
        wait: Wait,
    ) -> Result<Needle, Miss> {
        let began = Instant::now();
        let mut tries = 0;
        loop {
            let state = self.state.read().clone();
            let (pair, miss) = match state {
                State::Serving(pair) => match pair.find(id, context, wait) {
                    Ok(needle) => return Ok(needle),
                    Err(Doubt::Final(miss)) => return Err(miss),
                    Err(Doubt::Unless(miss)) => (Some(pair), Some(miss)),
                    Err(Doubt::Replaced) => (Some(pair), None),
                },
                State::Declined(reason) => (None, Some(Miss::Declined(reason))),
            };
            if wait == Wait::No && (miss.is_none() || !self.is_current(pair.as_ref())) {
                return Err(Miss::WouldWait);
            }
            tries += 1;
            if wait == Wait::Yes && tries <= TRIES && self.look_again(pair.as_ref(), context) {
                continue;
            }
            // The look may have found that it cannot be served any more.
            if let State::Declined(reason) = &*self.state.read() {
                return Err(Miss::Declined(reason.clone()));
            }
            match miss {
                Some(miss) => return Err(miss),
                // A file loses its name shortly before the path leads to the next one.
                None if began.elapsed() < RENAME => thread::sleep(RENAME_PAUSE),
                None => return Err(Miss::Loading),
            }
            tries = 0;
        }
    }

    fn is_current(&self, pair: Option<&Arc<Pair>>) -> bool {
        match pair {
            Some(pair) => pair.is_current(&self.paths),
            // Whether it can be served by now is found out by others, unless nobody has
            // looked at all.
            None => self.was_looked_at(),
        }
    }

    /// Looks at the files again. Returns whether another try makes sense: there is another pair
    /// than `tried` now.
    pub(crate) fn look_again(&self, tried: Option<&Arc<Pair>>, context: &Arc<Context>) -> bool {
        let mut looked = self.looking.lock();
        let state = self.state.read().clone();
        match (&state, tried) {
            (State::Serving(now), Some(tried)) if !Arc::ptr_eq(now, tried) => return true,
            (State::Serving(_), None) => return true,
            (State::Serving(now), Some(_)) if now.is_current(&self.paths) => return false,
            (State::Serving(_), Some(_)) => {}
            (State::Declined(reason), tried) => {
                let recent = looked.at.is_some_and(|at| at.elapsed() < PAUSE);
                if recent || !reason.is_passing() {
                    return tried.is_some();
                }
            }
        }
        self.open(&mut looked, &state, context)
    }

    /// The regular look: at the files, and at what says whether they may be used.
    pub(crate) fn inspect(&self, context: &Arc<Context>) {
        let mut looked = self.looking.lock();
        let state = self.state.read().clone();
        let current = match &state {
            State::Declined(_) => false,
            State::Serving(pair) => {
                if self.info_stamp() != looked.info_stamp {
                    self.read_info(&mut looked);
                }
                self.paths.obstacle(&looked.info).is_none()
                    && !pair.has_failed()
                    && pair.is_current(&self.paths)
                    && pair.keep_up(context)
            }
        };
        if !current {
            self.open(&mut looked, &state, context);
        }
    }

    /// Lends the files as they are now, unless they are the ones that are held.
    pub(crate) fn lend(
        &self,
        held: Option<Inodes>,
        context: &Arc<Context>,
    ) -> Result<Lending, Miss> {
        self.inspect(context);
        let pair = match &*self.state.read() {
            State::Serving(pair) => Arc::clone(pair),
            State::Declined(reason) => return Err(Miss::Declined(reason.clone())),
        };
        if held == Some(Inodes::of(pair.inodes())) {
            return Ok(Lending::Same);
        }
        let files = || -> io::Result<Files> {
            Ok(Files {
                dat: lent::again(pair.dat())?,
                idx: lent::again(pair.idx())?,
                width: pair.width(),
                revision: pair.super_block().revision,
                verify: pair.verify(),
            })
        };
        files().map(Lending::Files).map_err(Miss::Io)
    }

    /// Opens the files and serves them, or declines. Returns whether they are served.
    fn open(&self, looked: &mut Looked, before: &State, context: &Arc<Context>) -> bool {
        looked.at = Some(Instant::now());
        let after = match self.try_open(looked, context) {
            Ok(pair) => State::Serving(pair),
            Err(reason) => State::Declined(reason),
        };
        let served = matches!(after, State::Serving(_));
        let changed = match (before, &after) {
            (State::Declined(old), State::Declined(new)) => old != new,
            (State::Serving(_), State::Serving(_)) => {
                context.stats.reopened.inc();
                false
            }
            _ => true,
        };
        if changed && let State::Declined(reason) = &after {
            tracing::info!(volume = self.id, "not served out of its files: {reason}");
        }
        *self.state.write() = after;
        if changed {
            context.bump();
        }
        served
    }

    fn try_open(&self, looked: &mut Looked, context: &Arc<Context>) -> Result<Arc<Pair>, Reason> {
        if let Some(kind) = self.remote {
            return Err(Reason::RemoteFileSystem(kind));
        }
        looked.info_stamp = self.info_stamp();
        looked.info = self.paths.info()?;
        let opened = self.paths.open(&looked.info)?;
        let pair = Arc::new(Pair::new(opened, context.verify, context)?);
        context.stats.opened.inc();
        if pair.to_load() <= AT_ONCE {
            pair.load(context);
        } else {
            context.send(Job::Load(Arc::downgrade(&pair)));
        }
        Ok(pair)
    }

    /// Takes over what `.vif` says now; if it cannot be understood, what it said stays.
    fn read_info(&self, looked: &mut Looked) {
        looked.info_stamp = self.info_stamp();
        match self.paths.info() {
            Ok(info) => looked.info = info,
            Err(reason) => tracing::warn!(volume = self.id, "{reason}"),
        }
    }

    fn info_stamp(&self) -> Option<(u64, SystemTime)> {
        self.paths.info_stamp()
    }

    /// Whether more of it may be served soon, without anything changing on disk.
    pub(crate) fn is_loading(&self) -> bool {
        match &*self.state.read() {
            State::Serving(pair) => pair.is_loading(),
            State::Declined(_) => !self.was_looked_at(),
        }
    }

    /// Says no while somebody looks: that is the first time, or may change the answer.
    fn was_looked_at(&self) -> bool {
        self.looking
            .try_lock()
            .is_some_and(|looked| looked.at.is_some())
    }

    pub(crate) fn summary(&self) -> VolumeSummary {
        let read_only = self.looking.lock().info.read_only;
        let state = self.state.read().clone();
        let pair = match &state {
            State::Serving(pair) => Some(pair),
            State::Declined(_) => None,
        };
        let counts = pair.and_then(|pair| pair.counts());
        let block = pair.map(|pair| *pair.super_block());
        VolumeSummary {
            id: self.id,
            collection: self.collection.clone(),
            dir: self.paths.dir().to_owned(),
            state: match &state {
                State::Declined(reason) => VolumeState::Declined(reason.clone()),
                State::Serving(pair) => match pair.is_loading() {
                    false => VolumeState::Serving,
                    true => VolumeState::Loading {
                        progress: pair.progress(),
                    },
                },
            },
            version: block.map(|block| block.version),
            offset_width: pair.map(|pair| pair.width()),
            ttl: block.and_then(|block| block.ttl),
            revision: block.map(|block| block.revision),
            read_only,
            needles: match (counts, pair) {
                (Some(counts), _) => counts.live,
                (None, Some(pair)) => pair.held() as u64,
                (None, None) => 0,
            },
            deleted: counts.map_or(0, |counts| counts.deleted),
            dat_bytes: pair
                .and_then(|pair| pair.dat().metadata().ok())
                .map_or(0, |metadata| metadata.len()),
        }
    }
}

/// Times that a find starts anew because the files were replaced under it. A vacuum takes longer
/// than a find, so already the second is unusual.
const TRIES: u32 = 5;

/// A rename is over after microseconds, unless the one who does it has to wait for a CPU.
const RENAME: Duration = Duration::from_millis(200);
const RENAME_PAUSE: Duration = Duration::from_micros(50);

/// A declined volume is looked at again after this long, if somebody asks for it.
const PAUSE: Duration = Duration::from_millis(20);

/// An index of up to this many bytes is loaded by whoever needs it: 60 000 entries take
/// about 3 ms.
const AT_ONCE: u64 = 1 << 20;
