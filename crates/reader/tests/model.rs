//! Whatever a file consists of and however it is read, the bytes are those that were written.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::{Kind, Shelf, chunk, noise, open, patient, read};
use proptest::prelude::*;
use prost::Message;
use reader::Stream;
use seaweed::{Chunk, pb};

/// One write to the file.
#[derive(Debug, Clone)]
struct Write {
    kind: Kind,
    offset: usize,
    clear: usize,
    /// Per mille of the clear bytes that count: the rest was truncated away.
    shown: usize,
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => Just(Kind::Plain),
        1 => Just(Kind::Gzip),
        1 => Just(Kind::Cipher),
        1 => Just(Kind::CipherGzip),
    ]
}

fn write() -> impl Strategy<Value = Write> {
    let len = prop_oneof![1usize..5000, 1usize..60_000, Just(16_384), Just(8192)];
    (
        kind(),
        0usize..150_000,
        len,
        prop_oneof![3 => Just(1000), 1 => 1usize..1000],
    )
        .prop_map(|(kind, offset, clear, shown)| Write {
            kind,
            offset,
            clear,
            shown,
        })
}

/// A manifest of these chunks.
fn fold(shelf: &Shelf, kind: Kind, chunks: &[Chunk]) -> Chunk {
    let list = pb::FileChunkManifest {
        chunks: chunks.iter().map(message).collect(),
    };
    let from = chunks.iter().map(|chunk| chunk.offset).min().unwrap_or(0);
    let until = chunks.iter().map(Chunk::end).max().unwrap_or(0);
    Chunk {
        is_manifest: true,
        ..chunk(shelf, kind, from, &list.encode_to_vec(), until - from, 1)
    }
}

fn message(chunk: &Chunk) -> pb::FileChunk {
    pb::FileChunk {
        offset: chunk.offset as i64,
        size: chunk.size,
        modified_ts_ns: chunk.modified_ts_ns,
        fid: Some(pb::FileId {
            volume_id: chunk.file_id.volume,
            file_key: chunk.file_id.key,
            cookie: chunk.file_id.cookie,
        }),
        cipher_key: chunk
            .cipher_key
            .as_ref()
            .map_or(Bytes::new(), |key| Bytes::copy_from_slice(key.as_bytes())),
        is_compressed: chunk.is_compressed,
        is_chunk_manifest: chunk.is_manifest,
        ..Default::default()
    }
}

proptest! {
    #[test]
    fn reads_return_what_a_naive_model_holds(
        writes in prop::collection::vec(write(), 0..12),
        fold_at in prop::collection::vec((any::<prop::sample::Index>(), kind()), 0..3),
        size in 0usize..220_000,
        reads in prop::collection::vec((0usize..240_000, 1usize..40_000), 1..25),
        from_front: bool,
        memory in prop_oneof![Just(0usize), Just(256 << 10), Just(8 << 20)],
    ) {
        let shelf = Shelf::new();
        let mut model = vec![0; size];
        let mut chunks = Vec::new();
        for (number, write) in writes.iter().enumerate() {
            let clear = noise(number as u64 + 7, write.clear);
            let shown = (write.clear * write.shown / 1000).max(1);
            let stamp = number as i64 + 1;
            chunks.push(chunk(&shelf, write.kind, write.offset as u64, &clear, shown as u64, stamp));
            for (at, byte) in clear[..shown].iter().enumerate() {
                if let Some(place) = model.get_mut(write.offset + at) {
                    *place = *byte;
                }
            }
        }
        // Fold the oldest so many into a manifest, and that with others into the next.
        for (upto, kind) in fold_at {
            if !chunks.is_empty() {
                let rest = chunks.split_off(upto.index(chunks.len()) + 1);
                let folded = fold(&shelf, kind, &chunks);
                chunks = std::iter::once(folded).chain(rest).collect();
            }
        }
        let reader = open(&shelf, memory);
        let view = reader.resolve(&patient(), &chunks, size as u64).unwrap();
        let stream = Stream::new();
        if from_front {
            let mut at = 0;
            while at < size {
                let got = read(&reader, &view, &stream, at as u64, 16 << 10).unwrap();
                let until = (at + (16 << 10)).min(size);
                prop_assert!(got == model[at..until], "front to back at {at}");
                at = until;
            }
        }
        for (offset, len) in reads {
            let got = read(&reader, &view, &stream, offset as u64, len).unwrap();
            let from = offset.min(size);
            let until = (offset + len).min(size);
            prop_assert!(got == model[from..until.max(from)], "{len} bytes at {offset}");
        }
        let again = read(&reader, &view, &Stream::new(), 0, size).unwrap();
        prop_assert!(again == model, "all at once");
        prop_assert_eq!(reader.stats().errors.get(), 0);
    }
}

#[test]
fn eight_threads_on_one_handle_read_a_mixed_file_right() {
    let shelf = Shelf::new();
    let kinds = [Kind::Plain, Kind::Gzip, Kind::Cipher, Kind::CipherGzip];
    let content = noise(1, 4_000_000);
    let chunks: Vec<_> = content
        .chunks(37_000)
        .enumerate()
        .map(|(number, clear)| {
            let kind = kinds[number / 3 % 4];
            let offset = number as u64 * 37_000;
            chunk(
                &shelf,
                kind,
                offset,
                clear,
                clear.len() as u64,
                1 + number as i64,
            )
        })
        .collect();
    for memory in [0, 1 << 20, 64 << 20] {
        let reader = open(&shelf, memory);
        let view = reader
            .resolve(&patient(), &chunks, content.len() as u64)
            .unwrap();
        let stream = Stream::new();
        std::thread::scope(|scope| {
            for thread in 0..8usize {
                let (reader, view, stream, content) = (&reader, &view, &stream, &content);
                scope.spawn(move || {
                    for step in 0..40 {
                        // Half of them share a sequential pass, the others jump about.
                        let (at, len) = if thread % 2 == 0 {
                            ((step * 4 + thread / 2) * 25_000, 25_000)
                        } else {
                            ((step * 7919 + thread * 104_729) * 31 % 3_900_000, 30_000)
                        };
                        let got = read(reader, view, stream, at as u64, len).unwrap();
                        assert!(got == content[at..at + len], "{len} at {at}");
                    }
                });
            }
        });
    }
}

#[test]
fn a_chunk_that_one_entry_shows_in_part_is_read_whole_by_another() {
    for kind in [Kind::Plain, Kind::Gzip, Kind::Cipher] {
        // The second is larger than what is fetched whole, its parts are not.
        for clear_len in [20_000, 6_000_000] {
            let shelf = Shelf::new();
            let clear = noise(2, clear_len);
            let whole = chunk(&shelf, kind, 0, &clear, clear_len as u64, 1);
            let reader = open(&shelf, 16 << 20);
            let stream = Stream::new();
            for size in [clear_len / 4, clear_len / 2, clear_len, clear_len / 3] {
                let shown = Chunk {
                    size: size as u64,
                    ..whole.clone()
                };
                let view = reader.resolve(&patient(), &[shown], size as u64).unwrap();
                for _ in 0..2 {
                    let got = read(&reader, &view, &stream, 0, clear_len).unwrap();
                    assert!(got == clear[..size], "{size} of {kind:?}");
                }
            }
        }
    }
}

#[test]
fn bad_manifests_are_errors_not_panics() {
    let shelf = Shelf::new();
    let nonsense = Chunk {
        is_manifest: true,
        ..chunk(&shelf, Kind::Plain, 0, b"no list of chunks", 100, 1)
    };
    let gone = Chunk {
        file_id: "7,0123456789".parse().unwrap(),
        ..nonsense.clone()
    };
    let reader = open(&shelf, 1 << 20);
    let resolve = |chunk: &Chunk| {
        let chunks = [chunk.clone()];
        reader.resolve(&patient(), &chunks, 100).unwrap_err()
    };
    assert!(matches!(
        resolve(&nonsense),
        reader::ReadError::Manifest { .. }
    ));
    assert!(matches!(resolve(&gone), reader::ReadError::NotFound { .. }));
}

#[test]
fn a_manifest_is_fetched_once_and_may_be_larger_than_its_file() {
    let shelf = Shelf::new();
    let parts: Vec<_> = (0..2000)
        .map(|at| chunk(&shelf, Kind::Plain, at, &[at as u8], 1, 1))
        .collect();
    let folded = fold(&shelf, Kind::Gzip, &parts);
    let plain = fold(&shelf, Kind::Plain, &[folded]);
    let reader = open(&shelf, 8 << 20);
    for _ in 0..3 {
        let view = reader
            .resolve(&patient(), std::slice::from_ref(&plain), 2000)
            .unwrap();
        let got = read(&reader, &view, &Stream::new(), 0, 5000).unwrap();
        assert!(got == (0..2000).map(|at| at as u8).collect::<Vec<_>>());
    }
    assert_eq!(shelf.requests(), 2002);
    let _: Arc<_> = Arc::clone(reader.stats());
}
