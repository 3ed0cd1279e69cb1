//! How much is fetched for what is asked, and how much memory that takes.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Kind, Shelf, chunk, eventually, file, noise, open, read};
use reader::Stream;
use seaweed::FileView;

const MIB: usize = 1 << 20;

/// Places to read at, without any order.
fn places(count: usize) -> impl Iterator<Item = usize> {
    let seeds = noise(5, count * 8);
    let places: Vec<_> = seeds
        .chunks_exact(8)
        .map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()) as usize)
        .collect();
    places.into_iter()
}

#[test]
fn random_reads_fetch_what_they_ask_for() {
    for chunk_len in [2 * MIB, 8 * MIB, 24 * MIB] {
        for len in [4 << 10, 16 << 10, 64 << 10, 128 << 10] {
            let shelf = Shelf::new();
            let (view, content) = file(&shelf, 48 * MIB, chunk_len);
            let reader = open(&shelf, 256 * MIB);
            let stream = Stream::new();
            for place in places(200) {
                let at = place % (48 * MIB - len) / 4096 * 4096;
                let got = read(&reader, &view, &stream, at as u64, len).unwrap();
                assert!(got == content[at..at + len]);
            }
            let asked = reader.stats().bytes.get();
            let fetched = shelf.fetched();
            assert!(
                fetched * 10 <= asked * 11,
                "{fetched} fetched for {asked} asked in {len}, chunks of {chunk_len}"
            );
            assert_eq!(reader.stats().route_bytes.get(), fetched);
        }
    }
}

#[test]
fn small_files_are_fetched_whole_and_found_again() {
    let shelf = Shelf::new();
    let reader = open(&shelf, 64 * MIB);
    let files: Vec<_> = (1..300)
        .map(|number| file(&shelf, number * 13, MIB))
        .collect();
    for _ in 0..3 {
        for (view, content) in &files {
            let got = read(&reader, view, &Stream::new(), 0, 4096).unwrap();
            assert!(got == *content);
        }
    }
    assert_eq!(shelf.wholes.load(Ordering::Relaxed), 299);
    assert_eq!(shelf.ranges.load(Ordering::Relaxed), 0);
    assert_eq!(reader.stats().memory_hits.get(), 598);
}

/// Reads `view` front to back in requests of `len`, and compares.
fn pass(reader: &reader::Reader, view: &FileView, content: &[u8], len: usize) {
    let stream = Stream::new();
    for (number, expected) in content.chunks(len).enumerate() {
        let got = read(reader, view, &stream, (number * len) as u64, len).unwrap();
        assert!(got == expected, "request {number}");
    }
}

#[test]
fn a_sequential_pass_fetches_each_chunk_once_and_most_of_them_ahead() {
    let shelf = Shelf::new();
    let (view, content) = file(&shelf, 64 * MIB, 2 * MIB);
    let reader = open(&shelf, 256 * MIB);
    pass(&reader, &view, &content, 128 << 10);
    assert_eq!(shelf.fetched(), 64 * MIB as u64, "nothing twice");
    assert_eq!(shelf.requests(), 32, "by whole chunks");
    let stats = reader.stats();
    assert!(stats.prefetched.get() >= 8, "{}", stats.prefetched.get());
    assert_eq!(stats.prefetch_unused.get(), 0);
    // One pass is no reason to keep it all; coming back is.
    pass(&reader, &view, &content, 1 << 20);
    let before = shelf.requests();
    pass(&reader, &view, &content, 1 << 20);
    assert_eq!(shelf.requests(), before, "the third pass is in memory");
}

#[test]
fn a_pass_with_hardly_any_memory_still_fetches_nothing_twice() {
    // With room for a piece or two, stock mounts fetch a chunk for each request.
    for memory in [8 * MIB, 16 * MIB] {
        for chunk_len in [2 * MIB, 4 * MIB, 16 * MIB] {
            let shelf = Shelf::new();
            let (view, content) = file(&shelf, 48 * MIB, chunk_len);
            let reader = open(&shelf, memory);
            pass(&reader, &view, &content, 128 << 10);
            let fetched = shelf.fetched() as f64 / content.len() as f64;
            assert!(
                fetched <= 1.02,
                "{fetched} with {memory} B, chunks of {chunk_len}"
            );
            assert!(reader.memory_held() <= memory);
        }
    }
}

#[test]
fn a_chunk_larger_than_all_memory_is_opened_once_for_a_pass() {
    for kind in [Kind::Gzip, Kind::Cipher] {
        let shelf = Shelf::new();
        let content = noise(9, 3 * MIB);
        let chunks = [chunk(&shelf, kind, 0, &content, content.len() as u64, 1)];
        let view = FileView::resolve(chunks, content.len() as u64);
        let reader = open(&shelf, MIB);
        pass(&reader, &view, &content, 128 << 10);
        assert_eq!(shelf.requests(), 1);
        assert!(reader.stats().starved.get() >= 1);
    }
}

#[test]
fn reordered_and_interleaved_streams_fetch_nothing_twice() {
    let shelf = Shelf::new();
    let (view, content) = file(&shelf, 64 * MIB, 2 * MIB);
    let reader = open(&shelf, 256 * MIB);
    let stream = Stream::new();
    let len = 128 << 10;
    let half = content.len() / len / 2;
    for step in 0..half {
        // Two streams on one handle, each with neighbours swapped.
        for number in [step ^ 1, half + (step ^ 1)] {
            let at = number * len;
            let got = read(&reader, &view, &stream, at as u64, len).unwrap();
            assert!(got == content[at..at + len]);
        }
    }
    // Nobody can know that the first stream ends where the second began. What was fetched ahead
    // of it there is what the second has read long ago, and may have left memory by now.
    eventually("nothing more is fetched ahead", || {
        let before = (shelf.requests(), reader.stats().prefetched.get());
        std::thread::sleep(Duration::from_millis(200));
        before == (shelf.requests(), reader.stats().prefetched.get())
    });
    drop(stream);
    let unused = reader.stats().prefetch_unused.get() as usize * 2 * MIB;
    assert!(unused <= 16 * MIB, "{unused}");
    let fetched = (shelf.fetched() as usize - unused) as f64 / content.len() as f64;
    assert!(fetched <= 1.1, "{fetched}");
    assert!(reader.stats().prefetched.get() >= 8);
}

#[test]
fn a_second_pass_by_the_same_handle_is_fetched_ahead_too() {
    let shelf = Shelf::new();
    let (view, content) = file(&shelf, 64 * MIB, 2 * MIB);
    // Too little to find anything of the first pass again.
    let reader = open(&shelf, 24 * MIB);
    let stream = Stream::new();
    let len = 128 << 10;
    for number in 1..=3 {
        let before = shelf.fetched();
        for at in (0..content.len()).step_by(len) {
            let got = read(&reader, &view, &stream, at as u64, len).unwrap();
            assert!(got == content[at..at + len]);
        }
        let fetched = (shelf.fetched() - before) as f64 / content.len() as f64;
        assert!(fetched <= 1.1, "{fetched} in pass {number}");
    }
    let stats = reader.stats();
    let (used, unused) = (stats.prefetch_used.get(), stats.prefetch_unused.get());
    assert!(unused * 10 <= used, "{unused} in vain, {used} not");
}

#[test]
fn backward_reading_fetches_each_chunk_about_once() {
    let shelf = Shelf::new();
    let (view, content) = file(&shelf, 16 * MIB, 2 * MIB);
    let reader = open(&shelf, 64 * MIB);
    let stream = Stream::new();
    for at in (0..content.len()).step_by(64 << 10).rev() {
        let got = read(&reader, &view, &stream, at as u64, 64 << 10).unwrap();
        assert!(got == content[at..at + (64 << 10)]);
    }
    assert!(shelf.fetched() <= 17 * MIB as u64, "{}", shelf.fetched());
}

#[test]
fn memory_never_exceeds_its_ceiling_under_many_readers() {
    let shelf = Shelf::new();
    let (view, content) = file(&shelf, 32 * MIB, MIB);
    let memory = 6 * MIB;
    let reader = open(&shelf, memory);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(reader.memory_held());
                std::thread::yield_now();
            }
            most
        });
        let readers: Vec<_> = (0..8)
            .map(|number| {
                let (reader, view, content) = (&reader, &view, &content);
                scope.spawn(move || match number % 2 {
                    0 => pass(reader, view, content, 256 << 10),
                    _ => {
                        for place in places(300) {
                            let at = place.wrapping_mul(number) % (31 * MIB);
                            let got = read(reader, view, &Stream::new(), at as u64, MIB).unwrap();
                            assert!(got == content[at..at + MIB]);
                        }
                    }
                })
            })
            .collect();
        for reader in readers {
            reader.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        let most = watcher.join().unwrap();
        assert!(most <= memory, "{most}");
        assert!(most > memory / 2, "{most}: the memory is there to be used");
    });
    assert!(reader.stats().evictions.get() > 0);
}

#[test]
fn idle_handles_do_not_keep_memory_from_others() {
    let shelf = Shelf::new();
    let (view, content) = file(&shelf, 16 * MIB, MIB);
    let reader = open(&shelf, 8 * MIB);
    let idle: Vec<_> = (0..20)
        .map(|_| {
            let stream = Stream::new();
            for step in 0..6 {
                read(&reader, &view, &stream, step << 19, 512 << 10).unwrap();
            }
            stream
        })
        .collect();
    let (other, expected) = file(&shelf, 8 * MIB, MIB);
    pass(&reader, &other, &expected, 512 << 10);
    eventually("their prefetches end", || {
        let before = shelf.requests();
        std::thread::sleep(std::time::Duration::from_millis(20));
        shelf.requests() == before
    });
    let before = shelf.fetched();
    pass(&reader, &view, &content, 512 << 10);
    assert!(shelf.fetched() - before <= 17 * MIB as u64);
    drop(idle);
}

#[test]
fn a_hole_costs_nothing_and_the_end_is_the_end() {
    let shelf = Shelf::new();
    let clear = noise(1, 1000);
    let chunks = [chunk(&shelf, Kind::Plain, 1 << 40, &clear, 1000, 1)];
    let view = FileView::resolve(chunks, (1 << 40) + 5000);
    let reader = open(&shelf, 8 * MIB);
    let stream = Stream::new();
    for step in 0..100u64 {
        let got = read(&reader, &view, &stream, step << 20, MIB).unwrap();
        assert!(got.len() == MIB && got.iter().all(|byte| *byte == 0));
    }
    assert_eq!(shelf.requests(), 0);
    let tail = read(&reader, &view, &stream, (1 << 40) - 10, MIB).unwrap();
    assert_eq!(tail.len(), 5010);
    assert!(tail[10..1010] == clear && tail[1010..].iter().all(|byte| *byte == 0));
    assert!(
        read(&reader, &view, &stream, (1 << 40) + 5000, 1)
            .unwrap()
            .is_empty()
    );
    assert!(
        read(&reader, &view, &stream, u64::MAX, usize::MAX)
            .unwrap()
            .is_empty()
    );
}
