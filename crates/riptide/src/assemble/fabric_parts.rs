//! The fabric's part of a mount: memory, sidecars, and the route over them.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use context::Context;
use direct::{Limits, Sidecars, Volumes};
use fabric::announce::this_host;
use fabric::carrier::{Dial, Dialer, DialerConfig};
use fabric::client::{Config, Policy};
use fabric::memory::{Arena, ArenaConfig, MAX_ARENA};
use fabric::peers::{Here, Peers};
use fabric::{FabricConfig, FabricRoute, Locate};
use rustix::process::{Resource, getrlimit};
use seaweed::jwt::SigningKey;

use crate::options::{FabricOptions, MountOptions};
use crate::sidecars::{self, Place};

/// A sidecar that takes longer to open a connection is as good as away.
const DIAL_PATIENCE: Duration = Duration::from_secs(1);
/// How often memory and connections that nobody needs are given back.
const TIDY_EVERY: Duration = Duration::from_secs(1);
/// Sidecars that are tried before the first read; which of them will be asked nobody knows yet.
const PREPARED: usize = 4;
/// How long memory may take to be registered with a device, where a mount does not start without: all
/// of it is pinned, and cleared before.
const REGISTERED: Duration = Duration::from_secs(60);
/// How often it is looked whether it is.
const LOOK: Duration = Duration::from_millis(100);
/// Longest name that the protocol takes.
const NAME_MAX: usize = 64;

/// Builds the route, looks for sidecars, and keeps doing so.
///
/// # Errors
/// Without fallback, when no sidecar works.
pub(super) async fn start(
    options: &MountOptions,
    wanted: &FabricOptions,
    place: Place,
    read_key: Option<SigningKey>,
    locate: Arc<dyn Locate>,
) -> anyhow::Result<(Arc<FabricRoute>, Arc<Dialer>)> {
    let host = this_host().unwrap_or_default();
    let policy = Arc::new(Policy::new(config(wanted), RandomState::new().hash_one(0)));
    let here = Here {
        host: host.clone(),
        data_center: options.data.data_center.clone(),
        rack: wanted.rack.clone(),
    };
    let peers = Peers::new(Arc::clone(&policy), here).context("starting the fabric")?;
    let peers = Arc::new(peers);
    let arena =
        arena(options.data.memory_bytes, wanted.huge_pages).context("memory for the fabric")?;
    let dialer = Arc::new(Dialer::new(DialerConfig {
        name: name(options),
        host,
        read_key,
        tls: place.tls.clone(),
        arena: Some(arena.clone()),
        remote_reads: !wanted.read_only,
        trusted: wanted.sidecar_users.clone(),
        patience: DIAL_PATIENCE.min(wanted.timeout),
    }));
    let route = Arc::new(FabricRoute::new(FabricConfig {
        policy,
        peers: Arc::clone(&peers),
        locate,
        dial: Arc::clone(&dialer) as Arc<dyn Dial>,
        arena: Some(arena),
    }));
    sidecars::watch(place, peers).await;
    if !wanted.fallback {
        check(&route).await?;
    } else {
        let first = Arc::clone(&route);
        tokio::task::spawn_blocking(move || prepare(&first));
    }
    let tidied = Arc::clone(&route);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(TIDY_EVERY).await;
            let route = Arc::clone(&tidied);
            // Giving memory back may take the kernel a moment.
            let _ = tokio::task::spawn_blocking(move || route.tidy()).await;
        }
    });
    Ok((route, dialer))
}

/// The volumes whose files are read without the sidecar. Of the descriptors that this process may have,
/// they get half.
///
/// # Errors
/// The system's, when it gives no thread.
pub(super) fn volumes(sidecars: Sidecars, index_bytes: u64) -> anyhow::Result<Arc<Volumes>> {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let limits = Limits {
        volumes: usize::try_from(descriptors / 4).map_or(MAX_VOLUMES, |most| most.min(MAX_VOLUMES)),
        index_bytes,
        sums_bytes: crate::memory::SUMS,
    };
    let volumes = Volumes::new(Box::new(sidecars), limits);
    Ok(Arc::new(volumes.context("starting short-circuit reads")?))
}

/// More volumes than this are not held open at a time.
const MAX_VOLUMES: usize = 2048;
fn config(wanted: &FabricOptions) -> Config {
    Config {
        timeout: wanted.timeout,
        max_concurrent: wanted.max_concurrent,
        ..Config::default()
    }
}

/// Memory that sidecars write to. What of it the reader keeps is within its own limit; half as
/// much again is for what is on its way or in quarantine. Where it does not suffice, bytes take
/// the socket. It is address space: memory is behind it only where it is used.
fn arena(memory_bytes: u64, huge_pages: bool) -> std::io::Result<Arena> {
    let limit = usize::try_from(memory_bytes).unwrap_or(usize::MAX);
    let arena = Arena::new(ArenaConfig {
        size: (limit / 2).saturating_mul(3).clamp(ARENA_MIN, MAX_ARENA),
        keep: limit / 8,
        quarantine: (limit / 4).max(ARENA_MIN / 2),
        reserved_pages: huge_pages,
    })?;
    if huge_pages && !arena.is_reserved() {
        let needed = arena.len() >> 21;
        tracing::warn!(
            needed,
            "ordinary memory instead of huge pages: vm.nr_hugepages leaves too few"
        );
    }
    Ok(arena)
}

/// Room for a few large chunks, however little memory there is.
const ARENA_MIN: usize = crate::memory::ARENA_MIN as usize;

/// Opens a first lane to one of the sidecars, so that memory begins to be registered with a device before the first read
/// wants a lane over it.
fn prepare(route: &FabricRoute) {
    for peer in route.peers().all().iter().take(PREPARED) {
        let ctx = Context::background(route.timeout());
        match route.try_out(&ctx, peer) {
            Ok(carrier) => {
                tracing::debug!(sidecar = peer.name(), carrier, "the first lane is open");
                return;
            }
            Err(error) => tracing::debug!(sidecar = peer.name(), %error, "no first lane"),
        }
    }
}

/// Whether a connection to any of the sidecars can be opened, once memory is registered.
async fn check(route: &Arc<FabricRoute>) -> anyhow::Result<()> {
    let route = Arc::clone(route);
    let tried = tokio::task::spawn_blocking(move || {
        let began = Instant::now();
        loop {
            let (mut reasons, mut soon) = (Vec::new(), false);
            for peer in route.peers().all() {
                let ctx = Context::background(route.timeout());
                match route.try_out(&ctx, &peer) {
                    Ok(_) => return Ok(()),
                    Err(error) => {
                        soon |= error.is_not_ready();
                        reasons.push(format!("{}: {error}", peer.name()));
                    }
                }
            }
            if !soon || began.elapsed() >= REGISTERED {
                return Err(reasons);
            }
            std::thread::sleep(LOOK);
        }
    });
    match tried.await.context("looking for sidecars")? {
        Ok(()) => Ok(()),
        Err(reasons) if reasons.is_empty() => bail!(
            "-rdma.fallback=false needs a sidecar, and none answers (see the log for the reasons)"
        ),
        Err(reasons) => bail!(
            "-rdma.fallback=false needs a sidecar, and none works: {}",
            reasons.join("; ")
        ),
    }
}

/// Who we are, in the sidecar's log.
fn name(options: &MountOptions) -> String {
    let dir = options.point.dir.to_string_lossy();
    let name = format!("riptide {} {dir}", std::process::id());
    let printable = |c: char| {
        if c.is_ascii_graphic() || c == ' ' {
            c
        } else {
            '?'
        }
    };
    name.chars().map(printable).take(NAME_MAX).collect()
}
