//! Memory of a server that was given up.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use fabric::announce::{Endpoints, this_host};
use fabric::wire::VERSION;

use crate::shelf::{bytes, id};
use crate::support::{Client, MIB, Reading, Served, eventually, read, whole};

#[test]
fn memory_stays_out_of_use_until_the_server_has_done_with_it() {
    let served = Served::new();
    let client = Client::new();
    served.shelf.put(id(1, 1), bytes(8 * MIB, 1), false);
    served.shelf.cool();
    served.shelf.hold(true);
    let before = served.shelf.reads();
    let mut lane = served.lane(&client, "shm");
    let mut reading = Reading::new(&client.arena, &[(id(1, 1), whole(8 * MIB))]);
    reading.start(1, &mut *lane).unwrap();
    assert!(eventually(|| served.shelf.reads() > before));
    reading.abandon(lane);
    let stats = client.arena.stats();
    for _ in 0..20 {
        client.arena.tidy();
        assert_eq!(stats.quarantined.get(), 8 * MIB as i64);
        std::thread::sleep(Duration::from_millis(10));
    }
    served.shelf.hold(false);
    assert!(eventually(|| {
        client.arena.tidy();
        stats.quarantined.get() == 0
    }));
    assert_eq!((stats.released.get(), stats.lost.get()), (1, 0));
    // What comes after it is not disturbed.
    let mut lane = served.lane(&client, "shm");
    let reading = read(&mut *lane, &client.arena, &[(id(1, 1), whole(8 * MIB))]);
    assert!(reading.slots[0].verified().is_ok());
}

#[test]
fn data_that_comes_inline_leaves_nothing_in_quarantine() {
    let served = Served::new();
    let client = Client::new();
    served.shelf.put(id(1, 1), bytes(8 * MIB, 1), false);
    let mut lane = served.lane(&client, "tcp");
    let mut reading = Reading::new(&client.arena, &[(id(1, 1), whole(8 * MIB))]);
    reading.start(1, &mut *lane).unwrap();
    reading.abandon(lane);
    let stats = client.arena.stats();
    assert_eq!((stats.quarantined.get(), stats.blocks.get()), (0, 0));
    assert_eq!(stats.abandoned.get(), 0);
}

#[test]
fn an_answer_that_nobody_read_is_no_sign_that_the_rest_is_done() {
    let served = Served::new();
    let client = Client::new();
    served.shelf.put(id(1, 1), bytes(MIB, 1), false);
    let mut lane = served.lane(&client, "shm");
    served.shelf.cool();
    served.shelf.hold(true);
    let before = served.shelf.reads();
    // The first item is answered, the second is being read.
    let wanted = [(id(404, 1), whole(1)), (id(1, 1), whole(MIB))];
    let mut reading = Reading::new(&client.arena, &wanted);
    reading.start(1, &mut *lane).unwrap();
    assert!(eventually(|| served.shelf.reads() > before));
    crate::support::wait(&*lane);
    reading.abandon(lane);
    let stats = client.arena.stats();
    std::thread::sleep(Duration::from_millis(100));
    client.arena.tidy();
    assert_eq!(stats.quarantined.get(), MIB as i64 + 4096);
    served.shelf.hold(false);
    assert!(eventually(|| {
        client.arena.tidy();
        stats.quarantined.get() == 0
    }));
}

/// Not a test: the process that the next test starts, and kills.
#[test]
#[ignore = "started by another test"]
fn a_process_that_serves() {
    let served = Served::new();
    served.shelf.put(id(1, 1), bytes(4 * MIB, 1), false);
    served.shelf.cool();
    served.shelf.hold(true);
    println!("socket {}", served.socket().display());
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn memory_of_a_server_that_is_killed_is_free_when_the_process_is_gone() {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "retiring::a_process_that_serves",
            "--nocapture",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let socket = lines
        .find_map(|line| Some(line.ok()?.split_once("socket ")?.1.to_owned()))
        .unwrap();
    let to = Endpoints {
        version: VERSION,
        host: this_host().unwrap(),
        unix: Some(socket),
        ..Endpoints::default()
    };
    let client = Client::new();
    let mut lane = client.dial(&to).unwrap();
    let mut reading = Reading::new(&client.arena, &[(id(1, 1), whole(4 * MIB))]);
    reading.start(1, &mut *lane).unwrap();
    reading.abandon(lane);
    let stats = client.arena.stats();
    std::thread::sleep(Duration::from_millis(200));
    client.arena.tidy();
    assert_eq!(stats.quarantined.get(), 4 * MIB as i64);
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(eventually(|| {
        client.arena.tidy();
        stats.quarantined.get() == 0
    }));
}
