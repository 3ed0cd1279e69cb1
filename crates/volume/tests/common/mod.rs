//! Writes volumes the way a server does, of every version and width.

#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use seaweed::FileId;
use seaweed::crc::crc32c;
use seaweed::volume::{
    IndexEntry, NeedleHeader, OffsetWidth, SuperBlock, Ttl, UNIT, Version, flags, mask,
};
use volume::{DataDir, Store, StoreConfig};

pub const WAIT: Duration = Duration::from_secs(20);

/// Files of a volume that are appended to.
pub struct Volume {
    pub base: PathBuf,
    pub id: u32,
    version: Version,
    width: OffsetWidth,
    dat: File,
    idx: File,
}

/// What an upload may say besides its data.
#[derive(Default, Clone, Copy)]
pub struct Extras<'a> {
    pub flags: u8,
    pub name: &'a str,
    pub mime: &'a str,
    pub last_modified: Option<u64>,
    pub ttl: Option<Ttl>,
    pub append_at: Option<u64>,
    pub masked: bool,
}

impl Volume {
    pub fn create(dir: &Path, id: u32, version: Version, width: OffsetWidth) -> Self {
        Self::create_named(dir, &id.to_string(), id, version, width, 0)
    }

    pub fn create_named(
        dir: &Path,
        name: &str,
        id: u32,
        version: Version,
        width: OffsetWidth,
        revision: u16,
    ) -> Self {
        let base = dir.join(name);
        let block = SuperBlock {
            version,
            replica_placement: 0,
            ttl: None,
            revision,
            extra: 0,
        };
        fs::write(base.with_extension("dat"), block.to_bytes()).unwrap();
        fs::write(base.with_extension("idx"), b"").unwrap();
        Self::reopen(base, id, version, width)
    }

    pub fn reopen(base: PathBuf, id: u32, version: Version, width: OffsetWidth) -> Self {
        let append = |extension| {
            let path = base.with_extension(extension);
            OpenOptions::new()
                .append(true)
                .read(true)
                .open(path)
                .unwrap()
        };
        Self {
            dat: append("dat"),
            idx: append("idx"),
            base,
            id,
            version,
            width,
        }
    }

    pub fn vif(&self, json: &str) {
        fs::write(self.base.with_extension("vif"), json).unwrap();
    }

    pub fn file_id(&self, key: u64) -> FileId {
        FileId {
            volume: self.id,
            key,
            cookie: cookie(key),
        }
    }

    pub fn put(&mut self, key: u64, data: &[u8]) -> FileId {
        self.put_with(key, data, Extras::default());
        self.file_id(key)
    }

    /// Returns the offset of the record.
    pub fn put_with(&mut self, key: u64, data: &[u8], extras: Extras<'_>) -> u64 {
        let record = record(self.version, key, data, extras);
        let size = i32::from_be_bytes(record[12..16].try_into().unwrap());
        let offset = self.append(&record);
        self.index(key, offset / UNIT, size);
        offset
    }

    pub fn append(&mut self, record: &[u8]) -> u64 {
        let offset = self.dat.metadata().unwrap().len();
        assert_eq!(offset % UNIT, 0);
        self.dat.write_all(record).unwrap();
        offset
    }

    pub fn index(&mut self, key: u64, units: u64, size: i32) {
        let mut bytes = Vec::new();
        self.width
            .append(&IndexEntry { key, units, size }, &mut bytes);
        self.idx.write_all(&bytes).unwrap();
    }

    pub fn delete(&mut self, key: u64) {
        let offset = self.append(&record(self.version, key, b"", Extras::default()));
        self.index(key, offset / UNIT, -1);
    }

    pub fn dat(&self) -> PathBuf {
        self.base.with_extension("dat")
    }

    pub fn idx(&self) -> PathBuf {
        self.base.with_extension("idx")
    }

    /// Inverts a byte on disk.
    pub fn damage(&self, at: u64) {
        flip(&self.dat(), at);
    }
}

pub fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[!byte[0]], at).unwrap();
}

pub fn cookie(key: u64) -> u32 {
    (key as u32).wrapping_mul(0x9e37_79b9) ^ 0x5eed
}

/// A record as a server writes it; its padding is rubbish.
pub fn record(version: Version, key: u64, data: &[u8], extras: Extras<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    if version == Version::V1 {
        body.extend(data);
    } else if !data.is_empty() {
        body.extend((data.len() as u32).to_be_bytes());
        body.extend(data);
        let flag = |set, bit| if set { bit } else { 0 };
        body.push(
            extras.flags
                | flag(!extras.name.is_empty(), flags::NAME)
                | flag(!extras.mime.is_empty(), flags::MIME)
                | flag(extras.last_modified.is_some(), flags::LAST_MODIFIED)
                | flag(extras.ttl.is_some(), flags::TTL),
        );
        for text in [extras.name, extras.mime] {
            if !text.is_empty() {
                body.push(text.len() as u8);
                body.extend(text.as_bytes());
            }
        }
        if let Some(time) = extras.last_modified {
            body.extend(&time.to_be_bytes()[3..]);
        }
        if let Some(ttl) = extras.ttl {
            body.extend(ttl.to_bytes());
        }
    }
    let header = NeedleHeader {
        cookie: cookie(key),
        id: key,
        size: body.len() as i32,
    };
    let mut record = header.to_bytes().to_vec();
    record.extend(body);
    let crc = crc32c(data);
    record.extend(if extras.masked { mask(crc) } else { crc }.to_be_bytes());
    if version == Version::V3 {
        record.extend(extras.append_at.unwrap_or_else(now_ns).to_be_bytes());
    }
    record.resize(record.len() + 8 - record.len() % 8, 0xa5);
    record
}

pub fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_nanos() as u64
}

/// Bytes that differ from place to place and from seed to seed.
pub fn data(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

pub fn config(dir: &Path) -> StoreConfig {
    let mut config = StoreConfig::new(vec![DataDir::new(dir)]);
    // Nothing in a test waits for the regular look.
    config.scan_interval = Duration::from_secs(3600);
    config
}

pub fn open(config: StoreConfig) -> std::sync::Arc<Store> {
    let store = Store::open(config).unwrap();
    assert!(store.wait_ready(WAIT));
    store
}

/// The whole data, which the store has checked.
pub fn whole(store: &Store, id: FileId) -> Vec<u8> {
    let needle = store.find(id).unwrap();
    let mut bytes = vec![0xee; 3];
    let crc = needle.read_whole(&mut bytes).unwrap();
    assert_eq!(crc, crc32c(&bytes));
    assert_eq!(bytes.len() as u64, needle.len());
    bytes
}
