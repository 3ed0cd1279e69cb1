//! Blocks on their way to the volume servers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use context::{Context, Stopped};
use parking_lot::MutexGuard;
use seaweed::pb::FileChunk;

use super::Shared;
use super::state::{Began, State};
use crate::block::{Block, Sealed};
use crate::writer::LOOK;
use crate::{Edit, WriteError};

/// A chunk of no more bytes is uploaded by the thread that waits for it: a wake-up would take as long as the bytes do.
const SMALL: usize = 64 << 10;

/// A block that is being uploaded, or waits for it.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) number: u64,
    pub(super) sealed: Arc<Sealed>,
    /// The file was cut here since.
    pub(super) limit: u64,
    pub(super) len: usize,
}

/// A flush that waits for flights.
struct Waiting {
    /// Blocks that were dirty, and whose earlier flight was still on its way.
    blocks: Vec<u64>,
    /// Flights, with their blocks.
    flights: Vec<(u64, u64)>,
    /// Flights up to here had begun.
    before: u64,
}

impl Shared {
    /// Sends off a block, unless its last flight is still on its way.
    pub(super) fn seal(self: &Arc<Self>, state: &mut State, index: u64, durable: bool) {
        if let Some(sealed) = self.launch(state, index) {
            self.submit(index, sealed, durable);
        }
    }

    fn submit(self: &Arc<Self>, index: u64, sealed: Arc<Sealed>, durable: bool) {
        let this = Arc::clone(self);
        let job = move || this.fly(index, &sealed, durable);
        self.writer.workers.submit(Box::new(job));
    }

    /// Makes a flight of a block, which somebody has to fly.
    fn launch(&self, state: &mut State, index: u64) -> Option<Arc<Sealed>> {
        if state.flights.contains_key(&index) {
            return None;
        }
        let block = state.blocks.remove(&index)?;
        let sealed = Arc::new(block.seal());
        let len = sealed.len();
        state.flown += 1;
        let number = state.flown;
        let flight = Flight {
            number,
            sealed: Arc::clone(&sealed),
            limit: u64::MAX,
            len,
        };
        state.flights.insert(index, flight);
        self.writer.flying.fetch_add(len, Ordering::Relaxed);
        Some(sealed)
    }

    /// Sends off every block that can be.
    pub(crate) fn seal_all(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if state.failure.is_some() {
            return;
        }
        let all: Vec<u64> = state.blocks.keys().copied().collect();
        for index in all {
            self.seal(&mut state, index, false);
        }
    }

    /// Uploads all that is dirty now, and waits for it: beyond the time of `ctx` for as long as chunks are being
    /// stored, since what is left then would have nowhere to go.
    pub(super) fn upload_all(
        self: &Arc<Self>,
        ctx: &Context<'_>,
        durable: bool,
    ) -> Result<Began, WriteError> {
        let mut state = self.state.lock();
        state.failure = None;
        self.fly_here(ctx, &mut state, durable);
        let began = Began {
            end: state.edit.end,
            cuts: state.cuts,
        };
        let flights = state.flights.iter();
        let mut waiting = Waiting {
            flights: flights
                .map(|(index, flight)| (*index, flight.number))
                .collect(),
            blocks: state.blocks.keys().copied().collect(),
            before: state.flown,
        };
        let stats = &self.writer.stats;
        let (mut stored, mut moved) = (stats.chunks.get(), Instant::now());
        while !waiting.is_over(self, &mut state, durable) {
            if let Some(failure) = state.failure.clone() {
                state.error = None;
                return Err(failure);
            }
            match ctx.check() {
                Err(Stopped::TimedOut) if moved.elapsed() < self.writer.config.patience => {}
                checked => checked?,
            }
            self.writer.upload.hurry();
            self.landed.wait_for(&mut state, LOOK);
            if std::mem::replace(&mut stored, stats.chunks.get()) != stored {
                moved = Instant::now();
            }
        }
        match state.failure.clone() {
            Some(failure) => {
                state.error = None;
                Err(failure)
            }
            None => Ok(began),
        }
    }

    /// Has the volume servers put on disk what they were not told to when it was uploaded.
    pub(super) fn sync(&self, ctx: &Context<'_>) -> Result<(), WriteError> {
        let unsynced = std::mem::take(&mut self.state.lock().unsynced);
        if unsynced.is_empty() {
            return Ok(());
        }
        let path = self.path.lock().clone();
        let synced = self.writer.upload.sync(ctx, &path, &unsynced);
        if synced.is_err() {
            self.state.lock().unsynced.extend(unsynced);
        }
        synced
    }

    /// Uploads what is dirty on the calling thread, if it is one small chunk. When the caller is interrupted, one of
    /// the writer's threads begins again.
    fn fly_here(
        self: &Arc<Self>,
        ctx: &Context<'_>,
        state: &mut MutexGuard<'_, State>,
        durable: bool,
    ) {
        let small = |block: &Block| block.only_run().is_some_and(|len| len <= SMALL);
        let index = match state.blocks.first_key_value() {
            Some((index, block)) if state.blocks.len() == 1 && small(block) => *index,
            _ => return,
        };
        let Some(_place) = self.writer.workers.place() else {
            return;
        };
        let Some(sealed) = self.launch(state, index) else {
            return;
        };
        MutexGuard::unlocked(state, || {
            let ctx = ctx.at_least(self.writer.config.patience);
            let stored = self.store(&ctx, &sealed, 0, u64::MAX, durable);
            if matches!(stored, Err(WriteError::Interrupted)) {
                return self.submit(index, sealed, durable);
            }
            let (chunk, failure) = match stored {
                Ok(chunk) => (chunk, None),
                Err(error) => (None, Some((0, error))),
            };
            self.land(index, &sealed, Vec::from_iter(chunk), failure, durable);
        });
    }

    /// Uploads a block; on one of the writer's threads.
    fn fly(&self, index: u64, sealed: &Sealed, durable: bool) {
        let ctx = Context::background(self.writer.config.patience);
        let mut chunks = Vec::new();
        let mut failure = None;
        for run in 0..sealed.count() {
            let limit = {
                let state = self.state.lock();
                match state.abandoned {
                    true => 0,
                    false => state.flights.get(&index).map_or(0, |flight| flight.limit),
                }
            };
            match self.store(&ctx, sealed, run, limit, durable) {
                Ok(chunk) => chunks.extend(chunk),
                Err(error) => {
                    failure = Some((run, error));
                    break;
                }
            }
        }
        self.land(index, sealed, chunks, failure, durable);
    }

    fn store(
        &self,
        ctx: &Context<'_>,
        sealed: &Sealed,
        run: usize,
        limit: u64,
        durable: bool,
    ) -> Result<Option<FileChunk>, WriteError> {
        let (offset, bytes) = sealed.run(run).map_err(WriteError::swap)?;
        let len = limit.saturating_sub(offset).min(bytes.len() as u64) as usize;
        if len == 0 {
            return Ok(None);
        }
        let path = self.path.lock().clone();
        let stored = self
            .writer
            .upload
            .upload(ctx, &path, &bytes.slice(..len), durable)?;
        self.writer.stats.chunks.inc();
        Ok(Some(FileChunk {
            // Writes beyond `i64::MAX` are refused.
            offset: offset.cast_signed(),
            size: len as u64,
            ..stored
        }))
    }

    fn land(
        &self,
        index: u64,
        sealed: &Sealed,
        chunks: Vec<FileChunk>,
        failure: Option<(usize, WriteError)>,
        durable: bool,
    ) {
        let mut state = self.state.lock();
        let Some(flight) = state.flights.remove(&index) else {
            return;
        };
        if !durable {
            state.unsynced.extend(chunks.iter().cloned());
        }
        let arrived = Edit {
            chunks,
            ..Edit::default()
        };
        state.edit.chunks.extend(arrived.clipped(flight.limit));
        if let Some((run, error)) = failure {
            self.writer.stats.failures.inc();
            if !state.abandoned
                && let Err(lost) = self.put_back(&mut state, index, sealed, run, flight.limit)
            {
                tracing::error!(error = %lost, "the swap file fails: written bytes are lost");
            }
            state.failure = Some(error.clone());
            state.error = Some(error);
        }
        state.changed();
        self.writer.flying.fetch_sub(flight.len, Ordering::Relaxed);
        drop(flight);
        drop(state);
        self.writer.export_held();
        self.landed.notify_all();
    }

    /// What was not uploaded, from run number `from` on, goes back below what was written since.
    fn put_back(
        &self,
        state: &mut State,
        index: u64,
        sealed: &Sealed,
        from: usize,
        limit: u64,
    ) -> std::io::Result<()> {
        let len = self.writer.config.chunk_bytes;
        let start = index * len as u64;
        let newer: Vec<(u64, Bytes)> = match state.blocks.get(&index) {
            Some(block) => block.within(start, start + len as u64)?,
            None => Vec::new(),
        };
        let mut block = Block::new(start, len);
        let budget = &self.writer.budget;
        for run in from..sealed.count() {
            let (offset, bytes) = sealed.run(run)?;
            let keep = limit.saturating_sub(offset).min(bytes.len() as u64) as usize;
            block.write(offset, &bytes[..keep], budget)?;
        }
        for (offset, bytes) in newer {
            block.write(offset, &bytes, budget)?;
        }
        if !block.is_empty() {
            state.blocks.insert(index, block);
        }
        Ok(())
    }
}

impl Waiting {
    /// Whether all has landed; sends off what can be by now.
    fn is_over(&mut self, file: &Arc<Shared>, state: &mut State, durable: bool) -> bool {
        let blocks = std::mem::take(&mut self.blocks);
        for index in blocks {
            let earlier = state.flights.get(&index).map(|flight| flight.number);
            match earlier {
                Some(number) if number <= self.before => self.blocks.push(index),
                // It was full, and went off by itself.
                Some(number) => self.flights.push((index, number)),
                None => {
                    file.seal(state, index, durable);
                    if let Some(flight) = state.flights.get(&index) {
                        self.flights.push((index, flight.number));
                    }
                }
            }
        }
        self.flights.retain(|(index, number)| {
            let flying = state.flights.get(index);
            flying.is_some_and(|flight| flight.number == *number)
        });
        self.blocks.is_empty() && self.flights.is_empty()
    }
}
