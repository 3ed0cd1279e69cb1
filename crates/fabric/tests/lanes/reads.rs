//! What is asked for is what comes.

use std::time::Duration;

use fabric::memory::MAX_BLOCK;
use fabric::wire::{Extent, Status};
use rustix::time::{ClockId, clock_gettime};
use seaweed::FileId;

use crate::shelf::{bytes, id};
use crate::support::{Client, MIB, Served, eventually, range, read, refusal, tls, try_read, whole};

const CARRIERS: [&str; 2] = ["shm", "tcp"];

#[test]
fn needles_of_all_sizes_come_whole_and_in_parts() {
    all_sizes(&Served::new());
}

#[test]
fn so_they_do_straight_from_files() {
    let served = Served::new();
    served.shelf.use_files();
    all_sizes(&served);
    // Large ones pass no memory of the server, be it by shared memory or by TCP.
    served.shelf.put(id(3, 1), bytes(5 * MIB, 3), false);
    let client = Client::new();
    let mut lane = served.lane(&client, "tcp");
    let before = served.shelf.reads();
    let all = read(&mut *lane, &client.arena, &[(id(3, 1), whole(5 * MIB))]);
    assert!(all.slots[0].verified().is_ok());
    assert_eq!(served.shelf.reads(), before);
}

#[test]
fn a_file_that_is_cut_short_ends_the_lane_and_delivers_nothing() {
    let served = Served::new();
    served.shelf.use_files();
    served.shelf.put(id(3, 1), bytes(5 * MIB, 3), false);
    let client = Client::new();
    let mut lane = served.lane(&client, "tcp");
    served.shelf.cut(id(3, 1), 2 * MIB + 5);
    let broken = try_read(&mut *lane, &client.arena, &[(id(3, 1), whole(5 * MIB))]);
    assert!(broken.is_err());
}

fn all_sizes(served: &Served) {
    let client = Client::new();
    let sizes = [
        0,
        1,
        4095,
        4096,
        4097,
        8172,
        8173,
        16 << 10,
        (16 << 10) + 1,
        256 << 10,
        (256 << 10) + 1,
        MIB,
        5 * MIB + 7,
        MAX_BLOCK,
    ];
    for (key, size) in sizes.iter().enumerate() {
        let needle = id(1, key as u64);
        served.shelf.put(needle, bytes(*size, key as u64), false);
    }
    for carrier in CARRIERS {
        let mut lane = served.lane(&client, carrier);
        for (key, size) in sizes.into_iter().enumerate() {
            let needle = id(1, key as u64);
            let stored = bytes(size, key as u64);
            let all = read(&mut *lane, &client.arena, &[(needle, whole(size))]);
            assert!(all.slots[0].verified() == Ok(&stored), "{carrier} {size}");
            let answer = all.slots[0].answer.unwrap();
            assert_eq!(answer.stored, size as u64);
            assert_eq!(answer.is_inline, carrier == "tcp" || size <= 4096, "{size}");
            drop(all);
            for (offset, len) in [
                (0, size),
                (size / 3, size / 3),
                (size.saturating_sub(1), 1),
                (size / 2, (size / 2).min(300 << 10)),
            ] {
                if len == 0 || offset + len > size {
                    continue;
                }
                let part = read(&mut *lane, &client.arena, &[(needle, range(offset, len))]);
                let expected = &stored[offset..offset + len];
                assert!(
                    part.slots[0].verified() == Ok(expected),
                    "{carrier} {offset}+{len} of {size}"
                );
            }
        }
        assert!(lane.close().is_none(), "nothing is in flight");
    }
    assert_eq!(client.arena.stats().lost.get(), 0);
    assert_eq!(client.arena.stats().blocks.get(), 0);
}

#[test]
fn a_batch_is_answered_item_by_item_good_and_bad() {
    let served = Served::new();
    let client = Client::new();
    let sizes: Vec<usize> = (0..50).map(|n| n * n * 137).collect();
    for (key, size) in sizes.iter().enumerate() {
        served.shelf.put(id(2, key as u64), bytes(*size, 2), false);
    }
    served.shelf.put(id(2, 100), bytes(5000, 3), true);
    let mut wanted: Vec<(FileId, Extent)> = sizes
        .iter()
        .enumerate()
        .map(|(key, size)| (id(2, key as u64), whole(*size)))
        .collect();
    let others = [
        ((id(2, 999), whole(10)), Status::Absent),
        ((id(404, 1), whole(10)), Status::NotHere),
        ((id(405, 1), whole(10)), Status::Declined),
        ((id(409, 1), whole(10)), Status::Loading),
        ((id(2, 10), whole(100)), Status::TooLarge),
        ((id(2, 10), range(13_000, 701)), Status::PastEnd),
        (
            (
                id(2, 10),
                Extent::Range {
                    offset: u64::MAX,
                    len: 2,
                },
            ),
            Status::PastEnd,
        ),
        ((id(2, 100), range(0, 10)), Status::Gzip),
    ];
    wanted.extend(others.iter().map(|(wanted, _)| *wanted));
    for carrier in CARRIERS {
        let mut lane = served.lane(&client, carrier);
        for _ in 0..3 {
            let reading = read(&mut *lane, &client.arena, &wanted);
            for (slot, size) in reading.slots.iter().zip(&sizes) {
                assert!(slot.verified() == Ok(&bytes(*size, 2)), "{carrier} {size}");
            }
            for (slot, (_, status)) in reading.slots[sizes.len()..].iter().zip(&others) {
                assert_eq!(slot.status(), *status, "{carrier} {:?}", slot.needle);
            }
        }
        let reading = read(&mut *lane, &client.arena, &[(id(2, 100), whole(8192))]);
        assert!(reading.slots[0].answer.unwrap().is_gzip);
        assert!(reading.slots[0].verified() == Ok(&bytes(5000, 3)));
    }
    // What is counted is counted when the answer is on its way.
    let stats = served.server().stats();
    assert!(eventually(|| stats.time.snapshot().count() == 8));
    assert_eq!(
        (stats.shm.exchanges.get(), stats.tcp.exchanges.get()),
        (4, 4)
    );
    assert_eq!(stats.answers(Status::Absent), 6);
    let total = 3 * sizes.iter().sum::<usize>() as u64 + 5000;
    assert_eq!(
        (stats.shm.bytes.get(), stats.tcp.bytes.get()),
        (total, total)
    );
}

#[test]
fn many_lanes_at_once_share_one_mapping() {
    let served = Served::new();
    let client = Client::new();
    for key in 0..20 {
        served
            .shelf
            .put(id(3, key), bytes(100_000 + key as usize, key), false);
    }
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let (served, client) = (&served, &client);
            scope.spawn(move || {
                let carrier = CARRIERS[thread as usize % 2];
                let mut lane = served.lane(client, carrier);
                for round in 0..200 {
                    let key = (thread * 7 + round) % 20;
                    let len = 100_000 + key as usize;
                    let wanted = [(id(3, key), whole(len)), (id(3, key), range(77, 5000))];
                    let reading = read(&mut *lane, &client.arena, &wanted);
                    let stored = bytes(len, key);
                    assert!(reading.slots[0].verified() == Ok(&stored));
                    assert!(reading.slots[1].verified() == Ok(&stored[77..5077]));
                }
                if carrier == "shm" {
                    let mapped = served.server().stats().mapped.get();
                    assert_eq!(mapped, client.arena.len() as i64, "mapped once");
                }
            });
        }
    });
    // Unmapped with the last lane.
    let stats = served.server().stats();
    assert!(eventually(|| stats.mapped.get() == 0));
    assert!(eventually(|| (
        stats.shm.lanes.get(),
        stats.tcp.lanes.get()
    ) == (0, 0)));
}

#[test]
fn what_is_not_cached_comes_from_the_disk_threads_and_holds_up_nobody() {
    let served = Served::with(|config| {
        config.workers = 1;
        config.disk_threads = 1;
    });
    let client = Client::new();
    served.shelf.put(id(4, 1), bytes(MIB, 1), false);
    for carrier in CARRIERS {
        let mut slow = served.lane(&client, carrier);
        let mut other = served.lane(&client, carrier);
        served.shelf.cool();
        served.shelf.hold(true);
        let before = served.shelf.reads();
        let mut held = crate::support::Reading::new(&client.arena, &[(id(4, 1), whole(MIB))]);
        held.start(7, &mut *slow).unwrap();
        assert!(eventually(|| served.shelf.reads() > before));
        // The worker is free for those who need no disk.
        let quick = read(&mut *other, &client.arena, &[(id(404, 1), whole(10))]);
        assert_eq!(quick.slots[0].status(), Status::NotHere);
        served.shelf.hold(false);
        held.finish(&mut *slow).unwrap();
        assert!(held.slots[0].verified() == Ok(&bytes(MIB, 1)));
    }
    assert_eq!(served.server().stats().disk.get(), 2);
}

#[test]
fn a_disk_that_hangs_at_a_look_up_holds_up_nobody() {
    let served = Served::with(|config| {
        config.workers = 2;
        config.disk_threads = 2;
    });
    let client = Client::new();
    for key in 0..4 {
        served.shelf.put(id(4, key), bytes(MIB, key), false);
    }
    for carrier in CARRIERS {
        let mut slow: Vec<_> = (0..2).map(|_| served.lane(&client, carrier)).collect();
        let mut other = served.lane(&client, carrier);
        let before = served.shelf.reads();
        let mut held = Vec::new();
        // As many as there are workers; of the second one a part is cached.
        for (key, lane) in slow.iter_mut().enumerate() {
            served.shelf.bury(id(4, key as u64));
            let cached = (key == 1).then_some((id(4, 3), whole(MIB)));
            let mut wanted: Vec<_> = cached.into_iter().collect();
            wanted.push((id(4, key as u64), whole(MIB)));
            let mut reading = crate::support::Reading::new(&client.arena, &wanted);
            reading.start(7, &mut **lane).unwrap();
            held.push(reading);
        }
        // What was cached needs a read as well.
        assert!(eventually(|| served.shelf.reads() >= before + 3));
        let quick = read(&mut *other, &client.arena, &[(id(4, 2), whole(MIB))]);
        assert!(quick.slots[0].verified() == Ok(&bytes(MIB, 2)), "{carrier}");
        served.shelf.unstick();
        for (key, (reading, lane)) in held.iter_mut().zip(&mut slow).enumerate() {
            reading.finish(&mut **lane).unwrap();
            let last = reading.slots.last().unwrap();
            assert!(last.verified() == Ok(&bytes(MIB, key as u64)), "{carrier}");
        }
    }
    assert!(served.server().stats().disk.get() >= 4);
}

#[test]
fn tls_carries_the_same() {
    let (server, trusting) = tls();
    let served = Served::with(|config| config.tls = Some(server));
    let client = Client::with(|config| config.tls = Some(trusting));
    served.shelf.put(id(5, 1), bytes(3 * MIB + 1, 1), false);
    let mut lane = served.lane(&client, "tcp");
    for (extent, expected) in [
        (whole(4 * MIB), 0..3 * MIB + 1),
        (range(100, 2 * MIB), 100..100 + 2 * MIB),
        (range(3, 5), 3..8),
    ] {
        let reading = read(&mut *lane, &client.arena, &[(id(5, 1), extent)]);
        assert!(reading.slots[0].verified() == Ok(&bytes(3 * MIB + 1, 1)[expected]));
    }
    // Without TLS here, or without trust, there is no lane.
    let error = refusal(Client::new().dial(&served.over_tcp()));
    assert!(error.contains("TLS"), "{error}");
    let (_, stranger) = tls();
    let stranger = Client::with(|config| config.tls = Some(stranger));
    let error = refusal(stranger.dial(&served.over_tcp()));
    assert!(error.contains("certificate"), "{error}");
}

#[test]
fn idle_lanes_cost_no_time() {
    let served = Served::new();
    let client = Client::new();
    let lanes: Vec<_> = (0..200)
        .map(|number| served.lane(&client, CARRIERS[number % 2]))
        .collect();
    // The timer of their handshakes may go off once more.
    std::thread::sleep(Duration::from_millis(1500));
    let before = clock_gettime(ClockId::ProcessCPUTime);
    std::thread::sleep(Duration::from_secs(1));
    let after = clock_gettime(ClockId::ProcessCPUTime);
    let spent = (after.tv_sec - before.tv_sec) * 1_000_000_000 + after.tv_nsec - before.tv_nsec;
    println!("200 idle lanes cost {} us in a second", spent / 1000);
    assert!(spent < 5_000_000, "{spent} ns");
    drop(lanes);
}
