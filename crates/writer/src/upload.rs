//! Storing one chunk.
//!
//! [`FilerUpload`] asks the filer for an id (`assign`), brings the bytes into the
//! form in which they are stored (`encode`), and puts them to the volume server: by way
//! of the sidecar beside it where there is one, or else over HTTP.
//! A server that fails gets the same id twice more, since what it may have taken
//! of the first attempt is then the same needle; after that, and at once when the
//! volume cannot be written to any more, the bytes go to another id. How long all
//! this may take is the caller's deadline, except that a cluster without room is
//! believed after some seconds (`full`); and so is a fabric that does not deliver, where
//! nothing else is allowed.

mod assign;
mod encode;
mod full;
mod rules;
mod sums;

use std::collections::HashMap;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use context::{Context, Stopped};
use fabric::http::{Access, Form, HttpStore, Place, StoreConfig, StoreError};
use fabric::{FabricRoute, TieredStore};
use filer::Filer;
use parking_lot::Mutex;
use seaweed::jwt::SigningKey;
use seaweed::pb::FileChunk;

use crate::WriteError;
use assign::{Assigner, Assignment, Ticket};
use encode::Encoded;
use full::{Doubt, Fullness, Refusals};
use sums::Sums;

/// Stores chunks. Blocking; called from many threads at once.
pub trait Upload: Send + Sync {
    /// Stores `data` for the file at `path`, on disk when `durable`; its chunk, of which the
    /// place in the file is not known yet.
    ///
    /// # Errors
    /// [`WriteError`].
    fn upload(
        &self,
        ctx: &Context<'_>,
        path: &str,
        data: &Bytes,
        durable: bool,
    ) -> Result<FileChunk, WriteError>;

    /// Somebody waits for the chunks that are being stored: none is to be held back for the sake of others.
    fn hurry(&self) {}

    /// Has the volume servers put on disk what they have of `chunks`, which were stored for the
    /// file at `path` without `durable`.
    ///
    /// # Errors
    /// [`WriteError`].
    fn sync(&self, ctx: &Context<'_>, path: &str, chunks: &[FileChunk]) -> Result<(), WriteError>;
}

/// Where new chunks shall go; what is empty the filer decides.
#[derive(Debug, Clone, Default)]
pub struct Placement {
    /// `-collection`.
    pub collection: String,
    /// `-replication`.
    pub replication: String,
    /// `-disk`.
    pub disk_type: String,
    /// `-ttl`, seconds.
    pub ttl_sec: i32,
    /// `-dataCenter`.
    pub data_center: String,
}

/// What a [`FilerUpload`] is told.
#[derive(Debug, Clone, Default)]
pub struct UploadConfig {
    /// Where chunks shall go.
    pub placement: Placement,
    /// `-volumeServerAccess`.
    pub access: Access,
    /// How HTTP is spoken.
    pub store: StoreConfig,
    /// `jwt.signing.key`, where this machine has it: it signs what an assignment's own token is
    /// too old for.
    pub write_key: Option<SigningKey>,
    /// The fabric, where chunks go over it.
    pub fabric: Option<Fabric>,
    /// How many chunks may be stored at once.
    pub uploads: usize,
}

/// The fabric, for chunks.
#[derive(Debug, Clone)]
pub struct Fabric {
    /// The sidecars and the lanes to them.
    pub route: Arc<FabricRoute>,
    /// `-rdma.fallback`: whether HTTP takes what the fabric does not.
    pub fallback: bool,
}

/// Uploads to where the filer says.
pub struct FilerUpload {
    filer: Filer,
    config: UploadConfig,
    runtime: tokio::runtime::Handle,
    assigner: Assigner,
    full: Arc<Fullness>,
    store: Arc<TieredStore>,
    sums: Sums,
    /// The newest assignment of each volume that was written to.
    volumes: Mutex<HashMap<u32, Arc<Assignment>>>,
    syncs: AtomicU64,
}

/// Attempts with one id.
const SAME_ID: u32 = 3;
/// How long the fabric may fail, where nothing else is allowed, before an upload has failed: long
/// enough for a sidecar to be restarted.
const DOWN: Duration = Duration::from_secs(10);
/// Pauses between attempts grow from here...
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// ...to here.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Between servers that have no room: each takes all the bytes before it says so.
const PAUSE_FULL: Duration = Duration::from_millis(250);
/// Volumes that one fsync has synced at once.
const SYNCS: usize = 8;
/// Volumes remembered; at 30 GB each, 65,536 hold 2 PB.
const VOLUMES_MAX: usize = 65_536;

impl FilerUpload {
    /// Asks `filer` on `runtime`.
    pub fn new(filer: Filer, runtime: tokio::runtime::Handle, config: UploadConfig) -> Self {
        let mut store = TieredStore::new(HttpStore::new(config.store.clone()));
        if let Some(Fabric { route, fallback }) = &config.fabric {
            store = store.over(Arc::clone(route), *fallback);
        }
        let (full, placement) = (
            Arc::new(Fullness::new(filer.clone())),
            config.placement.clone(),
        );
        let (of_all, io) = (Arc::clone(&full), runtime.clone());
        Self {
            assigner: Assigner::new(filer.clone(), io, placement, of_all),
            runtime,
            full,
            store: Arc::new(store),
            sums: Sums::new(config.uploads),
            filer,
            config,
            volumes: Mutex::default(),
            syncs: AtomicU64::new(0),
        }
    }

    /// How chunks went to volume servers.
    pub fn store(&self) -> &Arc<TieredStore> {
        &self.store
    }

    /// One attempt.
    fn put(
        &self,
        ctx: &Context<'_>,
        ticket: &Ticket,
        encoded: &Encoded<'_>,
        durable: bool,
    ) -> Result<(), StoreError> {
        let assignment = &ticket.assignment;
        let form = Form {
            gzip: encoded.declared_gzip(),
            fsync: durable || assignment.fsync || self.always_syncs(assignment),
        };
        self.at(assignment, ticket.delta, &assignment.auth, |place| {
            let location = &assignment.location;
            self.store.put(ctx, location, place, form, encoded.bytes())
        })
    }

    fn at<T>(
        &self,
        assignment: &Assignment,
        delta: u32,
        token: &str,
        act: impl FnOnce(&Place<'_>) -> T,
    ) -> T {
        let filer;
        let (server, through_filer) = match &self.config.access {
            Access::PublicUrl if !assignment.location.public_url.is_empty() => {
                (assignment.location.public_url.as_str(), false)
            }
            Access::Direct | Access::PublicUrl => (assignment.location.url.as_str(), false),
            Access::FilerProxy(_) => {
                filer = self.filer.current().http();
                (filer.as_str(), true)
            }
        };
        act(&Place {
            server,
            through_filer,
            base: assignment.base,
            delta,
            token,
        })
    }

    /// Whether an assignment's volume could not be synced later: its token will be too old, and
    /// there is no key to make another.
    fn always_syncs(&self, assignment: &Assignment) -> bool {
        !assignment.auth.is_empty() && self.config.write_key.is_none()
    }

    fn remember(&self, ticket: &Ticket) {
        let mut volumes = self.volumes.lock();
        let volume = ticket.assignment.base.volume;
        let known = volumes.get(&volume);
        if known.is_some_and(|known| Arc::ptr_eq(known, &ticket.assignment)) {
            return;
        }
        if volumes.len() >= VOLUMES_MAX {
            volumes.clear();
        }
        volumes.insert(volume, Arc::clone(&ticket.assignment));
    }

    /// Several at once: each waits for a disk, and what they wait for is often the same.
    fn sync_volumes(&self, ctx: &Context<'_>, all: &[Arc<Assignment>]) -> Result<(), WriteError> {
        for some in all.chunks(SYNCS) {
            let Some((first, others)) = some.split_first() else {
                continue;
            };
            std::thread::scope(|scope| {
                let begin = others.iter().map(|one| {
                    let builder = std::thread::Builder::new().name("sync".to_owned());
                    let begun = builder.spawn_scoped(scope, || self.sync_volume(ctx, one));
                    // Where there are no more threads, one after the other.
                    begun.map_err(|_| one)
                });
                let others: Vec<_> = begin.collect();
                let mut synced = self.sync_volume(ctx, first);
                for other in others {
                    let other = match other {
                        Ok(begun) => begun.join().unwrap_or_else(|panic| resume_unwind(panic)),
                        Err(one) => self.sync_volume(ctx, one),
                    };
                    synced = synced.and(other);
                }
                synced
            })?;
        }
        Ok(())
    }

    /// A server that is told to sync what it takes syncs all of its volume with it: a few bytes
    /// are put under an id that is kept for this, and deleted.
    fn sync_volume(&self, ctx: &Context<'_>, assignment: &Assignment) -> Result<(), WriteError> {
        let token = match &self.config.write_key {
            Some(key) => key.mint(assignment.base, SystemTime::now()),
            None => assignment.auth.clone(),
        };
        // Bytes that it has already it would not have to write.
        let mark = self.syncs.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let form = Form {
            fsync: true,
            ..Form::default()
        };
        let mut pause = PAUSE_MIN;
        self.at(assignment, assignment.spare, &token, |place| {
            loop {
                match self.store.http().put(ctx, place, form, &[&mark]) {
                    Ok(_) => break,
                    Err(StoreError::Stopped(stopped)) => return Err(stopped.into()),
                    Err(error @ StoreError::Refused { .. }) => return Err(failed(&error)),
                    Err(error) => {
                        if ctx.sleep(pause).is_err() {
                            return Err(failed(&error));
                        }
                        pause = (pause * 2).min(PAUSE_MAX);
                    }
                }
            }
            if let Err(error) = self.store.http().delete(ctx, place) {
                tracing::debug!(%error, "eight bytes are left in the volume");
            }
            Ok(())
        })
    }
}

impl Upload for FilerUpload {
    fn upload(
        &self,
        ctx: &Context<'_>,
        path: &str,
        data: &Bytes,
        durable: bool,
    ) -> Result<FileChunk, WriteError> {
        let encoded = encode::encode(data, path, self.filer.configuration().cipher)?;
        let storing = self.sums.storing(data.len());
        let began = Instant::now();
        let mut pause = PAUSE_MIN;
        let mut last = None;
        let (mut refusals, mut doubt) = (Refusals::default(), Doubt::default());
        loop {
            let ticket = self.assigner.take(ctx, path, encoded.bytes().len());
            let stopped = match ticket {
                Ok(ticket) => {
                    for _ in 0..SAME_ID {
                        let failure = match self.put(ctx, &ticket, &encoded, durable) {
                            Ok(()) => {
                                self.remember(&ticket);
                                self.full.stored();
                                let sum = encoded.tells_its_sum().then(|| storing.sum(data));
                                return Ok(encoded.chunk(ticket.id(), data.len(), sum));
                            }
                            Err(StoreError::Stopped(stopped)) => {
                                return Err(why(stopped, last));
                            }
                            Err(failure) => failure,
                        };
                        tracing::debug!(%failure, id = %ticket.id(), "chunk not stored");
                        last = Some(failed(&failure));
                        if matches!(failure, StoreError::Fabric { .. }) && began.elapsed() >= DOWN {
                            return Err(failed(&failure));
                        }
                        if matches!(last, Some(WriteError::NoSpace(_))) {
                            refusals.add(&ticket.assignment.location.url);
                            break;
                        }
                        refusals = Refusals::default();
                        // It has said that it will not.
                        if matches!(failure, StoreError::Refused { status, .. } if status != 429) {
                            break;
                        }
                        ctx.sleep(pause)
                            .map_err(|stopped| why(stopped, last.clone()))?;
                        pause = (pause * 2).min(PAUSE_MAX);
                    }
                    self.assigner.drop_batch(&ticket);
                    if let Some(error @ WriteError::NoSpace(_)) = &last
                        && self.full.refused(&refusals, began)
                    {
                        return Err(error.clone());
                    }
                    if !refusals.is_empty() {
                        pause = pause.min(PAUSE_FULL);
                    }
                    ctx.sleep(pause)
                }
                Err(error @ WriteError::Refused(_)) => return Err(error),
                Err(WriteError::Interrupted) => return Err(WriteError::Interrupted),
                Err(WriteError::TimedOut) => return Err(why(Stopped::TimedOut, last)),
                Err(error @ WriteError::NoSpace(_))
                    if self
                        .runtime
                        .block_on(ctx.run(self.full.no_room(&mut doubt)))
                        .unwrap_or(false) =>
                {
                    return Err(error);
                }
                Err(error) => {
                    tracing::debug!(%error, path, "no id for a chunk");
                    last = Some(error);
                    ctx.sleep(pause)
                }
            };
            stopped.map_err(|stopped| why(stopped, last.clone()))?;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn hurry(&self) {
        self.sums.hurry();
    }

    fn sync(&self, ctx: &Context<'_>, _path: &str, chunks: &[FileChunk]) -> Result<(), WriteError> {
        let volumes = chunks.iter().filter_map(|chunk| chunk.fid.as_ref());
        let mut volumes: Vec<u32> = volumes.map(|fid| fid.volume_id).collect();
        volumes.sort_unstable();
        volumes.dedup();
        let mut unsynced = Vec::new();
        for volume in volumes {
            let assignment = self.volumes.lock().get(&volume).cloned();
            let assignment = assignment.ok_or_else(|| {
                WriteError::Upload(format!("volume {volume} is too long ago to be synced"))
            })?;
            if !assignment.fsync && !self.always_syncs(&assignment) {
                unsynced.push(assignment);
            }
        }
        self.sync_volumes(ctx, &unsynced)
    }
}

impl std::fmt::Debug for FilerUpload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FilerUpload")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

fn failed(error: &StoreError) -> WriteError {
    match error {
        StoreError::Refused { text, .. } if full::disk_is_full(text) => {
            WriteError::NoSpace(error.to_string())
        }
        error => WriteError::Upload(error.to_string()),
    }
}

/// What kept the bytes from being stored says more than that time ran out.
fn why(stopped: Stopped, last: Option<WriteError>) -> WriteError {
    match (stopped, last) {
        (Stopped::TimedOut, Some(last)) => last,
        (stopped, _) => stopped.into(),
    }
}

/// A shared uploader is one too.
impl<T: Upload + ?Sized> Upload for Arc<T> {
    fn upload(
        &self,
        ctx: &Context<'_>,
        path: &str,
        data: &Bytes,
        durable: bool,
    ) -> Result<FileChunk, WriteError> {
        (**self).upload(ctx, path, data, durable)
    }

    fn hurry(&self) {
        (**self).hurry();
    }

    fn sync(&self, ctx: &Context<'_>, path: &str, chunks: &[FileChunk]) -> Result<(), WriteError> {
        (**self).sync(ctx, path, chunks)
    }
}
