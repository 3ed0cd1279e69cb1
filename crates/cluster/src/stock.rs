//! The stock `weed mount`, to compare with.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::mount::{UnmountFlags, unmount as umount2};
use tempfile::TempDir;

use crate::{Cluster, Process, Spec};

/// A mount by the real `weed mount`; unmounted when dropped.
#[derive(Debug)]
pub struct StockMount {
    dir: PathBuf,
    process: Process,
    _scratch: TempDir,
}

impl StockMount {
    pub(crate) fn start(
        cluster: &Cluster,
        weed: &Path,
        dir: &Path,
        extra: &[&str],
    ) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let dir = dir.canonicalize()?;
        let scratch = tempfile::Builder::new()
            .prefix("riptide-stock-")
            .tempdir()?;
        let cache = scratch.path().join("cache");
        fs::create_dir(&cache)?;
        let mut args: Vec<OsString> = vec!["-logtostderr=true".into(), "mount".into()];
        args.push(format!("-filer={}", cluster.filer_list()).into());
        args.push(format!("-dir={}", dir.display()).into());
        args.push(format!("-cacheDir={}", cache.display()).into());
        args.push(format!("-localSocket={}/mount.sock", scratch.path().display()).into());
        args.extend(extra.iter().map(OsString::from));
        let process = Process::start(Spec {
            name: "weed mount".to_owned(),
            program: weed.to_owned(),
            args,
            home: cluster.home().to_owned(),
            log: scratch.path().join("mount.log"),
            env: Vec::new(),
        })?;
        let mut mount = Self {
            dir,
            process,
            _scratch: scratch,
        };
        mount.wait()?;
        Ok(mount)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn wait(&mut self) -> Result<()> {
        let start = Instant::now();
        while !(mounted(&self.dir)? && fs::read_dir(&self.dir).is_ok()) {
            self.process.expect_running()?;
            if start.elapsed() > READY {
                bail!(
                    "no stock mount after {READY:?}; its log:\n{}",
                    self.process.log_tail(30)
                );
            }
            thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for StockMount {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the log of weed mount:\n{}", self.process.log_tail(25));
        }
        if let Err(error) = unmount(&self.dir) {
            eprintln!("{error:#}");
        }
    }
}

/// Whether something is mounted at exactly `dir`, which must be canonical.
///
/// # Errors
/// When the kernel's list cannot be read.
pub fn mounted(dir: &Path) -> Result<bool> {
    let list = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    let wanted = escape(dir);
    Ok(list
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(&wanted)))
}

/// Unmounts `dir`: properly if it lets go soon, else detached from the tree.
///
/// # Errors
/// When even that fails.
pub fn unmount(dir: &Path) -> Result<()> {
    let start = Instant::now();
    while mounted(dir)? {
        let busy = start.elapsed() > PATIENCE;
        let flags = if busy {
            UnmountFlags::DETACH
        } else {
            UnmountFlags::empty()
        };
        match umount2(dir, flags) {
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(rustix::io::Errno::BUSY) => thread::sleep(POLL),
            Err(error) => return Err(error).with_context(|| format!("unmount {}", dir.display())),
        }
    }
    Ok(())
}

/// As the kernel writes a path in mountinfo.
fn escape(path: &Path) -> String {
    let text = path.to_string_lossy();
    text.replace('\\', "\\134")
        .replace(' ', "\\040")
        .replace('\t', "\\011")
        .replace('\n', "\\012")
}

const READY: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(20);
