//! One mount for one sample: started with empty caches, gone afterwards.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cluster::{Process, Spec, mounted, unmount};
use tempfile::TempDir;

use super::setup::Bench;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Variant {
    /// `weed mount` as it is.
    Stock,
    /// The same, with the kernel's read-ahead raised from outside.
    StockReadAhead,
    /// `riptide mount`, over HTTP.
    Riptide,
    /// The same with a sidecar that offers shared memory.
    RiptideShm,
    /// The same with a sidecar that offers TCP.
    RiptideTcp,
    /// Over HTTP, its requests through io_uring.
    RiptideUring,
    /// With shared memory, its requests through io_uring.
    RiptideShmUring,
    /// Reading the volume files by itself.
    RiptideDirect,
    /// The same, its requests through io_uring.
    RiptideDirectUring,
}

impl Variant {
    /// All of them.
    pub(crate) const ALL: [Self; 9] = [
        Self::Stock,
        Self::StockReadAhead,
        Self::Riptide,
        Self::RiptideShm,
        Self::RiptideTcp,
        Self::RiptideUring,
        Self::RiptideShmUring,
        Self::RiptideDirect,
        Self::RiptideDirectUring,
    ];

    /// Its name in flags and JSON.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::StockReadAhead => "stock-read-ahead",
            Self::Riptide => "riptide",
            Self::RiptideShm => "riptide-shm",
            Self::RiptideTcp => "riptide-tcp",
            Self::RiptideUring => "riptide-uring",
            Self::RiptideShmUring => "riptide-shm-uring",
            Self::RiptideDirect => "riptide-direct",
            Self::RiptideDirectUring => "riptide-direct-uring",
        }
    }

    /// Its name at the head of a column.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::StockReadAhead => "stock, read-ahead raised",
            Self::Riptide => "riptide, HTTP",
            Self::RiptideShm => "riptide, shared memory",
            Self::RiptideTcp => "riptide, TCP fabric",
            Self::RiptideUring => "riptide, HTTP, io_uring",
            Self::RiptideShmUring => "riptide, shared memory, io_uring",
            Self::RiptideDirect => "riptide, short-circuit",
            Self::RiptideDirectUring => "riptide, short-circuit, io_uring",
        }
    }

    /// Whether it is a mount of ours.
    pub(crate) fn is_ours(self) -> bool {
        !matches!(self, Self::Stock | Self::StockReadAhead)
    }

    /// Whether it reads the volume files by itself.
    pub(crate) fn is_direct(self) -> bool {
        matches!(self, Self::RiptideDirect | Self::RiptideDirectUring)
    }

    /// The carrier of the sidecar it has: what it reads by, or borrows files by.
    pub(crate) fn carrier(self) -> Option<&'static str> {
        match self {
            Self::RiptideShm | Self::RiptideShmUring => Some("shm"),
            Self::RiptideDirect | Self::RiptideDirectUring => Some("shm"),
            Self::RiptideTcp => Some("tcp"),
            _ => None,
        }
    }
}

impl Variant {
    /// How requests of the kernel come; nothing for stock, which knows one way.
    fn transport(self) -> Option<&'static str> {
        match self {
            Self::Stock | Self::StockReadAhead => None,
            Self::Riptide | Self::RiptideShm | Self::RiptideTcp | Self::RiptideDirect => {
                Some("dev")
            }
            Self::RiptideUring | Self::RiptideShmUring | Self::RiptideDirectUring => Some("uring"),
        }
    }
}

/// A mount that works. Unmounted when dropped.
#[derive(Debug)]
pub(crate) struct Mounted {
    dir: PathBuf,
    process: Process,
    _scratch: TempDir,
}

impl Mounted {
    /// Mounts the cluster with the same flags and new, empty folders whatever the variant.
    pub(crate) fn start(bench: &Bench, variant: Variant) -> Result<Self> {
        let scratch = tempfile::Builder::new()
            .prefix("riptide-bench-")
            .tempdir()?;
        let root = scratch.path().canonicalize()?;
        let (dir, cache) = (root.join("mnt"), root.join("cache"));
        fs::create_dir(&dir)?;
        fs::create_dir(&cache)?;
        let weed = || {
            (
                bench.programs.weed.clone(),
                vec!["-logtostderr=true".into()],
            )
        };
        let (program, mut args): (PathBuf, Vec<OsString>) = if variant.is_ours() {
            let program = bench.programs.riptide.clone();
            (program.context("there is no riptide program")?, Vec::new())
        } else {
            weed()
        };
        args.push("mount".into());
        args.push(format!("-filer={}", bench.filer).into());
        args.push(format!("-dir={}", dir.display()).into());
        args.push(format!("-cacheDir={}", cache.display()).into());
        args.push(format!("-localSocket={}/mount.sock", root.display()).into());
        if let Some(transport) = variant.transport() {
            args.push(format!("-fuse.transport={transport}").into());
            args.extend((transport == "uring").then(|| "-readOnly".into()));
        }
        if let Some(sidecar) = bench.sidecar(variant) {
            args.push("-rdma.enabled=true".into());
            args.push(format!("-rdma.sidecar={}", sidecar.http()).into());
            // Strict: a read that went over HTTP would be counted for the fabric.
            args.push("-rdma.fallback=false".into());
            args.push(format!("-rdma.shortCircuit={}", variant.is_direct()).into());
        }
        args.extend(bench.mount_flags.iter().map(OsString::from));
        let process = Process::start(Spec {
            name: format!("the mount of {}", variant.key()),
            program,
            args,
            home: root.clone(),
            log: root.join("mount.log"),
            env: Vec::new(),
        })?;
        let mut mount = Self {
            dir,
            process,
            _scratch: scratch,
        };
        mount.wait()?;
        if variant == Variant::StockReadAhead {
            raise_read_ahead(&mount.dir)?;
        }
        Ok(mount)
    }

    /// Where it is mounted.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Adds the end of its log to an error.
    pub(crate) fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let name = &self.process.spec().name;
        error.context(format!("{name}; its log:\n{}", self.process.log_tail(30)))
    }

    /// Unmounts it and waits for its process, so that it takes nothing from the next sample.
    pub(crate) fn stop(mut self) -> Result<()> {
        unmount(&self.dir)?;
        if self.process.wait(GOING).is_err() {
            // It is not what is measured here; the end-to-end tests are strict about it.
            eprintln!(
                "bench: {} outlives its unmount, killed",
                self.process.spec().name
            );
            self.process.kill()?;
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        let start = Instant::now();
        while !(mounted(&self.dir)? && fs::read_dir(&self.dir).is_ok()) {
            self.process.expect_running()?;
            if start.elapsed() > COMING {
                let name = &self.process.spec().name;
                let log = self.process.log_tail(30);
                bail!("{name} is not there after {COMING:?}; its log:\n{log}");
            }
            thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.dir) {
            eprintln!("bench: {error:#}");
        }
    }
}

/// What an administrator could do by hand, and `weed mount` does not do.
fn raise_read_ahead(dir: &Path) -> Result<()> {
    let list = fs::read_to_string("/proc/self/mountinfo")?;
    let device = device_of(&list, dir).context("the mount is not in mountinfo")?;
    let path = format!("/sys/class/bdi/{device}/read_ahead_kb");
    fs::write(&path, READ_AHEAD_KB.to_string()).with_context(|| format!("write {path}"))
}

/// `major:minor` of what is mounted at `dir`, in the text of a mountinfo file.
fn device_of<'a>(list: &'a str, dir: &Path) -> Option<&'a str> {
    list.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(2);
        let (device, mut rest) = (fields.next()?, fields.skip(1));
        (Path::new(rest.next()?) == dir).then_some(device)
    })
}

/// As much as one FUSE request can carry.
pub(crate) const READ_AHEAD_KB: u32 = 1024;
const COMING: Duration = Duration::from_secs(30);
const GOING: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_is_the_third_field_of_the_line_of_the_folder() {
        let list = "22 1 254:0 / / rw - ext4 /dev/vda rw\n\
                    40 22 0:35 / /a/b rw,nosuid shared:1 - fuse.x x rw\n";
        assert_eq!(device_of(list, Path::new("/a/b")), Some("0:35"));
        assert_eq!(device_of(list, Path::new("/a")), None);
    }
}
