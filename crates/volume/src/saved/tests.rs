use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use seaweed::volume::{IndexEntry, OffsetWidth};
use tempfile::{TempDir, tempdir};

use super::page::encode;
use super::*;
use crate::DataDir;
use crate::index::{Block, Found, Index, Lookup, Packed};
use crate::raw::Wait;

/// An `.idx`, the index made of it, and a folder for it.
struct Bench {
    dir: TempDir,
    idx: File,
    len: u64,
    width: OffsetWidth,
    index: Index,
    truth: BTreeMap<u64, Lookup>,
    folder: Folder,
}

impl Bench {
    fn new(width: OffsetWidth) -> Self {
        let dir = tempdir().unwrap();
        let mut index = Index::default();
        index.finish_loading(None).unwrap();
        Self {
            idx: File::create_new(dir.path().join("7.idx")).unwrap(),
            len: 0,
            width,
            index,
            truth: BTreeMap::new(),
            folder: folder(&dir, u64::MAX),
            dir,
        }
        .reopened()
    }

    /// With an `.idx` that can be read.
    fn reopened(mut self) -> Self {
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).open(self.path());
        self.idx = file.unwrap();
        self
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("7.idx")
    }

    fn origin(&self) -> Origin {
        Origin::of(self.path(), &self.idx, 3, self.width).unwrap()
    }

    fn saved_path(&self) -> PathBuf {
        let listed = fs::read_dir(self.dir.path().join("saved")).unwrap();
        let all: Vec<_> = listed.map(|entry| entry.unwrap().path()).collect();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0].clone()
    }

    fn append(&mut self, key: u64, units: u64, size: i32) {
        let mut bytes = Vec::new();
        self.width
            .append(&IndexEntry { key, units, size }, &mut bytes);
        let entry = self.width.entry(&bytes).unwrap();
        self.idx.write_all(&bytes).unwrap();
        self.len += bytes.len() as u64;
        self.index.push(&entry);
        self.truth.insert(key, Packed::of(&entry).lookup());
    }

    fn load(&self) -> Result<Saved, Refused> {
        let len = self.idx.metadata().unwrap().len();
        self.folder.load(&self.origin(), &self.idx, len)
    }

    fn save(&mut self) -> Result<Arc<Saved>, SaveError> {
        let frozen = self.index.freeze().unwrap();
        self.write(&frozen).map(Arc::new)
    }

    fn write(&self, frozen: &crate::index::Frozen) -> Result<Saved, SaveError> {
        let runs: Vec<_> = frozen.runs.iter().map(Arc::as_ref).collect();
        let what = (&self.origin(), &self.idx, self.len);
        self.folder
            .save(what, &runs, frozen.saved.as_deref(), || false)
    }

    fn check(&self, keys: impl Iterator<Item = u64>) {
        for key in keys {
            let expected = self.truth.get(&key).copied().unwrap_or(Lookup::Unknown);
            assert_eq!(answer(&self.index, key), expected, "key {key}");
        }
        let deleted = self.truth.values().filter(|l| **l == Lookup::Deleted);
        let deleted = deleted.count() as u64;
        let live = self.truth.len() as u64 - deleted;
        let counts = self.index.counts().unwrap();
        assert_eq!((counts.live, counts.deleted), (live, deleted));
    }
}

fn folder(dir: &TempDir, limit: u64) -> Folder {
    let config = SavedIndexes {
        limit,
        ..SavedIndexes::new(dir.path().join("saved"))
    };
    Folder::open(config, &[DataDir::new(dir.path())]).unwrap()
}

fn answer(index: &Index, key: u64) -> Lookup {
    match index.lookup(key) {
        Found::Here(lookup) => lookup,
        Found::Below(saved) => {
            let place = saved.find(key, Wait::Yes).unwrap();
            place.map_or(Lookup::Unknown, Packed::lookup)
        }
    }
}

/// A thousand keys and more, of which every seventh is deleted.
fn filled(width: OffsetWidth) -> Bench {
    let mut bench = Bench::new(width);
    for key in 1..=2000u64 {
        bench.append(key * 3, key, 100);
        if key % 7 == 0 {
            bench.append(key * 3, key, -1);
        }
    }
    bench
}

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

#[test]
fn a_saved_index_says_the_same_and_takes_little() {
    for width in [OffsetWidth::Four, OffsetWidth::Five] {
        let mut bench = filled(width);
        let saved = bench.save().unwrap();
        assert_eq!(saved.header().entries, 2000);
        assert_eq!(saved.header().covered, bench.len);
        bench.check(0..6010);
        bench.index.thaw(Some(saved));
        assert_eq!((bench.index.unsaved(), bench.index.held()), (0, 2000));
        bench.check(0..6010);
        // What comes later is newer than what was saved, also while that is saved anew.
        bench.append(3, 77, 5);
        bench.append(6, 0, -1);
        bench.append(6003, 78, 5);
        bench.check(0..6010);
        let frozen = bench.index.freeze().unwrap();
        assert!(bench.index.freeze().is_none());
        bench.append(3, 79, 6);
        bench.check(0..6010);
        let again = bench.write(&frozen).unwrap();
        bench.index.thaw(Some(Arc::new(again)));
        bench.check(0..6010);
        assert_eq!(bench.index.unsaved(), 1);

        let bytes = fs::metadata(bench.saved_path()).unwrap().len();
        let each = (bytes - Header::LEN as u64) as f64 / 2001.0;
        assert!(each < 12.0, "{each} bytes a needle");
    }
}

#[test]
fn a_save_that_fails_changes_nothing() {
    let mut bench = filled(OffsetWidth::Five);
    let saved = bench.save().unwrap();
    bench.index.thaw(Some(saved));
    bench.folder = folder(&bench.dir, 10_000);
    let before = fs::read(bench.saved_path()).unwrap();
    bench.append(3, 9, 9);
    let error = bench.save().unwrap_err();
    assert!(matches!(error, SaveError::Limit(10_000)), "{error:?}");
    bench.append(6, 9, 9);
    bench.check(0..6010);
    bench.index.thaw(None);
    bench.check(0..6010);
    assert_eq!(bench.index.unsaved(), 2);
    assert_eq!(fs::read(bench.saved_path()).unwrap(), before);
    let saved = bench.load().unwrap();
    assert_eq!(saved.header().entries, 2000);
}

#[test]
fn what_was_made_of_another_index_is_refused_and_removed() {
    let refused = |change: &dyn Fn(&mut Bench)| {
        let mut bench = filled(OffsetWidth::Four);
        drop(bench.save().unwrap());
        change(&mut bench);
        let why = bench.load().unwrap_err();
        assert!(matches!(bench.load(), Err(Refused::Absent)));
        let left = fs::read_dir(bench.dir.path().join("saved")).unwrap();
        assert_eq!(left.count(), 0);
        why.to_string()
    };
    let replace = |bench: &mut Bench| {
        let other = bench.dir.path().join("other");
        fs::copy(bench.path(), &other).unwrap();
        fs::rename(other, bench.path()).unwrap();
        bench.idx = File::open(bench.path()).unwrap();
    };
    let why = refused(&replace);
    assert!(why.contains("another inode"), "{why}");
    let why = refused(&|bench| bench.idx.set_len(bench.len - 16).unwrap());
    assert!(why.contains("an .idx file of"), "{why}");
    for at in [0, 17_000, 36_000] {
        let why = refused(&|bench| flip(&bench.path(), at));
        assert!(why.contains("another content"), "{at}: {why}");
    }
    let why = refused(&|bench| bench.width = OffsetWidth::Five);
    assert!(why.contains("another width"), "{why}");
    let why = refused(&|bench| {
        let mut header = Header::parse(&fs::read(bench.saved_path()).unwrap()).unwrap();
        header.origin.revision += 1;
        let file = OpenOptions::new().write(true).open(bench.saved_path());
        file.unwrap().write_all_at(&header.to_bytes(), 0).unwrap();
    });
    assert!(why.contains("another revision"), "{why}");
    let why = refused(&|bench| {
        let mut header = Header::parse(&fs::read(bench.saved_path()).unwrap()).unwrap();
        header.origin.born ^= 1;
        let file = OpenOptions::new().write(true).open(bench.saved_path());
        file.unwrap().write_all_at(&header.to_bytes(), 0).unwrap();
    });
    assert!(why.contains("another time"), "{why}");
}

#[test]
fn every_byte_that_is_changed_is_noticed_before_it_is_believed() {
    let mut bench = filled(OffsetWidth::Five);
    drop(bench.save().unwrap());
    let sound = fs::read(bench.saved_path()).unwrap();
    let path = bench.saved_path();
    for at in (0..sound.len()).step_by(29).chain([sound.len() - 1]) {
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        fs::remove_file(&path).ok();
        fs::write(&path, bytes).unwrap();
        let Ok(saved) = bench.load() else {
            assert!(!path.exists());
            continue;
        };
        let pages = Header::LEN..sound.len() - saved.resident() as usize + 8;
        assert!(pages.contains(&at), "a change at {at} is not noticed");
        let mut refused = 0;
        for key in 0..6010 {
            match saved.find(key, Wait::Yes) {
                Ok(place) => {
                    let expected = bench.truth.get(&key).copied();
                    assert_eq!(place.map(Packed::lookup), expected, "{at}");
                }
                Err(Touch::Refused(_)) => refused += 1,
                Err(Touch::WouldWait) => panic!("it may wait"),
            }
        }
        assert!(refused > 0, "a change at {at} is not noticed");
        let merged = merge::<()>(&[], Some(&saved), |_, _| Ok(()));
        assert!(matches!(merged, Err(Stopped::Refused(_))));
    }
}

#[test]
fn a_file_that_was_cut_off_is_refused_at_any_length() {
    let mut bench = filled(OffsetWidth::Five);
    drop(bench.save().unwrap());
    let path = bench.saved_path();
    let sound = fs::read(&path).unwrap();
    for len in [0, 1, 8, 4095, 4096, 5000, sound.len() - 8, sound.len() - 1] {
        fs::write(&path, &sound[..len]).unwrap();
        assert!(bench.load().is_err(), "{len} bytes");
    }
    let mut longer = sound.clone();
    longer.push(0);
    fs::write(&path, longer).unwrap();
    let why = bench.load().unwrap_err();
    assert!(matches!(why, Refused::Length { .. }), "{why:?}");
    fs::write(&path, sound).unwrap();
    bench.load().unwrap();
}

#[test]
fn only_what_is_of_no_use_is_removed() {
    let mut bench = filled(OffsetWidth::Five);
    drop(bench.save().unwrap());
    let path = bench.saved_path();
    let saved = bench.dir.path().join("saved");
    fs::write(saved.join("7-0.index"), "rubbish").unwrap();
    fs::copy(&path, saved.join("8-12345678.index")).unwrap();
    fs::write(saved.join("mine.txt"), "").unwrap();
    fs::write(saved.join("7-0.1.part"), "").unwrap();
    bench.folder.tidy();
    let mut left: Vec<_> = fs::read_dir(&saved)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(path.exists());
    let now = std::time::SystemTime::now();
    let old = OpenOptions::new()
        .write(true)
        .open(saved.join("7-0.1.part"));
    old.unwrap()
        .set_modified(now - std::time::Duration::from_secs(7200))
        .unwrap();
    fs::remove_file(bench.path()).unwrap();
    bench.folder.tidy();
    assert!(!path.exists() && !saved.join("7-0.1.part").exists());
    assert!(saved.join("mine.txt").exists());
}

#[test]
fn a_folder_that_others_could_write_to_or_that_has_volumes_is_refused() {
    let dir = tempdir().unwrap();
    let own = SavedIndexes::new(dir.path().join("a/b"));
    own.prepare().unwrap();
    let mode = fs::metadata(&own.dir).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    fs::set_permissions(&own.dir, Permissions::from_mode(0o770)).unwrap();
    let error = own.prepare().unwrap_err();
    assert!(matches!(error, FolderError::Writable), "{error:?}");
    let volumes = SavedIndexes::new(dir.path());
    let error = Folder::open(volumes, &[DataDir::new(dir.path().join("."))]).unwrap_err();
    assert!(matches!(error, FolderError::Volumes), "{error:?}");
    fs::write(dir.path().join("file"), "").unwrap();
    let error = SavedIndexes::new(dir.path().join("file")).prepare();
    assert!(matches!(error, Err(FolderError::Io(_))), "{error:?}");
}

#[test]
fn what_the_disk_would_have_to_be_waited_for_is_not_waited_for() {
    let mut bench = filled(OffsetWidth::Five);
    let saved = bench.save().unwrap();
    // In the page cache, or the file system cannot tell.
    match saved.find(300, Wait::No) {
        Ok(place) => assert_eq!(place.map(Packed::lookup), bench.truth.get(&300).copied()),
        Err(error) => assert!(matches!(error, Touch::WouldWait), "{error:?}"),
    }
    saved.find(300, Wait::Yes).unwrap();
    let place = saved.find(300, Wait::No).unwrap();
    assert_eq!(place.map(Packed::lookup), bench.truth.get(&300).copied());
}

/// Keys that need differences of all widths, and places of both.
fn pairs() -> impl Strategy<Value = Vec<(u64, u64)>> {
    (
        0u32..64,
        prop::collection::btree_map(any::<u64>(), any::<u64>(), 1..600),
        0u32..64,
    )
        .prop_map(|(keys, pairs, places)| {
            let narrow: BTreeMap<_, _> = pairs
                .into_iter()
                .map(|(key, place)| (key >> keys, place >> places))
                .collect();
            narrow.into_iter().collect()
        })
}

proptest! {
    #[test]
    fn a_page_gives_back_what_was_put_into_it(pairs in pairs()) {
        let most = (1..=pairs.len())
            .rev()
            .find_map(|count| Some((count, encode(&pairs[..count])?)));
        let (count, bytes) = most.unwrap();
        prop_assert!(count == pairs.len() || count >= 255);
        Page::verify(&bytes).unwrap();
        let page = Page::parse(&bytes).unwrap();
        prop_assert_eq!(page.entries().collect::<Vec<_>>(), &pairs[..count]);
        for (key, place) in &pairs[..count] {
            prop_assert_eq!(page.find(*key), Some(*place));
            let next = key.wrapping_add(1);
            let expected = pairs[..count].iter().find(|pair| pair.0 == next);
            prop_assert_eq!(page.find(next), expected.map(|pair| pair.1));
        }
    }

    /// Whatever is appended, saved, opened again and saved over the old: the answers are those of the last entries.
    #[test]
    fn saved_or_not_the_last_entry_counts(
        rounds in prop::collection::vec(
            (prop::collection::vec((0u64..300, 1u64..1 << 33, -1i32..3), 0..400), 0u8..4),
            1..6,
        ),
        spread in 0u32..56,
        wide: bool,
    ) {
        let width = if wide { OffsetWidth::Five } else { OffsetWidth::Four };
        let mut bench = Bench::new(width);
        for (entries, then) in rounds {
            for (key, units, size) in entries {
                bench.append(key << spread, units, size);
            }
            if bench.truth.is_empty() {
                continue;
            }
            match then {
                0 => {}
                1 => {
                    let saved = bench.save().unwrap();
                    bench.index.thaw(Some(saved));
                }
                2 => {
                    bench.save().unwrap();
                    bench.index.thaw(None);
                }
                _ => {
                    // A new process: what was saved, and the entries behind it.
                    let saved = bench.load().ok();
                    let covered = saved.as_ref().map_or(0, |saved| saved.header().covered);
                    let bytes = fs::read(bench.path()).unwrap();
                    let newer = width.entries(&bytes[covered as usize..]);
                    bench.index = Index::default();
                    bench.index.push_older(Block::of(newer));
                    bench.index.finish_loading(saved.map(Arc::new)).unwrap();
                }
            }
            bench.check((0..301).map(|key| key << spread));
        }
    }
}
