//! CPU time of everybody who takes part in a sample.

use std::process;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use bench::usage::cpu_time;

/// A reading of all clocks, then the difference to a second one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// The process of the mount; nothing where there is none.
    pub(crate) mount: Duration,
    /// This process: the reader, with the checks it makes.
    pub(crate) reader: Duration,
    /// Master, volume server and filer, and the sidecar where there is one.
    pub(crate) servers: Duration,
}

impl Cost {
    /// The clocks now.
    pub(crate) fn now(mount: Option<u32>, servers: &[u32]) -> Result<Self> {
        let mount = mount.map(cpu_time).transpose();
        let servers: Result<Duration, _> = servers.iter().map(|pid| cpu_time(*pid)).sum();
        Ok(Self {
            mount: mount.context("CPU time of the mount")?.unwrap_or_default(),
            reader: cpu_time(process::id())?,
            servers: servers.context("CPU time of the servers")?,
        })
    }

    /// What was used since, counting work that the reader did not wait for
    /// (prefetching, writing to a cache) as well.
    pub(crate) fn since(self, mount: Option<u32>, servers: &[u32]) -> Result<Self> {
        thread::sleep(SETTLE);
        let now = Self::now(mount, servers)?;
        Ok(Self {
            mount: now.mount.saturating_sub(self.mount),
            reader: now.reader.saturating_sub(self.reader),
            servers: now.servers.saturating_sub(self.servers),
        })
    }

    /// Everybody who brings the bytes: all but the reader, who does the same work whoever brings them.
    pub(crate) fn serving(self) -> Duration {
        self.mount + self.servers
    }
}

/// Idle mounts use well under a millisecond of CPU in this time.
const SETTLE: Duration = Duration::from_millis(300);
