//! Records behind what 32 bits of an offset reach.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;

use common::{Extras, Volume, config, data, open, whole};
use seaweed::volume::{OffsetWidth, Version};
use tempfile::tempdir;

#[test]
fn an_offset_beyond_32_gib_is_found_in_a_volume_of_the_narrow_build() {
    let dir = tempdir().unwrap();
    let mut volume = Volume::create(dir.path(), 1, Version::V3, OffsetWidth::Four);
    volume.put(1, &data(1, 10_000));
    let far = 32 << 30;
    // A hole of 32 GiB takes no room.
    let file = fs::OpenOptions::new()
        .write(true)
        .open(volume.dat())
        .unwrap();
    file.set_len(far + 64).unwrap();
    let (small, large) = (data(2, 50), data(3, 50_000));
    for (key, data) in [(2, &small), (3, &large)] {
        let offset = volume.put_with(key, data, Extras::default());
        assert!(offset >= far);
    }
    let store = open(config(dir.path()));
    assert_eq!(whole(&store, volume.file_id(1)), data(1, 10_000));
    assert_eq!(whole(&store, volume.file_id(2)), small);
    assert_eq!(whole(&store, volume.file_id(3)), large);
    assert_eq!(
        store.find(volume.file_id(3)).unwrap().record_offset() / far,
        1
    );
}
