//! Reads passed on over the fabric, as a mount would ask for them.
//!
//! What comes is compared with a checksum before anybody sees it, and another sidecar is asked when one
//! is slow or away. Only what is simple goes this way: all of a needle, or a part of it that is not
//! cut at the end. For everything else, and whenever nothing comes, there is the other sidecar's HTTP.
//!
//! The fabric's reads block, so each takes a thread; nobody waits for one, nor for memory.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use context::Context;
use fabric::announce::{Announcement, this_host};
use fabric::carrier::{Dialer, DialerConfig};
use fabric::client::{Config, Policy};
use fabric::memory::{Arena, ArenaConfig};
use fabric::peers::{Here, Peers};
use fabric::{
    Destination, FabricConfig, FabricRoute, Locate, LocateError, Location, Missed, Refused, Stored,
};
use seaweed::Security;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::budget::{Budget, Loan};
use crate::query::ReadQuery;

/// Time for bytes to come; then HTTP has its turn, and the client is still waiting.
const TIMEOUT: Duration = Duration::from_secs(2);
/// A sidecar that takes longer to open a lane is as good as away.
const DIAL_PATIENCE: Duration = Duration::from_secs(1);
/// Reads at a time, each of which takes a thread.
const MAX_READS: usize = 32;
/// The longest answer. A filer cuts files in chunks of some megabytes.
const MAX_LEN: u64 = 16 << 20;
/// Memory that other sidecars write to: address space, with memory behind it where it is used. Where
/// it does not suffice, HTTP is asked.
const ARENA: u64 = 64 << 20;
/// How often what nobody needs is given back.
const TIDY_EVERY: Duration = Duration::from_secs(1);

/// The fabric's client in a sidecar.
#[derive(Debug)]
pub(super) struct OverFabric {
    route: Arc<FabricRoute>,
    turns: Arc<Semaphore>,
    budget: Budget,
}

impl OverFabric {
    /// Knows no sidecars yet. What it holds is lent by `budget`, whose limit also bounds what others
    /// may write to.
    pub(super) fn new(security: &Security, budget: Budget) -> anyhow::Result<Self> {
        let tls = security.https.as_ref().map(fabric::http::client_config);
        let size = usize::try_from(ARENA.min(budget.limit())).unwrap_or(usize::MAX);
        let arena = Arena::new(ArenaConfig {
            size,
            keep: 0,
            quarantine: size / 2,
            reserved_pages: false,
        });
        let arena = arena.context("memory for reads that are passed on")?;
        let host = this_host().unwrap_or_default();
        let dialer = Dialer::new(DialerConfig {
            name: format!("riptide sidecar {}", std::process::id()),
            host: host.clone(),
            read_key: security.read_key.clone(),
            tls: tls.transpose().context("https.client in security.toml")?,
            arena: Some(arena.clone()),
            remote_reads: false,
            trusted: Vec::new(),
            patience: DIAL_PATIENCE,
        });
        let config = Config {
            timeout: TIMEOUT,
            max_concurrent: MAX_READS,
            ..Config::default()
        };
        let policy = Arc::new(Policy::new(config, RandomState::new().hash_one(0)));
        let here = Here {
            host,
            ..Here::default()
        };
        let peers =
            Peers::new(Arc::clone(&policy), here).context("starting the fabric's client")?;
        Ok(Self {
            route: Arc::new(FabricRoute::new(FabricConfig {
                policy,
                peers: Arc::new(peers),
                locate: Arc::new(AsAnnounced),
                dial: Arc::new(dialer),
                arena: Some(arena),
            })),
            turns: Arc::new(Semaphore::new(MAX_READS)),
            budget,
        })
    }

    /// From now on there are these sidecars, of which `own` is not asked.
    pub(super) fn update(&self, sidecars: &[Announcement], own: &str) {
        let others = sidecars.iter().filter(|sidecar| sidecar.http != own);
        self.route.peers().update(others.cloned().collect());
    }

    /// What is asked for, from any sidecar that announced the volume; nothing if that does not come.
    pub(super) async fn read(&self, query: &ReadQuery) -> Option<Bytes> {
        let (needle, offset, size) = (query.needle, query.offset, query.size);
        let is_simple = size.map_or(offset == 0, |size| size <= MAX_LEN);
        if !is_simple || self.route.peers().with_volume(needle.volume).is_empty() {
            return None;
        }
        let turn = Arc::clone(&self.turns).try_acquire_owned().ok()?;
        let (route, budget) = (Arc::clone(&self.route), self.budget.clone());
        let reading = spawn_blocking(move || {
            let _turn = turn;
            let ctx = Context::background(TIMEOUT);
            let mut to = Lent::new(budget);
            let read = match size {
                None => route
                    .read_whole(&ctx, needle, Stored::Plain, &mut to)
                    .map(|whole| to.bytes.truncate(whole.len)),
                Some(size) => match to.memory(size) {
                    Ok(dst) => route.read_at(&ctx, needle, offset, dst),
                    Err(Refused) => Err(Missed::Refused { len: size }),
                },
            };
            match read {
                // Sent on its own: the loan ends when the bytes are with the client.
                Ok(()) => Some(Bytes::from_owner(to)),
                Err(missed) => {
                    tracing::debug!(%needle, %missed, "not passed on over the fabric");
                    None
                }
            }
        });
        reading.await.ok().flatten()
    }

    /// Gives back what nobody needs, for ever.
    pub(super) fn tidying(&self) -> impl Future<Output = ()> + Send + 'static {
        let route = Arc::clone(&self.route);
        async move {
            loop {
                sleep(TIDY_EVERY).await;
                let route = Arc::clone(&route);
                // Giving memory back may take the kernel a moment.
                let _ = spawn_blocking(move || route.tidy()).await;
            }
        }
    }
}

/// Has the fabric ask those who announced the volume: the filer is not asked for each read.
struct AsAnnounced;

impl Locate for AsAnnounced {
    fn locate(&self, _: &Context<'_>, volume: u32) -> Result<Arc<[Location]>, LocateError> {
        Err(LocateError::Unknown { volume })
    }

    fn forget(&self, _: u32) {}
}

/// Bytes of the budget's memory.
struct Lent {
    bytes: Vec<u8>,
    budget: Budget,
    loan: Option<Loan>,
}

impl Lent {
    fn new(budget: Budget) -> Self {
        Self {
            bytes: Vec::new(),
            budget,
            loan: None,
        }
    }
}

impl Destination for Lent {
    fn memory(&mut self, len: u64) -> Result<&mut [u8], Refused> {
        if self.bytes.len() as u64 != len {
            if len > MAX_LEN {
                return Err(Refused);
            }
            self.loan = None;
            self.loan = Some(self.budget.lend(len).ok_or(Refused)?);
            self.bytes
                .resize(usize::try_from(len).map_err(|_| Refused)?, 0);
        }
        Ok(&mut self.bytes)
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_lent_until_the_bytes_are_gone() {
        let budget = Budget::new(100);
        let mut to = Lent::new(budget.clone());
        assert_eq!(to.memory(60).unwrap().len(), 60);
        assert_eq!(to.memory(60).unwrap().len(), 60);
        assert_eq!(budget.lent(), 60);
        assert_eq!(to.memory(101), Err(Refused));
        assert_eq!(to.memory(40).unwrap().len(), 40);
        let bytes = Bytes::from_owner(to);
        assert_eq!((bytes.len(), budget.lent()), (40, 40));
        drop(bytes);
        assert_eq!(budget.lent(), 0);
    }

    #[tokio::test]
    async fn nothing_comes_where_nobody_has_the_volume() {
        let fabric = OverFabric::new(&Security::default(), Budget::new(1 << 20)).unwrap();
        for text in [
            "file_id=3,01637037d6",
            "file_id=3,01637037d6&offset=5&size=7",
        ] {
            assert_eq!(fabric.read(&ReadQuery::parse(text).unwrap()).await, None);
        }
    }
}
