//! Stores whose indexes outlive them.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Volume, config, data, flip, open, whole};
use proptest::prelude::*;
use seaweed::FileId;
use seaweed::volume::{OffsetWidth, Version};
use tempfile::{TempDir, tempdir};
use volume::saved::SavedIndexes;
use volume::{Absent, Miss, Store, StoreConfig};

/// A folder of volumes, and one of indexes.
struct Place {
    data: TempDir,
    saved: TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            data: tempdir().unwrap(),
            saved: tempdir().unwrap(),
        }
    }

    /// Saves everything.
    fn config(&self) -> StoreConfig {
        StoreConfig {
            saved: Some(SavedIndexes {
                min_entries: 1,
                ..SavedIndexes::new(self.saved.path())
            }),
            ..config(self.data.path())
        }
    }

    fn open(&self) -> Arc<Store> {
        open(self.config())
    }

    fn files(&self) -> Vec<PathBuf> {
        let listed = fs::read_dir(self.saved.path()).unwrap();
        let mut all: Vec<_> = listed.map(|entry| entry.unwrap().path()).collect();
        all.retain(|path| {
            path.extension()
                .is_some_and(|extension| extension == "index")
        });
        all
    }
}

fn create(dir: &Path, revision: u16) -> Volume {
    let volume = Volume::create_named(dir, "1", 1, Version::V3, OffsetWidth::Five, revision);
    volume.vif(r#"{"bytesOffset":5}"#);
    volume
}

/// Waits until so many indexes were saved.
fn wait_saved(store: &Store, count: u64) {
    let began = Instant::now();
    while store.stats().index_saves.get() < count {
        assert!(began.elapsed() < common::WAIT, "nothing is saved");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn absent(store: &Store, id: FileId) -> Absent {
    match store.find(id) {
        Err(Miss::Absent(how)) => how,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_next_store_reads_only_what_came_since() {
    let place = Place::new();
    let mut server = create(place.data.path(), 0);
    let ids: Vec<_> = (1..=1000)
        .map(|key| server.put(key, &data(key, 50)))
        .collect();
    server.delete(7);
    let store = place.open();
    wait_saved(&store, 1);
    assert_eq!(store.stats().index_from_start.get(), 1);
    // It is in use at once, and takes no memory.
    assert_eq!(whole(&store, ids[499]), data(500, 50));
    assert!(store.index_bytes() < 100, "{}", store.index_bytes());
    let bytes = fs::metadata(&place.files()[0]).unwrap().len();
    assert_eq!(store.saved_index_bytes(), bytes);
    drop(store);

    server.delete(8);
    server.put(9, b"anew");
    let last = server.put(2000, b"last");
    let store = place.open();
    let stats = store.stats();
    assert_eq!(
        (stats.index_from_saved.get(), stats.index_from_start.get()),
        (1, 0)
    );
    assert_eq!(stats.index_entries.get(), 3);
    for (key, id) in (1..).zip(&ids) {
        match key {
            7 | 8 => assert_eq!(absent(&store, *id), Absent::Deleted),
            9 => assert_eq!(whole(&store, *id), b"anew"),
            _ => assert_eq!(whole(&store, *id), data(key, 50)),
        }
    }
    assert_eq!(whole(&store, last), b"last");
    assert_eq!(absent(&store, server.file_id(1500)), Absent::Unknown);
    let summary = &store.volumes()[0];
    assert_eq!((summary.needles, summary.deleted), (999, 2));
}

#[test]
fn after_a_vacuum_the_old_one_is_not_used() {
    let place = Place::new();
    let mut server = create(place.data.path(), 0);
    for key in 1..=100 {
        server.put(key, &data(key, 50));
    }
    let store = place.open();
    wait_saved(&store, 1);
    drop(store);
    let other = tempdir().unwrap();
    let mut vacuumed = create(other.path(), 1);
    for key in (1..=100).rev() {
        vacuumed.put(key, &data(key + 1, 60));
    }
    for key in 101..=200 {
        vacuumed.put(key, &data(key + 1, 60));
    }
    for extension in ["dat", "idx"] {
        let name = format!("1.{extension}");
        let beside = place.data.path().join("moved");
        fs::copy(other.path().join(&name), &beside).unwrap();
        fs::rename(beside, place.data.path().join(&name)).unwrap();
    }
    let store = place.open();
    assert_eq!(store.stats().index_outdated.get(), 1);
    assert_eq!(store.stats().index_from_saved.get(), 0);
    for key in 1..=200 {
        assert_eq!(whole(&store, server.file_id(key)), data(key + 1, 60));
    }
    wait_saved(&store, 1);
    drop(store);
    assert_eq!(place.open().stats().index_from_saved.get(), 1);
}

#[test]
fn a_page_that_is_damaged_costs_a_reload_and_no_answer() {
    let place = Place::new();
    let mut server = create(place.data.path(), 0);
    for key in 1..=2000 {
        server.put(key, &data(key, 20));
    }
    let store = place.open();
    wait_saved(&store, 1);
    drop(store);
    let file = &place.files()[0];
    flip(file, 4096 + 4096 + 100);
    let store = place.open();
    assert_eq!(store.stats().index_from_saved.get(), 1);
    for key in 1..=2000 {
        assert_eq!(whole(&store, server.file_id(key)), data(key, 20), "{key}");
    }
    assert_eq!(store.stats().index_damaged.get(), 1);
    assert_eq!(store.stats().index_from_start.get(), 1);
    wait_saved(&store, 1);
}

#[test]
fn a_damaged_page_that_news_lead_to_has_the_rest_loaded() {
    let place = Place::new();
    let mut server = create(place.data.path(), 0);
    for key in 1..=2000 {
        server.put(key, &data(key, 20));
    }
    let store = place.open();
    wait_saved(&store, 1);
    drop(store);
    flip(&place.files()[0], 4096 + 100);
    // Its place in what was saved is looked at to count.
    server.delete(3);
    let store = place.open();
    assert_eq!(store.stats().index_damaged.get(), 1);
    assert_eq!(absent(&store, server.file_id(3)), Absent::Deleted);
    for key in 4..=2000 {
        assert_eq!(whole(&store, server.file_id(key)), data(key, 20), "{key}");
    }
    assert_eq!(store.volumes()[0].needles, 1999);
}

#[test]
fn memory_for_indexes_is_needed_only_for_what_is_not_saved() {
    let place = Place::new();
    for id in 1..=4 {
        let mut volume = Volume::create(place.data.path(), id, Version::V3, OffsetWidth::Five);
        for key in 1..=1000 {
            volume.put(key, b"data");
        }
        volume.vif(r#"{"bytesOffset":5}"#);
    }
    let mut small = place.config();
    small.max_index_bytes = 17_000;
    let store = Store::open(small).unwrap();
    let began = Instant::now();
    // One after the other has room.
    while store.stats().index_saves.get() < 4 {
        assert!(began.elapsed() < common::WAIT, "{:?}", store.volumes());
        store.rescan();
    }
    assert!(store.index_bytes() < 1000);
    for volume in 1..=4 {
        let id = FileId {
            volume,
            key: 1000,
            cookie: common::cookie(1000),
        };
        assert_eq!(whole(&store, id), b"data");
    }
}

/// What a server and an administrator do.
#[derive(Debug, Clone)]
enum Step {
    Put(u64),
    Delete(u64),
    Vacuum,
    Restart,
    Saved,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1u64..60).prop_map(Step::Put),
        4 => (1u64..60).prop_map(Step::Delete),
        1 => Just(Step::Vacuum),
        2 => Just(Step::Restart),
        2 => Just(Step::Saved),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A store that saves its index, and is opened again at any time, never says anything else than what was done last.
    #[test]
    fn no_restart_changes_an_answer(steps in prop::collection::vec(step(), 1..40)) {
        let place = Place::new();
        let mut server = create(place.data.path(), 0);
        let mut truth: BTreeMap<u64, Option<Vec<u8>>> = BTreeMap::new();
        let mut store = place.open();
        let mut revision = 0;
        for (round, step) in (1u64..).zip(steps) {
            match step {
                Step::Put(key) => {
                    let data = data(round, (round * 37 % 200) as usize + 1);
                    server.put(key, &data);
                    truth.insert(key, Some(data));
                }
                Step::Delete(key) => {
                    server.delete(key);
                    truth.insert(key, None);
                }
                Step::Vacuum => {
                    revision += 1;
                    let next = tempfile::tempdir_in(place.data.path()).unwrap();
                    let mut new = create(next.path(), revision);
                    truth.retain(|_, data| data.is_some());
                    for (key, data) in &truth {
                        new.put(*key, data.as_ref().unwrap());
                    }
                    let path = |extension| place.data.path().join("1").with_extension(extension);
                    fs::rename(new.dat(), path("cpd")).unwrap();
                    fs::rename(new.idx(), path("cpx")).unwrap();
                    fs::rename(path("cpd"), path("dat")).unwrap();
                    fs::rename(path("cpx"), path("idx")).unwrap();
                    let base = place.data.path().join("1");
                    server = Volume::reopen(base, 1, Version::V3, OffsetWidth::Five);
                }
                Step::Restart => {
                    drop(store);
                    store = place.open();
                }
                Step::Saved => {
                    let before = store.stats().index_saves.get();
                    // More than the eighth that is not worth it.
                    for n in 0..truth.len() as u64 / 8 + 2 {
                        let key = 1000 * round + n;
                        server.put(key, b"more");
                        truth.insert(key, Some(b"more".to_vec()));
                    }
                    store.rescan();
                    wait_saved(&store, before.max(1));
                }
            }
            for (key, data) in &truth {
                let id = server.file_id(*key);
                match data {
                    Some(data) => prop_assert_eq!(&whole(&store, id), data),
                    None => prop_assert_eq!(absent(&store, id), Absent::Deleted),
                }
            }
            prop_assert_eq!(absent(&store, server.file_id(999)), Absent::Unknown);
        }
    }
}
