//! What an arena promises.

use super::*;
use crate::lane::Answered;
use crate::wire::{Answer, Place, Status};

const MIB: usize = 1 << 20;

fn arena(size: usize) -> Arena {
    Arena::new(ArenaConfig {
        size,
        keep: size,
        quarantine: size / 4,
        reserved_pages: false,
    })
    .unwrap()
}

fn answered(place: Place) -> Answered {
    let answer = Answer {
        item: 0,
        status: Status::Done,
        is_inline: false,
        is_gzip: false,
        len: 0,
        stored: 0,
        crc: 0,
    };
    // SAFETY: nobody in these tests writes to a place once this is made.
    unsafe { Answered::new(answer, place) }
}

#[test]
fn a_block_is_written_frozen_and_free_again_with_its_last_clone() {
    let arena = arena(2 * MIB);
    let mut block = arena.take(10_000).unwrap();
    assert_eq!((block.len(), block.capacity()), (10_000, 16 << 10));
    block.fill(7);
    block.resize(9_000);
    let bytes = block.freeze();
    let part = bytes.slice(8_000..);
    drop(bytes);
    assert_eq!(arena.stats().blocks.get(), 16 << 10);
    assert!(part.len() == 1_000 && part.iter().all(|byte| *byte == 7));
    drop(part);
    assert_eq!(arena.stats().blocks.get(), 0);
    assert!(arena.take(2 * MIB).is_some(), "all of it is free");
}

#[test]
fn blocks_do_not_overlap_and_a_full_arena_refuses() {
    let arena = arena(2 * MIB);
    let mut blocks: Vec<_> = std::iter::from_fn(|| arena.take(256 << 10)).collect();
    assert_eq!(blocks.len(), 8);
    for (number, block) in blocks.iter_mut().enumerate() {
        let last = block.len() - 1;
        (block[0], block[last]) = (number as u8, number as u8);
    }
    for (number, block) in blocks.iter().enumerate() {
        assert_eq!([block[0], block[block.len() - 1]], [number as u8; 2]);
    }
    assert!(arena.take(1).is_none());
    assert!(arena.take(MAX_BLOCK + 1).is_none());
    assert!(arena.take(usize::MAX).is_none());
    assert_eq!(arena.stats().refused.get(), 4);
}

#[test]
fn a_landing_comes_back_by_the_answer_for_its_own_place_only() {
    let arena = arena(2 * MIB);
    let _first = arena.take(4096).unwrap();
    let landing = arena.take(4096).unwrap().offer();
    assert_eq!(arena.stats().landings.get(), 4096);
    assert_eq!(
        landing.place(3),
        Place::Region {
            region: 3,
            offset: 4096
        }
    );
    let landing = landing.reclaim(&answered(Place::Inline)).unwrap_err();
    let other = Place::Region {
        region: 3,
        offset: 0,
    };
    let landing = landing.reclaim(&answered(other)).unwrap_err();
    let place = landing.place(3);
    let block = landing.reclaim(&answered(place)).unwrap();
    assert_eq!(block.len(), 4096);
    assert_eq!(
        (arena.stats().landings.get(), arena.stats().blocks.get()),
        (0, 8192)
    );
}

#[test]
fn a_dropped_landing_is_never_used_again_and_an_abandoned_one_at_once_without_a_writer() {
    let arena = arena(2 * MIB);
    drop(arena.take(MIB).unwrap().offer());
    assert_eq!(arena.stats().lost.get(), MIB as i64);
    arena.take(MIB).unwrap().offer().abandon(None);
    let _half = arena.take(MIB).unwrap();
    assert!(arena.take(4096).is_none());
}

#[test]
fn impossible_sizes_are_refused_by_name() {
    for size in [0, MAX_ARENA + 1] {
        let config = ArenaConfig {
            size,
            keep: 0,
            quarantine: 0,
            reserved_pages: false,
        };
        let error = Arena::new(config).unwrap_err().to_string();
        assert!(error.contains(&size.to_string()), "{error}");
    }
}

#[cfg(not(miri))]
mod shared {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use rustix::event::PollFlags;
    use rustix::fs::{SealFlags, fcntl_get_seals, fstat, ftruncate};

    use super::*;
    use crate::lane::Retiring;

    fn resident(arena: &Arena) -> usize {
        fstat(arena.descriptor()).unwrap().st_blocks as usize * 512
    }

    fn retiring(watched: impl Into<OwnedFd>) -> Retiring {
        // SAFETY: the tests write to nothing they were offered after closing the other end.
        unsafe { Retiring::new(watched.into(), PollFlags::empty()) }
    }

    #[test]
    fn the_file_can_neither_shrink_nor_grow_nor_be_sealed() {
        let arena = arena(2 * MIB);
        let seals = fcntl_get_seals(arena.descriptor()).unwrap();
        assert!(seals.contains(SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL));
        for size in [0, 4 * MIB as u64] {
            assert!(ftruncate(arena.descriptor(), size).is_err());
        }
    }

    /// The machine's reserved huge pages that nobody uses; one in a test's virtual machine has some.
    fn spare_pages() -> usize {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap();
        let number = |name: &str| {
            let rest = text.lines().find_map(|line| line.strip_prefix(name));
            rest.map_or(0, |rest| rest.trim().parse().unwrap())
        };
        number("HugePages_Free:") - number("HugePages_Rsvd:")
    }

    #[test]
    fn reserved_pages_are_taken_where_there_are_enough_and_are_not_missed_where_not() {
        let spare = spare_pages();
        println!("{spare} reserved huge pages are to be had");
        for size in [4 * MIB, (spare + 2) * 2 * MIB] {
            let arena = Arena::new(ArenaConfig {
                size,
                keep: 0,
                quarantine: 0,
                reserved_pages: true,
            })
            .unwrap();
            assert_eq!(arena.is_reserved(), size <= spare * 2 * MIB);
            let mut block = arena.take(3 * MIB).unwrap();
            block.fill(5);
            assert!(resident(&arena) >= 3 * MIB);
            drop(block);
            arena.tidy();
            assert_eq!(
                resident(&arena) == 0,
                !arena.is_reserved(),
                "reserved ones stay"
            );
        }
    }

    #[test]
    fn memory_is_taken_when_used_and_what_is_too_much_is_given_back() {
        let arena = Arena::new(ArenaConfig {
            size: 256 * MIB,
            keep: 10 * MIB,
            quarantine: 0,
            reserved_pages: false,
        })
        .unwrap();
        assert_eq!(resident(&arena), 0);
        let mut kept = arena.take(MIB).unwrap();
        kept.fill(9);
        let mut large = arena.take(32 * MIB).unwrap();
        large.fill(1);
        drop(large);
        assert_eq!(resident(&arena), 34 * MIB);
        arena.tidy();
        assert_eq!(resident(&arena), 12 * MIB);
        assert_eq!(arena.stats().returned.get(), 22 * MIB as u64);
        assert!(kept.iter().all(|byte| *byte == 9));
        arena.tidy();
        assert_eq!(resident(&arena), 12 * MIB);
        assert!(
            arena.take(64 * MIB).is_some(),
            "what was given back is whole"
        );

        let mut large = arena.take(32 * MIB).unwrap();
        large.fill(1);
        drop(large);
        let before = resident(&arena);
        arena.pin();
        arena.tidy();
        assert_eq!(resident(&arena), before);
    }

    /// A process of its own that has the arena mapped, writes late, and then is killed.
    #[test]
    fn a_late_writer_in_another_process_never_meets_a_block_of_ours() {
        let arena = arena(2 * MIB);
        let landing = arena.take(MIB).unwrap().offer();
        let Place::Region { offset, .. } = landing.place(0) else {
            unreachable!()
        };
        let (ours, theirs) = UnixStream::pair().unwrap();
        // The writer: dd into the memfd, again and again, holding its end of the socket as stdout.
        let path = format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            std::os::fd::AsRawFd::as_raw_fd(&arena.descriptor())
        );
        let script = format!(
            "while :; do printf LATE | dd of={path} bs=4096 seek={} oflag=seek_bytes conv=notrunc \
             2>/dev/null; done",
            offset
        );
        let mut writer = std::process::Command::new("sh")
            .args(["-c", &format!("trap 'exit 0' TERM; {script}")])
            .stdout(OwnedFd::from(theirs))
            .spawn()
            .unwrap();
        let writer_id = writer.id();
        landing.abandon(Some(&retiring(ours)));

        // What is left of the arena can be had, what is in quarantine cannot.
        let other = arena.take(MIB);
        assert!(other.is_none(), "more than a quarter is in quarantine");
        assert_eq!(arena.stats().withheld.get(), 1);
        std::thread::sleep(Duration::from_millis(100));
        arena.tidy();
        assert_eq!(arena.stats().quarantined.get(), MIB as i64);

        rustix::process::kill_process(
            rustix::process::Pid::from_raw(writer_id as i32).unwrap(),
            rustix::process::Signal::TERM,
        )
        .unwrap();
        writer.wait().unwrap();
        // The last dd may outlive the shell for a moment, and holds the socket as long.
        for _ in 0..500 {
            arena.tidy();
            if arena.stats().quarantined.get() == 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(arena.stats().quarantined.get(), 0);
        assert_eq!(arena.stats().released.get(), 1);
        let mut blocks = [arena.take(MIB).unwrap(), arena.take(MIB).unwrap()];
        let wrote = blocks.iter().any(|block| block.starts_with(b"LATE"));
        assert!(
            wrote,
            "the writer did write, so that this test means something"
        );
        for block in &mut blocks {
            block.fill(3);
        }
        std::thread::sleep(Duration::from_millis(50));
        assert!(
            blocks
                .iter()
                .all(|block| block.iter().all(|byte| *byte == 3))
        );
    }

    #[test]
    fn unread_bytes_are_not_a_sign_of_retirement() {
        let arena = arena(8 * MIB);
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        std::io::Write::write_all(&mut theirs, b"an answer nobody reads").unwrap();
        let retiring = retiring(ours);
        let small = arena.take(4096).unwrap().offer();
        small.abandon(Some(&retiring));
        arena.take(8192).unwrap().offer().abandon(Some(&retiring));
        arena.tidy();
        assert_eq!(arena.stats().quarantined.get(), 12 << 10);
        drop(theirs);
        assert!(retiring.is_retired());
        arena.tidy();
        assert_eq!(arena.stats().quarantined.get(), 0);
    }
}
