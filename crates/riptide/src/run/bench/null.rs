//! The null mount: served by this process, or by one of its own that is measured.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ::null::NullFs;
use anyhow::{Context, bail};
use cluster::{Process, Spec, mounted, unmount};
use fuse::{Session, SessionConfig, Transport, UnmountError};
use tempfile::TempDir;

use super::place::{files, size};
use crate::lifecycle::{Signals, check_fuse};
use crate::options::BenchOptions;
use crate::run::print;

/// Mounts it on `dir`, until it is unmounted by whomever or by a signal.
pub(super) fn serve(
    dir: &Path,
    transport: Transport,
    options: &BenchOptions,
) -> anyhow::Result<()> {
    check_fuse()?;
    let tree = bench::Tree::new(size(options), files(options));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let signals = Signals::install(runtime.handle()).context("catching signals")?;
    let config = SessionConfig {
        source: "riptide-null".to_owned(),
        subtype: "null".to_owned(),
        read_only: true,
        // As in a mount of Riptide.
        allow_other: true,
        transport,
        ..SessionConfig::default()
    };
    let fs = Arc::new(NullFs::new(&tree));
    let session = Session::mount(dir, config, fs)
        .with_context(|| format!("mounting on {}", dir.display()))?;
    let over = match &session.negotiated().uring {
        Ok(()) => "io_uring".to_owned(),
        Err(reason) => format!("/dev/fuse ({reason})"),
    };
    print(format!("null mount on {} over {over}\n", dir.display()).as_bytes())?;
    let unmounter = session.unmounter();
    let ending = signals.unmount_on_signal(runtime.handle(), move |lazy| {
        unmounter.unmount(lazy).map_err(|error| match error {
            UnmountError::Busy(_) => std::io::Error::new(std::io::ErrorKind::ResourceBusy, error),
            other => std::io::Error::other(other),
        })
    });
    session.wait();
    ending.abort();
    Ok(())
}

/// A process that serves it on a temporary folder. Ended when dropped.
pub(super) struct Child {
    dir: PathBuf,
    process: Process,
    _scratch: TempDir,
}

impl Child {
    /// Starts it, and waits until it is mounted.
    pub(super) fn start(transport: Transport, options: &BenchOptions) -> anyhow::Result<Self> {
        let scratch = tempfile::Builder::new().prefix("riptide-null-").tempdir()?;
        let root = scratch.path().canonicalize()?;
        let dir = root.join("mnt");
        fs::create_dir(&dir)?;
        let transport = match transport {
            Transport::Auto => "auto",
            Transport::Uring => "uring",
            Transport::Device => "dev",
        };
        let args = [
            "bench".to_owned(),
            "-null".to_owned(),
            format!("-serve={}", dir.display()),
            format!("-fuse.transport={transport}"),
            format!("-sizeMB={}", size(options) >> 20),
            format!("-files={}", files(options)),
        ];
        let process = Process::start(Spec {
            name: "the null mount".to_owned(),
            program: env::current_exe().context("find this program")?,
            args: args.into_iter().map(Into::into).collect(),
            home: root.clone(),
            log: root.join("null.log"),
            env: Vec::new(),
        })?;
        let mut child = Self {
            dir,
            process,
            _scratch: scratch,
        };
        let start = Instant::now();
        while !mounted(&child.dir)? {
            child.process.expect_running()?;
            if start.elapsed() > COMING {
                bail!("the null mount is not there after {COMING:?}");
            }
            thread::sleep(POLL);
        }
        Ok(child)
    }

    /// Where it is mounted.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Unmounts it, and waits for its process.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        unmount(&self.dir)?;
        self.process.wait(GOING).map(drop)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.dir) {
            tracing::warn!("{error:#}");
        }
    }
}

/// Making the bytes of 16 GiB takes seconds.
const COMING: Duration = Duration::from_secs(60);
const GOING: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);
