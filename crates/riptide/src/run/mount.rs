//! `riptide mount`: from options to a mount that is served until it ends.

use std::io;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::mount::MountStats;
use anyhow::{Context as _, bail};
use fuse::{Errno, Session, SessionConfig, Transport, UnmountError, Unmounter};
use ledger::Machine;

use crate::assemble::{Assembled, KernelNumbers, Over, assemble};
use crate::lifecycle::background::Detached;
use crate::lifecycle::{MountPoint, Signals, check_cache_dir, check_fuse, systemd};
use crate::memory::divide;
use crate::options::MountOptions;
use crate::server::{ControlServer, SetQuota, StatsServer};

/// Threads of the runtime, at most. It carries what the filer tells, and the statistics server, which
/// wait more than they work; data never passes through it.
const RUNTIME_THREADS: usize = 2;
/// With fewer processors there is one thread: a second one is woken to help, and takes the
/// processor of whoever the first one would have served sooner.
const PROCESSORS: usize = 8;

/// Mounts, serves until unmounted by whomever or by a signal, and cleans up.
///
/// # Errors
/// Whatever prevents the mount, naming the flag or the part that is to blame.
pub fn run_mount(options: &MountOptions) -> anyhow::Result<()> {
    let (options, ledger) = divide(options, &Machine::default())?;
    let options = &options;
    let transport = transport(options)?;
    check_fuse()?;
    check_whole(options)?;
    check_cache_dir(&options.data, options.whole.is_some(), options.point.umask)?;
    let point = MountPoint::prepare(&options.point)?;
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = if processors < PROCESSORS {
        1
    } else {
        RUNTIME_THREADS
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("riptide-async")
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let mut signals = Signals::install(runtime.handle()).context("catching signals")?;

    let over = Over::of(&point.metadata);
    let assembling = async {
        tokio::select! {
            assembled = assemble(options, &ledger, over) => assembled.map(Some),
            signal = signals.next() => {
                tracing::info!(signal, "ended before the mount was there");
                Ok(None)
            }
        }
    };
    let Some(assembled) = runtime.block_on(assembling)? else {
        return Ok(());
    };
    let config = session_config(options, &assembled, transport);
    let served = serve(options, &point.dir, &assembled, config, signals, &runtime);
    assembled.mount.close();
    // Questions under way have nobody left to answer to.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

fn serve(
    options: &MountOptions,
    dir: &Path,
    assembled: &Assembled,
    config: SessionConfig,
    signals: Signals,
    runtime: &tokio::runtime::Runtime,
) -> anyhow::Result<()> {
    // Before there is a mount, so that who sees one can ask.
    let registry = Arc::clone(&assembled.registry);
    let cache = Arc::clone(&assembled.mount);
    let server = StatsServer::start(
        runtime.handle(),
        registry,
        dir,
        options.metrics,
        Some(cache),
    )?;
    let session = Session::mount(dir, config, Arc::clone(&assembled.mount))
        .with_context(|| format!("mounting on {}", dir.display()))?;
    let unmounter = session.unmounter();
    let ending = signals.unmount_on_signal(runtime.handle(), move |lazy| unmount(&unmounter, lazy));
    let agreed = KernelNumbers(session.negotiated().clone());
    assembled.registry.add(Arc::new(agreed));
    let mount = Arc::clone(&assembled.mount);
    let set_quota: SetQuota = Arc::new(move |bytes| mount.set_quota(bytes));
    let (socket, given) = (options.point.local_socket.as_deref(), &options.point.dir);
    let control = ControlServer::start(runtime.handle(), socket, given, dir, set_quota)?;
    // The mount is ready when its root answers, and not before.
    std::fs::metadata(dir).with_context(|| format!("the root of {}", dir.display()))?;
    tracing::info!(dir = %dir.display(), source = assembled.source, "mounted");
    systemd::ready(&format!("serving {}", dir.display()));
    if let Some(detached) = Detached::this() {
        detached.ready().context("going into the background")?;
    }
    session.wait();
    systemd::stopping();
    ending.abort();
    drop((server, control));
    tracing::info!(dir = %dir.display(), "unmounted");
    Ok(())
}

fn unmount(unmounter: &Unmounter, lazy: bool) -> io::Result<()> {
    unmounter.unmount(lazy).map_err(|error| match error {
        UnmountError::Busy(_) => io::Error::new(io::ErrorKind::ResourceBusy, error),
        other => io::Error::other(other),
    })
}

/// How requests may come. The kernel drops pages that were just written before the WRITE of them has
/// arrived, if somebody asks it to or memory is short. In the queue of another CPU a READ of them
/// overtakes the WRITE, brings the old bytes, and the kernel keeps those. On /dev/fuse both are in
/// one line.
fn transport(options: &MountOptions) -> anyhow::Result<Transport> {
    match (options.kernel.transport, options.point.read_only) {
        (Transport::Uring, false) => bail!(
            "-fuse.transport=uring needs -readOnly: a read could overtake the write it has to follow"
        ),
        (Transport::Auto, false) => Ok(Transport::Device),
        (transport, _) => Ok(transport),
    }
}

/// The kernel has one file for all handles of an inode that it reads by itself, and none of them
/// writes.
fn check_whole(options: &MountOptions) -> anyhow::Result<()> {
    if options.whole.is_some() && !options.point.read_only {
        bail!("-cache.aggressive needs -readOnly: files that are kept whole cannot be written");
    }
    Ok(())
}

fn session_config(
    options: &MountOptions,
    assembled: &Assembled,
    transport: Transport,
) -> SessionConfig {
    let stats = Arc::clone(&assembled.stats);
    SessionConfig {
        source: assembled.source.clone(),
        subtype: "seaweedfs".to_owned(),
        read_only: options.point.read_only,
        no_exec: options.point.no_exec,
        allow_other: options.point.allow_others,
        default_permissions: options.point.default_permissions,
        max_background: options.kernel.max_background,
        congestion_threshold: options.kernel.congestion_threshold,
        read_ahead_kb: options.kernel.read_ahead_kb,
        transport,
        max_threads: options.kernel.max_threads,
        async_dio: options.kernel.async_dio,
        remote_locks: options.data.shared_locks,
        passthrough: options.whole.is_some(),
        cache_symlinks: options.metadata.cache_symlinks,
        observer: Some(Arc::new(move |operation: &str, took, result| {
            count(&stats, operation, took, result);
        })),
        ..SessionConfig::default()
    }
}

/// Only what means trouble counts as an error: a name that is not there is an answer.
fn count(stats: &MountStats, operation: &str, took: Duration, result: Result<(), Errno>) {
    let trouble = [Errno::EIO, Errno::ESTALE, Errno::ETIMEDOUT, Errno::ENOMEM];
    let failed = result.is_err_and(|errno| trouble.contains(&errno));
    stats.ops.record(operation, took, failed);
}
