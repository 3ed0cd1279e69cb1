//! What indexes cost as they grow: `cargo run --release -p volume --example indexes -- DIR`.
//!
//! In DIR a volume of a million, ten million and fifty million needles is made (850 MB of `.idx` the last), and then a
//! thousand volumes of a hundred thousand; each is removed afterwards. Each is opened from the start, saved, and opened
//! as it was saved: seconds until everything is found, memory that is not the page cache's, and nanoseconds of
//! [`Store::find`], which is everything a look-up does: fstat(2) of the `.idx`, the index, and pread(2) of the needle.
//! Keys come with gaps, as they do when a master gives them to several volumes in turn. The needles that are looked for are
//! real and lie behind one another, so that only the index grows. `--plot FILE` writes what `cargo xtask page` draws.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use seaweed::FileId;
use seaweed::crc::crc32c;
use seaweed::volume::{IndexEntry, NeedleHeader, OffsetWidth, SuperBlock, UNIT, Version};
use serde_json::{Value, json};
use volume::saved::SavedIndexes;
use volume::{DataDir, Store, StoreConfig};

const SIZES: [u64; 3] = [1_000_000, 10_000_000, 50_000_000];
const MANY: (u32, u64) = (1000, 100_000);
/// Needles that are there to be found, in each volume.
const REAL: u64 = 100_000;
const FINDS: usize = 1_000_000;
const LIMIT: Duration = Duration::from_secs(3600);

fn main() {
    let mut words = std::env::args_os().skip(1);
    let dir = PathBuf::from(words.next().expect("a folder"));
    let plot = words.next().map(|flag| {
        assert!(flag == "--plot", "unknown: {flag:?}");
        PathBuf::from(words.next().expect("a file"))
    });
    let mut rows = Vec::new();
    for needles in SIZES {
        for row in trial(&dir, 1, needles) {
            rows.push(row);
        }
    }
    trial(&dir, MANY.0, MANY.1);
    if let Some(plot) = plot {
        let variants = json!([
            {"key": "riptide", "title": "index in memory", "short": "in memory"},
            {"key": "riptide-shm", "title": "index as it was saved", "short": "saved"},
        ]);
        let run = json!({
            "title": "Indexes of volumes as they grow",
            "about": "To find a needle, and to open the index, against the needles of a volume: an index in memory, read from \
                the start, and one that was saved and is mapped. Both have their files in the page cache.",
            "machine": machine(),
            "variants": variants,
            "rows": rows,
        });
        fs::write(plot, format!("{run:#}")).unwrap();
    }
}

/// On what was measured.
fn machine() -> Value {
    let text = |path| fs::read_to_string(path).unwrap_or_default();
    let info = text("/proc/cpuinfo");
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(": "))
            .map_or("?", |(_, value)| value)
    };
    let cpus = info
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    json!({
        "CPU": format!("{cpus} × {}", field("model name")),
        "kernel": text("/proc/sys/kernel/osrelease").trim(),
    })
}

/// Measures some volumes; returns points of curves.
fn trial(dir: &Path, volumes: u32, needles: u64) -> Vec<Value> {
    let place = dir.join("riptide-indexes");
    let (data, saved) = (place.join("data"), place.join("saved"));
    fs::create_dir_all(&data).unwrap();
    for volume in 1..=volumes {
        create(&data, volume, needles);
    }
    let all = u64::from(volumes) * needles;
    println!("\n{volumes} volumes of {needles} needles");
    let plain = StoreConfig::new(vec![DataDir::new(&data)]);
    let saving = StoreConfig {
        saved: Some(SavedIndexes::new(&saved)),
        ..plain.clone()
    };
    let memory = measure(
        "from the start, all in memory",
        plain,
        all,
        volumes,
        needles,
    );

    let store = Store::open(saving.clone()).unwrap();
    assert!(store.wait_ready(LIMIT));
    let began = Instant::now();
    while store.stats().index_saves.get() < u64::from(volumes) {
        assert!(began.elapsed() < LIMIT);
        std::thread::sleep(Duration::from_millis(10));
    }
    let each = store.saved_index_bytes() as f64 / all as f64;
    println!(
        "  saved {:.1} s after that: {each:.2} bytes a needle on disk",
        began.elapsed().as_secs_f64()
    );
    drop(store);
    let mapped = measure("as saved", saving.clone(), all, volumes, needles);
    for folder in [&data, &saved] {
        forget(folder);
    }
    measure(
        "as saved, nothing in the page cache",
        saving,
        all,
        volumes,
        needles,
    );
    fs::remove_dir_all(&place).unwrap();

    let row = |curve: &str, samples: [f64; 2]| {
        let samples = json!({"riptide": [samples[0]], "riptide-shm": [samples[1]]});
        json!({"curve": curve, "known": needles as f64, "samples": samples})
    };
    vec![
        row("find a needle, µs", [memory[0] / 1e3, mapped[0] / 1e3]),
        row("open the index, µs", [memory[1] * 1e6, mapped[1] * 1e6]),
    ]
}

/// Opens a store, looks for needles, and tells: nanoseconds of one, seconds to open.
fn measure(what: &str, config: StoreConfig, all: u64, volumes: u32, needles: u64) -> [f64; 2] {
    let before = anonymous();
    let began = Instant::now();
    let store = Store::open(config).unwrap();
    assert!(store.wait_ready(LIMIT));
    let seconds = began.elapsed().as_secs_f64();
    let resident = anonymous().saturating_sub(before) as f64 / all as f64;
    let counted = store.index_bytes() as f64 / all as f64;
    let (first, _) = finds(&store, volumes, needles, 1);
    let (median, mean) = finds(&store, volumes, needles, 2);
    println!(
        "  {what}: {seconds:.3} s, {resident:.3} bytes a needle resident ({counted:.3} counted), \
         find {median:.0} ns p50, {mean:.0} ns mean ({first:.0} ns p50 when first touched)"
    );
    [median, seconds]
}

/// Looks for needles in any order; the median and the mean in nanoseconds.
fn finds(store: &Store, volumes: u32, needles: u64, seed: u64) -> (f64, f64) {
    let mut random = seed;
    let mut times = Vec::with_capacity(FINDS);
    let step = step(needles);
    for _ in 0..FINDS {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let at = (random >> 33) % (needles / step) * step;
        let id = FileId {
            volume: (random >> 20) as u32 % volumes + 1,
            key: key(at),
            cookie: cookie(key(at)),
        };
        let began = Instant::now();
        let found = store.find(id);
        times.push(began.elapsed().as_nanos() as u64);
        assert!(found.is_ok(), "{id}: {found:?}");
    }
    let mean = times.iter().sum::<u64>() as f64 / times.len() as f64;
    times.sort_unstable();
    (times[times.len() / 2] as f64, mean)
}

/// Every so many entries leads to a needle that is there.
fn step(needles: u64) -> u64 {
    (needles / REAL).max(1)
}

fn key(at: u64) -> u64 {
    at * 7 + at % 5 + 1
}

fn cookie(key: u64) -> u32 {
    (key as u32).wrapping_mul(0x9e37_79b9)
}

/// Writes a volume whose needles are mostly said to be somewhere.
fn create(dir: &Path, volume: u32, needles: u64) {
    let file = |extension| {
        let path = dir.join(format!("{volume}.{extension}"));
        BufWriter::with_capacity(1 << 20, File::create(path).unwrap())
    };
    let (mut dat, mut idx) = (file("dat"), file("idx"));
    let block = SuperBlock {
        version: Version::V3,
        replica_placement: 0,
        ttl: None,
        revision: 0,
        extra: 0,
    };
    dat.write_all(&block.to_bytes()).unwrap();
    let mut end = block.to_bytes().len() as u64;
    let mut bytes = Vec::new();
    for at in 0..needles {
        let mut entry = IndexEntry {
            key: key(at),
            units: (1 << 27) + at * 520,
            size: 4116,
        };
        if at % step(needles) == 0 {
            let record = record(entry.key);
            entry.units = end / UNIT;
            entry.size = RECORD as i32;
            end += record.len() as u64;
            dat.write_all(&record).unwrap();
        }
        bytes.clear();
        OffsetWidth::Five.append(&entry, &mut bytes);
        idx.write_all(&bytes).unwrap();
    }
    for file in [dat, idx] {
        file.into_inner().unwrap().sync_all().unwrap();
    }
    fs::write(dir.join(format!("{volume}.vif")), r#"{"bytesOffset":5}"#).unwrap();
}

/// Bytes of a record's body: length, eight bytes of data, flags.
const RECORD: usize = 4 + 8 + 1;

fn record(key: u64) -> Vec<u8> {
    let header = NeedleHeader {
        cookie: cookie(key),
        id: key,
        size: RECORD as i32,
    };
    let data = key.to_be_bytes();
    let mut record = header.to_bytes().to_vec();
    record.extend(8u32.to_be_bytes());
    record.extend(data);
    record.push(0);
    record.extend(crc32c(&data).to_be_bytes());
    record.extend(1u64.to_be_bytes());
    record.resize(record.len() + 8 - record.len() % 8, 0);
    record
}

/// Has the kernel forget the pages of all files in a folder, so that the disk is read.
fn forget(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let file = File::open(entry.unwrap().path()).unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
}

/// Bytes of this process that are in memory and not a file's.
fn anonymous() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kib: u64 = line
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    kib * 1024
}
