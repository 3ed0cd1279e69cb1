//! Small files that are fetched before they are opened.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::{Kind, Shelf, chunk, config, eventually, noise, read};
use reader::{Reader, SMALL, Stream};
use seaweed::{Chunk, FileView};

fn files(shelf: &Shelf, count: u64) -> Vec<(Chunk, Vec<u8>)> {
    let make = |seed| {
        let clear = noise(seed, 4096);
        let chunk = chunk(shelf, Kind::Plain, 0, &clear, 4096, 1);
        (chunk, clear)
    };
    (1..=count).map(make).collect()
}

fn chunks(files: &[(Chunk, Vec<u8>)]) -> Vec<Chunk> {
    files.iter().map(|(chunk, _)| chunk.clone()).collect()
}

fn whole(reader: &Reader, chunk: &Chunk) -> Vec<u8> {
    let view = Arc::new(FileView::resolve(vec![chunk.clone()], chunk.size));
    read(reader, &view, &Stream::new(), 0, chunk.size as usize).unwrap()
}

#[test]
fn what_was_fetched_is_in_memory_when_it_is_read_and_counted() {
    let shelf = Shelf::new();
    let files = files(&shelf, 20);
    let reader = Reader::open(config(8 << 20), shelf.clone()).unwrap();
    reader.fetch_small(chunks(&files));
    let stats = reader.stats();
    eventually("all are fetched", || stats.small_ahead.get() == 20);
    assert_eq!(stats.small_used.get(), 0);
    for (chunk, clear) in &files[..15] {
        assert_eq!(&whole(&reader, chunk), clear);
        assert_eq!(&whole(&reader, chunk), clear);
    }
    assert_eq!(shelf.requests(), 20, "nothing is fetched twice");
    assert_eq!(stats.small_used.get(), 15, "each counts once");
    reader.fetch_small(chunks(&files));
    reader.close();
    assert_eq!(shelf.requests(), 20, "what is here is not fetched");
}

#[test]
fn who_reads_one_that_is_on_its_way_waits_for_it_or_fetches_it() {
    let shelf = Shelf::new();
    let files = files(&shelf, 3);
    let reader = Reader::open(config(8 << 20), shelf.clone()).unwrap();
    shelf.close_gate();
    reader.fetch_small(chunks(&files[..1]));
    shelf.wait_at_gate(1);
    std::thread::scope(|scope| {
        let read = scope.spawn(|| whole(&reader, &files[0].0));
        eventually("it waits", || reader.stats().joins.get() == 1);
        shelf.open_gate();
        assert_eq!(read.join().unwrap(), files[0].1);
    });
    assert_eq!(shelf.requests(), 1);
    assert_eq!(reader.stats().small_used.get(), 1);
    // One that fails ahead is no error of the read that comes.
    shelf.fail(files[1].0.file_id, Some(common::Failure::Silent));
    reader.fetch_small(chunks(&files[1..]));
    eventually("the other has come", || {
        reader.stats().small_ahead.get() == 2
    });
    shelf.fail(files[1].0.file_id, None);
    assert_eq!(whole(&reader, &files[1].0), files[1].1);
    assert_eq!(reader.stats().small_used.get(), 1);
}

#[test]
fn what_is_large_sealed_or_too_much_is_left_alone() {
    let shelf = Shelf::new();
    let large = vec![7; SMALL as usize + 1];
    let mut others = vec![chunk(&shelf, Kind::Plain, 0, &large, SMALL + 1, 1)];
    for kind in [Kind::Gzip, Kind::Cipher, Kind::CipherGzip] {
        others.push(chunk(&shelf, kind, 0, &large[..4096], 4096, 1));
    }
    let reader = Reader::open(config(1 << 20), shelf.clone()).unwrap();
    reader.fetch_small(others);
    shelf.close_gate();
    // A sixteenth of the memory is 16 of these.
    let files = files(&shelf, 40);
    reader.fetch_small(chunks(&files));
    shelf.open_gate();
    eventually("those that may come have", || {
        reader.stats().small_ahead.get() == 16
    });
    reader.close();
    assert_eq!(shelf.wholes.load(Ordering::Relaxed), 16);
}
