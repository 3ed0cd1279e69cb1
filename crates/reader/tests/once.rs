//! Whole files for somebody who keeps them elsewhere: each piece once, and nothing kept here.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::{Failure, Kind, Shelf, chunk, config, eventually, file, noise, open, patient, read};
use fabric::Route;
use reader::{DiskConfig, Reader, ReaderConfig, Stream};
use seaweed::FileView;

const MIB: usize = 1 << 20;

/// Reads all runs of a file, with zeros between them.
fn all(reader: &Reader, view: &FileView) -> Vec<u8> {
    let mut bytes = Vec::new();
    for run in reader.runs(view) {
        bytes.resize(run.start as usize, 0);
        reader
            .read_once(&patient(), view, run.clone(), &mut bytes)
            .unwrap();
        assert_eq!(bytes.len() as u64, run.end);
    }
    bytes.resize(view.size as usize, 0);
    bytes
}

#[test]
fn each_piece_is_fetched_once_and_nothing_of_it_stays() {
    for chunk_len in [100_000, 2 * MIB, 8 * MIB, 20 * MIB] {
        let shelf = Shelf::new();
        let dir = tempfile::tempdir().unwrap();
        let disk = DiskConfig {
            dir: dir.path().to_owned(),
            capacity_bytes: 1 << 30,
            cluster: "c".into(),
        };
        let settings = ReaderConfig {
            disk: Some(disk),
            ..config(64 * MIB)
        };
        let reader = Reader::open(settings, Arc::clone(&shelf) as Arc<dyn Route>).unwrap();
        let (view, content) = file(&shelf, 41 * MIB + 77, chunk_len);
        assert!(all(&reader, &view) == content);
        assert_eq!(shelf.fetched(), content.len() as u64, "{chunk_len}");
        assert_eq!(reader.disk_use().chunks, 0);
        // Whole chunks have checksums, which parts of large ones do not.
        let parts = shelf.ranges.load(Ordering::Relaxed);
        assert_eq!(parts > 0, chunk_len > 8 * MIB, "{chunk_len}");
        let before = shelf.fetched();
        assert!(read(&reader, &view, &Stream::new(), 0, 1000).unwrap() == content[..1000]);
        assert!(shelf.fetched() > before, "it was not in memory");
    }
}

#[test]
fn what_is_here_already_is_not_fetched() {
    let shelf = Shelf::new();
    let reader = open(&shelf, 64 * MIB);
    let (view, content) = file(&shelf, 6 * MIB, 2 * MIB);
    assert!(read(&reader, &view, &Stream::new(), 0, content.len()).unwrap() == content);
    eventually("all is in memory", || {
        shelf.fetched() == content.len() as u64
    });
    assert!(all(&reader, &view) == content);
    assert_eq!(shelf.fetched(), content.len() as u64);
}

#[test]
fn every_kind_of_chunk_and_holes_between_them() {
    let shelf = Shelf::new();
    let mut chunks = Vec::new();
    let mut content = vec![0; 5_000_000];
    for (n, kind) in [Kind::Plain, Kind::Gzip, Kind::CipherGzip]
        .into_iter()
        .enumerate()
    {
        let (at, bytes) = (700_000 + n * 1_500_000, noise(n as u64, 900_000));
        chunks.push(chunk(
            &shelf,
            kind,
            at as u64,
            &bytes,
            bytes.len() as u64,
            n as i64,
        ));
        content[at..at + bytes.len()].copy_from_slice(&bytes);
    }
    let view = FileView::resolve(chunks, content.len() as u64);
    // Little memory: what has to be opened finds its place beyond it.
    for memory in [1 << 16, 64 * MIB] {
        let reader = open(&shelf, memory);
        assert!(all(&reader, &view) == content);
        let runs = reader.runs(&view);
        assert!(runs.iter().all(|run| {
            content[run.start as usize..run.end as usize]
                .iter()
                .any(|b| *b != 0)
        }));
        assert_eq!(runs.first().unwrap().start, 700_000);
    }
}

#[test]
fn what_cannot_be_had_is_an_error() {
    let shelf = Shelf::new();
    let reader = open(&shelf, 64 * MIB);
    let (view, _) = file(&shelf, 100_000, 100_000);
    shelf.fail(view.chunks[0].file_id, Some(Failure::Denied));
    let read = reader.read_once(&patient(), &view, 0..100_000, &mut Vec::new());
    assert!(read.is_err());
}
