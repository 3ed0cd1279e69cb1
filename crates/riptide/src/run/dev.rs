//! `riptide dev`: a throw-away SeaweedFS and a mount of it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use cluster::Cluster;

use crate::flags::Values;
use crate::flags::mount::ALL;
use crate::options::MountOptions;
use crate::run::run_mount;

/// Sizes of the sample files, over and over: empty, small, one chunk, many chunks.
const SIZES: [usize; 5] = [0, 100, 64 << 10, 1 << 20, 9 << 20];

/// Starts a cluster, puts `files` files in, and mounts it on `dir` until Ctrl-C.
pub(super) fn run(dir: Option<PathBuf>, files: usize) -> anyhow::Result<()> {
    println!("Starting SeaweedFS ...");
    let cluster = Cluster::builder()
        .start()
        .context("cannot start a SeaweedFS")?;
    for number in 0..files {
        let size = SIZES[number % SIZES.len()];
        let path = format!("/sample/{number:05}.bin");
        cluster.put(&path, &sample(number, size))?;
    }
    let point = match dir {
        Some(dir) => dir,
        None => cluster.root().join("mnt"),
    };
    let options = options(&cluster, &point)?;
    println!("{}", description(&cluster, &point, files));
    run_mount(&options)
    // Dropping the cluster stops its processes and removes its folder.
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
