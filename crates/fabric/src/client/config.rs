//! What can be set about the client's behaviour, and what it is when nobody sets it.

use std::time::Duration;

/// How the client behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Bounds everything a read or a write does on the fabric (`rdma.timeoutMs`).
    pub timeout: Duration,
    /// Reads that may be under way at once, hedges included, and writes besides
    /// (`rdma.maxConcurrent`).
    pub max_concurrent: usize,
    /// When a second sidecar is asked.
    pub hedge: HedgeConfig,
    /// When a sidecar is left alone.
    pub breaker: BreakerConfig,
    /// Reads in flight from which on a sidecar counts as overloaded, so that one farther away is
    /// asked first.
    pub overload: usize,
    /// How long a sidecar is not asked again for a volume that it does not serve.
    pub forget_after: Duration,
    /// How long a sidecar that is busy is not asked for anything, on average.
    pub busy_pause: Duration,
}

/// When a second sidecar is asked for the same bytes.
#[derive(Debug, Clone)]
pub struct HedgeConfig {
    /// After this percentile of the first one's latency for reads of the size.
    pub percentile: u8,
    /// But not sooner than this, for a fast sidecar's 95th percentile is nothing to worry about.
    pub at_least: Duration,
    /// After this, when the first one's latency is not known yet.
    pub unknown: Duration,
    /// At most so many hedges for 100 reads; 0 turns hedging off.
    pub percent: u32,
}

/// When a sidecar is left alone, and for how long.
#[derive(Debug, Clone)]
pub struct BreakerConfig {
    /// The first pause.
    pub first_pause: Duration,
    /// The longest; each pause without a success in between is twice the one before.
    pub max_pause: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            max_concurrent: 64,
            hedge: HedgeConfig::default(),
            breaker: BreakerConfig::default(),
            overload: 32,
            forget_after: Duration::from_secs(2),
            busy_pause: Duration::from_millis(20),
        }
    }
}

impl Default for HedgeConfig {
    fn default() -> Self {
        Self {
            percentile: 95,
            at_least: Duration::from_millis(1),
            unknown: Duration::from_millis(50),
            percent: 5,
        }
    }
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_millis(250),
            max_pause: Duration::from_secs(30),
        }
    }
}
