//! A route to needles in memory, which counts, delays and fails as it is told.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use context::Context;
use fabric::{Destination, Route, RouteError, Stored, Way, Whole};
use parking_lot::{Condvar, Mutex};
use reader::{ReadError, Reader, ReaderConfig, Sink, Stream};
use seaweed::{Chunk, CipherKey, FileId, FileView};

/// Needles by id, and what happened to them.
#[derive(Default)]
pub struct Shelf {
    needles: Mutex<HashMap<FileId, Bytes>>,
    failing: Mutex<HashMap<FileId, Failure>>,
    next: AtomicU64,
    /// Bytes delivered.
    pub bytes: AtomicU64,
    /// Requests for a range, and for a whole needle.
    pub ranges: AtomicU64,
    pub wholes: AtomicU64,
    /// Waited before each answer.
    pub delay_ms: AtomicU64,
    /// Whether whole needles come with a checksum.
    pub unverified: std::sync::atomic::AtomicBool,
    /// Whether they lie on a disk of this host.
    pub near: std::sync::atomic::AtomicBool,
    gate: Gate,
}

#[derive(Clone, Copy)]
pub enum Failure {
    Silent,
    Denied,
}

#[derive(Default)]
struct Gate {
    state: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl Shelf {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Stores a needle under a new id.
    pub fn put(&self, stored: impl Into<Bytes>) -> FileId {
        let key = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let id = FileId {
            volume: 1 + key as u32 % 3,
            key,
            cookie: (key as u32).wrapping_mul(0x9e37_79b9),
        };
        self.needles.lock().insert(id, stored.into());
        id
    }

    pub fn remove(&self, id: FileId) {
        self.needles.lock().remove(&id);
    }

    pub fn fail(&self, id: FileId, failure: Option<Failure>) {
        let mut failing = self.failing.lock();
        match failure {
            Some(failure) => failing.insert(id, failure),
            None => failing.remove(&id),
        };
    }

    /// From now on requests wait inside of the route until the gate opens.
    pub fn close_gate(&self) {
        self.gate.state.lock().0 = true;
    }

    pub fn open_gate(&self) {
        self.gate.state.lock().0 = false;
        self.gate.changed.notify_all();
    }

    /// Waits until `count` requests stand at the gate.
    pub fn wait_at_gate(&self, count: usize) {
        eventually("requests stand at the gate", || {
            self.gate.state.lock().1 >= count
        });
    }

    pub fn requests(&self) -> u64 {
        self.ranges.load(Ordering::Relaxed) + self.wholes.load(Ordering::Relaxed)
    }

    pub fn fetched(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn enter(&self, ctx: &Context<'_>, needle: FileId) -> Result<Bytes, RouteError> {
        let stopped = |why| RouteError::stopped(needle, why);
        let mut state = self.gate.state.lock();
        if state.0 {
            state.1 += 1;
            while state.0 {
                self.gate
                    .changed
                    .wait_for(&mut state, Duration::from_millis(1));
                if let Err(why) = ctx.check() {
                    state.1 -= 1;
                    return Err(stopped(why));
                }
            }
            state.1 -= 1;
        }
        drop(state);
        let delay = self.delay_ms.load(Ordering::Relaxed);
        if delay > 0 {
            ctx.sleep(Duration::from_millis(delay)).map_err(stopped)?;
        }
        let server: Arc<str> = "shelf:1".into();
        match self.failing.lock().get(&needle) {
            Some(Failure::Silent) => return Err(RouteError::Silent { needle, server }),
            Some(Failure::Denied) => {
                return Err(RouteError::Denied {
                    needle,
                    server,
                    status: 401,
                });
            }
            None => {}
        }
        let needles = self.needles.lock();
        let stored = needles.get(&needle);
        stored.cloned().ok_or(RouteError::NotFound { needle })
    }
}

impl Route for Shelf {
    fn name(&self) -> &'static str {
        "shelf"
    }

    fn read_at(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        offset: u64,
        dst: &mut [u8],
    ) -> Result<Way, RouteError> {
        self.ranges.fetch_add(1, Ordering::Relaxed);
        let stored = self.enter(ctx, needle)?;
        let wanted = stored
            .get(offset as usize..)
            .and_then(|rest| rest.get(..dst.len()))
            .ok_or_else(|| RouteError::PastEnd {
                needle,
                server: "shelf:1".into(),
                offset,
                len: dst.len() as u64,
            })?;
        dst.copy_from_slice(wanted);
        self.bytes.fetch_add(dst.len() as u64, Ordering::Relaxed);
        Ok(Way::Http)
    }

    fn read_whole(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        _: Stored,
        to: &mut dyn Destination,
    ) -> Result<Whole, RouteError> {
        self.wholes.fetch_add(1, Ordering::Relaxed);
        let stored = self.enter(ctx, needle)?;
        let len = stored.len();
        let dst = to.memory(len as u64).map_err(|_| RouteError::Refused {
            needle,
            len: len as u64,
        })?;
        assert_eq!(dst.len(), len, "a destination gives what is asked of it");
        dst.copy_from_slice(&stored);
        self.bytes.fetch_add(len as u64, Ordering::Relaxed);
        Ok(Whole {
            len,
            verified: !self.unverified.load(Ordering::Relaxed),
            way: Way::Http,
            near: self.near.load(Ordering::Relaxed),
        })
    }
}

/// Bytes that differ everywhere and for each seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// How a chunk is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Plain,
    Gzip,
    Cipher,
    CipherGzip,
}

/// A chunk at `offset` whose clear data is `clear`, of which `size` bytes count.
pub fn chunk(shelf: &Shelf, kind: Kind, offset: u64, clear: &[u8], size: u64, stamp: i64) -> Chunk {
    let is_compressed = matches!(kind, Kind::Gzip | Kind::CipherGzip);
    let mut stored = clear.to_vec();
    if is_compressed {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&stored).unwrap();
        stored = encoder.finish().unwrap();
    }
    let cipher_key =
        matches!(kind, Kind::Cipher | Kind::CipherGzip).then(|| CipherKey::new([stamp as u8; 32]));
    if let Some(key) = &cipher_key {
        stored = seaweed::cipher::seal(key, &stored).unwrap();
    }
    Chunk {
        file_id: shelf.put(stored),
        offset,
        size,
        modified_ts_ns: stamp,
        cipher_key,
        is_compressed,
        is_manifest: false,
        sse: false,
        e_tag: "".into(),
    }
}

/// A file of plain chunks of `chunk_len` bytes, and its content.
pub fn file(shelf: &Shelf, len: usize, chunk_len: usize) -> (Arc<FileView>, Vec<u8>) {
    let content = noise(len as u64, len);
    let chunks: Vec<_> = content
        .chunks(chunk_len)
        .enumerate()
        .map(|(number, clear)| {
            let offset = (number * chunk_len) as u64;
            chunk(shelf, Kind::Plain, offset, clear, clear.len() as u64, 1)
        })
        .collect();
    (Arc::new(FileView::resolve(chunks, len as u64)), content)
}

pub fn config(memory_bytes: usize) -> ReaderConfig {
    ReaderConfig {
        memory_bytes,
        ..ReaderConfig::default()
    }
}

pub fn open(shelf: &Arc<Shelf>, memory_bytes: usize) -> Reader {
    Reader::open(config(memory_bytes), Arc::clone(shelf) as Arc<dyn Route>).unwrap()
}

pub fn patient() -> Context<'static> {
    Context::background(Duration::from_secs(60))
}

pub fn read(
    reader: &Reader,
    view: &FileView,
    stream: &Stream,
    offset: u64,
    len: usize,
) -> Result<Vec<u8>, ReadError> {
    let mut out = Vec::new();
    reader.read(
        &patient(),
        view,
        stream,
        offset,
        len,
        &mut out as &mut dyn Sink,
    )?;
    Ok(out)
}

/// Waits for something that other threads bring about.
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..6000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("never happened: {what}");
}
