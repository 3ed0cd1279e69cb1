//! The files of volumes.

use seaweed::crc::crc32c;
use seaweed::volume::{
    IndexEntry, Layout, OffsetWidth, Slot, SuperBlock, UNIT, VolumeFile, VolumeInfo, base_name,
    mask, proves,
};

use crate::bytes_of::text;

/// Index files of both widths: what is read is written back the same, torn ends are left alone.
pub fn volume_index(data: &[u8]) {
    for width in [OffsetWidth::Four, OffsetWidth::Five] {
        let entries: Vec<IndexEntry> = width.entries(data).collect();
        assert_eq!(entries.len(), data.len() / width.entry_len());
        let mut back = Vec::new();
        for entry in &entries {
            width.append(entry, &mut back);
            match entry.slot() {
                Slot::At { offset, size } => {
                    assert!(offset >= UNIT && offset % UNIT == 0);
                    assert_eq!(i32::try_from(size), Ok(entry.size));
                }
                Slot::Deleted => assert!(entry.size < 0 || entry.units == 0),
            }
        }
        assert!(data.starts_with(&back));
    }
}

/// Data files: a super block and the records behind it, as far as they make sense.
pub fn volume_data(data: &[u8]) {
    let Ok(block) = SuperBlock::parse(data) else {
        return;
    };
    assert_eq!(SuperBlock::parse(&block.to_bytes()), Ok(block));
    let mut at = block.first_record();
    while let Some(record) = usize::try_from(at).ok().and_then(|at| data.get(at..)) {
        let Ok(layout) = Layout::of(block.version, record) else {
            return;
        };
        let tail_end = layout.tail_start() + layout.tail_len() as u64;
        let len = layout.record_len();
        assert!(len % UNIT == 0 && (1..=UNIT).contains(&(len - tail_end)));
        assert!(layout.tail_len() <= Layout::MAX_TAIL);
        let (from, to) = (layout.data_start() as usize, layout.tail_start() as usize);
        let Some(tail) = record.get(to..tail_end as usize) else {
            return;
        };
        let bytes = &record[from..to];
        assert_eq!(bytes.len(), layout.data_len() as usize);
        if let Ok(meta) = layout.meta(tail) {
            assert!(meta.name.len() <= 255 && meta.mime.len() <= 255);
            let crc = crc32c(bytes);
            let vouched = meta.checksum == crc || meta.checksum == mask(crc);
            assert_eq!(proves(meta.checksum, crc), vouched);
            assert!(meta.ttl.is_none_or(|ttl| !ttl.duration().is_zero()));
        }
        at += len;
    }
}

/// `.vif` files, and names of files.
pub fn volume_info(data: &[u8]) {
    if let Ok(info) = VolumeInfo::parse(data) {
        assert!(data.len() <= VolumeInfo::MAX_LEN);
        assert_eq!(VolumeInfo::parse(data).ok(), Some(info));
    }
    let name = text(data);
    if let Some(file) = VolumeFile::parse(&name) {
        assert_eq!(name, format!("{}.{}", file.base, file.extension));
        let canonical = base_name(file.collection, file.volume);
        let again = format!("{canonical}.dat");
        let again = VolumeFile::parse(&again).map(|file| (file.collection, file.volume));
        assert_eq!(again, Some((file.collection, file.volume)));
    }
}
