//! The threads that bring files in.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use context::{Context, Interrupt};

use crate::filling::{FillError, Filling};
use crate::pace::Pace;
use crate::queue::{Queue, Work};
use crate::store::Store;
use crate::{FilesStats, Foreground};

/// What the fillers share.
pub(crate) struct Shared {
    pub(crate) store: Arc<Store>,
    pub(crate) queue: Queue,
    pub(crate) pace: Pace,
    pub(crate) foreground: Foreground,
    pub(crate) patience: Duration,
    pub(crate) closing: Interrupt,
    pub(crate) stats: Arc<FilesStats>,
}

/// Starts `count` of them.
pub(crate) fn start(shared: &Arc<Shared>, count: usize) -> io::Result<Vec<JoinHandle<()>>> {
    let start = |number| {
        let shared = Arc::clone(shared);
        let run = move || shared.work();
        std::thread::Builder::new()
            .name(format!("filler-{number}"))
            .spawn(run)
    };
    (0..count.max(1)).map(start).collect()
}

impl Shared {
    fn work(&self) {
        while let Some(work) = self.queue.take() {
            match work {
                Work::Begin(job) => {
                    let (key, name) = (job.key, Arc::clone(&job.name));
                    if self.store.contains(&key) {
                        self.end(&key, &name, Ok(()));
                        continue;
                    }
                    let ctx = Context::new(self.patience, &self.closing);
                    match Filling::begin(&self.store, &ctx, job) {
                        Ok(filling) => self.begun(&Arc::new(filling)),
                        Err(error) => self.end(&key, &name, Err(error)),
                    }
                }
                Work::Fetch(filling, number) => self.fetch(&filling, number),
            }
            self.show();
        }
    }

    fn begun(&self, filling: &Arc<Filling>) {
        if filling.is_hole() {
            let finished = filling.finish(&self.store);
            return self.filled(filling, finished);
        }
        if !self.queue.begun(filling) {
            let outdated = Err(FillError::Outdated);
            self.end(filling.key(), &filling.job.name, outdated);
        }
    }

    fn fetch(&self, filling: &Arc<Filling>, number: usize) {
        let (began, read_before) = (Instant::now(), (self.foreground)());
        let ctx = Context::new(self.patience, &self.closing);
        let fetched = match self.store.is_short() {
            true => self.store.room(0).map(drop).map_err(FillError::from),
            false => Ok(()),
        };
        match fetched.and_then(|()| filling.fetch(&ctx, number)) {
            Ok((len, last)) => {
                self.stats.filled_bytes.add(len);
                if last && !filling.is_given_up() {
                    let finished = filling.finish(&self.store);
                    self.filled(filling, finished);
                }
                let now = Instant::now();
                let reading = (self.foreground)() != read_before;
                let pause = self.pace.pause(now, len, now - began, reading);
                if !pause.is_zero() {
                    let ctx = Context::new(pause + Duration::from_secs(1), &self.closing);
                    // Interrupted when the end has come, which `take` tells too.
                    let _ = ctx.sleep(pause);
                }
            }
            Err(error) => {
                // Of several that fail, the first one tells.
                if filling.give_up() {
                    self.end(filling.key(), &filling.job.name, Err(error));
                }
            }
        }
    }

    fn filled(&self, filling: &Filling, finished: Result<(), FillError>) {
        if finished.is_ok() {
            self.stats.filled.inc();
        }
        self.end(filling.key(), &filling.job.name, finished);
    }

    fn end(&self, key: &seaweed::ContentKey, name: &str, ended: Result<(), FillError>) {
        let reason = ended.err().map(|error| {
            match &error {
                _ if self.closing.is_raised() => {}
                FillError::Outdated => self.stats.outdated.inc(),
                FillError::NoRoom(_) => self.stats.refused.inc(),
                FillError::Disk(_) => self.stats.disk_errors.inc(),
                FillError::Source(_) => self.stats.failed.inc(),
            }
            tracing::debug!(name, %error, "not brought in whole");
            error.to_string()
        });
        self.queue.ended(key, reason);
    }

    pub(crate) fn show(&self) {
        let waiting = i64::try_from(self.queue.len()).unwrap_or(i64::MAX);
        self.stats.waiting.set(waiting);
    }
}
