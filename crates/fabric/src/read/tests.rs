//! Reads from sidecars that do as they are told.

mod double;
mod tiered;
mod together;

use std::sync::Arc;
use std::time::{Duration, Instant};

use context::{Context, Interrupt, Stopped};
use seaweed::FileId;

use super::*;
use crate::Refused;
use crate::memory::Block;
use double::{Mood, Scene, needle, noise};

/// Long enough that nothing but a fault exceeds it.
const PATIENT: Duration = Duration::from_secs(20);

fn patient() -> Context<'static> {
    Context::background(PATIENT)
}

/// Keeps what it is given, and how.
#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    adopted: Option<Block>,
    likely: Option<u64>,
    limit: Option<u64>,
    adopts: bool,
}

impl Kept {
    fn expecting(likely: u64) -> Self {
        Self {
            likely: Some(likely),
            adopts: true,
            ..Self::default()
        }
    }
}

impl Destination for Kept {
    fn memory(&mut self, len: u64) -> Result<&mut [u8], Refused> {
        if self.limit.is_some_and(|limit| len > limit) {
            return Err(Refused);
        }
        self.bytes.resize(len as usize, 0);
        Ok(&mut self.bytes)
    }

    fn likely(&self) -> Option<u64> {
        self.likely
    }

    fn adopt(&mut self, block: Block) -> Result<(), Block> {
        if !self.adopts || self.limit.is_some_and(|limit| block.len() as u64 > limit) {
            return Err(block);
        }
        self.adopted = Some(block);
        Ok(())
    }
}

/// A read of a whole needle into memory of its own.
fn whole(scene: &Scene, id: FileId) -> Result<Vec<u8>, Missed> {
    let mut to = UpTo::new(64 << 20);
    let whole = scene
        .route
        .read_whole(&patient(), id, Stored::Plain, &mut to)?;
    assert_eq!(whole.len, to.bytes.len());
    assert!(whole.near, "its lane says that memory is shared");
    Ok(to.bytes)
}

fn range(scene: &Scene, id: FileId, offset: u64, len: usize) -> Result<Vec<u8>, Missed> {
    let mut dst = vec![0; len];
    scene.route.read_at(&patient(), id, offset, &mut dst)?;
    Ok(dst)
}

#[test]
fn ranges_of_any_length_arrive_over_lanes_with_and_without_a_region() {
    for region in [false, true] {
        let scene = Scene::new(1, region);
        let bytes = noise(1, 300_000);
        scene.store(needle(1), &bytes);
        for (offset, len) in [(0, 1), (7, 4096), (100, 20_000), (0, 300_000), (299_999, 1)] {
            let got = range(&scene, needle(1), offset as u64, len).unwrap();
            assert!(got == bytes[offset..offset + len], "{offset} {len}");
        }
        assert_eq!(range(&scene, needle(1), 299_999, 2), Err(Missed::PastEnd));
        assert_eq!(scene.sidecar(0).dialed(), 1, "one lane serves them all");
        assert_eq!(scene.route.stats().reads(), 5);
        assert_eq!(scene.arena.stats().landings.get(), 0);
        assert_eq!(scene.arena.stats().blocks.get(), 0);
    }
}

#[test]
fn a_part_of_a_needle_is_adopted_where_it_was_written_as_well() {
    let scene = Scene::new(1, true);
    let bytes = noise(1, 300_000);
    scene.store(needle(1), &bytes);
    let read = |offset, len, to: &mut Kept| {
        let wanted = (needle(1), offset as u64, len as u64);
        let read = scene
            .route
            .read_part(&patient(), wanted.0, wanted.1, wanted.2, to);
        read.map(|()| bytes[offset..offset + len].to_vec())
    };
    let mut to = Kept::expecting(0);
    let right = read(7, 100_000, &mut to).unwrap();
    assert!(to.bytes.is_empty(), "nothing was copied");
    assert!(**to.adopted.as_ref().unwrap() == right[..]);
    drop(to);
    assert_eq!(scene.arena.stats().blocks.get(), 0);
    // What is short comes inline, and whoever cannot keep a block gets a copy.
    for (len, adopts) in [(900, true), (100_000, false)] {
        let mut to = Kept::expecting(0);
        to.adopts = adopts;
        let right = read(299_999 - len, len, &mut to).unwrap();
        assert!(to.adopted.is_none() && to.bytes == right, "{len}");
    }
    let mut to = Kept::expecting(0);
    to.limit = Some(99_999);
    let refused = Err(Missed::Refused { len: 100_000 });
    assert_eq!(read(0, 100_000, &mut to), refused);
    let past = scene
        .route
        .read_part(&patient(), needle(1), 299_999, 2, &mut to);
    assert_eq!(past, Err(Missed::PastEnd));
    assert_eq!(scene.arena.stats().blocks.get(), 0);
}

#[test]
fn a_large_needle_is_adopted_where_it_was_written_and_a_small_one_received() {
    let scene = Scene::new(1, true);
    let (large, small) = (noise(1, 100_000), noise(2, 900));
    scene.store(needle(1), &large);
    scene.store(needle(2), &small);
    let read = |id, to: &mut Kept| {
        let read = scene.route.read_whole(&patient(), id, Stored::Plain, to);
        read.map(|whole| whole.len)
    };
    let mut to = Kept::expecting(100_000);
    assert_eq!(read(needle(1), &mut to), Ok(100_000));
    assert!(to.bytes.is_empty(), "nothing was copied");
    assert!(**to.adopted.as_ref().unwrap() == large[..]);
    assert_eq!(scene.arena.stats().blocks.get(), 128 << 10);
    drop(to);
    assert_eq!(scene.arena.stats().blocks.get(), 0);
    // It may be expected to be large and come inline all the same.
    let mut to = Kept::expecting(100_000);
    assert_eq!(read(needle(2), &mut to), Ok(900));
    assert!(to.adopted.is_none() && to.bytes == small);
    // Whoever cannot keep a block gets a copy.
    let mut to = Kept::expecting(100_000);
    to.adopts = false;
    assert_eq!(read(needle(1), &mut to), Ok(100_000));
    assert!(to.bytes == large);
    assert_eq!(scene.arena.stats().blocks.get(), 0);
}

#[test]
fn an_empty_needle_is_delivered() {
    let scene = Scene::new(1, true);
    scene.store(needle(1), &[]);
    assert_eq!(whole(&scene, needle(1)), Ok(vec![]));
}

#[test]
fn a_needle_longer_than_expected_is_asked_for_again_unless_it_is_not_wanted() {
    for region in [false, true] {
        let scene = Scene::new(1, region);
        let bytes = noise(1, 200_000);
        scene.store(needle(1), &bytes);
        let mut to = Kept::expecting(1000);
        let read = |to: &mut Kept| {
            scene
                .route
                .read_whole(&patient(), needle(1), Stored::Plain, to)
                .map(|whole| whole.len)
        };
        assert_eq!(read(&mut to), Ok(200_000));
        let got = to.adopted.as_deref().unwrap_or(&to.bytes);
        assert!(got == bytes);
        let before = scene.sidecar(0).asked();
        let mut narrow = Kept::expecting(1000);
        narrow.limit = Some(150_000);
        assert_eq!(read(&mut narrow), Err(Missed::Refused { len: 200_000 }));
        assert_eq!(scene.sidecar(0).asked(), before + 1, "no byte was moved");
        // The guess was right and there is no memory all the same.
        let mut none = Kept::expecting(200_000);
        none.limit = Some(10);
        assert_eq!(read(&mut none), Err(Missed::Refused { len: 200_000 }));
        assert_eq!(scene.arena.stats().landings.get(), 0);
    }
}

#[test]
fn what_the_volume_server_compressed_is_inflated_and_cut() {
    let scene = Scene::new(1, true);
    let clear: Vec<u8> = (0..90_000u32).map(|n| (n / 100) as u8).collect();
    scene.store_gzip(needle(1), &clear);
    assert!(whole(&scene, needle(1)).unwrap() == clear);
    assert!(range(&scene, needle(1), 12_345, 700).unwrap() == clear[12_345..13_045]);
    assert_eq!(range(&scene, needle(1), 89_999, 2), Err(Missed::PastEnd));
    // As it is stored it is given to whoever wants it so.
    let mut to = Kept::default();
    let whole = scene
        .route
        .read_whole(&patient(), needle(1), Stored::Gzip, &mut to)
        .unwrap();
    assert!(whole.len < clear.len() && to.bytes.starts_with(&[0x1f, 0x8b]));
}

#[test]
fn the_second_sidecar_is_asked_when_the_first_takes_long_and_wins() {
    let scene = Scene::new(2, true);
    for id in 1..=60 {
        scene.store(needle(id), &noise(id, 100_000));
    }
    // One of them is slow; with two equally near ones either may be asked first.
    scene.sidecar(0).mood(Mood::Slow(Duration::from_secs(2)));
    let began = Instant::now();
    let mut reads = 0;
    while scene.route.stats().hedges_won.get() == 0 {
        reads += 1;
        assert!(reads <= 60, "the slow one was never asked first");
        let got = whole(&scene, needle(reads)).unwrap();
        assert!(got == noise(reads, 100_000));
    }
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "nobody waited for it"
    );
    let stats = scene.route.stats();
    assert!(stats.hedges.get() >= 1 && stats.abandoned.get() >= 1);
    assert_eq!(stats.missed(), 0);
}

#[test]
fn opening_a_lane_is_within_the_one_time_that_a_read_has() {
    let scene = Scene::new(1, true);
    scene.store(needle(1), &noise(1, 5000));
    scene.sidecar(0).mood(Mood::Mute);
    let began = Instant::now();
    let missed = whole(&scene, needle(1));
    assert_eq!(missed, Err(Missed::Fallback(Reason::Timeout)));
    let took = began.elapsed();
    assert!(took >= scene.route.timeout() && took < 2 * scene.route.timeout());
    // It is held against the sidecar, whose silence it was.
    let missed = whole(&scene, needle(1));
    assert_eq!(missed, Err(Missed::Fallback(Reason::OpenBreaker)));
    assert_eq!(scene.route.stats().abandoned.get(), 0, "nothing was asked");
}

#[test]
fn one_that_opens_no_lane_makes_way_for_the_next() {
    let scene = Scene::ordered();
    scene.store(needle(1), &noise(1, 5000));
    scene.sidecar(0).mood(Mood::Mute);
    assert!(whole(&scene, needle(1)).unwrap() == noise(1, 5000));
    assert_eq!([0, 1].map(|at| scene.sidecar(at).dialed()), [1, 1]);
}

#[test]
fn all_parts_of_a_read_share_its_time() {
    let scene = Scene::new(1, false);
    scene.store(needle(1), &noise(1, 4 * PART));
    let slow = scene.route.timeout() * 2 / 5;
    scene.sidecar(0).mood(Mood::Slow(slow));
    let began = Instant::now();
    let missed = range(&scene, needle(1), 0, 4 * PART);
    assert_eq!(missed, Err(Missed::Fallback(Reason::Timeout)));
    assert!(began.elapsed() < scene.route.timeout() * 3 / 2);
}

#[test]
fn the_first_sidecar_is_heard_while_no_lane_to_the_second_can_be_opened() {
    let scene = Scene::ordered();
    scene.store(needle(1), &noise(1, 5000));
    let slow = Duration::from_millis(150);
    scene.sidecar(0).mood(Mood::Slow(slow));
    scene.sidecar(1).mood(Mood::Mute);
    let began = Instant::now();
    for _ in 0..2 {
        assert!(whole(&scene, needle(1)).unwrap() == noise(1, 5000));
    }
    assert!(began.elapsed() < 3 * slow, "it was heard at once");
    assert_eq!(scene.sidecar(1).dialed(), 1, "by one thread");
    assert_eq!(scene.route.stats().hedges.get(), 0);
}

#[test]
fn memory_of_a_silent_sidecar_is_not_used_until_it_can_write_no_more() {
    let scene = Scene::new(1, true);
    scene.store(needle(1), &noise(1, 1 << 20));
    scene.sidecar(0).mood(Mood::Silent);
    let began = Instant::now();
    let mut to = Kept::expecting(1 << 20);
    let missed = scene
        .route
        .read_whole(&patient(), needle(1), Stored::Plain, &mut to);
    assert_eq!(missed, Err(Missed::Fallback(Reason::Timeout)));
    assert!(began.elapsed() < 4 * scene.route.timeout());
    let stats = Arc::clone(scene.arena.stats());
    assert_eq!(stats.quarantined.get(), 1 << 20);
    scene.arena.tidy();
    assert_eq!(stats.quarantined.get(), 1 << 20, "it may still write");
    // All the other memory is in use when the late write comes.
    let mut blocks: Vec<Block> = std::iter::from_fn(|| scene.arena.take(1 << 20)).collect();
    blocks.iter_mut().for_each(|block| block.fill(0x5a));
    assert_eq!(blocks.len(), 15, "all of 16 MiB but one");
    scene.sidecar(0).write_late();
    assert!(
        blocks
            .iter()
            .all(|block| block.iter().all(|byte| *byte == 0x5a))
    );
    let freed = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        scene.arena.tidy();
        stats.quarantined.get() == 0
    });
    assert!(
        freed,
        "its end of the lane is closed, so that the memory is ours again"
    );
    assert!(scene.arena.take(1 << 20).is_some());
}

#[test]
fn a_lane_that_breaks_amid_an_answer_makes_way_for_the_next_sidecar() {
    let scene = Scene::new(2, true);
    let bytes = noise(1, 100_000);
    scene.store(needle(1), &bytes);
    scene.sidecar(0).mood(Mood::Breaks);
    for _ in 0..8 {
        assert!(whole(&scene, needle(1)).unwrap() == bytes);
        assert!(range(&scene, needle(1), 3, 999).unwrap() == bytes[3..1002]);
    }
    scene.sidecar(1).mood(Mood::Breaks);
    let missed = whole(&scene, needle(1)).unwrap_err();
    let broken = [Reason::Broken, Reason::OpenBreaker].map(Missed::Fallback);
    assert!(broken.contains(&missed), "{missed:?}");
    assert_eq!(scene.arena.stats().landings.get(), 0);
}

#[test]
fn a_sidecar_that_was_restarted_costs_no_read() {
    let scene = Scene::new(1, true);
    scene.store(needle(1), &noise(1, 5000));
    whole(&scene, needle(1)).unwrap();
    scene.sidecar(0).restart();
    whole(&scene, needle(1)).unwrap();
    assert_eq!(scene.sidecar(0).dialed(), 2);
    assert_eq!(scene.route.stats().missed(), 0);
}

#[test]
fn a_sidecar_that_does_not_serve_is_told_apart_by_its_reason() {
    for (status, missed) in [
        (Status::Busy, Missed::Fallback(Reason::Busy)),
        (Status::Loading, Missed::Fallback(Reason::Loading)),
        (Status::Declined, Missed::Fallback(Reason::Declined)),
        (Status::NotHere, Missed::Fallback(Reason::NotHere)),
        (Status::Failed, Missed::Fallback(Reason::Failed)),
        (Status::Corrupt, Missed::Suspect),
        (Status::Absent, Missed::Absent),
    ] {
        let scene = Scene::new(1, true);
        scene.store(needle(1), &noise(1, 100_000));
        scene.sidecar(0).mood(Mood::Says(status));
        assert_eq!(whole(&scene, needle(1)), Err(missed));
        assert_eq!(scene.arena.stats().landings.get(), 0, "{status:?}");
    }
}

#[test]
fn one_that_refuses_or_is_not_there_is_told_apart_too() {
    let scene = Scene::new(1, true);
    scene.store(needle(1), &[1]);
    scene.sidecar(0).mood(Mood::Refuses);
    let missed = whole(&scene, needle(1));
    assert_eq!(missed, Err(Missed::Fallback(Reason::Refused)));
    let missed = whole(&scene, needle(1));
    assert_eq!(missed, Err(Missed::Fallback(Reason::OpenBreaker)));
    let scene = Scene::new(1, true);
    scene.sidecar(0).mood(Mood::Away);
    let missed = whole(&scene, needle(1));
    assert_eq!(missed, Err(Missed::Fallback(Reason::Unreachable)));
    let scene = Scene::new(0, true);
    let missed = whole(&scene, needle(1));
    assert_eq!(missed, Err(Missed::Fallback(Reason::NoSidecar)));
}

#[test]
fn bytes_with_another_checksum_are_never_delivered() {
    for region in [false, true] {
        for len in [100, 100_000] {
            let scene = Scene::new(1, region);
            scene.store(needle(1), &noise(1, len));
            scene.sidecar(0).mood(Mood::Flips);
            assert_eq!(whole(&scene, needle(1)), Err(Missed::Suspect));
            assert_eq!(range(&scene, needle(1), 3, len - 5), Err(Missed::Suspect));
            assert_eq!(scene.route.stats().corrupt.get(), 2);
        }
    }
}

#[test]
fn a_sidecar_with_other_bytes_than_its_server_is_not_asked_for_that_volume() {
    let scene = Scene::new(1, true);
    let (one, other) = (
        needle(1),
        FileId {
            volume: needle(1).volume + 1,
            ..needle(2)
        },
    );
    for id in [one, other] {
        scene.store(id, &noise(1, 100_000));
        assert!(whole(&scene, id).is_ok());
    }
    scene.route.disbelieve(one.volume);
    assert_eq!(whole(&scene, one), Err(Missed::Fallback(Reason::Corrupt)));
    assert!(whole(&scene, other).is_ok());
}

#[test]
fn an_interrupt_ends_the_wait_and_leaves_nothing_behind() {
    let scene = Scene::new(1, true);
    scene.store(needle(1), &noise(1, 100_000));
    scene
        .sidecar(0)
        .mood(Mood::Slow(Duration::from_millis(300)));
    let interrupt = Interrupt::new().unwrap();
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(30));
            interrupt.raise();
        });
        let ctx = Context::new(PATIENT, &interrupt);
        let mut dst = [0; 90_000];
        let missed = scene.route.read_at(&ctx, needle(1), 0, &mut dst);
        assert_eq!(missed, Err(Missed::Stopped(Stopped::Interrupted)));
    });
    assert!(began.elapsed() < Duration::from_millis(300));
    assert_eq!(scene.arena.stats().landings.get(), 0);
    let short = Context::background(Duration::from_millis(20));
    let missed = scene.route.read_at(&short, needle(1), 0, &mut [0; 10]);
    assert_eq!(missed, Err(Missed::Stopped(Stopped::TimedOut)));
}

#[test]
fn when_the_arena_is_full_large_answers_come_inline() {
    let scene = Scene::new(1, true);
    let bytes = noise(1, 500_000);
    scene.store(needle(1), &bytes);
    let all: Vec<Block> = std::iter::from_fn(|| scene.arena.take(4096)).collect();
    let mut to = Kept::expecting(500_000);
    let read = scene
        .route
        .read_whole(&patient(), needle(1), Stored::Plain, &mut to);
    assert_eq!(read.map(|whole| whole.len), Ok(500_000));
    assert!(to.adopted.is_none() && to.bytes == bytes);
    drop(all);
}

#[test]
fn many_readers_share_few_lanes_and_never_see_a_wrong_byte() {
    let scene = Scene::new(2, true);
    let all: Vec<Vec<u8>> = (0..8).map(|n| noise(n, 100_000 + 7 * n as usize)).collect();
    for (n, bytes) in all.iter().enumerate() {
        scene.store(needle(n as u64), bytes);
    }
    std::thread::scope(|scope| {
        for reader in 0..8u64 {
            let (scene, all) = (&scene, &all);
            scope.spawn(move || {
                for round in 0..50 {
                    let n = (reader + round) % 8;
                    let got = whole(scene, needle(n)).unwrap();
                    assert!(got == all[n as usize]);
                    let got = range(scene, needle(n), round, 90_000).unwrap();
                    assert!(got == all[n as usize][round as usize..][..90_000]);
                }
            });
        }
    });
    let dialed = scene.sidecar(0).dialed() + scene.sidecar(1).dialed();
    assert!(dialed <= 40, "{dialed} lanes for 8 readers");
}
