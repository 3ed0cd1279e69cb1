//! Where bytes wait that are written faster than they are stored.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use e2e::{Scene, needs_fuse, noise};

const BLOCK: usize = 64 << 10;
const BLOCKS: usize = 2048;

/// Files below `folder` that a process has open, those without a name as well.
fn open_below(process: u32, folder: &Path) -> Vec<PathBuf> {
    let fds = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let targets = fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
    targets
        .filter(|target| target.starts_with(folder))
        .collect()
}

#[test]
fn what_does_not_fit_into_memory_waits_in_the_folder_that_was_named() {
    needs_fuse!();
    let scene = Scene::start();
    let swap = scene.path("swap");
    fs::create_dir(&swap).unwrap();
    let flags = [
        format!("-cacheDirWrite={}", swap.display()),
        "-memoryLimitMB=200".to_owned(),
        "-chunkSizeLimitMB=1".to_owned(),
        "-concurrentWriters=1".to_owned(),
    ];
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let mut mount = scene.mount(&flags);
    let process = mount.process().id();
    let bytes = noise(1, BLOCK * BLOCKS);
    let file = File::create(mount.path("/file")).unwrap();
    let mut was_used = false;
    // Never two blocks in a row, so that no chunk is complete before the end.
    for (number, at) in (0..BLOCKS).map(|n| (n * 789) % BLOCKS).enumerate() {
        let block = &bytes[at * BLOCK..][..BLOCK];
        file.write_all_at(block, (at * BLOCK) as u64).unwrap();
        if number % 64 == 0 {
            was_used |= !open_below(process, &swap).is_empty();
        }
    }
    file.sync_all().unwrap();
    drop(file);
    assert!(was_used, "128 MiB have waited in less memory");
    assert!(mount.read("/file") == bytes);
    drop(mount);
    let other = scene.mount_at("other", &[]);
    assert!(other.read("/file") == bytes);
    assert_eq!(fs::read_dir(&swap).unwrap().count(), 0, "nothing is left");
}
