//! The disk cache survives what happens to disks, and readers do not notice.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::{Failure, Kind, Shelf, chunk, config, eventually, file, noise, read};
use fabric::Route;
use reader::{DiskConfig, Reader, ReaderConfig, Stream};
use seaweed::FileView;

const MIB: usize = 1 << 20;

fn open(shelf: &Arc<Shelf>, dir: &Path, capacity_bytes: u64) -> Reader {
    let disk = DiskConfig {
        dir: dir.to_owned(),
        capacity_bytes,
        cluster: "filer:8888".into(),
    };
    let config = ReaderConfig {
        disk: Some(disk),
        ..config(64 * MIB)
    };
    Reader::open(config, Arc::clone(shelf) as Arc<dyn Route>).unwrap()
}

/// All files of chunks below `dir`.
fn chunk_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![dir.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.file_name().unwrap() != "lock" {
                found.push(path);
            }
        }
    }
    found
}

/// Fills a cache with a file of `count` chunks of 100,000 bytes.
fn fill(shelf: &Arc<Shelf>, dir: &Path, count: usize) -> (Arc<FileView>, Vec<u8>) {
    let (view, content) = file(shelf, count * 100_000, 100_000);
    let reader = open(shelf, dir, 1 << 30);
    assert!(read(&reader, &view, &Stream::new(), 0, content.len()).unwrap() == content);
    reader.close();
    assert_eq!(chunk_files(dir).len(), count);
    (view, content)
}

/// Waits until the reader has found what was kept.
fn warm(reader: &Reader) {
    eventually("the cache is listed", || reader.stats().disk_held.get() > 0);
}

#[test]
fn chunks_survive_a_remount_and_are_read_in_any_part() {
    let shelf = Shelf::new();
    let dir = tempfile::tempdir().unwrap();
    let (view, content) = fill(&shelf, dir.path(), 10);
    let before = shelf.requests();
    let reader = open(&shelf, dir.path(), 1 << 30);
    warm(&reader);
    let stream = Stream::new();
    for (at, len) in [
        (0, 4096),
        (4096, 4096),
        (5000, 10),
        (8191, 2),
        (99_990, 20),
        (123_456, 77_777),
    ] {
        let got = read(&reader, &view, &stream, at as u64, len).unwrap();
        assert!(got == content[at..at + len], "{len} at {at}");
    }
    assert_eq!(reader.memory_held(), 0, "small reads are not cached twice");
    assert!(read(&reader, &view, &stream, 0, content.len()).unwrap() == content);
    assert_eq!(shelf.requests(), before);
    assert!(reader.stats().disk_hits.get() >= 10);
    let mode = fs::metadata(&chunk_files(dir.path())[0])
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o077, 0, "nobody else reads them");
}

#[test]
fn what_is_kept_of_an_encrypted_chunk_is_cipher_text() {
    let shelf = Shelf::new();
    let dir = tempfile::tempdir().unwrap();
    let clear = b"a secret that is repeated ".repeat(1000);
    let len = clear.len() as u64;
    let chunks: Vec<_> = [Kind::Cipher, Kind::CipherGzip, Kind::Gzip]
        .into_iter()
        .enumerate()
        .map(|(number, kind)| {
            chunk(
                &shelf,
                kind,
                number as u64 * len,
                &clear,
                len,
                1 + number as i64,
            )
        })
        .collect();
    let view = FileView::resolve(chunks, 3 * len);
    let reader = open(&shelf, dir.path(), 1 << 30);
    let content = read(&reader, &view, &Stream::new(), 0, 1 << 20).unwrap();
    reader.close();
    let files = chunk_files(dir.path());
    assert_eq!(files.len(), 3);
    for path in files {
        let kept = fs::read(path).unwrap();
        assert!(
            !kept
                .windows(8)
                .any(|window| window == b"a secret" && kept.len() > 2000)
        );
    }
    let before = shelf.requests();
    let reader = open(&shelf, dir.path(), 1 << 30);
    warm(&reader);
    eventually("all three are listed", || {
        read(&reader, &view, &Stream::new(), 0, 1 << 20).unwrap() == content
    });
    assert!(
        shelf.requests() - before <= 2,
        "from disk, apart from those not listed yet"
    );
}

#[test]
fn damage_of_any_kind_costs_a_fetch_and_nothing_else() {
    type Damage = fn(&Path);
    let damages: [Damage; 6] = [
        |path| {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.write_all_at(b"XXXX", 50_000).unwrap();
        },
        |path| {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            let len = file.metadata().unwrap().len();
            file.write_all_at(b"XXXX", len - 30).unwrap();
        },
        |path| {
            fs::OpenOptions::new()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(70_000)
                .unwrap()
        },
        |path| {
            fs::OpenOptions::new()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(0)
                .unwrap()
        },
        |path| fs::write(path, vec![0; 100_140]).unwrap(),
        |path| fs::remove_file(path).unwrap(),
    ];
    let shelf = Shelf::new();
    let dir = tempfile::tempdir().unwrap();
    let (view, content) = fill(&shelf, dir.path(), damages.len());
    for (path, damage) in chunk_files(dir.path()).iter().zip(damages) {
        damage(path);
    }
    let before = shelf.requests();
    let reader = open(&shelf, dir.path(), 1 << 30);
    warm(&reader);
    for at in (0..content.len()).step_by(25_000) {
        let got = read(&reader, &view, &Stream::new(), at as u64, 25_000).unwrap();
        assert!(got == content[at..at + 25_000], "at {at}");
    }
    let stats = reader.stats();
    assert!(shelf.requests() > before);
    assert_eq!(stats.errors.get(), 0);
    assert_eq!(stats.disk_corrupt.get(), 5, "and one was not there");
    assert!(
        chunk_files(dir.path()).is_empty(),
        "damaged files are removed"
    );
}

#[test]
fn a_hit_notices_damage_that_happens_while_the_file_is_open() {
    let shelf = Shelf::new();
    let dir = tempfile::tempdir().unwrap();
    let (view, content) = fill(&shelf, dir.path(), 1);
    let reader = open(&shelf, dir.path(), 1 << 30);
    warm(&reader);
    let stream = Stream::new();
    assert!(read(&reader, &view, &stream, 0, 4096).unwrap() == content[..4096]);
    let path = &chunk_files(dir.path())[0];
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[content[9000] ^ 1], 9000).unwrap();
    assert!(read(&reader, &view, &stream, 16_384, 4096).unwrap() == content[16_384..20_480]);
    assert_eq!(reader.stats().disk_corrupt.get(), 0, "another block");
    assert!(read(&reader, &view, &stream, 8192, 4096).unwrap() == content[8192..12_288]);
    assert_eq!(reader.stats().disk_corrupt.get(), 1);
}

#[test]
fn one_pass_over_a_large_file_keeps_its_head_only() {
    let shelf = Shelf::new();
    let dir = tempfile::tempdir().unwrap();
    let (view, content) = file(&shelf, 10 * 100_000, 100_000);
    let reader = open(&shelf, dir.path(), 1_200_000);
    for at in (0..content.len()).step_by(100_000) {
        read(&reader, &view, &Stream::new(), at as u64, 100_000).unwrap();
    }
    reader.close();
    assert_eq!(chunk_files(dir.path()).len(), 3);
}

#[test]
fn the_capacity_is_kept_while_writing_and_when_it_shrinks() {
    let shelf = Shelf::new();
    let dir = tempfile::tempdir().unwrap();
    let files: Vec<_> = (0..30).map(|_| file(&shelf, 100_000, 100_000).0).collect();
    let occupied = || -> u64 {
        let sizes = chunk_files(dir.path()).into_iter();
        sizes
            .map(|path| fs::metadata(path).map_or(0, |data| data.len()))
            .sum()
    };
    for capacity in [2_000_000, 1_000_000] {
        let reader = open(&shelf, dir.path(), capacity);
        eventually("what is too much is removed", || occupied() <= capacity);
        for view in &files {
            read(&reader, view, &Stream::new(), 0, 100_000).unwrap();
            assert!(
                occupied() <= capacity + 110_000,
                "the one being written is temporary"
            );
        }
        reader.close();
        assert!(occupied() <= capacity, "{}", occupied());
        assert!(occupied() > capacity / 2, "{}", occupied());
    }
    let reader = open(&shelf, dir.path(), 300_000);
    eventually("the rest is removed", || occupied() <= 300_000);
    reader.close();
}

#[test]
fn two_mounts_share_a_directory_without_harm() {
    let shelf = Shelf::new();
    let dir = tempfile::tempdir().unwrap();
    let (view, content) = file(&shelf, 10 * 100_000, 100_000);
    let both = [
        open(&shelf, dir.path(), 1 << 30),
        open(&shelf, dir.path(), 1 << 30),
    ];
    std::thread::scope(|scope| {
        for reader in &both {
            scope.spawn(|| {
                let got = read(reader, &view, &Stream::new(), 0, content.len()).unwrap();
                assert!(got == content);
            });
        }
    });
    for reader in &both {
        reader.close();
    }
    assert_eq!(chunk_files(dir.path()).len(), 20, "each keeps its own");
    let before = shelf.requests();
    for _ in 0..2 {
        let reader = open(&shelf, dir.path(), 1 << 30);
        warm(&reader);
        eventually("everything is listed", || {
            reader.stats().disk_held.get() >= 1_000_000
        });
        assert!(read(&reader, &view, &Stream::new(), 0, content.len()).unwrap() == content);
    }
    assert_eq!(shelf.requests(), before);
}

#[test]
fn an_unusable_directory_is_no_error() {
    let shelf = Shelf::new();
    let dir = tempfile::tempdir().unwrap();
    let occupied = dir.path().join("file");
    fs::write(&occupied, b"not a directory").unwrap();
    let (view, content) = file(&shelf, 500_000, 100_000);
    let reader = open(&shelf, &occupied, 1 << 30);
    assert!(read(&reader, &view, &Stream::new(), 0, content.len()).unwrap() == content);
    reader.close();
    let stats = reader.stats();
    assert!(stats.disk_errors.get() >= 1);
    assert_eq!((stats.disk_writes.get(), stats.errors.get()), (0, 0));
}

#[test]
fn a_directory_removed_under_a_mount_is_no_error() {
    let shelf = Shelf::new();
    let dir = tempfile::tempdir().unwrap();
    let (view, content) = fill(&shelf, dir.path(), 5);
    let reader = open(&shelf, dir.path(), 1 << 30);
    warm(&reader);
    read(&reader, &view, &Stream::new(), 0, 4096).unwrap();
    fs::remove_dir_all(dir.path()).unwrap();
    assert!(read(&reader, &view, &Stream::new(), 0, content.len()).unwrap() == content);
    let (other, expected) = file(&shelf, 300_000, 100_000);
    assert!(read(&reader, &other, &Stream::new(), 0, 300_000).unwrap() == expected);
    reader.close();
    assert_eq!(reader.stats().errors.get(), 0);
    assert!(reader.stats().disk_errors.get() >= 1);
}

#[test]
fn only_verified_chunks_are_kept() {
    let shelf = Shelf::new();
    let dir = tempfile::tempdir().unwrap();
    shelf.unverified.store(true, Ordering::Relaxed);
    let (view, content) = file(&shelf, 300_000, 100_000);
    let large = noise(4, 20 * MIB);
    let whole = chunk(&shelf, Kind::Plain, 0, &large, large.len() as u64, 1);
    let parts = FileView::resolve([whole], large.len() as u64);
    let reader = open(&shelf, dir.path(), 1 << 30);
    assert!(read(&reader, &view, &Stream::new(), 0, 300_000).unwrap() == content);
    assert!(read(&reader, &parts, &Stream::new(), 0, large.len()).unwrap() == large);
    reader.close();
    assert!(chunk_files(dir.path()).is_empty());
}

#[test]
fn what_lies_on_a_disk_of_this_host_is_not_kept_on_it_twice() {
    let shelf = Shelf::new();
    let dir = tempfile::tempdir().unwrap();
    let (view, content) = file(&shelf, 300_000, 100_000);
    let once = |near| {
        shelf.near.store(near, Ordering::Relaxed);
        let reader = open(&shelf, dir.path(), 1 << 30);
        assert!(read(&reader, &view, &Stream::new(), 0, 300_000).unwrap() == content);
        reader.close();
        chunk_files(dir.path()).len()
    };
    assert_eq!((once(true), once(false)), (0, 3));
}

#[test]
fn what_is_on_disk_is_readable_without_servers() {
    let shelf = Shelf::new();
    let dir = tempfile::tempdir().unwrap();
    let (view, content) = fill(&shelf, dir.path(), 4);
    for chunk in view.chunks.iter() {
        shelf.fail(chunk.file_id, Some(Failure::Silent));
    }
    let reader = open(&shelf, dir.path(), 1 << 30);
    eventually("everything is listed", || {
        reader.stats().disk_held.get() >= 400_000
    });
    assert!(read(&reader, &view, &Stream::new(), 0, content.len()).unwrap() == content);
    assert!(
        read(&reader, &view, &Stream::new(), 150_000, 4096).unwrap() == content[150_000..154_096]
    );
}
