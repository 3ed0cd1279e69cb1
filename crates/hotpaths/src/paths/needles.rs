//! Needles in volume files, as a sidecar reads them.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use seaweed::FileId;
use seaweed::crc::crc32c;
use seaweed::volume::{IndexEntry, NeedleHeader, OffsetWidth, SuperBlock, UNIT, Version};
use volume::{DataDir, Store, StoreConfig};

/// The header of a record, read and compared with what was asked for.
pub(super) fn header() -> Box<dyn FnMut() -> usize> {
    let record = record(4711, &[7; 100]);
    Box::new(
        move || match seaweed::volume::Layout::of(Version::V3, black_box(&record)) {
            Ok(layout) => layout.data_len() as usize,
            Err(_) => 0,
        },
    )
}

/// The checksum of 4 KiB.
pub(super) fn checksum() -> Box<dyn FnMut() -> usize> {
    let bytes = vec![0x5a; 4096];
    Box::new(move || crc32c(black_box(&bytes)) as usize)
}

/// A needle among many: index, header, checks.
pub(super) fn find() -> Box<dyn FnMut() -> usize> {
    let (scratch, store) = store();
    let mut key = 0;
    Box::new(move || {
        // The folder lives as long as the store.
        let _ = &scratch;
        key = key % NEEDLES + 1;
        store
            .find(id(key))
            .map_or(0, |needle| needle.len() as usize)
    })
}

/// 4 KiB of a needle, found and checked.
pub(super) fn read() -> Box<dyn FnMut() -> usize> {
    let (scratch, store) = store();
    let mut bytes = vec![0; 4096];
    let mut key = 0;
    Box::new(move || {
        let _ = &scratch;
        key = key % NEEDLES + 1;
        let read = store
            .find(id(key))
            .ok()
            .map(|needle| needle.read_at(0, &mut bytes));
        usize::from(matches!(read, Some(Ok(_))) && bytes[0] == key as u8)
    })
}

/// A volume of needles of 4 KiB, whose index is loaded.
fn store() -> (tempfile::TempDir, Arc<Store>) {
    let scratch = tempfile::tempdir().unwrap_or_else(|error| panic!("a folder: {error}"));
    write(scratch.path()).unwrap_or_else(|error| panic!("a volume: {error}"));
    let mut config = StoreConfig::new(vec![DataDir::new(scratch.path())]);
    // Nobody looks around while it is counted.
    config.scan_interval = Duration::from_secs(86_400);
    let store = Store::open(config).unwrap_or_else(|error| panic!("a store: {error}"));
    assert!(store.wait_ready(Duration::from_secs(60)), "the index loads");
    (scratch, store)
}

fn write(dir: &Path) -> std::io::Result<()> {
    let block = SuperBlock {
        version: Version::V3,
        replica_placement: 0,
        ttl: None,
        revision: 0,
        extra: 0,
    };
    let (mut data, mut index) = (block.to_bytes().to_vec(), Vec::new());
    for key in 1..=NEEDLES {
        let record = record(key, &[key as u8; 4096]);
        let units = data.len() as u64 / UNIT;
        let size = 4096 + 5;
        OffsetWidth::Four.append(&IndexEntry { key, units, size }, &mut index);
        data.extend(record);
    }
    fs::write(dir.join("1.dat"), data)?;
    fs::write(dir.join("1.idx"), index)
}

/// A record as a server writes it.
fn record(key: u64, data: &[u8]) -> Vec<u8> {
    let header = NeedleHeader {
        cookie: id(key).cookie,
        id: key,
        size: data.len() as i32 + 5,
    };
    let mut record = header.to_bytes().to_vec();
    record.extend((data.len() as u32).to_be_bytes());
    record.extend(data);
    record.push(0);
    record.extend(crc32c(data).to_be_bytes());
    record.extend(1_700_000_000_000_000_000_u64.to_be_bytes());
    record.resize(record.len() + 8 - record.len() % 8, 0);
    record
}

fn id(key: u64) -> FileId {
    FileId {
        volume: 1,
        key,
        cookie: 0x5eed,
    }
}

/// No multiple of 256, so that neighbours differ, and the bytes of none are 0.
const NEEDLES: u64 = 255;
