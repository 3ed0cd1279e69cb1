//! A store over volumes of every form, written here byte by byte.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::{Extras, Volume, config, cookie, data, now_ns, open, record, whole};
use seaweed::FileId;
use seaweed::crc::crc32c;
use seaweed::volume::{OffsetWidth, Ttl, Version, flags};
use tempfile::tempdir;
use volume::{Absent, Damage, DataDir, Miss, ReadError, Reason, Store, VerifyRanges, VolumeState};

const BOTH: [OffsetWidth; 2] = [OffsetWidth::Four, OffsetWidth::Five];
const ALL: [Version; 3] = [Version::V1, Version::V2, Version::V3];

fn reason(store: &Store, id: FileId) -> Reason {
    match store.find(id) {
        Err(Miss::Declined(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

fn corrupt(store: &Store, id: FileId) -> Damage {
    match store.find(id) {
        Err(Miss::Corrupt(damage)) => damage,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_version_and_width_is_read() {
    let dir = tempdir().unwrap();
    let lens = [
        0,
        1,
        3,
        4,
        5,
        12,
        4096,
        8 << 10,
        20_000,
        300_000,
        (128 << 10) * 2,
    ];
    let mut id = 0;
    for version in ALL {
        for width in BOTH {
            id += 1;
            let mut volume = Volume::create(dir.path(), id, version, width);
            for (key, len) in (1..).zip(lens) {
                volume.put(key, &data(key, len));
            }
        }
    }
    let store = open(config(dir.path()));
    for volume in 1..=id {
        for (key, len) in (1..).zip(lens) {
            let id = FileId {
                volume,
                key,
                cookie: cookie(key),
            };
            assert_eq!(whole(&store, id), data(key, len), "{id} of {len} bytes");
        }
    }
    let summary = store.volumes();
    assert_eq!(summary.len(), 6);
    for (volume, (version, width)) in summary.iter().zip(
        ALL.iter()
            .flat_map(|version| BOTH.map(|width| (version, width))),
    ) {
        assert_eq!(volume.state, VolumeState::Serving);
        assert_eq!(volume.version.as_ref(), Some(version));
        assert_eq!(volume.offset_width, Some(width));
        assert_eq!((volume.needles, volume.deleted), (lens.len() as u64, 0));
    }
}

#[test]
fn both_forms_of_checksums_are_accepted_and_reported_raw() {
    let dir = tempdir().unwrap();
    let mut volume = Volume::create(dir.path(), 1, Version::V2, OffsetWidth::Four);
    let (small, large) = (data(1, 100), data(2, 100_000));
    for (key, data) in [(1, &small), (2, &large)] {
        let extras = Extras {
            masked: true,
            ..Extras::default()
        };
        volume.put_with(key, data, extras);
    }
    let store = open(config(dir.path()));
    for (key, data) in [(1, &small), (2, &large)] {
        let needle = store.find(volume.file_id(key)).unwrap();
        assert_ne!(needle.stored_crc(), crc32c(data));
        let mut part = [0; 10];
        let crc = needle.read_at(50, &mut part).unwrap();
        assert_eq!((&part[..], crc), (&data[50..60], crc32c(&data[50..60])));
        assert_eq!(needle.crc(), Some(crc32c(data)));
        assert_eq!(&whole(&store, volume.file_id(key)), data);
    }
}

#[test]
fn meta_data_is_told() {
    let dir = tempdir().unwrap();
    let mut volume = Volume::create(dir.path(), 1, Version::V3, OffsetWidth::Five);
    let extras = Extras {
        flags: flags::GZIP | flags::CHUNK_MANIFEST,
        name: "photo.jpg",
        mime: "image/jpeg",
        last_modified: Some(1_700_000_000),
        append_at: Some(1_700_000_001_000_000_002),
        ..Extras::default()
    };
    for (key, len) in [(1, 10), (2, 50_000)] {
        volume.put_with(key, &data(key, len), extras);
    }
    let store = open(config(dir.path()));
    for key in [1, 2] {
        let needle = store.find(volume.file_id(key)).unwrap();
        assert_eq!(needle.name(), b"photo.jpg");
        assert_eq!(needle.mime(), b"image/jpeg");
        assert!(needle.is_gzip() && needle.is_chunk_manifest());
        assert_eq!(needle.last_modified(), Some(1_700_000_000));
        assert_eq!(needle.append_at_ns(), Some(1_700_000_001_000_000_002));
        assert_eq!((needle.ttl(), needle.pairs()), (None, &b""[..]));
        assert_eq!(needle.file_id(), volume.file_id(key));
    }
}

#[test]
fn every_range_is_what_was_written() {
    let dir = tempdir().unwrap();
    let mut volume = Volume::create(dir.path(), 1, Version::V3, OffsetWidth::Five);
    let data = data(7, 300_001);
    let id = volume.put(1, &data);
    for verify in [
        VerifyRanges::Always,
        VerifyRanges::Cached,
        VerifyRanges::Never,
    ] {
        let store = open(volume::StoreConfig {
            verify,
            ..config(dir.path())
        });
        let needle = store.find(id).unwrap();
        let edges = [
            0, 1, 4095, 4096, 4097, 131_071, 131_072, 131_073, 262_144, 299_999, 300_001,
        ];
        let mut shared = vec![0; data.len()];
        for from in edges {
            for to in edges.into_iter().filter(|to| *to >= from) {
                let wanted = &data[from..to];
                let mut got = vec![0; to - from];
                let crc = needle.read_at(from as u64, &mut got).unwrap();
                assert!(got == wanted, "{verify:?} {from}..{to}");
                assert_eq!(crc, crc32c(wanted), "{verify:?} {from}..{to}");
                if let Some(crc) = needle.try_read_at(from as u64, &mut got).unwrap() {
                    assert_eq!(crc, crc32c(wanted));
                    assert!(got == wanted);
                }

                let at_borders = from % 4096 == 0 && (to % 4096 == 0 || to == data.len());
                match needle.known_crc(from as u64, to - from) {
                    Some(crc) => {
                        assert!(at_borders && verify != VerifyRanges::Never);
                        assert_eq!(crc, crc32c(wanted), "{verify:?} {from}..{to}");
                    }
                    // With the others it is enough that it is in memory, as it has just been read.
                    None => assert!(!at_borders || verify != VerifyRanges::Always),
                }
                let (file, at) = needle.file_at(from as u64).unwrap();
                let mut of_file = vec![0; to - from];
                rustix::io::pread(file, &mut of_file[..], at).unwrap();
                assert!(of_file == wanted, "{from}..{to} of the file");

                let pointer = shared.as_mut_ptr();
                // SAFETY: memory of this test, which uses it only after the call.
                unsafe { needle.copy_into(from as u64, pointer, to - from) }.unwrap();
                assert!(shared[..to - from] == *wanted, "{verify:?} {from}..{to}");
                shared.fill(0);
                let pointer = shared.as_mut_ptr();
                // SAFETY: as before.
                let crc = unsafe { needle.read_into(from as u64, pointer, to - from) }.unwrap();
                assert!(shared[..to - from] == *wanted, "{verify:?} {from}..{to}");
                let whole = from == 0 && to == data.len();
                match verify == VerifyRanges::Never && !whole {
                    true => assert_eq!(crc, None),
                    false => assert_eq!(crc, Some(crc32c(wanted))),
                }
            }
        }
        needle.will_need(5, 100_000);
        let checked = store.stats().verified_bytes.get();
        match verify {
            VerifyRanges::Always => assert_eq!(checked, data.len() as u64, "checked once"),
            VerifyRanges::Cached => assert!(checked == 0 || checked == data.len() as u64),
            VerifyRanges::Never => assert_eq!(checked, 0),
        }
        for (offset, len) in [(0, 300_002), (300_001, 1), (u64::MAX, 2)] {
            let error = needle.read_at(offset, &mut vec![0; len]).unwrap_err();
            assert!(
                matches!(
                    error,
                    ReadError::Range {
                        needle: 300_001,
                        ..
                    }
                ),
                "{error}"
            );
        }
    }
}

#[test]
fn the_last_entry_of_a_key_counts() {
    let dir = tempdir().unwrap();
    let mut volume = Volume::create(dir.path(), 1, Version::V3, OffsetWidth::Five);
    let id = volume.put(5, b"first");
    let store = open(config(dir.path()));
    assert_eq!(whole(&store, id), b"first");
    volume.put(5, b"second");
    assert_eq!(whole(&store, id), b"second");
    volume.delete(5);
    assert!(matches!(store.find(id), Err(Miss::Absent(Absent::Deleted))));
    volume.put(5, b"third");
    assert_eq!(whole(&store, id), b"third");
    let wrong = FileId { cookie: 1, ..id };
    assert!(matches!(
        store.find(wrong),
        Err(Miss::Absent(Absent::Cookie))
    ));
    let other = FileId { key: 6, ..id };
    assert!(matches!(
        store.find(other),
        Err(Miss::Absent(Absent::Unknown))
    ));
    // As in a volume whose data is elsewhere.
    volume.index(5, 0, 0);
    assert!(matches!(store.find(id), Err(Miss::Absent(Absent::Deleted))));
    let stats = store.stats();
    assert_eq!(
        (stats.deleted.get(), stats.cookie.get(), stats.unknown.get()),
        (2, 1, 1)
    );
    assert_eq!((stats.found.get(), stats.index_entries.get()), (3, 5));
}

#[test]
fn damage_is_never_handed_out() {
    let dir = tempdir().unwrap();
    let mut volume = Volume::create(dir.path(), 1, Version::V3, OffsetWidth::Five);
    let small = volume.put_with(1, &data(1, 1000), Extras::default());
    let large = volume.put_with(2, &data(2, 500_000), Extras::default());
    let warm = volume.put_with(3, &data(3, 500_000), Extras::default());
    let store = open(config(dir.path()));
    let id = |key| volume.file_id(key);

    let needle = store.find(id(3)).unwrap();
    needle.read_at(9000, &mut [0; 100]).unwrap();

    for offset in [small + 500, large + 400_000, warm + 20 + 8192 + 5] {
        volume.damage(offset);
    }
    assert!(matches!(corrupt(&store, id(1)), Damage::Checksum { offset, .. } if offset == small));

    let mut part = [0; 100];
    let cold = store.find(id(2)).unwrap();
    for _ in 0..2 {
        // Far from the damage: the whole is not what was written, so no part is trusted.
        let error = cold.read_at(0, &mut part).unwrap_err();
        assert!(
            matches!(error, ReadError::Corrupt(Damage::Checksum { .. })),
            "{error}"
        );
        let error = cold.try_read_at(0, &mut part);
        assert!(
            matches!(error, Err(ReadError::Corrupt(_)) | Ok(None)),
            "{error:?}"
        );
        // SAFETY: the array is this test's own.
        let error = unsafe { cold.read_into(0, part.as_mut_ptr(), 100) }.unwrap_err();
        assert!(
            matches!(error, ReadError::Corrupt(Damage::Checksum { .. })),
            "{error}"
        );
    }
    assert!(cold.read_whole(&mut Vec::new()).is_err());
    assert_eq!(cold.known_crc(0, 4096), None, "of a needle that is damaged");

    // What is told of the bad block is what it was: who reads it finds other bytes.
    let block = &data(3, 500_000)[8192..8192 + 4096];
    assert_eq!(needle.known_crc(8192, 4096), Some(crc32c(block)));

    // Its sums are known: good blocks are handed out, the bad one is not.
    assert_eq!(needle.read_at(0, &mut part).unwrap(), crc32c(&data(3, 100)));
    for (offset, len) in [
        (8192, 4096),
        (8000, 300),
        (8190, 4),
        (12_287, 1),
        (0, 400_000),
    ] {
        let error = needle.read_at(offset, &mut vec![0; len]).unwrap_err();
        let expected = Damage::Block {
            offset: warm,
            at: 8192,
        };
        assert!(
            matches!(error, ReadError::Corrupt(found) if found == expected),
            "{error}"
        );
    }
    assert!(needle.read_whole(&mut Vec::new()).is_err());
    assert!(needle.verify_all().is_err());
    assert!(store.stats().corrupt.get() >= 10);
    assert!(store.stats().read_errors.get() >= 10);
}

#[test]
fn entries_that_lead_nowhere_are_corrupt() {
    let dir = tempdir().unwrap();
    let mut volume = Volume::create(dir.path(), 1, Version::V3, OffsetWidth::Five);
    let good = volume.put(1, b"good");
    volume.index(2, 1, 9);
    volume.index(3, 1 << 39, 9);
    volume.index(4, (1 << 40) - 1, i32::MAX);
    volume.index(1 << 60, 1, i32::MAX);
    let store = open(config(dir.path()));
    let id = |key| FileId {
        key,
        cookie: cookie(key),
        ..good
    };
    assert!(matches!(
        corrupt(&store, id(2)),
        Damage::OtherRecord { key: 1, .. }
    ));
    assert!(matches!(corrupt(&store, id(3)), Damage::CutOff { .. }));
    assert!(matches!(corrupt(&store, id(4)), Damage::CutOff { .. }));
    assert!(matches!(
        corrupt(&store, id(1 << 60)),
        Damage::OtherRecord { .. }
    ));
    assert_eq!(whole(&store, good), b"good");

    // A header that says the right key and an impossible size of data.
    let mut bad = record(Version::V3, 9, &data(9, 20_000), Extras::default());
    bad[16..20].copy_from_slice(&u32::MAX.to_be_bytes());
    let offset = volume.append(&bad);
    volume.index(9, offset / 8, 4 + 20_000 + 1);
    assert!(matches!(corrupt(&store, id(9)), Damage::Malformed { .. }));
}

#[test]
fn an_expired_needle_is_a_miss() {
    let dir = tempdir().unwrap();
    let mut volume = Volume::create(dir.path(), 1, Version::V3, OffsetWidth::Five);
    let minute = Ttl::from_bytes([1, 1]);
    let ago = |seconds: u64| Some(now_ns() - seconds * 1_000_000_000);
    let base = Extras {
        ttl: minute,
        last_modified: Some(1),
        ..Extras::default()
    };
    let put = |volume: &mut Volume, key, extras| volume.put_with(key, b"some data", extras);
    put(
        &mut volume,
        1,
        Extras {
            append_at: ago(30),
            ..base
        },
    );
    put(
        &mut volume,
        2,
        Extras {
            append_at: ago(61),
            ..base
        },
    );
    // Without a time of modification a server does not count.
    put(
        &mut volume,
        3,
        Extras {
            append_at: ago(61),
            last_modified: None,
            ..base
        },
    );
    let store = open(config(dir.path()));
    assert_eq!(store.find(volume.file_id(1)).unwrap().ttl(), minute);
    assert!(matches!(store.find(volume.file_id(2)), Err(Miss::Expired)));
    assert!(store.find(volume.file_id(3)).is_ok());
}

#[test]
fn volumes_come_and_go_without_a_scan_being_waited_for() {
    let dir = tempdir().unwrap();
    let store = open(config(dir.path()));
    let unknown = FileId {
        volume: 7,
        key: 1,
        cookie: cookie(1),
    };
    assert!(matches!(store.find(unknown), Err(Miss::NotHere)));
    for round in 0..50 {
        let id = 7 + round;
        let name = format!("some_collection_{id}");
        let mut volume =
            Volume::create_named(dir.path(), &name, id, Version::V3, OffsetWidth::Five, 0);
        let file_id = volume.put(1, b"at once");
        assert_eq!(whole(&store, file_id), b"at once");
        fs::remove_file(volume.dat()).unwrap();
        fs::remove_file(volume.idx()).unwrap();
        let gone = store.find(file_id);
        assert!(matches!(gone, Err(Miss::NotHere)), "{gone:?}");
    }
    assert_eq!(store.volumes().len(), 0);
    // Misses alone do not list the folder.
    std::thread::sleep(Duration::from_millis(60));
    assert!(matches!(store.find(unknown), Err(Miss::NotHere)));
    let scans = store.stats().scans.get();
    for _ in 0..1000 {
        assert!(matches!(store.find(unknown), Err(Miss::NotHere)));
    }
    assert!(store.stats().scans.get() <= scans + 1);
}

#[test]
fn a_volume_is_first_empty_then_has_entries() {
    let dir = tempdir().unwrap();
    let mut volume = Volume::create(dir.path(), 1, Version::V3, OffsetWidth::Four);
    let store = open(config(dir.path()));
    let id = volume.file_id(1);
    assert_eq!(reason(&store, id), Reason::OffsetWidth);
    let generation = store.generation();
    std::thread::sleep(Duration::from_millis(50));
    volume.put(1, b"now one can tell");
    assert_eq!(whole(&store, id), b"now one can tell");
    assert!(store.generation() > generation);

    let mut told = Volume::create(dir.path(), 2, Version::V3, OffsetWidth::Four);
    told.vif(r#"{"bytesOffset": 4}"#);
    assert!(matches!(
        store.find(told.file_id(1)),
        Err(Miss::Absent(Absent::Unknown))
    ));
    let id = told.put(1, b"x");
    assert_eq!(whole(&store, id), b"x");
    told.delete(1);
    assert!(store.find(id).is_err());
    let summary = &store.volumes()[1];
    assert_eq!((summary.needles, summary.deleted), (0, 1));
}

#[test]
fn what_cannot_be_served_is_declined_with_a_reason() {
    let dir = tempdir().unwrap();
    let make = |id| {
        let mut volume = Volume::create(dir.path(), id, Version::V3, OffsetWidth::Five);
        volume.put(1, b"data");
        volume
    };
    let path = |name: &str| dir.path().join(name);
    let touch = |name: &str| fs::write(path(name), b"").unwrap();
    make(1).vif(r#"{"files":[{"backendType":"s3"}]}"#);
    make(2);
    touch("2.note");
    make(3);
    touch("3.ecx");
    make(4);
    fs::remove_file(path("4.idx")).unwrap();
    make(5);
    fs::write(path("5.dat"), b"\x09rubbish").unwrap();
    make(6).vif("{");
    touch("7.ec00");
    make(8);
    touch("8.cpx");
    make(9).vif(r#"{"files":[{"backendType":"s3"}],"bytesOffset":5}"#);
    fs::remove_file(path("9.dat")).unwrap();
    make(10);
    fs::remove_file(path("10.dat")).unwrap();
    fs::create_dir(path("10.dat")).unwrap();
    make(11);
    fs::write(path("11.dat"), b"").unwrap();

    let store = open(config(dir.path()));
    let declined = |volume| {
        reason(
            &store,
            FileId {
                volume,
                key: 1,
                cookie: cookie(1),
            },
        )
    };
    assert_eq!(declined(1), Reason::Tiered);
    assert_eq!(declined(2), Reason::Copying);
    assert_eq!(declined(3), Reason::ErasureCoded);
    assert_eq!(declined(4), Reason::NoIndex);
    assert!(matches!(declined(5), Reason::SuperBlock(_)));
    assert!(matches!(declined(6), Reason::Info(_)));
    assert_eq!(declined(7), Reason::ErasureCoded);
    assert_eq!(declined(8), Reason::Vacuuming);
    assert_eq!(declined(9), Reason::Tiered);
    assert!(matches!(declined(10), Reason::Io(_)));
    assert!(matches!(declined(11), Reason::SuperBlock(_)));
    assert_eq!(store.volumes().len(), 11);

    // It is over: nothing has to be waited for.
    fs::remove_file(path("2.note")).unwrap();
    fs::remove_file(path("8.cpx")).unwrap();
    std::thread::sleep(Duration::from_millis(30));
    for volume in [2, 8] {
        let id = FileId {
            volume,
            key: 1,
            cookie: cookie(1),
        };
        assert_eq!(whole(&store, id), b"data");
    }
    // And back.
    touch("2.note");
    store.rescan();
    assert_eq!(declined(2), Reason::Copying);
}

#[test]
fn a_swapped_pair_is_noticed_and_an_old_needle_stays_readable() {
    let dir = tempdir().unwrap();
    let mut volume = Volume::create(dir.path(), 1, Version::V3, OffsetWidth::Five);
    let old = data(1, 100_000);
    volume.put(2, &data(2, 77_000));
    let id = volume.put(1, &old);
    volume.delete(2);
    let store = open(config(dir.path()));
    let held = store.find(id).unwrap();
    for revision in 1..20 {
        let mut new = Volume::create_named(
            dir.path(),
            "new",
            1,
            Version::V3,
            OffsetWidth::Five,
            revision,
        );
        new.put(1, &old);
        new.put(3, &data(3, 1000 * usize::from(revision)));
        fs::rename(new.dat(), volume.dat()).unwrap();
        // Between the two renames: the old pair still fits.
        assert_eq!(whole(&store, id), old);
        fs::rename(new.idx(), volume.idx()).unwrap();
        assert_eq!(whole(&store, id), old);
        let third = whole(&store, volume.file_id(3));
        assert_eq!(third.len(), 1000 * usize::from(revision));
        assert!(matches!(
            store.find(volume.file_id(2)),
            Err(Miss::Absent(Absent::Unknown))
        ));
        assert_eq!(store.volumes()[0].revision, Some(revision));
        // The server goes on with the new files.
        let base = dir.path().join("1");
        let mut server = Volume::reopen(base, 1, Version::V3, OffsetWidth::Five);
        let grown = server.put(4, b"after the vacuum");
        assert_eq!(whole(&store, grown), b"after the vacuum");
    }
    let mut bytes = Vec::new();
    held.read_whole(&mut bytes).unwrap();
    assert_eq!(bytes, old);
    assert_eq!(store.stats().reopened.get(), 19);
    drop(held);
    assert_eq!(store.open_pairs(), 1);
}

#[test]
fn an_index_that_was_cut_off_is_read_anew() {
    let dir = tempdir().unwrap();
    let mut volume = Volume::create(dir.path(), 1, Version::V3, OffsetWidth::Five);
    let first = volume.put(1, b"first");
    let second = volume.put(2, b"second");
    let store = open(config(dir.path()));
    assert_eq!(whole(&store, second), b"second");
    let idx = fs::OpenOptions::new()
        .write(true)
        .open(volume.idx())
        .unwrap();
    idx.set_len(17).unwrap();
    assert!(matches!(
        store.find(second),
        Err(Miss::Absent(Absent::Unknown))
    ));
    assert_eq!(whole(&store, first), b"first");
    // Torn in the middle of an entry.
    idx.set_len(20).unwrap();
    assert_eq!(whole(&store, first), b"first");
}

#[test]
fn a_record_that_was_replaced_after_a_rollback_is_not_mistaken_for_the_old_one() {
    let dir = tempdir().unwrap();
    let mut volume = Volume::create(dir.path(), 1, Version::V3, OffsetWidth::Five);
    volume.put(1, b"stays");
    let (old, new) = (data(1, 100_000), data(2, 100_000));
    let offset = volume.put_with(2, &old, Extras::default());
    for verify in [VerifyRanges::Always, VerifyRanges::Never] {
        let store = open(volume::StoreConfig {
            verify,
            ..config(dir.path())
        });
        let needle = store.find(volume.file_id(2)).unwrap();
        let dat = fs::OpenOptions::new()
            .write(true)
            .open(volume.dat())
            .unwrap();
        dat.set_len(offset).unwrap();
        let mut part = [0; 100];
        let error = needle.read_at(5, &mut part).unwrap_err();
        assert!(
            matches!(error, ReadError::Corrupt(Damage::CutOff { .. })),
            "{error}"
        );
        volume.append(&record(Version::V3, 3, &new, Extras::default()));
        let error = needle.read_at(5, &mut part).unwrap_err();
        assert!(
            matches!(error, ReadError::Corrupt(_)),
            "{verify:?}: {error}"
        );
        assert!(needle.read_whole(&mut Vec::new()).is_err());
        dat.set_len(offset).unwrap();
        volume.append(&record(Version::V3, 2, &old, Extras::default()));
    }
}

#[test]
fn an_index_in_its_own_folder_and_several_data_folders() {
    let (first, second) = (tempdir().unwrap(), tempdir().unwrap());
    let index = tempdir().unwrap();
    let mut volume = Volume::create(first.path(), 1, Version::V3, OffsetWidth::Five);
    let one = volume.put(1, b"one");
    fs::rename(volume.idx(), index.path().join("1.idx")).unwrap();
    let mut other = Volume::create(second.path(), 2, Version::V3, OffsetWidth::Five);
    let two = other.put(2, b"two");
    let mut config = config(first.path());
    config.dirs[0].index = Some(index.path().into());
    config.dirs.push(DataDir::new(second.path()));
    let store = open(config);
    assert_eq!(whole(&store, one), b"one");
    assert_eq!(whole(&store, two), b"two");

    // It moves to the other folder.
    for name in ["1.dat", "1.idx"] {
        let from = if name == "1.idx" { &index } else { &first };
        fs::rename(from.path().join(name), second.path().join(name)).unwrap();
    }
    assert_eq!(whole(&store, one), b"one");
    let more = volume.put(5, b"and grows there");
    assert_eq!(whole(&store, more), b"and grows there");
    store.rescan();
    assert_eq!(store.volumes().len(), 2);
    assert!(
        store
            .volumes()
            .iter()
            .all(|volume| volume.dir == second.path())
    );
}

#[test]
fn limits_are_kept() {
    let dir = tempdir().unwrap();
    for id in 1..=3 {
        let mut volume = Volume::create(dir.path(), id, Version::V3, OffsetWidth::Five);
        for key in 1..=10 {
            volume.put(key, b"data");
        }
    }
    let served = |store: &Store| {
        let volumes = store.volumes();
        volumes
            .iter()
            .filter(|v| v.state == VolumeState::Serving)
            .count()
    };
    let mut few = config(dir.path());
    few.max_volumes = 2;
    assert_eq!(served(&open(few)), 2);
    let mut small = config(dir.path());
    small.max_index_bytes = 330;
    let store = open(small);
    assert_eq!(served(&store), 2);
    let registry = stats::Registry::new(serde_json::Value::Null, stats::Summary::default, || {
        stats::Health::from_reasons(Vec::new())
    });
    registry.add(store.clone());
    let metrics = registry.render_json()["metrics"].clone();
    let states = metrics["volume_volumes"].to_string();
    assert!(
        states.contains(r#"{"state":"index_memory"},"value":1"#),
        "{states}"
    );
    assert!(
        states.contains(r#"{"state":"serving"},"value":2"#),
        "{states}"
    );
    assert_eq!(metrics["volume_index_bytes"][0]["value"], 320.0);
    assert_eq!(store.index_bytes(), 320);
    let missing = Store::open(config(&dir.path().join("nowhere"))).unwrap_err();
    assert!(missing.to_string().contains("nowhere"), "{missing}");
}

#[test]
fn a_large_index_is_served_while_it_is_loaded() {
    const NEEDLES: u64 = 1_000_000;
    let dir = tempdir().unwrap();
    let mut volume = Volume::create(dir.path(), 1, Version::V3, OffsetWidth::Five);
    let offset = volume.put_with(1, b"all of them", Extras::default());
    let size = 4 + 11 + 1;
    let mut bytes = Vec::with_capacity(NEEDLES as usize * 17);
    let entry = |key, size| seaweed::volume::IndexEntry {
        key,
        units: offset / 8,
        size,
    };
    for key in 1..=NEEDLES {
        // Deleted at first: a reader that took an old entry for the last one would say so.
        OffsetWidth::Five.append(&entry(key.max(2), -1), &mut bytes);
    }
    for key in 1..=NEEDLES {
        OffsetWidth::Five.append(&entry(key, size), &mut bytes);
    }
    fs::write(volume.idx(), &bytes).unwrap();
    volume.vif(r#"{"bytesOffset": 5}"#);

    let store = Store::open(config(dir.path())).unwrap();
    let began = Instant::now();
    let id = volume.file_id(1);
    let mut waited = 0;
    let absent = FileId {
        key: NEEDLES + 1,
        ..id
    };
    let found = loop {
        match store.find(id) {
            Ok(needle) => break needle,
            Err(Miss::Loading) => waited += 1,
            other => panic!("{other:?} while loading"),
        }
        let other = store.find(absent);
        // Only when all is loaded it is known to be absent.
        assert!(
            matches!(other, Err(Miss::Loading | Miss::Absent(Absent::Unknown))),
            "{other:?}"
        );
        std::thread::yield_now();
    };
    assert_eq!(found.len(), 11);
    assert!(store.wait_ready(common::WAIT));
    println!(
        "two million entries in {:?}, {waited} looks meanwhile",
        began.elapsed()
    );
    assert!(matches!(
        store.find(absent),
        Err(Miss::Absent(Absent::Unknown))
    ));
    let summary = &store.volumes()[0];
    assert_eq!((summary.needles, summary.deleted), (NEEDLES, 0));
    assert_eq!(summary.state, VolumeState::Serving);
}
