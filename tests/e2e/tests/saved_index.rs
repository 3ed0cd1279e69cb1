//! A sidecar that is started again opens the indexes that it has saved.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Scene, Sidecar};
use seaweed::FileId;
use seaweed::crc::crc32c;
use seaweed::volume::{IndexEntry, NeedleHeader, OffsetWidth, SuperBlock, UNIT, Version};
use serde_json::Value;

/// More than from where on an index is saved.
const NEEDLES: u64 = 70_000;
const WIDTH: OffsetWidth = OffsetWidth::Five;

#[test]
fn a_sidecar_that_is_started_again_reads_only_what_came_since() {
    let scene = Scene::start();
    let data = scene.path("volumes");
    let index_dir = scene.path("indexes");
    fs::create_dir(&data).unwrap();
    let block = SuperBlock {
        version: Version::V3,
        replica_placement: 0,
        ttl: None,
        revision: 0,
        extra: 0,
    };
    fs::write(data.join("901.dat"), block.to_bytes()).unwrap();
    fs::write(data.join("901.vif"), r#"{"bytesOffset":5}"#).unwrap();
    put(&data, 1..=NEEDLES);

    let flags = [
        format!("-dir={}", data.display()),
        format!("-index-dir={}", index_dir.display()),
    ];
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let mut sidecar = Sidecar::start(&scene, 0, &flags);
    assert_eq!(opened(&sidecar, "start"), 1.0);
    let began = Instant::now();
    while labelled(&sidecar, "volume_index_saves", "outcome", "done") < 1.0 {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "nothing is saved"
        );
        thread::sleep(Duration::from_millis(20));
    }
    assert!(sidecar.metric("volume_index_saved_bytes") > 9.0 * NEEDLES as f64);
    assert!(sidecar.metric("volume_index_bytes") < NEEDLES as f64);
    read(&sidecar, 7);
    assert!(sidecar.terminate().success());
    drop(sidecar);

    put(&data, NEEDLES + 1..=NEEDLES + 5);
    let sidecar = Sidecar::start(&scene, 0, &flags);
    assert_eq!(
        (opened(&sidecar, "saved"), opened(&sidecar, "start")),
        (1.0, 0.0)
    );
    assert_eq!(sidecar.metric("volume_index_entries"), 5.0);
    for key in (1..=NEEDLES + 5).step_by(997).chain([NEEDLES, NEEDLES + 5]) {
        read(&sidecar, key);
    }
    let absent = sidecar.read(&format!("file_id={}", id(NEEDLES + 6)));
    assert_eq!(absent.status, 404);
    let health = sidecar.health().unwrap();
    let volumes = health["volume_states"].as_array().unwrap();
    assert_eq!(volumes[0]["needles"], NEEDLES + 5, "{health:#}");
    // Nothing was written beside the volume.
    assert_eq!(fs::read_dir(&data).unwrap().count(), 3);
}

#[test]
fn a_folder_that_cannot_be_used_ends_the_sidecar_at_once() {
    let scene = Scene::start();
    let file = scene.path("file");
    fs::write(&file, "").unwrap();
    let flag = format!("-index-dir={}", file.display());
    let mut sidecar = Sidecar::spawn(&scene, 0, &[&flag]);
    let began = Instant::now();
    while sidecar.process().expect_running().is_ok() {
        assert!(began.elapsed() < Duration::from_secs(20), "it goes on");
        thread::sleep(Duration::from_millis(20));
    }
    let log = sidecar.log();
    assert!(log.contains("-index-dir"), "{log}");
}

fn read(sidecar: &Sidecar, key: u64) {
    let answer = sidecar.read(&format!("file_id={}", id(key)));
    assert_eq!(answer.status, 200, "key {key}");
    assert_eq!(answer.body, content(key), "key {key}");
}

fn id(key: u64) -> FileId {
    FileId {
        volume: 901,
        key,
        cookie: 0x5eed,
    }
}

fn content(key: u64) -> Vec<u8> {
    format!("the needle of key {key}").into_bytes()
}

/// Appends needles as a volume server does.
fn put(data: &Path, keys: impl Iterator<Item = u64>) {
    let append = |extension| {
        let path = data.join("901").with_extension(extension);
        let mut options = OpenOptions::new();
        options.append(true).create(true).open(path).unwrap()
    };
    let (mut dat, mut idx) = (append("dat"), append("idx"));
    let mut end = dat.metadata().unwrap().len();
    let (mut records, mut entries) = (Vec::new(), Vec::new());
    for key in keys {
        let content = content(key);
        let size = 4 + content.len() as i32 + 1;
        let header = NeedleHeader {
            cookie: id(key).cookie,
            id: key,
            size,
        };
        let mut record = header.to_bytes().to_vec();
        record.extend((content.len() as u32).to_be_bytes());
        record.extend(&content);
        record.push(0);
        record.extend(crc32c(&content).to_be_bytes());
        record.extend(1u64.to_be_bytes());
        record.resize(record.len() + 8 - record.len() % 8, 0);
        let units = end / UNIT;
        WIDTH.append(&IndexEntry { key, units, size }, &mut entries);
        end += record.len() as u64;
        records.extend(record);
    }
    dat.write_all(&records).unwrap();
    idx.write_all(&entries).unwrap();
}

fn opened(sidecar: &Sidecar, from: &str) -> f64 {
    labelled(sidecar, "volume_index_opened", "from", from)
}

/// One series of a metric.
fn labelled(sidecar: &Sidecar, name: &str, label: &str, value: &str) -> f64 {
    let answer = sidecar.send("GET", "/stats", &[]);
    let stats: Value = serde_json::from_slice(&answer.body).unwrap();
    let series = stats["metrics"][name].as_array().cloned();
    let series = series.unwrap_or_else(|| panic!("no metric {name} in {stats:#}"));
    let one = series.iter().find(|one| one["labels"][label] == value);
    one.and_then(|one| one["value"].as_f64())
        .unwrap_or_else(|| panic!("no {label}={value} in {series:#?}"))
}
