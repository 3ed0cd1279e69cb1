//! Random operations on files, all of them right (docs/SEMANTICS.md, sections 1 and 12).
//!
//! `RIPTIDE_EXERCISE_STEPS` and `RIPTIDE_EXERCISE_SEEDS` say how many operations with how many seeds, from
//! number `RIPTIDE_EXERCISE_FIRST` on; `make conformance` asks for more than `make test` does.

use std::env;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use e2e::{Exercise, Mount, Scene, Way, eventually, needs_fuse, noise};
use rustix::fs::SeekFrom;

/// Operations of each exercise in `make test`.
const STEPS: u32 = 1500;
/// Another mount knows of a change after this time at the latest, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn files_hold_what_was_written_through_the_kernel() {
    exercise(Way::Buffered);
}

#[test]
fn files_hold_what_was_written_directly() {
    exercise(Way::Direct);
}

#[test]
fn files_hold_what_was_written_through_a_shared_map() {
    exercise(Way::Mapped);
}

#[test]
fn files_hold_what_was_written_and_closed() {
    exercise(Way::Reopened);
}

#[test]
fn files_hold_what_was_written_when_nothing_is_cached() {
    exercise(Way::Dropped);
}

fn number(name: &str, otherwise: u32) -> u32 {
    match env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|e| panic!("{name}={text}: {e}")),
        Err(_) => otherwise,
    }
}

fn exercise(way: Way) {
    needs_fuse!();
    let scene = Scene::start();
    let one = scene.mount_at("one", &["-chunkSizeLimitMB=1"]);
    let other = scene.mount_at("other", &[]);
    let steps = number("RIPTIDE_EXERCISE_STEPS", STEPS);
    let first = number("RIPTIDE_EXERCISE_FIRST", 1);
    for seed in first..first + number("RIPTIDE_EXERCISE_SEEDS", 1) {
        let exercise = Exercise {
            way,
            seed: seed.into(),
            steps,
        };
        let name = format!("/file{seed}");
        let held = exercise.run(&one.path(&name));
        let whole = is_seen(&other, &name, &held);
        // A GET from the filer (4.48) moves bytes that lie behind some holes.
        if whole {
            let got = scene.cluster.get(&name).unwrap();
            assert!(got == held, "{exercise}: the filer gives other bytes");
        }
        let with = if whole {
            "and the filer agree"
        } else {
            "agrees"
        };
        println!(
            "{exercise}: right; {} bytes, another mount {with}",
            held.len()
        );
        fs::remove_file(one.path(&name)).unwrap();
    }
}

/// Compares with what another mount shows; whether there are no holes in it.
fn is_seen(other: &Mount, name: &str, held: &[u8]) -> bool {
    let path = other.path(name);
    eventually("the other mount has it", SOON, || {
        fs::read(&path).is_ok_and(|found| found == held)
    });
    let file = File::open(path).unwrap();
    let hole = rustix::fs::seek(&file, SeekFrom::Hole(0));
    hole.map_or(held.is_empty(), |hole| hole == held.len() as u64)
}

/// What each writer of a shared file owns.
const SHARE: usize = 300_000;
/// How many there are.
const SHARERS: usize = 4;

/// One thread's part of a shared file: it alone writes there, through handles that others have not, and
/// reads what it wrote, past the kernel's pages too.
fn own(path: &Path, thread: usize, rounds: u64) {
    let base = (thread * SHARE) as u64;
    let mut held = vec![0; SHARE];
    let mut random = e2e::Random::new(1000 + thread as u64);
    let open = || File::options().read(true).write(true).open(path).unwrap();
    let mut file = open();
    for round in 0..rounds {
        let len = 1 + random.below(40_000) as usize;
        let at = random.below((SHARE - len) as u64) as usize;
        let bytes = noise(round + ((thread as u64) << 32), len);
        file.write_all_at(&bytes, base + at as u64).unwrap();
        held[at..at + len].copy_from_slice(&bytes);
        if random.below(2) == 0 {
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        }
        let found = e2e::read_at(&file, base, SHARE).unwrap();
        let wrong = (0..SHARE).find(|n| found.get(*n).copied().unwrap_or(0) != held[*n]);
        assert_eq!(wrong, None, "thread {thread}, round {round}");
        match random.below(4) {
            0 => file.sync_all().unwrap(),
            1 => file = open(),
            _ => {}
        }
    }
    let found = e2e::read_at(&file, base, SHARE).unwrap();
    assert!(found == held[..found.len()], "thread {thread}, at the end");
}

#[test]
fn threads_that_write_read_sync_and_close_one_file_see_what_they_wrote() {
    needs_fuse!();
    let scene = Scene::start();
    let mount = scene.mount(&["-chunkSizeLimitMB=1"]);
    let path = mount.path("/shared");
    let rounds = u64::from(number("RIPTIDE_EXERCISE_STEPS", STEPS) / 25);
    // All of it is there from the beginning, so that every write is one over something.
    fs::write(&path, vec![0; SHARE * SHARERS]).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        // Others open, look and close all the time: each close saves.
        let closer = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let file = File::options().read(true).write(true).open(&path).unwrap();
                let len = file.metadata().unwrap().len();
                assert_eq!(len, (SHARE * SHARERS) as u64);
            }
        });
        let owners: Vec<_> = (0..SHARERS)
            .map(|thread| {
                let path = &path;
                scope.spawn(move || own(path, thread, rounds))
            })
            .collect();
        let ended: Vec<_> = owners.into_iter().map(|owner| owner.join()).collect();
        stop.store(true, Ordering::Relaxed);
        closer.join().unwrap();
        ended.into_iter().for_each(|end| end.unwrap());
    });
}

#[test]
fn threads_that_make_open_list_and_remove_names_never_wait_for_each_other_forever() {
    needs_fuse!();
    let scene = Scene::start();
    let mount = scene.mount(&[]);
    let dir = mount.path("/names");
    fs::create_dir(&dir).unwrap();
    let rounds = number("RIPTIDE_EXERCISE_STEPS", STEPS) / 5;
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        for thread in 0..SHARERS {
            let (dir, done) = (&dir, &done);
            scope.spawn(move || {
                for round in 0..rounds {
                    let path = dir.join(format!("{thread}.{}", round % 20));
                    fs::write(&path, b"new").unwrap();
                    assert_eq!(fs::read(&path).unwrap(), b"new");
                    for entry in fs::read_dir(dir).unwrap() {
                        // It may be gone by now.
                        let _ = entry.unwrap().metadata();
                    }
                    fs::remove_file(&path).unwrap();
                }
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
    assert_eq!(done.load(Ordering::Relaxed), SHARERS);
}

#[test]
fn records_appended_by_many_handles_at_once_are_all_kept() {
    needs_fuse!();
    let scene = Scene::start();
    let mount = scene.mount(&[]);
    let path = mount.path("/log");
    File::create(&path).unwrap();
    let threads = 4;
    let rounds = number("RIPTIDE_EXERCISE_STEPS", STEPS) as usize / 15;
    let appended = AtomicUsize::new(0);
    thread::scope(|scope| {
        for thread in 0..threads {
            let (path, appended) = (&path, &appended);
            scope.spawn(move || {
                use std::io::Write as _;
                for round in 0..rounds {
                    let record = format!("{thread} {round} {}\n", "x".repeat(round % 50));
                    let mut file = File::options().append(true).open(path).unwrap();
                    file.write_all(record.as_bytes()).unwrap();
                    drop(file);
                    let before = appended.fetch_add(record.len(), Ordering::SeqCst);
                    let len = fs::metadata(path).unwrap().len() as usize;
                    assert!(len >= before + record.len(), "{len} after {before}");
                }
            });
        }
    });
    let text = fs::read_to_string(&path).unwrap();
    let mut found: Vec<&str> = text.lines().collect();
    found.sort_unstable();
    let mut wanted: Vec<String> = (0..threads)
        .flat_map(|thread| {
            (0..rounds).map(move |round| format!("{thread} {round} {}", "x".repeat(round % 50)))
        })
        .collect();
    wanted.sort_unstable();
    assert_eq!(found.len(), wanted.len());
    assert!(found == wanted);
}
