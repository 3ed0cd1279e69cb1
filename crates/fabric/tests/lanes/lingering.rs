//! A worker looks for the next request for a moment before it sleeps, and nothing is lost by it.

use std::thread;
use std::time::{Duration, Instant};

use crate::shelf::{bytes, id};
use crate::support::{BUDGET, Client, Served, eventually, range, read};

const CARRIERS: [&str; 2] = ["shm", "tcp"];
const SIZE: usize = 1 << 20;
/// Longer than a worker looks.
const LONGEST: u64 = 300;

fn served() -> (Served, Vec<u8>) {
    let served = Served::new();
    let stored = bytes(SIZE, 7);
    served.shelf.put(id(1, 1), stored.clone(), false);
    (served, stored)
}

/// Without sleeping, which takes longer than wanted.
fn pause(micros: u64) {
    let until = Instant::now() + Duration::from_micros(micros);
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}

#[test]
fn who_asks_again_at_once_finds_a_worker_awake() {
    if thread::available_parallelism().map_or(1, usize::from) < 2 {
        return;
    }
    let (served, stored) = served();
    let client = Client::new();
    for carrier in CARRIERS {
        let mut lane = served.lane(&client, carrier);
        let before = served.server().stats().polled.get();
        let until = Instant::now() + BUDGET;
        while served.server().stats().polled.get() < before + 100 {
            assert!(Instant::now() < until, "{carrier}: nobody looks");
            let part = read(&mut *lane, &client.arena, &[(id(1, 1), range(5, 4096))]);
            assert!(
                part.slots[0].verified() == Ok(&stored[5..4101]),
                "{carrier}"
            );
        }
    }
}

#[test]
fn no_request_is_lost_whenever_it_comes() {
    let (served, stored) = served();
    let client = Client::new();
    for carrier in CARRIERS {
        let mut lane = served.lane(&client, carrier);
        for round in 0..3000 {
            let offset = (round * 97) as usize % (SIZE - 4096);
            // Small ones are followed by a look, large ones are not.
            let len = [4096, 100, 4096, 64 << 10][round as usize % 4].min(SIZE - offset);
            let part = read(&mut *lane, &client.arena, &[(id(1, 1), range(offset, len))]);
            let expected = &stored[offset..offset + len];
            assert!(
                part.slots[0].verified() == Ok(expected),
                "{carrier} {round}"
            );
            pause(round * 7 % LONGEST);
        }
    }
}

#[test]
fn many_lanes_that_ask_with_and_without_a_pause_are_all_served() {
    let (served, stored) = served();
    let client = Client::new();
    thread::scope(|scope| {
        for number in 0..12_usize {
            let (served, client, stored) = (&served, &client, &stored);
            scope.spawn(move || {
                let mut lane = served.lane(client, CARRIERS[number % 2]);
                for round in 0..200 {
                    let offset = (number * 1000 + round * 97) % (SIZE - 4096);
                    let part = read(
                        &mut *lane,
                        &client.arena,
                        &[(id(1, 1), range(offset, 4096))],
                    );
                    assert!(part.slots[0].verified() == Ok(&stored[offset..offset + 4096]));
                    if number % 3 == 0 {
                        thread::sleep(Duration::from_micros((round as u64 * 7) % LONGEST));
                    }
                }
            });
        }
    });
}

#[test]
fn a_client_that_goes_while_it_is_looked_for_is_noticed() {
    let (served, _) = served();
    let client = Client::new();
    for carrier in CARRIERS {
        for round in 0..100 {
            let mut lane = served.lane(&client, carrier);
            drop(read(
                &mut *lane,
                &client.arena,
                &[(id(1, 1), range(0, 512))],
            ));
            pause(round * 3 % LONGEST);
            // With a last word, or just gone, as when its process is killed.
            match round % 2 {
                0 => assert!(lane.close().is_none()),
                _ => drop(lane),
            }
        }
        let stats = served.server().stats();
        let of = match carrier {
            "shm" => &stats.shm,
            _ => &stats.tcp,
        };
        assert!(
            eventually(|| of.lanes.get() == 0),
            "{carrier}: lanes are left"
        );
    }
}
