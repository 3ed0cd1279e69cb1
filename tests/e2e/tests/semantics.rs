//! Promises of docs/SEMANTICS.md about open files (sections 1 and 5).

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use e2e::{Scene, eventually, needs_fuse, noise, read_at};
use rustix::fs::OFlags;
use rustix::io::Errno;

/// Section 1: one request is answered from one version, and none older than what was seen.
#[test]
fn one_version() {
    const SIZE: usize = 1 << 20;
    const BLOCK: usize = 64 << 10;
    const VERSIONS: u64 = 60;
    needs_fuse!();
    let scene = Scene::start();
    let version = |n: u64| n.to_le_bytes().repeat(SIZE / 8);
    scene.put("/file", &version(0));
    let mount = scene.mount(&[]);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for reader in 0..3_u64 {
            let (stop, path) = (&stop, mount.path("/file"));
            scope.spawn(move || {
                // Direct, so that each read is one request of the kernel.
                let direct = OFlags::DIRECT.bits() as i32;
                let file = File::options()
                    .read(true)
                    .custom_flags(direct)
                    .open(path)
                    .unwrap();
                let mut newest = 0;
                let mut block = reader;
                let mut buffer = vec![0_u8; BLOCK + 4096];
                let align = buffer.as_ptr().align_offset(4096);
                let buffer = &mut buffer[align..align + BLOCK];
                while !stop.load(Ordering::Relaxed) {
                    block = (block + 5) % (SIZE / BLOCK) as u64;
                    let count = file.read_at(buffer, block * BLOCK as u64).unwrap();
                    assert_eq!(count, BLOCK);
                    let words: &[[u8; 8]] = buffer.as_chunks().0;
                    assert!(
                        words.iter().all(|w| *w == words[0]),
                        "two versions in one read"
                    );
                    let seen = u64::from_le_bytes(words[0]);
                    assert!(seen >= newest, "version {seen} after {newest}");
                    newest = seen;
                }
            });
        }
        for n in 1..=VERSIONS {
            scene.put("/file", &version(n));
            thread::sleep(Duration::from_millis(5));
        }
        stop.store(true, Ordering::Relaxed);
    });
    eventually("the last version", Duration::from_secs(5), || {
        mount.read("/file") == version(VERSIONS)
    });
}

/// Section 5: what was removed elsewhere reads on while its chunks exist, then fails; never other bytes.
#[test]
fn removed_while_open() {
    needs_fuse!();
    let scene = Scene::start();
    let bytes = noise(1, 6 << 20);
    scene.put("/file", &bytes);
    let mount = scene.mount(&["-cacheCapacityMB=0", "-readerCacheSizeMB=8"]);
    let file = File::open(mount.path("/file")).unwrap();
    assert!(read_at(&file, 0, 4096).unwrap() == bytes[..4096]);
    scene.cluster.delete("/file").unwrap();
    eventually("the name is gone", Duration::from_secs(5), || {
        !mount.path("/file").exists()
    });
    for round in 0..40 {
        let offset = round * 150_001 % (bytes.len() as u64 - 70_000);
        match read_at(&file, offset, 70_000) {
            Ok(got) => assert!(got == bytes[offset as usize..][..70_000], "at {offset}"),
            Err(error) => assert_lost(&error),
        }
        thread::sleep(Duration::from_millis(25));
    }
    assert_eq!(file.metadata().unwrap().len(), bytes.len() as u64);
}

/// Section 5: a file replaced by a rename stays the old one for handles opened before.
#[test]
fn replaced_while_open() {
    needs_fuse!();
    let scene = Scene::start();
    let (old, new) = (noise(1, 2 << 20), noise(2, 2 << 20));
    scene.put("/file", &old);
    scene.put("/next", &new);
    let mount = scene.mount(&[]);
    let file = File::open(mount.path("/file")).unwrap();
    assert!(read_at(&file, 0, 100_000).unwrap() == old[..100_000]);
    scene.craft().rename("/next", "/file");
    eventually("the new file", Duration::from_secs(5), || {
        fs::read(mount.path("/file")).is_ok_and(|bytes| bytes == new)
    });
    for offset in [0, 50_000, 1_000_000] {
        match read_at(&file, offset, 60_000) {
            Ok(got) => assert!(got == old[offset as usize..][..60_000], "at {offset}"),
            Err(error) => assert_lost(&error),
        }
    }
}

/// Section 5: a file rewritten at its path shows its new bytes to handles opened before.
#[test]
fn rewritten_while_open() {
    needs_fuse!();
    let scene = Scene::start();
    let (old, new) = (noise(1, 3 << 20), noise(2, 2 << 20));
    scene.put("/file", &old);
    let mount = scene.mount(&[]);
    let file = File::open(mount.path("/file")).unwrap();
    assert!(read_at(&file, 0, old.len()).unwrap() == old);
    scene.put("/file", &new);
    eventually(
        "the new bytes through the old handle",
        Duration::from_secs(5),
        || read_at(&file, 0, old.len()).is_ok_and(|bytes| bytes == new),
    );
}

fn assert_lost(error: &io::Error) {
    let code = error.raw_os_error();
    let lost = [Errno::STALE, Errno::IO].map(|e| Some(e.raw_os_error()));
    assert!(lost.contains(&code), "{error}");
}
