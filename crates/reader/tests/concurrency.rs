//! One fetch for many readers, and nobody suffers for another.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{Failure, Kind, Shelf, chunk, eventually, file, noise, open, patient, read};
use context::{Context, Interrupt};
use reader::{ReadError, Stream};
use seaweed::{Chunk, FileView};

#[test]
fn eight_readers_of_a_chunk_cause_one_fetch() {
    let shelf = Shelf::new();
    let (view, content) = file(&shelf, 200_000, 200_000);
    let reader = open(&shelf, 64 << 20);
    shelf.close_gate();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let got = read(&reader, &view, &Stream::new(), 0, 200_000).unwrap();
                assert!(got == content);
            });
        }
        eventually("seven wait for the eighth", || {
            reader.stats().joins.get() == 7
        });
        shelf.open_gate();
    });
    assert_eq!(shelf.requests(), 1);
    assert_eq!(shelf.fetched(), 200_000);
}

#[test]
fn an_interrupted_fetcher_hands_over_to_those_who_wait() {
    let shelf = Shelf::new();
    let (view, content) = file(&shelf, 200_000, 200_000);
    let reader = open(&shelf, 64 << 20);
    let interrupt = Interrupt::new().unwrap();
    shelf.close_gate();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            let ctx = Context::new(Duration::from_secs(60), &interrupt);
            let mut out = Vec::new();
            reader.read(&ctx, &view, &Stream::new(), 0, 200_000, &mut out)
        });
        shelf.wait_at_gate(1);
        let others: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| read(&reader, &view, &Stream::new(), 0, 200_000)))
            .collect();
        eventually("four wait", || reader.stats().joins.get() == 4);
        interrupt.raise();
        assert!(matches!(first.join().unwrap(), Err(ReadError::Interrupted)));
        shelf.wait_at_gate(1);
        shelf.open_gate();
        for other in others {
            assert!(other.join().unwrap().unwrap() == content);
        }
    });
    assert_eq!(shelf.requests(), 2, "given up once, fetched once");
}

#[test]
fn a_waiter_leaves_without_disturbing_the_fetch() {
    let shelf = Shelf::new();
    let (view, content) = file(&shelf, 50_000, 50_000);
    let reader = open(&shelf, 64 << 20);
    let interrupt = Interrupt::new().unwrap();
    shelf.close_gate();
    std::thread::scope(|scope| {
        let fetcher = scope.spawn(|| read(&reader, &view, &Stream::new(), 0, 50_000));
        shelf.wait_at_gate(1);
        let waiter = scope.spawn(|| {
            let ctx = Context::new(Duration::from_secs(60), &interrupt);
            reader.read(&ctx, &view, &Stream::new(), 0, 50_000, &mut Vec::new())
        });
        eventually("it waits", || reader.stats().joins.get() == 1);
        interrupt.raise();
        assert!(matches!(
            waiter.join().unwrap(),
            Err(ReadError::Interrupted)
        ));
        let late = Context::background(Duration::from_millis(1));
        let timed_out = reader.read(&late, &view, &Stream::new(), 0, 50_000, &mut Vec::new());
        assert!(matches!(timed_out, Err(ReadError::TimedOut)));
        shelf.open_gate();
        assert!(fetcher.join().unwrap().unwrap() == content);
    });
    assert_eq!(shelf.requests(), 1);
}

#[test]
fn a_failure_is_shared_but_not_remembered() {
    let shelf = Shelf::new();
    let (view, content) = file(&shelf, 50_000, 50_000);
    let needle = view.chunks[0].file_id;
    let reader = open(&shelf, 64 << 20);
    shelf.fail(needle, Some(Failure::Denied));
    shelf.close_gate();
    std::thread::scope(|scope| {
        let both =
            [(); 2].map(|()| scope.spawn(|| read(&reader, &view, &Stream::new(), 0, 50_000)));
        eventually("one waits", || reader.stats().joins.get() == 1);
        shelf.open_gate();
        for one in both {
            assert!(matches!(one.join().unwrap(), Err(ReadError::Route(_))));
        }
    });
    assert_eq!(shelf.requests(), 1);
    shelf.fail(needle, None);
    assert!(read(&reader, &view, &Stream::new(), 0, 50_000).unwrap() == content);
}

#[test]
fn errors_say_what_the_mount_must_do() {
    let shelf = Shelf::new();
    let reader = open(&shelf, 64 << 20);
    let clear = noise(3, 10_000);
    let good = chunk(&shelf, Kind::Plain, 0, &clear, 10_000, 1);
    let error_of = |chunk: Chunk, offset: u64| {
        let view = FileView::resolve([chunk], 20_000);
        read(&reader, &view, &Stream::new(), offset, 4096).unwrap_err()
    };
    let longer = Chunk {
        size: 20_000,
        ..good.clone()
    };
    assert!(matches!(
        error_of(longer.clone(), 8192),
        ReadError::Corrupt { .. }
    ));
    let sse = Chunk {
        sse: true,
        ..good.clone()
    };
    assert!(matches!(error_of(sse, 0), ReadError::Sse { .. }));
    let claims_gzip = Chunk {
        is_compressed: true,
        ..good.clone()
    };
    assert!(matches!(
        error_of(claims_gzip, 0),
        ReadError::Corrupt { .. }
    ));
    let absurd = Chunk {
        is_compressed: true,
        size: 1 << 40,
        ..good.clone()
    };
    assert!(matches!(error_of(absurd, 0), ReadError::TooLarge { .. }));
    shelf.remove(good.file_id);
    assert!(matches!(error_of(good, 0), ReadError::NotFound { .. }));
    assert_eq!(reader.stats().errors.get(), 5);
}

#[test]
fn closing_ends_prefetches_and_reads_go_on() {
    let shelf = Shelf::new();
    let (view, content) = file(&shelf, 8 << 20, 256 << 10);
    let reader = open(&shelf, 64 << 20);
    let stream = Stream::new();
    for step in 0..8 {
        read(&reader, &view, &stream, step << 17, 128 << 10).unwrap();
    }
    shelf.close_gate();
    read_in_background(&reader, &view, &stream);
    reader.close();
    shelf.open_gate();
    let got = read(&reader, &view, &stream, 0, 8 << 20).unwrap();
    assert!(got == content);
    reader.close();
}

/// Makes prefetches stand at the gate; the request itself is given up.
fn read_in_background(reader: &reader::Reader, view: &FileView, stream: &Stream) {
    for step in 8..24 {
        let ctx = Context::background(Duration::from_millis(5));
        let _ = reader.read(&ctx, view, stream, step << 17, 128 << 10, &mut Vec::new());
    }
}

#[test]
fn a_slow_route_is_waited_for_only_as_long_as_the_request_lasts() {
    let shelf = Shelf::new();
    let (view, _) = file(&shelf, 100_000, 100_000);
    shelf.delay_ms.store(60_000, Ordering::Relaxed);
    let reader = open(&shelf, 64 << 20);
    for len in [4096, 100_000] {
        let ctx = Context::background(Duration::from_millis(10));
        let got = reader.read(&ctx, &view, &Stream::new(), 0, len, &mut Vec::new());
        assert!(matches!(got, Err(ReadError::TimedOut)));
    }
    shelf.delay_ms.store(0, Ordering::Relaxed);
    let mut out = Vec::new();
    reader
        .read(&patient(), &view, &Stream::new(), 0, 4096, &mut out)
        .unwrap();
    assert_eq!(out.len(), 4096);
}
