//! Random changes of one file by two writers, against plain vectors of bytes.
//!
//! The uploader keeps chunks in memory, takes its time and fails now and then;
//! the entry is saved as a mount does it: under the condition that its chunks are
//! still those the save began with.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::ThreadId;
use std::time::Duration;

use bytes::Bytes;
use context::Context;
use parking_lot::Mutex;
use proptest::prelude::*;
use seaweed::pb::FileChunk;
use writer::{Dirty, Edit, Upload, WriteError, Writer, WriterConfig};

const CHUNK: usize = 64;

#[derive(Default)]
struct Memory {
    needles: Mutex<HashMap<String, Vec<u8>>>,
    next: AtomicU64,
    failing: AtomicBool,
    stuck: AtomicBool,
    /// Which threads have uploaded.
    threads: Mutex<Vec<ThreadId>>,
    synced: Mutex<Vec<String>>,
}

impl Upload for Memory {
    fn upload(
        &self,
        ctx: &Context<'_>,
        _path: &str,
        data: &Bytes,
        durable: bool,
    ) -> Result<FileChunk, WriteError> {
        while self.stuck.load(Ordering::Relaxed) {
            ctx.sleep(Duration::from_millis(1))?;
        }
        self.threads.lock().push(std::thread::current().id());
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_micros(number * 7919 % 300));
        if self.failing.load(Ordering::Relaxed) && !number.is_multiple_of(3) {
            return Err(WriteError::Upload("told to fail".to_owned()));
        }
        assert!(!data.is_empty() && data.len() <= CHUNK);
        let id = format!("1,{:02x}00000001", number + 1);
        self.needles.lock().insert(id.clone(), data.to_vec());
        if durable {
            self.synced.lock().push(id.clone());
        }
        Ok(FileChunk {
            file_id: id,
            ..FileChunk::default()
        })
    }

    fn sync(&self, _ctx: &Context<'_>, _path: &str, all: &[FileChunk]) -> Result<(), WriteError> {
        let ids = all.iter().map(|chunk| chunk.file_id.clone());
        self.synced.lock().extend(ids);
        Ok(())
    }
}

/// The filer's entry.
#[derive(Debug, Clone, Default)]
struct Entry {
    chunks: Vec<FileChunk>,
    size: u64,
}

impl Entry {
    fn bytes(&self, needles: &Memory) -> Vec<u8> {
        let mut bytes = vec![0; self.size as usize];
        let mut chunks: Vec<_> = self.chunks.iter().collect();
        chunks.sort_by_key(|chunk| chunk.modified_ts_ns);
        let stamps = chunks
            .windows(2)
            .all(|two| two[0].modified_ts_ns < two[1].modified_ts_ns);
        assert!(stamps, "two chunks with one stamp");
        let needles = needles.needles.lock();
        for chunk in chunks {
            let at = chunk.offset as usize;
            let end = (at + chunk.size as usize).min(bytes.len());
            if at < end {
                bytes[at..end].copy_from_slice(&needles[&chunk.file_id][..end - at]);
            }
        }
        bytes
    }

    fn store(&mut self, edit: &Edit) {
        let applied = edit.apply(&self.chunks, self.size, 1);
        self.chunks = applied.chunks;
        self.size = applied.size;
    }
}

fn seen(dirty: &Dirty, entry: &Entry, needles: &Memory) -> Vec<u8> {
    let size = dirty.size(entry.size);
    let look = dirty.look(0, size).unwrap();
    let mut under = entry.clone();
    under.store(&look.edit);
    under.size = size;
    let mut bytes = under.bytes(needles);
    let mut last = 0;
    for (at, part) in look.over {
        assert!(at >= last, "sorted, and no byte twice");
        bytes[at as usize..at as usize + part.len()].copy_from_slice(&part);
        last = at + part.len() as u64;
    }
    bytes
}

fn put(model: &mut Vec<u8>, at: usize, len: usize, byte: u8) {
    if model.len() < at + len {
        model.resize(at + len, 0);
    }
    model[at..at + len].fill(byte);
}

#[derive(Debug, Clone)]
enum Step {
    Write(usize, usize, u8),
    Zero(usize, usize),
    Truncate(usize),
    Flush { durable: bool, saves: bool },
    Fail(bool),
    Pause,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0usize..500, 1usize..200, 1u8..).prop_map(|(at, len, byte)| Step::Write(at, len, byte)),
        1 => (0usize..500, 0usize..200).prop_map(|(at, len)| Step::Zero(at, len)),
        2 => (0usize..600).prop_map(Step::Truncate),
        3 => (any::<bool>(), any::<bool>()).prop_map(|(durable, saves)| Step::Flush { durable, saves }),
        1 => any::<bool>().prop_map(Step::Fail),
        1 => Just(Step::Pause),
    ]
}

/// An upload that failed a moment before uploads stopped to fail may still fail a flush, once.
fn flush(dirty: &Dirty, needles: &Memory, durable: bool) -> Result<Option<Edit>, WriteError> {
    let flushed = dirty.flush(&ctx(), durable);
    match needles.failing.load(Ordering::Relaxed) {
        true => flushed,
        false => flushed.or_else(|_| dirty.flush(&ctx(), durable)),
    }
}

fn ctx() -> Context<'static> {
    Context::background(Duration::from_secs(30))
}

fn writer(needles: &Arc<Memory>, memory: usize, swap: u64) -> Writer {
    let config = WriterConfig {
        chunk_bytes: CHUNK,
        uploads: 3,
        memory_bytes: memory,
        swap_bytes: swap,
        ..WriterConfig::default()
    };
    Writer::new(config, Arc::clone(needles) as Arc<dyn Upload>)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_file_is_what_a_vector_would_be(
        steps in proptest::collection::vec(step(), 1..60),
        tight in any::<bool>(),
        swap in any::<bool>(),
    ) {
        let needles = Arc::new(Memory::default());
        let memory = if tight && swap { 200 } else { 1 << 20 };
        let writer = writer(&needles, memory, if swap { 1 << 20 } else { 0 });
        let dirty = writer.file("/file".to_owned());
        let mut entry = Entry::default();
        let mut model = Vec::new();
        for step in steps {
            match step {
                Step::Write(at, len, byte) => {
                    dirty.write(&ctx(), at as u64, &vec![byte; len]).unwrap();
                    put(&mut model, at, len, byte);
                }
                Step::Zero(at, len) => {
                    dirty.zero(&ctx(), at as u64, (at + len) as u64).unwrap();
                    if len > 0 {
                        put(&mut model, at, len, 0);
                    }
                }
                Step::Truncate(size) => {
                    dirty.truncate(size as u64).unwrap();
                    model.resize(size, 0);
                }
                Step::Flush { durable, saves } => match flush(&dirty, &needles, durable) {
                    Ok(Some(edit)) if saves => {
                        entry.store(&edit);
                        dirty.saved();
                        prop_assert!(dirty.is_clean());
                        prop_assert_eq!(&entry.bytes(&needles), &model);
                        if durable {
                            let synced = needles.synced.lock();
                            for chunk in &entry.chunks {
                                prop_assert!(synced.contains(&chunk.file_id) || !edit.chunks.iter().any(|new| new.file_id == chunk.file_id));
                            }
                        }
                    }
                    Ok(Some(_)) => dirty.not_saved(),
                    Ok(None) => prop_assert!(dirty.is_clean()),
                    Err(error) => {
                        prop_assert!(needles.failing.load(Ordering::Relaxed), "{}", error);
                    }
                },
                Step::Fail(failing) => needles.failing.store(failing, Ordering::Relaxed),
                Step::Pause => std::thread::sleep(Duration::from_micros(400)),
            }
            prop_assert_eq!(dirty.size(entry.size), model.len() as u64);
            prop_assert_eq!(&seen(&dirty, &entry, &needles), &model);
        }
        needles.failing.store(false, Ordering::Relaxed);
        if let Some(edit) = flush(&dirty, &needles, true).unwrap() {
            entry.store(&edit);
        }
        dirty.saved();
        prop_assert_eq!(entry.bytes(&needles), model);
        prop_assert!(dirty.abandon().is_empty());
        writer.close();
    }

    #[test]
    fn writes_of_two_mounts_to_different_ranges_both_survive(
        writes in proptest::collection::vec((any::<bool>(), 0usize..8, 1usize..=64, 1u8..), 1..40),
        saves in proptest::collection::vec(any::<bool>(), 1..10),
    ) {
        let needles = Arc::new(Memory::default());
        let writer = writer(&needles, 1 << 20, 0);
        let files = [writer.file("/file".to_owned()), writer.file("/file".to_owned())];
        let mut entry = Entry::default();
        let mut model = Vec::new();
        // Even blocks are the one's, odd blocks the other's.
        for (which, slot, len, byte) in writes {
            let which = usize::from(which);
            let at = (2 * slot + which) * 100;
            files[which].write(&ctx(), at as u64, &vec![byte; len]).unwrap();
            put(&mut model, at, len, byte);
        }
        for which in saves.into_iter().chain([false, true]) {
            let file = &files[usize::from(which)];
            if let Some(edit) = file.flush(&ctx(), false).unwrap() {
                entry.store(&edit);
                file.saved();
            }
        }
        prop_assert_eq!(entry.bytes(&needles), model);
    }
}

#[test]
fn a_reader_never_sees_less_than_was_written_while_flushes_go_on() {
    let needles = Arc::new(Memory::default());
    let writer = writer(&needles, 1 << 20, 0);
    let dirty = writer.file("/file".to_owned());
    let entry = Mutex::new(Entry::default());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if let Some(edit) = dirty.flush(&ctx(), false).unwrap() {
                    let mut entry = entry.lock();
                    entry.store(&edit);
                    dirty.saved();
                }
            }
        });
        let mut model = Vec::new();
        for step in 0..1500usize {
            let (at, len) = (step * 37 % 900, 1 + step * 53 % 150);
            let byte = (step % 255) as u8 + 1;
            dirty.write(&ctx(), at as u64, &vec![byte; len]).unwrap();
            put(&mut model, at, len, byte);
            let entry = entry.lock();
            assert_eq!(seen(&dirty, &entry, &needles), model, "step {step}");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn memory_stays_within_its_bound_and_a_blocked_writer_can_be_interrupted() {
    let needles = Arc::new(Memory::default());
    needles.failing.store(true, Ordering::Relaxed);
    // Everything fails: three of three, since the numbers are chosen so.
    needles.next.store(1, Ordering::Relaxed);
    let writer = writer(&needles, 256, 0);
    let dirty = writer.file("/file".to_owned());
    let interrupt = context::Interrupt::new().unwrap();
    let patient = Context::new(Duration::from_secs(60), &interrupt);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(200));
            interrupt.raise();
        });
        // Blocks that are never full, and after the first failure are not tried again.
        let stopped = (0..10_000u64)
            .find_map(|block| dirty.write(&patient, block * CHUNK as u64, &[1; 40]).err());
        assert!(
            matches!(stopped, Some(WriteError::Interrupted)),
            "{stopped:?}"
        );
    });
    assert!(dirty.take_error().is_some(), "it is told");
    assert!(dirty.take_error().is_none(), "once");
}

#[test]
fn a_flush_goes_on_beyond_its_time_while_chunks_are_stored() {
    let needles = Arc::new(Memory::default());
    let writer = writer(&needles, 1 << 20, 0);
    let dirty = writer.file("/file".to_owned());
    dirty.write(&ctx(), 0, &vec![7; 1500 * CHUNK]).unwrap();
    let soon = Context::background(Duration::from_millis(5));
    let flushed = dirty.flush(&soon, true).unwrap().unwrap();
    assert_eq!(flushed.chunks.len(), 1500);
    assert!(soon.check().is_err(), "it was over long before");
    assert_eq!(needles.synced.lock().len(), 1500);
}

#[test]
fn one_small_chunk_is_uploaded_by_whoever_flushes_it_unless_interrupted() {
    let needles = Arc::new(Memory::default());
    let writer = writer(&needles, 1 << 20, 0);
    let dirty = writer.file("/file".to_owned());
    dirty.write(&ctx(), 0, &[7; 10]).unwrap();
    let flushed = dirty.flush(&ctx(), false).unwrap().unwrap();
    assert_eq!(flushed.chunks.len(), 1);
    assert_eq!(*needles.threads.lock(), [std::thread::current().id()]);
    dirty.saved();

    needles.stuck.store(true, Ordering::Relaxed);
    dirty.write(&ctx(), 0, &[8; 10]).unwrap();
    let interrupt = context::Interrupt::new().unwrap();
    interrupt.raise();
    let patient = Context::new(Duration::from_secs(60), &interrupt);
    let stopped = dirty.flush(&patient, false);
    assert!(
        matches!(stopped, Err(WriteError::Interrupted)),
        "{stopped:?}"
    );
    needles.stuck.store(false, Ordering::Relaxed);
    // What waits now waits for another thread.
    let flushed = dirty.flush(&ctx(), false).unwrap().unwrap();
    assert_eq!(flushed.chunks.len(), 1);
    let threads = needles.threads.lock();
    assert_eq!(threads.len(), 2, "each chunk once");
    assert_ne!(threads[1], threads[0]);
}
