//! Readers at full speed while the files of a volume are replaced the way a vacuum does it.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use common::{Volume, config, data, open};
use seaweed::volume::{OffsetWidth, Version};
use tempfile::tempdir;
use volume::{Absent, Miss};

/// Keys that are always there, each with data of its own length.
const KEPT: u64 = 40;
const SWAPS: u16 = 300;

fn len(key: u64) -> usize {
    (key as usize * 1117) % 30_000 + 1
}

#[test]
fn nothing_is_missed_and_no_deletion_is_forgotten_while_files_are_replaced() {
    let dir = tempdir().unwrap();
    let (version, width) = (Version::V3, OffsetWidth::Five);
    let mut volume = Volume::create(dir.path(), 1, version, width);
    volume.vif(r#"{"bytesOffset":5}"#);
    for key in 1..=KEPT {
        volume.put(key, &data(key, len(key)));
    }
    let ids: Vec<_> = (0..=KEPT).map(|key| volume.file_id(key)).collect();
    let store = open(config(dir.path()));
    let over = AtomicBool::new(false);
    let reads = AtomicU64::new(0);
    thread::scope(|scope| {
        for reader in 0..3u64 {
            let (store, over, reads, ids) = (&store, &over, &reads, &ids);
            scope.spawn(move || {
                let mut key = reader;
                let mut bytes = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    key = (key * 7 + 3) % KEPT + 1;
                    let needle = store.find(ids[key as usize]);
                    let needle = needle.unwrap_or_else(|miss| panic!("key {key}: {miss}"));
                    let expected = data(key, len(key));
                    let from = len(key) / 2;
                    let mut part = vec![0; len(key) - from];
                    needle.read_at(from as u64, &mut part).unwrap();
                    assert!(part == expected[from..], "a range of key {key}");
                    needle.read_whole(&mut bytes).unwrap();
                    assert!(bytes == expected, "key {key}");
                    if let Ok(needle) = store.try_find(ids[key as usize]) {
                        assert_eq!(needle.len() as usize, len(key));
                    }
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // The server: a vacuum, then writes and deletions into the new files, and so on.
        let mut gone = 1000;
        for revision in 1..=SWAPS {
            let mut new = Volume::create_named(dir.path(), "next", 1, version, width, revision);
            // In another order each time, so that no offset stays what it was.
            for n in 0..KEPT {
                let key = (n * 3 + u64::from(revision)) % KEPT + 1;
                new.put(key, &data(key, len(key)));
            }
            let path = |extension| dir.path().join("1").with_extension(extension);
            fs::rename(new.dat(), path("cpd")).unwrap();
            fs::rename(new.idx(), path("cpx")).unwrap();
            fs::rename(path("cpd"), path("dat")).unwrap();
            thread::yield_now();
            fs::rename(path("cpx"), path("idx")).unwrap();

            let mut server = Volume::reopen(dir.path().join("1"), 1, version, width);
            for _ in 0..3 {
                gone += 1;
                let id = server.put(gone, b"for a moment");
                let found = store.find(id).unwrap_or_else(|miss| panic!("{id}: {miss}"));
                assert_eq!(found.len(), 12);
                server.delete(gone);
                let deleted = store.find(id);
                let absent = matches!(deleted, Err(Miss::Absent(Absent::Deleted)));
                assert!(absent, "{id}: {deleted:?}");
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    let stats = store.stats();
    println!(
        "{} reads, {} pairs replaced",
        reads.load(Ordering::Relaxed),
        stats.reopened.get()
    );
    assert_eq!(stats.corrupt.get(), 0);
    assert!(stats.reopened.get() > u64::from(SWAPS) / 2);
    // What was opened for a moment was closed.
    assert_eq!(store.open_pairs(), 1);
    assert_eq!(store.volumes()[0].needles, KEPT);
}
