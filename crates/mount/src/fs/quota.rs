//! The quota of a collection (`-collectionQuotaMB`, and `mount.configure` of `weed shell`).
//!
//! The masters know what a collection takes, some seconds late. They are asked
//! now and then, more often near the limit, and what was written here since the
//! last answer is added. Beyond the quota nothing can be written or made; what
//! is there can be read and removed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use context::Context;
use filer::Filer;
use fuse::Errno;
use parking_lot::Mutex;

use super::Mount;

/// How long an answer is good.
const KEEP: Duration = Duration::from_secs(60);
/// The same when so little is left that others may fill it meanwhile.
const KEEP_NEAR: Duration = Duration::from_secs(5);
/// "Near" is within this part of the quota.
const NEAR: u64 = 10;
/// What asking may take.
const BUDGET: Duration = Duration::from_secs(10);

/// The limit, and what is known of the collection.
#[derive(Debug, Default)]
pub(super) struct Quota {
    /// In bytes; 0 for none.
    limit: AtomicU64,
    known: Mutex<Option<Known>>,
    /// Whoever asks the masters.
    asking: Mutex<()>,
    /// Bytes written here since then.
    written: AtomicU64,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    at: Instant,
    used: u64,
}

impl Quota {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit: AtomicU64::new(limit),
            ..Self::default()
        }
    }

    /// In bytes; 0 for none.
    pub(super) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Counts what was written.
    pub(super) fn wrote(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What is known, and whether that is good enough.
    fn known(&self, quota: u64) -> (u64, bool) {
        let Some(known) = *self.known.lock() else {
            return (0, false);
        };
        let keep = match quota.saturating_sub(known.used) < quota / NEAR {
            true => KEEP_NEAR,
            false => KEEP,
        };
        (known.used, known.at.elapsed() < keep)
    }

    fn learned(&self, used: u64) {
        self.written.store(0, Ordering::Relaxed);
        *self.known.lock() = Some(Known {
            at: Instant::now(),
            used,
        });
    }
}

impl Mount {
    /// Sets the quota from now on, in bytes; 0 for none.
    ///
    /// # Errors
    /// When the mount has no collection: the quota is that of one.
    pub fn set_quota(&self, bytes: u64) -> Result<(), String> {
        if self.core.config.collection.is_empty() {
            return Err("a quota needs a mount with -collection".to_owned());
        }
        let before = self.quota.limit.swap(bytes, Ordering::Relaxed);
        // Nobody may have asked for long.
        *self.quota.known.lock() = None;
        tracing::info!(before, bytes, "the quota was changed");
        Ok(())
    }

    /// Whether more may be written.
    pub(super) fn has_room(&self) -> Result<(), Errno> {
        let quota = self.quota.limit();
        if quota == 0 {
            return Ok(());
        }
        let written = || self.quota.written.load(Ordering::Relaxed);
        match self.used(quota).saturating_add(written()) {
            used if used >= quota => Err(Errno::ENOSPC),
            _ => Ok(()),
        }
    }

    /// What the collection takes, as the masters said last. Whoever comes while somebody asks
    /// goes by the old answer.
    fn used(&self, quota: u64) -> u64 {
        let (used, is_good) = self.quota.known(quota);
        if is_good {
            return used;
        }
        let Some(_asking) = self.quota.asking.try_lock() else {
            return used;
        };
        let (core, config) = (&self.core, &self.core.config);
        let statistics = async |filer: &Filer| {
            let (collection, replication) = (&config.collection, &config.replication);
            filer
                .statistics(collection, replication, &config.ttl, &config.disk_type)
                .await
        };
        let ctx = Context::background(BUDGET);
        match core.remote.ask(&ctx, statistics) {
            Ok(seen) => {
                let used = match config.df_logical {
                    true => seen.logical_used_size,
                    false => seen.used_size,
                };
                self.quota.learned(used);
                used
            }
            Err(error) => {
                tracing::warn!(%error, "the collection's size is not known");
                used
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_and_shorter_so_near_the_limit() {
        let quota = Quota::new(1000);
        assert_eq!(quota.known(1000), (0, false), "nobody was asked");
        quota.wrote(10);
        quota.learned(500);
        assert_eq!(quota.written.load(Ordering::Relaxed), 0);
        assert_eq!(quota.known(1000), (500, true));
        let old = |age: Duration, used| Known {
            at: Instant::now().checked_sub(age).unwrap(),
            used,
        };
        let between = Duration::from_secs(10);
        *quota.known.lock() = Some(old(between, 500));
        assert_eq!(quota.known(1000), (500, true));
        *quota.known.lock() = Some(old(between, 950));
        assert_eq!(quota.known(1000), (950, false), "but it is what is gone by");
    }
}
