//! What all reads and writes of a mount share: permits, the budget for hedges, the seed of decisions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use super::{Config, Permit, Permits, Random};

/// What all reads and writes of a mount share.
#[derive(Debug)]
pub struct Policy {
    config: Config,
    permits: Arc<Permits>,
    /// Of their own, so that many writers do not keep readers out.
    writes: Arc<Permits>,
    /// Hundredths of hedges that may still be made.
    hedges: AtomicU32,
    random: Mutex<Random>,
}

impl Policy {
    /// A policy; the same seed makes the same decisions.
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            permits: Arc::new(Permits::new(config.max_concurrent)),
            writes: Arc::new(Permits::new(config.max_concurrent)),
            hedges: AtomicU32::new(if config.hedge.percent > 0 { HEDGE } else { 0 }),
            config,
            random: Mutex::new(Random::new(seed)),
        }
    }

    /// How the client behaves.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Reads under way.
    pub fn in_flight(&self) -> usize {
        self.permits.taken()
    }

    /// Writes under way.
    pub fn writes_in_flight(&self) -> usize {
        self.writes.taken()
    }

    pub(super) fn permit_to_write(&self) -> Option<Permit> {
        self.writes.take()
    }

    pub(super) fn permit(&self) -> Option<Permit> {
        self.permits.take()
    }

    pub(super) fn random(&self) -> Random {
        Random::new(self.random.lock().next())
    }

    /// Every read earns its share of a hedge.
    pub(super) fn earn(&self) {
        let earned = self.config.hedge.percent;
        let _ = self
            .hedges
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |hedges| {
                (hedges < MOST_HEDGES * HEDGE).then(|| hedges + earned)
            });
    }

    /// Takes a hedge out of the budget.
    pub(super) fn spend(&self) -> bool {
        let spent = |hedges: u32| hedges.checked_sub(HEDGE);
        let spent = self
            .hedges
            .try_update(Ordering::Relaxed, Ordering::Relaxed, spent);
        spent.is_ok()
    }

    /// Puts back a hedge that was not made.
    pub(super) fn refund(&self) {
        self.hedges.fetch_add(HEDGE, Ordering::Relaxed);
    }
}

/// The price of a hedge, where a read earns [`HedgeConfig::percent`](super::HedgeConfig::percent).
const HEDGE: u32 = 100;
/// Hedges that can be saved up in quiet times.
const MOST_HEDGES: u32 = 10;
