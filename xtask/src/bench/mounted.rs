//! What is compared, and one mount of it for one sample: started with empty caches, gone afterwards.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cluster::{Process, Spec, mounted, unmount};
use tempfile::TempDir;

use super::setup::{Bench, ROOT};

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
    /// With a sidecar that lends the volume files, which the mount reads by itself.
    RiptideDirect,
    /// The same, its requests through io_uring.
    RiptideDirectUring,
    /// `riptide mount-fast`: the file is whole in its cache.
    RiptideFast,
    /// `riptide bench -null`: a mount that answers from memory.
    Null,
    /// The same, its requests through io_uring.
    NullUring,
    /// No mount: range requests to the volume server.
    Bare,
    /// No mount: a folder of this machine, its files in the page cache.
    Native,
}

/// The way by which a mount of ours gets bytes: what its bars depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// From the volume server.
    Http,
    /// From a sidecar, by shared memory.
    Shm,
    /// From a sidecar, by TCP.
    Tcp,
    /// Out of the volume files, by the mount itself.
    Direct,
    /// From a whole file in the mount's cache, past the mount.
    Fast,
}

impl Variant {
    /// All of them.
    pub(crate) const ALL: [Self; 14] = [
        Self::Stock,
        Self::StockReadAhead,
        Self::Riptide,
        Self::RiptideShm,
        Self::RiptideTcp,
        Self::RiptideUring,
        Self::RiptideShmUring,
        Self::RiptideDirect,
        Self::RiptideDirectUring,
        Self::RiptideFast,
        Self::Null,
        Self::NullUring,
        Self::Bare,
        Self::Native,
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
            Self::RiptideFast => "riptide-fast",
            Self::Null => "null",
            Self::NullUring => "null-uring",
            Self::Bare => "http",
            Self::Native => "native",
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
            Self::RiptideFast => "riptide mount-fast",
            Self::Null => "null mount",
            Self::NullUring => "null mount, io_uring",
            Self::Bare => "HTTP without a mount",
            Self::Native => "native file",
        }
    }

    /// The same where there is little room.
    pub(crate) fn short(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::StockReadAhead => "stock, ra",
            Self::Riptide => "HTTP",
            Self::RiptideShm => "shm",
            Self::RiptideTcp => "tcp",
            Self::RiptideUring => "HTTP uring",
            Self::RiptideShmUring => "shm uring",
            Self::RiptideDirect => "direct",
            Self::RiptideDirectUring => "direct uring",
            Self::RiptideFast => "fast",
            Self::Null => "null",
            Self::NullUring => "null uring",
            Self::Bare => "bare HTTP",
            Self::Native => "native",
        }
    }

    /// How a mount of Riptide gets bytes; None for all else.
    pub(crate) fn route(self) -> Option<Route> {
        match self {
            Self::Riptide | Self::RiptideUring => Some(Route::Http),
            Self::RiptideShm | Self::RiptideShmUring => Some(Route::Shm),
            Self::RiptideTcp => Some(Route::Tcp),
            Self::RiptideDirect | Self::RiptideDirectUring => Some(Route::Direct),
            Self::RiptideFast => Some(Route::Fast),
            Self::Stock
            | Self::StockReadAhead
            | Self::Null
            | Self::NullUring
            | Self::Bare
            | Self::Native => None,
        }
    }

    /// How requests of the kernel come; nothing for stock, which knows one way, and without a mount.
    pub(crate) fn transport(self) -> Option<&'static str> {
        match self {
            Self::Stock | Self::StockReadAhead | Self::Bare | Self::Native => None,
            Self::Riptide
            | Self::RiptideShm
            | Self::RiptideTcp
            | Self::RiptideDirect
            | Self::RiptideFast
            | Self::Null => Some("dev"),
            Self::RiptideUring
            | Self::RiptideShmUring
            | Self::RiptideDirectUring
            | Self::NullUring => Some("uring"),
        }
    }

    /// Whether it is a mount of Riptide.
    pub(crate) fn is_ours(self) -> bool {
        self.route().is_some()
    }

    /// Whether it is a mount of the cluster, ours or stock's.
    pub(crate) fn is_compared(self) -> bool {
        !matches!(
            self,
            Self::Null | Self::NullUring | Self::Bare | Self::Native
        )
    }

    /// Whether the program `riptide` is needed for it.
    pub(crate) fn is_riptide(self) -> bool {
        self.is_ours() || matches!(self, Self::Null | Self::NullUring)
    }

    /// The carrier of the sidecar it has: what it reads by, or borrows files by.
    pub(crate) fn carrier(self) -> Option<&'static str> {
        match self.route()? {
            Route::Shm | Route::Direct => Some("shm"),
            Route::Tcp => Some("tcp"),
            Route::Http | Route::Fast => None,
        }
    }

    /// The null mount by the same transport.
    pub(crate) fn floor(self) -> Self {
        match self.transport() {
            Some("uring") => Self::NullUring,
            _ => Self::Null,
        }
    }
}

/// A folder to measure: a mount that works, unmounted when dropped, or a plain one.
#[derive(Debug)]
pub(crate) struct Mounted {
    dir: PathBuf,
    /// Where the tree lies.
    root: PathBuf,
    process: Option<Process>,
    _scratch: Option<TempDir>,
}

impl Mounted {
    /// Mounts the cluster with the same flags and new, empty folders whatever the variant.
    pub(crate) fn start(bench: &Bench, variant: Variant) -> Result<Self> {
        if variant == Variant::Native {
            let dir = bench.native.as_ref().context("there is no native folder")?;
            return Ok(Self::plain(dir.path()));
        }
        if variant == Variant::Bare {
            return Ok(Self::plain(Path::new("/")));
        }
        let scratch = tempfile::Builder::new()
            .prefix("riptide-bench-")
            .tempdir()?;
        let at = scratch.path().canonicalize()?;
        let dir = at.join("mnt");
        fs::create_dir(&dir)?;
        let (program, args) = match variant.is_compared() {
            true => mount_of(bench, variant, &at)?,
            false => null_mount(bench, variant, &dir)?,
        };
        let process = Process::start(Spec {
            name: format!("the mount of {}", variant.key()),
            program,
            args,
            home: at.clone(),
            log: at.join("mount.log"),
            env: Vec::new(),
        })?;
        let mut mount = Self {
            root: match variant.is_compared() {
                true => dir.join(ROOT),
                false => dir.clone(),
            },
            dir,
            process: Some(process),
            _scratch: Some(scratch),
        };
        mount.wait()?;
        if variant == Variant::StockReadAhead {
            raise_read_ahead(&mount.dir)?;
        }
        Ok(mount)
    }

    /// No mount at all.
    fn plain(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            root: dir.to_owned(),
            process: None,
            _scratch: None,
        }
    }

    /// Where it is mounted.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the tree lies.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Its process, if there is one.
    pub(crate) fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Adds the end of its log to an error.
    pub(crate) fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        match &self.process {
            Some(process) => {
                let (name, log) = (&process.spec().name, process.log_tail(30));
                error.context(format!("{name}; its log:\n{log}"))
            }
            None => error,
        }
    }

    /// Unmounts it and waits for its process, so that it takes nothing from the next sample.
    pub(crate) fn stop(mut self) -> Result<()> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        unmount(&self.dir)?;
        if process.wait(GOING).is_err() {
            // It is not what is measured here; the end-to-end tests are strict about it.
            eprintln!(
                "bench: {} outlives its unmount, killed",
                process.spec().name
            );
            process.kill()?;
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        let start = Instant::now();
        while !(mounted(&self.dir)? && fs::read_dir(&self.dir).is_ok()) {
            process.expect_running()?;
            if start.elapsed() > COMING {
                let name = &process.spec().name;
                let log = process.log_tail(30);
                bail!("{name} is not there after {COMING:?}; its log:\n{log}");
            }
            thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.process.is_some()
            && let Err(error) = unmount(&self.dir)
        {
            eprintln!("bench: {error:#}");
        }
    }
}

/// A mount of the cluster in the folder `at`, which is the only one it uses.
fn mount_of(bench: &Bench, variant: Variant, at: &Path) -> Result<(PathBuf, Vec<OsString>)> {
    let cache = at.join("cache");
    fs::create_dir(&cache)?;
    let (program, mut args): (PathBuf, Vec<OsString>) = match variant.is_ours() {
        true => (bench.programs.riptide()?, Vec::new()),
        false => (
            bench.programs.weed.clone(),
            vec!["-logtostderr=true".into()],
        ),
    };
    args.push("mount".into());
    args.push(format!("-filer={}", bench.filer).into());
    args.push(format!("-dir={}/mnt", at.display()).into());
    args.push(format!("-cacheDir={}", cache.display()).into());
    args.push(format!("-localSocket={}/mount.sock", at.display()).into());
    if let Some(transport) = variant.transport() {
        args.push(format!("-fuse.transport={transport}").into());
        args.extend((transport == "uring").then(|| "-readOnly".into()));
    }
    if let Some(sidecar) = bench.sidecar(variant) {
        args.push("-rdma.enabled=true".into());
        args.push(format!("-rdma.sidecar={}", sidecar.http()).into());
        // Strict: a read that went over HTTP would be counted for the fabric.
        args.push("-rdma.fallback=false".into());
        let direct = variant.route() == Some(Route::Direct);
        args.push(format!("-rdma.shortCircuit={direct}").into());
    }
    if variant.route() == Some(Route::Fast) {
        args.extend(["-readOnly", "-cache.aggressive"].map(OsString::from));
    }
    args.extend(bench.mount_flags.iter().map(OsString::from));
    Ok((program, args))
}

/// A null mount on `dir` that shows the same tree.
fn null_mount(bench: &Bench, variant: Variant, dir: &Path) -> Result<(PathBuf, Vec<OsString>)> {
    let args = [
        "bench".to_owned(),
        "-null".to_owned(),
        format!("-serve={}", dir.display()),
        format!("-fuse.transport={}", variant.transport().unwrap_or("dev")),
        format!("-sizeMB={}", bench.tree.big().size >> 20),
        format!("-files={}", bench.tree.small().len()),
    ];
    let args = args.into_iter().map(OsString::from).collect();
    Ok((bench.programs.riptide()?, args))
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
