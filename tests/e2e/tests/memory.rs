//! A ceiling for all memory (docs/OPERATIONS.md, "Memory").

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use e2e::{Mount, Scene, eventually, needs_fuse, noise};

const MIB: usize = 1 << 20;
/// The ceiling of these tests, in MiB.
const CEILING: usize = 256;
/// The program's text and data in the file cache, of a build for debugging, and what a fifth of a second may
/// add before somebody looks.
const SLACK: usize = 64;

/// A number of `/proc/<pid>/status`, in bytes.
fn status(mount: &mut Mount, name: &str) -> usize {
    let pid = mount.process().id();
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim_matches([':', ' ', '\t']).split(' ').next());
    kib.unwrap().parse::<usize>().unwrap() << 10
}

/// Reads a file in steps and compares each.
fn check(path: &Path, want: &[u8]) {
    let mut file = File::open(path).unwrap();
    let mut buffer = vec![0; MIB];
    let mut at = 0;
    loop {
        let len = file.read(&mut buffer).unwrap();
        if len == 0 {
            break;
        }
        assert!(
            buffer[..len] == want[at..at + len],
            "{} at {at}",
            path.display()
        );
        at += len;
    }
    assert_eq!(at, want.len());
}

/// Looks at every name below a folder; how many there are.
fn walk(folder: &Path) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        count += 1;
        if metadata.is_dir() {
            count += walk(&entry.path());
        }
    }
    count
}

#[test]
fn flags_that_exceed_the_ceiling_are_refused_by_name() {
    needs_fuse!();
    let scene = Scene::start();
    let flags = ["-memoryLimitMB=512", "-readerCacheSizeMB=600"];
    let refused = Mount::refused(&scene, "m", &flags);
    assert!(!refused.status.success());
    for part in ["-memoryLimitMB=512", "-readerCacheSizeMB (600 MiB)"] {
        assert!(refused.output.contains(part), "{}", refused.output);
    }
}

#[test]
fn the_ceiling_holds_while_many_read_write_and_walk() {
    needs_fuse!();
    const FILES: u64 = 6;
    const FOLDERS: usize = 12;
    const NAMES: usize = 2500;
    let scene = Scene::start();
    let large: Vec<Vec<u8>> = (0..FILES)
        .map(|n| noise(n, 48 * MIB + n as usize))
        .collect();
    for (number, bytes) in large.iter().enumerate() {
        scene.put(&format!("/large/{number}"), bytes);
    }
    for folder in 0..FOLDERS {
        let names = (0..NAMES).map(|name| format!("a-name-of-some-length-{name:06}"));
        scene.craft().crowd(&format!("/tree/{folder}"), names);
    }
    let limit = format!("-memoryLimitMB={CEILING}");
    let mut mount = scene.mount(&[&limit, "-cacheCapacityMB=0"]);
    assert_eq!(mount.stat("memory_ceiling_bytes"), (CEILING * MIB) as f64);
    let idle = status(&mut mount, "VmRSS");

    thread::scope(|scope| {
        for reader in 0..4 {
            let (mount, large) = (&mount, &large);
            scope.spawn(move || {
                for round in 0..large.len() {
                    let number = (reader + round) % large.len();
                    check(&mount.path(&format!("/large/{number}")), &large[number]);
                }
            });
        }
        for writer in 0..4_usize {
            let (mount, large) = (&mount, &large);
            scope.spawn(move || {
                let path = mount.path(&format!("/written{writer}"));
                let mut file = File::create(&path).unwrap();
                for piece in large[writer].chunks(MIB - 1000) {
                    file.write_all(piece).unwrap();
                }
                drop(file);
                check(&path, &large[writer]);
            });
        }
        for _ in 0..2 {
            let mount = &mount;
            scope.spawn(move || {
                for _ in 0..3 {
                    assert_eq!(walk(&mount.path("/tree")), FOLDERS * (NAMES + 1));
                }
            });
        }
    });

    let most = status(&mut mount, "VmHWM");
    println!(
        "ceiling {CEILING} MiB, at most resident {} MiB, before {} MiB; pressed {}, asked back {}, refused {}, waits {}",
        most / MIB,
        idle / MIB,
        mount.stat("memory_pressed"),
        mount.stat("inodes_asked_back"),
        mount.stat("memory_refused"),
        mount.stat("memory_waits"),
    );
    assert!(most <= (CEILING + SLACK) * MIB, "{} MiB", most / MIB);
    // More names were looked at than fit: the kernel had to give some back.
    assert!(mount.stat("inodes_asked_back") > 0.0);
    eventually(
        "nothing is held beyond the ceiling",
        Duration::from_secs(20),
        || mount.stat("memory_used_bytes") <= (CEILING * MIB) as f64,
    );
    for (number, bytes) in large.iter().take(4).enumerate() {
        check(&mount.path(&format!("/written{number}")), bytes);
    }
}

#[test]
fn open_files_keep_their_inodes_while_the_others_are_given_back() {
    needs_fuse!();
    const NAMES: usize = 30_000;
    let scene = Scene::start();
    let names = (0..NAMES).map(|name| format!("{name:06}"));
    scene.craft().crowd("/dir", names);
    scene.put("/dir/kept", b"kept");
    let mount = scene.mount(&["-memoryLimitMB=256"]);
    let mut kept: Vec<File> = (0..200)
        .map(|n| File::open(mount.path(&format!("/dir/{n:06}"))).unwrap())
        .collect();
    kept.push(File::open(mount.path("/dir/kept")).unwrap());
    for _ in 0..2 {
        assert_eq!(walk(&mount.path("/dir")), NAMES + 1);
    }
    eventually(
        "most inodes are given back",
        Duration::from_secs(30),
        || mount.stat("inodes_asked_back") > 1000.0,
    );
    // And the kernel does give them.
    eventually("they are forgotten", Duration::from_secs(30), || {
        mount.stat("nodes") < NAMES as f64 / 2.0
    });
    let mut text = String::new();
    kept.pop().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "kept");
    for file in &kept {
        assert_eq!(file.metadata().unwrap().len(), 0);
    }
    assert_eq!(fs::read(mount.path("/dir/kept")).unwrap(), b"kept");
}

/// Not a test but a measurement, for docs/OPERATIONS.md: `cargo nextest run --run-ignored all -E
/// 'test(what_a_million_inodes_cost)' --no-capture`. A million entries in folders of 5000, `SCALE` for fewer.
#[test]
#[ignore = "takes minutes, and a machine to itself"]
fn what_a_million_inodes_cost() {
    needs_fuse!();
    const FOLDER: usize = 5000;
    let all: usize = std::env::var("SCALE").map_or(1_000_000, |all| all.parse().unwrap());
    let folders = all / FOLDER;
    let scene = Scene::start();
    for folder in 0..folders {
        let names = (0..FOLDER).map(|name| format!("name-{name:08}"));
        scene.craft().crowd_with(
            &format!("/tree/{folder}"),
            names,
            b"content of a small file",
        );
    }
    // Without lifetimes, so that each stat(2) is asked here.
    let mut mount = scene.mount(&[
        "-cacheMetaTtlSec=0",
        "-cacheCapacityMB=0",
        "-memoryLimitMB=8192",
    ]);
    let mut random = e2e::Random::new(1);
    let mut walked = 0;
    let before = status(&mut mount, "VmRSS");
    println!(
        "entries,accounted_bytes_each,resident_bytes_each,stat_us,missing_us,open_read_close_us"
    );
    for goal in [folders / 100, folders / 10, folders].map(|goal| goal.max(1)) {
        while walked < goal {
            walk(&mount.path(&format!("/tree/{walked}")));
            walked += 1;
        }
        let mut time = |run: &dyn Fn(&Path)| {
            const TIMES: u32 = 5000;
            let paths: Vec<_> = (0..TIMES)
                .map(|_| {
                    let folder = random.below(walked as u64);
                    let name = random.below(FOLDER as u64);
                    mount.path(&format!("/tree/{folder}/name-{name:08}"))
                })
                .collect();
            let start = std::time::Instant::now();
            paths.iter().for_each(|path| run(path));
            start.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES)
        };
        let stat = time(&|path| assert!(fs::metadata(path).is_ok()));
        let missing = time(&|path| assert!(fs::metadata(path.with_extension("no")).is_err()));
        let read = time(&|path| assert_eq!(fs::read(path).unwrap().len(), 23));
        let entries = (walked * FOLDER) as f64;
        let held = mount.stat("memory_held_bytes") / entries;
        let resident = (status(&mut mount, "VmRSS") - before) as f64 / entries;
        println!("{entries},{held:.0},{resident:.0},{stat:.1},{missing:.1},{read:.1}");
    }
    let start = std::time::Instant::now();
    let mut open: Vec<File> = Vec::new();
    for n in 0..10_000 {
        let path = format!("/tree/{}/name-{:08}", n % walked, n / walked);
        open.push(File::open(mount.path(&path)).unwrap());
    }
    let opened = start.elapsed();
    let start = std::time::Instant::now();
    for file in &mut open {
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "content of a small file");
    }
    println!(
        "10000 open files: {:.1} us an open, {:.1} us a read; resident {} MiB",
        opened.as_secs_f64() * 100.0,
        start.elapsed().as_secs_f64() * 100.0,
        status(&mut mount, "VmRSS") / MIB,
    );
}
