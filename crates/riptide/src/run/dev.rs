//! `riptide dev`: a throw-away SeaweedFS and a mount of it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use cluster::Cluster;

use crate::flags::Values;
use crate::flags::mount::ALL;
use crate::lifecycle::Signals;
use crate::options::MountOptions;
use crate::run::run_mount;

/// Sizes of the sample files, over and over: empty, small, one chunk, many chunks.
const SIZES: [usize; 5] = [0, 100, 64 << 10, 1 << 20, 9 << 20];

/// Starts a cluster, puts `files` files in, and mounts it on `dir` until Ctrl-C.
pub(super) fn run(dir: Option<PathBuf>, files: usize) -> anyhow::Result<()> {
    let mut watch = SignalWatch::start()?;
    println!("Starting SeaweedFS ...");
    let cluster = match Cluster::builder().start() {
        // Ctrl-C in a terminal reaches the servers as well.
        Err(_) if watch.has_seen_one() => return Ok(()),
        started => started.context("cannot start a SeaweedFS")?,
    };
    for number in 0..files {
        if watch.has_seen_one() {
            return Ok(());
        }
        let size = SIZES[number % SIZES.len()];
        let path = format!("/sample/{number:05}.bin");
        cluster.put(&path, &sample(number, size))?;
    }
    let point = match dir {
        Some(dir) => dir,
        None => cluster.root().join("mnt"),
    };
    let options = options(&cluster, &point)?;
    if watch.has_seen_one() {
        return Ok(());
    }
    println!("{}", description(&cluster, &point, files));
    run_mount(&options)
    // Dropping the cluster stops its processes and removes its folder.
}

/// Catches signals while something is made that has to be removed whenever they come.
pub(super) struct SignalWatch {
    runtime: tokio::runtime::Runtime,
    signals: Signals,
}

impl SignalWatch {
    pub(super) fn start() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting a runtime")?;
        let signals = Signals::install(runtime.handle()).context("catching signals")?;
        Ok(Self { runtime, signals })
    }

    pub(super) fn has_seen_one(&mut self) -> bool {
        // The runtime runs only in here; it needs a moment to see what has come.
        let moment = Duration::from_millis(2);
        let next = async { tokio::time::timeout(moment, self.signals.next()).await };
        self.runtime.block_on(next).is_ok()
    }
}

fn options(cluster: &Cluster, point: &Path) -> anyhow::Result<MountOptions> {
    let filers = cluster.filer_list();
    let cache = cluster.root().join("cache");
    let values = Values::new(
        &ALL,
        [
            ("filer", OsStr::new(&filers)),
            ("dir", point.as_os_str()),
            ("dirAutoCreate", OsStr::new("true")),
            ("cacheDir", cache.as_os_str()),
            ("config_dir", cluster.home().as_os_str()),
        ],
    )?;
    Ok(MountOptions::from_values(&values)?)
}

fn description(cluster: &Cluster, point: &Path, files: usize) -> String {
    format!(
        "\n  mount     {}\n  files     {files}, in {}\n  filer     http://{}/\n  master    http://{}/\n  \
         data      {}\n\n  riptide stats {}   shows what the mount does\n  \
         curl -F file=@FILE http://{}/sample/   puts a file in\n\nCtrl-C ends and removes all of it.\n",
        point.display(),
        point.join("sample").display(),
        cluster.filer_http(),
        cluster.master_http(),
        cluster.root().display(),
        point.display(),
        cluster.filer_http(),
    )
}

/// Bytes that differ from file to file and do not compress to nothing.
fn sample(number: usize, size: usize) -> Vec<u8> {
    let mut state = number as u64 + 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        // Xorshift by Marsaglia, with the shifts 13, 7, 17.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_files_have_their_size_and_differ() {
        for size in SIZES {
            assert_eq!(sample(1, size).len(), size);
        }
        assert_ne!(sample(1, 100), sample(2, 100));
    }
}
