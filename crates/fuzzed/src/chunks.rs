//! Entries, their chunks, and the bytes of those.

use bytes::Bytes;
use prost::Message;
use seaweed::manifest::{self, Resolver};
use seaweed::{Chunk, Entry, FileId, FileView, Piece, compress, decode_chunk, pb};

use crate::bytes_of::byte;

/// Entries of a filer: what is accepted keeps the promises of [`Entry`].
pub fn entry(data: &[u8]) {
    let Ok(message) = pb::Entry::decode(data) else {
        return;
    };
    let Ok(entry) = Entry::from_pb("/dir", message) else {
        return;
    };
    assert!((1..=Entry::NAME_MAX).contains(&entry.name.len()));
    assert!(!entry.name.contains(['/', '\0']));
    assert!(entry.perm <= 0o7777 && entry.nlink >= 1 && entry.inode != 0);
    assert!(i64::try_from(entry.size).is_ok());
    let is_link = !entry.symlink_target.is_empty();
    assert!(is_link || entry.chunks.iter().all(|chunk| chunk.end() <= entry.size));
    assert!(entry.same_content(&entry.clone()) && entry.same_attributes(&entry.clone()));
    if !Resolver::is_needed(&entry.chunks) {
        check_view(&FileView::resolve(entry.chunks, entry.size));
    }
}

/// Manifests: the limits hold, even when a manifest is its own child.
pub fn manifest(data: &[u8]) {
    const LIMIT: usize = 100;
    if let Ok(chunks) = manifest::decode(data, LIMIT) {
        assert!(chunks.len() <= LIMIT);
    }
    let top = Chunk {
        is_manifest: true,
        ..chunk(0, i64::MAX as u64, 0)
    };
    let mut resolver = Resolver::new(vec![top]);
    for _ in 0..LIMIT {
        if resolver.wanted().is_none() {
            let chunks = resolver.finish();
            assert!(chunks.iter().all(|chunk| !chunk.is_manifest));
            return check_view(&FileView::resolve(chunks, i64::MAX as u64));
        }
        if resolver.supply(data).is_err() {
            return;
        }
    }
}

/// Chunk views against a model that asks for each byte which chunk is the newest there.
/// Four bytes of input make a chunk, the first two the size of the file.
pub fn chunk_views(data: &[u8]) {
    let mut rest = data;
    let size = u64::from(byte(&mut rest)) * 2 + u64::from(byte(&mut rest)) % 2;
    let mut chunks = Vec::new();
    while !rest.is_empty() && chunks.len() < 64 {
        let offset = u64::from(byte(&mut rest)) * 2 + u64::from(byte(&mut rest)) % 2;
        let len = u64::from(byte(&mut rest));
        let stamp = i64::from(byte(&mut rest) as i8);
        chunks.push(chunk(offset, len, stamp));
    }
    let view = FileView::resolve(&chunks[..], size);
    check_view(&view);
    let mut at = 0;
    for piece in view.pieces(0, size) {
        for byte in at..at + piece.len() {
            let covering = (0u32..)
                .zip(&chunks)
                .filter(|(_, c)| (c.offset..c.end()).contains(&byte));
            let newest = covering.max_by_key(|(index, c)| (c.modified_ts_ns, *index));
            let shown = match piece {
                Piece::Hole { .. } => None,
                Piece::Data {
                    chunk_index,
                    chunk_offset,
                    ..
                } => Some((chunk_index, chunk_offset + byte - at)),
            };
            assert_eq!(
                shown,
                newest.map(|(index, c)| (index, byte - c.offset)),
                "byte {byte}"
            );
        }
        at += piece.len();
    }
    assert_eq!(at, size);
}

/// Compressed and encrypted data: damage is an error and limits hold. The first byte says what
/// the chunk claims to be.
pub fn decode(data: &[u8]) {
    const LIMIT: usize = 1 << 16;
    let mut rest = data;
    let marks = byte(&mut rest);
    if let Ok(clear) = compress::decompress(rest, 0, LIMIT) {
        assert!(clear.len() <= LIMIT);
    }
    let key = (marks & 1 != 0).then(|| seaweed::CipherKey::new([7; 32]));
    let chunk = Chunk {
        cipher_key: key,
        // Without the limit above: input of a few kilobytes inflates to a few megabytes.
        is_compressed: marks & 2 != 0,
        is_manifest: marks & 4 != 0,
        ..chunk(0, u64::from(marks >> 3), 0)
    };
    let needed = if chunk.is_manifest { 0 } else { chunk.size };
    if let Ok(clear) = decode_chunk(&chunk, Bytes::copy_from_slice(rest)) {
        assert!(clear.len() as u64 >= needed);
    }
}

/// Views are in order, inside of the file and of their chunks.
fn check_view(view: &FileView) {
    let mut at = 0;
    for shown in &view.views {
        assert!(shown.len > 0 && shown.start >= at && shown.end() <= view.size);
        let chunk = &view.chunks[shown.chunk as usize];
        assert_eq!(chunk.offset + shown.chunk_offset, shown.start);
        assert!(shown.end() <= chunk.end());
        at = shown.end();
    }
    let whole: u64 = view.pieces(0, u64::MAX).map(|piece| piece.len()).sum();
    assert_eq!(whole, view.size);
}

fn chunk(offset: u64, size: u64, modified_ts_ns: i64) -> Chunk {
    Chunk {
        file_id: FileId {
            volume: 3,
            key: 1,
            cookie: 0,
        },
        offset,
        size,
        modified_ts_ns,
        cipher_key: None,
        is_compressed: false,
        is_manifest: false,
        sse: false,
        e_tag: "".into(),
    }
}
