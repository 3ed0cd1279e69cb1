//! The disk cache outlives the mount, and is believed only as far as its checksums go.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::{Scene, assert_reads, eventually, needs_fuse, noise, text};

#[test]
fn a_remount_reads_from_disk_what_was_read_before() {
    needs_fuse!();
    let mut scene = Scene::start();
    let files = [
        ("/a.bin", noise(1, 12 << 20)),
        ("/b.txt", text(2, 1 << 20)),
        ("/c", noise(3, 777)),
    ];
    for (path, bytes) in &files {
        scene.put(path, bytes);
    }
    {
        let mount = scene.mount(&["-cacheCapacityMB=256"]);
        for (path, bytes) in &files {
            assert!(mount.read(path) == *bytes);
        }
        // Written behind the reader's back.
        let cache = scene.path("mnt.cache");
        eventually("the disk cache is filled", Duration::from_secs(20), || {
            size(&cache) > 12 << 20
        });
    }
    scene.cluster.kill_volume(0).unwrap();
    let mount = scene.mount(&["-cacheCapacityMB=256"]);
    for (path, bytes) in &files {
        assert_reads(&mount.path(path), bytes);
    }
}

#[test]
fn a_damaged_cache_is_noticed_and_read_around() {
    needs_fuse!();
    let scene = Scene::start();
    let bytes = noise(1, 12 << 20);
    scene.put("/a.bin", &bytes);
    let cache = scene.path("mnt.cache");
    {
        let mount = scene.mount(&["-cacheCapacityMB=256"]);
        assert!(mount.read("/a.bin") == bytes);
        eventually("the disk cache is filled", Duration::from_secs(20), || {
            size(&cache) > 12 << 20
        });
    }
    for path in files(&cache) {
        let len = fs::metadata(&path).unwrap().len();
        let file = fs::File::options().write(true).open(&path).unwrap();
        for offset in (0..len).step_by(100_000) {
            file.write_all_at(&[0xee; 8], offset).unwrap();
        }
    }
    let mount = scene.mount(&["-cacheCapacityMB=256"]);
    assert_reads(&mount.path("/a.bin"), &bytes);
}

#[test]
fn the_disk_cache_keeps_to_its_capacity() {
    needs_fuse!();
    let scene = Scene::start();
    let file = |n| (format!("/{n}.bin"), noise(n, 5 << 20));
    for n in 0..10 {
        let (path, bytes) = file(n);
        scene.put(&path, &bytes);
    }
    let mount = scene.mount(&["-cacheCapacityMB=16", "-readerCacheSizeMB=8"]);
    for n in 0..10 {
        let (path, bytes) = file(n);
        assert!(mount.read(&path) == bytes);
    }
    let cache = scene.path("mnt.cache");
    let within = || size(&cache) <= (16 << 20) + (1 << 20);
    eventually(
        "the disk cache is within its capacity",
        Duration::from_secs(10),
        within,
    );
}

#[test]
fn a_cache_that_vanishes_is_no_error() {
    needs_fuse!();
    let scene = Scene::start();
    let bytes = noise(1, 9 << 20);
    scene.put("/a.bin", &bytes);
    scene.put("/b.bin", &bytes);
    let mount = scene.mount(&["-cacheCapacityMB=64", "-readerCacheSizeMB=4"]);
    assert!(mount.read("/a.bin") == bytes);
    fs::remove_dir_all(scene.path("mnt.cache")).unwrap();
    assert_reads(&mount.path("/a.bin"), &bytes);
    assert_reads(&mount.path("/b.bin"), &bytes);
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    // A file may be evicted, or renamed into place, while this looks.
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

fn size(dir: &Path) -> u64 {
    files(dir)
        .iter()
        .filter_map(|path| path.metadata().ok())
        .map(|m| m.len())
        .sum()
}
