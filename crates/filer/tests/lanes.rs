//! Threads that block, each on a connection of its own.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod common;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::entries::{create, file};
use common::{connect, start};
use filer::{Condition, Echo, Filer, Lanes};
use tokio::runtime::Runtime;

/// Entries that are asked for.
const NAMES: usize = 12;

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
}

/// Makes the entries, each of which says its name.
async fn seed(filer: &Filer) {
    for number in 0..NAMES {
        let name = format!("f{number}");
        create(&filer.client(), "/a", file(&name, &name)).await;
    }
}

/// Asks for one entry; fails when that does not work, or another comes.
fn ask(lanes: &Lanes, number: usize) {
    let name = format!("f{number}");
    let found = lanes.block_on(async |filer: &Filer| filer.lookup("/a", &name).await);
    let entry = found.unwrap().value;
    assert_eq!(entry.name, name);
    assert_eq!(entry.content, name.as_bytes());
}

/// How many lanes wait for somebody; none is in use.
fn idle(lanes: &Lanes) -> usize {
    let shown = format!("{lanes:?}");
    let rest = shown.strip_prefix("Lanes { idle: ").unwrap();
    let (idle, rest) = rest.split_once(',').unwrap();
    assert!(rest.starts_with(" used: 0"), "{shown}");
    idle.parse().unwrap()
}

/// Has threads ask until told to stop; how many answers they got.
fn ask_during(lanes: &Lanes, work: impl FnOnce()) -> u32 {
    let (stop, count) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for number in 0..NAMES {
            let (stop, count) = (&stop, &count);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    ask(lanes, number);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        work();
        stop.store(true, Ordering::Relaxed);
    });
    count.into_inner()
}

#[test]
fn callers_get_their_own_answers_and_lanes_that_were_idle_go() {
    let cluster = start(1);
    let runtime = runtime();
    let filer = runtime.block_on(connect(&cluster, &[0]));
    runtime.block_on(seed(&filer));
    let lanes = Lanes::new(filer, runtime.handle().clone());
    ask(&lanes, 0);
    assert_eq!(idle(&lanes), 0, "a call that comes alone makes no lane");
    let count = ask_during(&lanes, || std::thread::sleep(Duration::from_secs(2)));
    println!("{count} answers");
    let made = idle(&lanes);
    assert!((1..=8).contains(&made), "{made} lanes");

    std::thread::sleep(Duration::from_secs(9));
    ask(&lanes, 1);
    assert_eq!(idle(&lanes), 0);
}

#[test]
fn a_filer_that_is_killed_and_comes_back_is_only_waited_for() {
    let mut cluster = start(1);
    let runtime = runtime();
    let filer = runtime.block_on(connect(&cluster, &[0]));
    runtime.block_on(seed(&filer));
    let lanes = Lanes::new(filer, runtime.handle().clone());
    let count = ask_during(&lanes, || {
        for _ in 0..2 {
            std::thread::sleep(Duration::from_secs(1));
            cluster.kill_filer(0).unwrap();
            cluster.restart_filer(0).unwrap();
        }
        std::thread::sleep(Duration::from_secs(1));
    });
    println!("{count} answers");
    assert!(idle(&lanes) > 0);
}

#[test]
fn a_lane_goes_with_the_question_that_was_given_up_on_it() {
    let mut cluster = start(1);
    let runtime = runtime();
    let filer = runtime.block_on(connect(&cluster, &[0]));
    runtime.block_on(seed(&filer));
    let lanes = Lanes::new(filer, runtime.handle().clone());
    while idle(&lanes) == 0 {
        ask(&lanes, 0);
    }
    cluster.stop_filer(0).unwrap();
    let asked = async |filer: &Filer| {
        let limit = Duration::from_millis(200);
        tokio::time::timeout(limit, filer.lookup("/a", "f0")).await
    };
    // It takes a moment until all of its threads have stopped.
    while lanes.block_on(asked).is_ok() {}
    assert_eq!(
        idle(&lanes),
        0,
        "the next caller would drive what is left of it"
    );
    cluster.cont_filer(0).unwrap();
    ask(&lanes, 1);
}

#[test]
fn lanes_follow_to_the_filer_that_takes_over() {
    let mut cluster = start(2);
    let runtime = runtime();
    let filer = runtime.block_on(connect(&cluster, &[0, 1]));
    runtime.block_on(async {
        seed(&filer).await;
        let second = connect(&cluster, &[1]).await;
        let last = format!("f{}", NAMES - 1);
        while second.lookup("/a", &last).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let (first, lanes) = (
        filer.current(),
        Lanes::new(filer.clone(), runtime.handle().clone()),
    );
    ask_during(&lanes, || {
        std::thread::sleep(Duration::from_secs(1));
        // It accepts what is sent, and says nothing.
        cluster.stop_filer(0).unwrap();
        std::thread::sleep(Duration::from_secs(4));
    });
    assert_ne!(filer.current(), first);
    assert_eq!(filer.stats().fail_overs, 1);
    assert!(idle(&lanes) > 0);
    let began = Instant::now();
    ask(&lanes, 0);
    assert!(began.elapsed() < Duration::from_secs(1));
}

/// What becomes of changes, one after the other, below `directory`.
async fn changes(filer: &Filer, directory: &str) -> Vec<String> {
    const OURS: i32 = 7;
    let (old, new) = (file("f", "1"), file("f", "22"));
    let long = file(&"n".repeat(300), "1");
    let mut done = Vec::new();
    let mut note = |what: String| {
        // Times and inodes differ.
        done.push(
            what.split(&[' ', '('][..])
                .next()
                .unwrap_or_default()
                .to_owned(),
        );
    };
    for entry in [&old, &old, &long] {
        let made = filer.create(directory, entry, OURS, Echo::Wanted).await;
        note(format!("{:?}", made.unwrap()));
    }
    let update = async |entry, condition| {
        let updated = filer.update(directory, entry, condition, OURS, Echo::Wanted);
        updated.await
    };
    let was = filer.lookup(directory, "f").await.unwrap().value;
    for condition in [Condition::EntryEqual(&was), Condition::EntryEqual(&was)] {
        note(format!("{:?}", update(&new, condition).await.unwrap()));
    }
    let missing = update(&file("missing", "1"), Condition::None).await;
    note(format!("{:?}", missing.unwrap_err()));
    let stored = filer.lookup(directory, "f").await.unwrap().value;
    assert_eq!(stored.content, b"22".as_slice());
    let remove = async |directory, name| filer.delete(directory, name, true, OURS).await;
    for _ in 0..2 {
        note(format!("{:?}", remove(directory, "f").await.unwrap()));
    }
    let mut parent = file(directory.trim_start_matches('/'), "");
    parent.is_directory = true;
    // Go's bit of a directory.
    parent.attributes.get_or_insert_default().file_mode = 1 << 31 | 0o755;
    for (directory, entry) in [("/", &parent), (directory, &old)] {
        let made = filer.create(directory, entry, OURS, Echo::Wanted).await;
        note(format!("{:?}", made.unwrap()));
    }
    note(format!("{:?}", remove("/", &parent.name).await.unwrap()));
    done
}

#[test]
fn changes_in_a_stream_are_answered_as_calls_are() {
    let cluster = start(1);
    let runtime = runtime();
    let filer = runtime.block_on(connect(&cluster, &[0]));
    runtime.block_on(seed(&filer));
    let alone = runtime.block_on(changes(&filer, "/alone"));
    let lanes = Lanes::new(filer, runtime.handle().clone());
    ask(&lanes, 0);
    let streamed = lanes.block_on(async |filer: &Filer| changes(filer, "/streamed").await);
    assert_eq!(idle(&lanes), 1, "it was not by a lane");
    assert_eq!(streamed, alone);
    let wanted = [
        "Done",
        "Exists",
        "NameTooLong",
        "Done",
        "Conflict",
        "NotFound",
        "Done",
        "Absent",
        "Done",
        "Done",
        "NotEmpty",
    ];
    assert_eq!(streamed, wanted);
}
