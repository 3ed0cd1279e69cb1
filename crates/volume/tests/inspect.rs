//! The inspector over good and damaged volumes.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs::OpenOptions;

use common::{Extras, Volume, data, record};
use seaweed::FileId;
use seaweed::volume::{OffsetWidth, Version};
use tempfile::tempdir;
use volume::inspect::{self, Inspection};
use volume::{Absent, Damage, DataDir, Miss};

fn open(dir: &DataDir) -> Inspection {
    let found = inspect::volumes(dir).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].id, found[0].collection.as_str()), (3, "pictures"));
    Inspection::open(dir, &found[0]).unwrap()
}

#[test]
fn every_fault_is_found_and_named() {
    let folder = tempdir().unwrap();
    let dir = DataDir::new(folder.path());
    let (version, width) = (Version::V3, OffsetWidth::Five);
    let mut volume = Volume::create_named(folder.path(), "pictures_3", 3, version, width, 0);
    let mut offsets = Vec::new();
    for key in 1..=20 {
        let data = data(key, 100 * key as usize * key as usize);
        offsets.push(volume.put_with(key, &data, Extras::default()));
    }
    volume.delete(20);
    volume.put(19, b"overwritten");

    let good = open(&dir);
    let mut seen = 0;
    let report = good.verify(|progress| {
        seen += 1;
        assert_eq!((progress.needles, progress.of_needles), (seen, 19));
        true
    });
    let report = report.unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.ok, report.deleted, seen), (19, 1, 19));
    let bytes: u64 = (1..=18).map(|key| 100 * key * key).sum();
    assert_eq!(report.ok_bytes, bytes + "overwritten".len() as u64);
    assert_eq!((report.unindexed_bytes, report.torn_index_bytes), (0, 0));

    // In the order of the data, whatever the cookies are.
    let live: Vec<_> = good.needles().collect();
    assert_eq!(live.len(), 19);
    assert!(live.windows(2).all(|pair| pair[0].offset < pair[1].offset));
    let needle = good.needle(&live[4]).unwrap();
    assert_eq!(needle.file_id(), volume.file_id(5));
    assert_eq!(good.find(volume.file_id(5)).unwrap().len(), 2500);
    let deleted = good.find(volume.file_id(20));
    assert!(matches!(deleted, Err(Miss::Absent(Absent::Deleted))));
    let elsewhere = FileId {
        volume: 4,
        ..volume.file_id(5)
    };
    assert!(matches!(good.find(elsewhere), Err(Miss::NotHere)));

    // One small and one large needle, an entry that leads elsewhere and one beyond the end, a
    // record nobody knows of, half an entry.
    volume.damage(offsets[2] + 30);
    volume.damage(offsets[17] + 30_000);
    volume.index(40, offsets[0] / 8, 5);
    volume.index(41, 1 << 35, 5);
    volume.append(&record(version, 50, b"lost", Extras::default()));
    std::io::Write::write_all(
        &mut OpenOptions::new().append(true).open(volume.idx()).unwrap(),
        &[0; 5],
    )
    .unwrap();

    let report = open(&dir).verify(|_| true).unwrap();
    assert!(!report.is_clean() && report.complete);
    assert_eq!((report.ok, report.unreadable), (17, 0));
    assert_eq!(report.corrupt.count, 2);
    let at: Vec<_> = report
        .corrupt
        .first
        .iter()
        .map(|(live, _)| live.offset)
        .collect();
    assert_eq!(at, [offsets[2], offsets[17]]);
    assert_eq!(report.orphaned.count, 1);
    let (live, damage) = report.orphaned.first[0];
    assert_eq!(live.key, 40);
    assert!(
        matches!(damage, Damage::OtherRecord { key: 1, .. }),
        "{damage}"
    );
    assert_eq!(report.truncated.count, 1);
    assert_eq!((report.unindexed_bytes, report.torn_index_bytes), (40, 5));

    let stopped = open(&dir).verify(|progress| progress.needles < 3).unwrap();
    assert!(!stopped.complete && !stopped.is_clean());

    OpenOptions::new()
        .write(true)
        .open(volume.dat())
        .unwrap()
        .set_len(offsets[18] + 10)
        .unwrap();
    let report = open(&dir).verify(|_| true).unwrap();
    assert_eq!((report.ok, report.truncated.count), (16, 2));
}
