//! File ids, entries, and the chunks of a file.

use std::hint::black_box;

use prost::Message;
use seaweed::{Chunk, Entry, FileId, FileView, pb};

/// The id of a needle, as it stands in entries and requests.
pub(super) fn file_id() -> Box<dyn FnMut() -> usize> {
    let text = "4711,01637037d6a1b2c3d4".to_owned();
    Box::new(move || match black_box(&text).parse::<FileId>() {
        Ok(id) => id.volume as usize,
        Err(_) => 0,
    })
}

/// An entry of 8 chunks, as the filer sends it.
pub(super) fn entry() -> Box<dyn FnMut() -> usize> {
    let chunk = |n: u64| pb::FileChunk {
        file_id: id(n).to_string(),
        offset: (n as i64) << 22,
        size: 1 << 22,
        modified_ts_ns: 1_700_000_000_000_000_000 + n as i64,
        e_tag: "rL0Y20zC+Fzt72VPzMSk2A==".to_owned(),
        ..pb::FileChunk::default()
    };
    let message = pb::Entry {
        name: "a-file-of-some-length.tar".to_owned(),
        chunks: (0..8).map(chunk).collect(),
        attributes: Some(pb::FuseAttributes {
            file_size: 8 << 22,
            mtime: 1_700_000_000,
            crtime: 1_700_000_000,
            file_mode: 0o644,
            uid: 1000,
            gid: 1000,
            inode: 77,
            ..pb::FuseAttributes::default()
        }),
        ..pb::Entry::default()
    };
    let bytes = message.encode_to_vec();
    Box::new(move || {
        let message = pb::Entry::decode(&black_box(&bytes)[..]);
        let entry = message
            .ok()
            .and_then(|message| Entry::from_pb("/dir", message).ok());
        entry.map_or(0, |entry| entry.chunks.len())
    })
}

/// 64 chunks that overlap, to what is seen of each.
pub(super) fn views() -> Box<dyn FnMut() -> usize> {
    let chunks = chunks();
    Box::new(move || {
        FileView::resolve(&black_box(&chunks)[..], 64 << 20)
            .views
            .len()
    })
}

/// Which chunks a read of 128 KiB needs.
pub(super) fn pieces() -> Box<dyn FnMut() -> usize> {
    let view = FileView::resolve(&chunks()[..], 64 << 20);
    let mut at = 0;
    Box::new(move || {
        at = (at + 7_654_321) % (60 << 20);
        black_box(&view).pieces(at, 128 << 10).count()
    })
}

fn chunks() -> Vec<Chunk> {
    (0..64)
        .map(|n| Chunk {
            file_id: id(n),
            offset: n << 20,
            // Every second one reaches into the next.
            size: (1 << 20) + (n % 2) * (300 << 10),
            modified_ts_ns: (n as i64 * 37) % 64,
            cipher_key: None,
            is_compressed: false,
            is_manifest: false,
            sse: false,
            e_tag: "".into(),
        })
        .collect()
}

fn id(n: u64) -> FileId {
    FileId {
        volume: 3,
        key: 1 + n,
        cookie: 0x1234_5678,
    }
}
