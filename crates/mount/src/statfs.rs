//! Capacity of the cluster, as `df` shows it.

use std::time::{Duration, Instant};

use context::Context;
use filer::Filer;
use fuse::{Errno, StatFs};
use parking_lot::Mutex;

use crate::config::MountConfig;
use crate::remote::Remote;

/// As long as `weed mount` keeps the figures: the masters sum them up over all volumes.
const KEEP: Duration = Duration::from_secs(20);
/// Unit of the block counts, as `weed mount` shows them.
const BLOCK: u32 = 512;
/// SeaweedFS has no limit of its own on the number of files; upstream shows this.
const FILES: u64 = i64::MAX as u64;
const NAME_MAX: u32 = 255;

/// The last figures, and when they were taken.
#[derive(Debug, Default)]
pub(crate) struct Capacity(Mutex<Option<(Instant, Space)>>);

/// Bytes in all and in use.
#[derive(Debug, Clone, Copy)]
struct Space {
    total: u64,
    used: u64,
}

impl Capacity {
    /// The figures, asked for again when they are old. Old ones are better than none. There is no
    /// more than `quota`, unless that is 0.
    pub(crate) fn now(
        &self,
        ctx: &Context<'_>,
        remote: &Remote,
        config: &MountConfig,
        quota: u64,
    ) -> Result<StatFs, Errno> {
        let kept = *self.0.lock();
        if let Some((at, space)) = kept
            && at.elapsed() < KEEP
        {
            return Ok(figures(space, quota));
        }
        let asked = remote.ask(ctx, async |filer: &Filer| {
            let (collection, replication) = (&config.collection, &config.replication);
            filer
                .statistics(collection, replication, &config.ttl, &config.disk_type)
                .await
        });
        match (asked, kept) {
            (Ok(seen), _) => {
                let (total, used) = if config.df_logical {
                    (seen.logical_total_size, seen.logical_used_size)
                } else {
                    (seen.total_size, seen.used_size)
                };
                let space = Space { total, used };
                *self.0.lock() = Some((Instant::now(), space));
                Ok(figures(space, quota))
            }
            (Err(_), Some((_, space))) => Ok(figures(space, quota)),
            (Err(error), None) => Err(remote.fail("statfs", &config.filer_path, &error)),
        }
    }
}

fn figures(space: Space, quota: u64) -> StatFs {
    let total = match quota {
        0 => space.total,
        quota => space.total.min(quota),
    };
    let free = total.saturating_sub(space.used) / u64::from(BLOCK);
    StatFs {
        blocks: total / u64::from(BLOCK),
        bfree: free,
        bavail: free,
        files: FILES,
        ffree: FILES,
        bsize: BLOCK,
        namelen: NAME_MAX,
        frsize: BLOCK,
    }
}
