//! `-directIO`: large files that are read once go past the kernel's page cache, and nobody sees a
//! difference.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use e2e::{Mount, Scene, assert_reads, eventually, needs_fuse, noise, read_mapped};

use crate::faults::metric;

/// More than `-directIO=auto` needs to bother.
const LARGE: usize = 33 << 20;
const SOON: Duration = Duration::from_secs(30);

fn direct_opens(mount: &Mount) -> u64 {
    metric(mount, "direct_opens")
}

/// Reads a file once, from start to end, as cp(1) does.
fn stream(path: &Path) -> Vec<u8> {
    let mut file = File::open(path).unwrap();
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer).unwrap();
        if count == 0 {
            return bytes;
        }
        bytes.extend_from_slice(&buffer[..count]);
    }
}

#[test]
fn always_reads_the_same_bytes_and_maps_them_too() {
    needs_fuse!();
    let scene = Scene::start();
    let mount = scene.mount(&["-directIO=always"]);
    for (name, len) in [("/empty", 0), ("/small", 5_000), ("/large", 5 << 20)] {
        let bytes = noise(len as u64, len);
        scene.put(name, &bytes);
        assert_reads(&mount.path(name), &bytes);
    }
    assert!(direct_opens(&mount) > 3);

    // What is written is read at once, past the page cache and through a map.
    let path = mount.path("/large");
    let reader = File::open(&path).unwrap();
    let writer = OpenOptions::new().write(true).open(&path).unwrap();
    writer.write_all_at(b"written since", 4_090).unwrap();
    let mut found = [0; 13];
    reader.read_exact_at(&mut found, 4_090).unwrap();
    assert_eq!(&found, b"written since");
    let mapped = read_mapped(&path).unwrap();
    assert_eq!(&mapped[4_090..4_103], b"written since");
}

#[test]
fn auto_learns_that_a_directory_is_streamed_and_that_it_is_not() {
    needs_fuse!();
    let scene = Scene::start();
    let mount = scene.mount(&[]);
    let never = scene.mount_at("never", &["-directIO=never"]);
    let files: Vec<_> = (0..5_u64)
        .map(|n| (format!("/s/{n}"), noise(n, LARGE)))
        .collect();
    for (name, bytes) in &files {
        scene.put(name, bytes);
    }
    let opens: Vec<_> = files
        .iter()
        .map(|(name, bytes)| {
            assert!(stream(&mount.path(name)) == *bytes, "{name}");
            assert!(stream(&never.path(name)) == *bytes, "{name}");
            direct_opens(&mount)
        })
        .collect();
    assert_eq!(opens, [0, 0, 1, 2, 3]);
    assert_eq!(direct_opens(&never), 0);

    // Small reads of one of them: the next ones go through the page cache.
    let (name, bytes) = &files[4];
    let mut first = [0; 4096];
    let file = File::open(mount.path(name)).unwrap();
    for page in 0..64 {
        file.read_exact_at(&mut first, page * 4096).unwrap();
        let at = page as usize * 4096;
        assert!(first == bytes[at..at + 4096], "page {page}");
    }
    drop(file);
    assert_eq!(direct_opens(&mount), 4);
    // RELEASE comes when the kernel likes: after some opens at the latest it was learnt from.
    eventually("small reads are learnt from", SOON, || {
        let before = direct_opens(&mount);
        drop(File::open(mount.path(name)).unwrap());
        direct_opens(&mount) == before
    });
}
