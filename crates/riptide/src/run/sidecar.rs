//! `riptide sidecar`: from settings to a daemon that runs until it is told to end.

use anyhow::Context as _;
use seaweed::Security;
use sidecar::{Config, Daemon};

use crate::lifecycle::{Signals, systemd};

/// Threads of the runtime. They accept, parse and write; needles are read on threads that may
/// block, of which there are as many as `sidecar` allows readers.
const RUNTIME_THREADS: usize = 4;

/// Serves until SIGINT or SIGTERM.
pub(super) fn run(config: Config) -> anyhow::Result<()> {
    let security = Security::load(config.config_dir.as_deref())?;
    if let Some(source) = &security.source {
        tracing::info!(file = %source.display(), "using security settings");
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.min(RUNTIME_THREADS))
        .thread_name("riptide-async")
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let mut signals = Signals::install(runtime.handle()).context("catching signals")?;
    runtime.block_on(async {
        let open = sidecar::shelf::opener(&config)?;
        let daemon = Daemon::start(config, security, open).await?;
        let told = format!("serving needles on {}", daemon.address());
        tracing::info!("{told}");
        systemd::ready(&told);
        let signal = signals.next().await;
        tracing::info!(signal, "ending");
        systemd::stopping();
        tokio::select! {
            () = daemon.stop() => {}
            _ = signals.next() => tracing::warn!("a second signal: ending at once"),
        }
        Ok(())
    })
}
