//! A mount that is killed at any moment loses nothing that was synced, closed or renamed, and corrupts
//! nothing (docs/SEMANTICS.md, section 12).
//!
//! Each writer records what it was told to be safe. What is found afterwards may be newer than its
//! record, since a system call whose return the death prevented may have been done; it is
//! never older, and never a mixture.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use e2e::{Mount, Random, Scene, needs_fuse, noise};
use rustix::process::Signal;

const ROUNDS: u64 = 50;
/// The longest that a mount lives after each writer has recorded something.
const LIVES_MS: u64 = 250;
const SLOTS: usize = 48;
/// Several slots share a chunk, and some lie in two.
const SLOT: usize = 150_000;
/// What cp(1) copies again and again.
const COPIED: usize = 123_456;

#[test]
fn what_was_recorded_as_safe_survives_fifty_deaths_of_the_mount() {
    needs_fuse!();
    let mut scene = Scene::start();
    let mut random = Random::new(2026);
    let source = scene.path("source");
    fs::write(&source, noise(0, COPIED)).unwrap();
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let mount = scene.mount_at("mnt", &[]);
        let told = write_until_it_dies(mount, round, &source, random.below(LIVES_MS));
        let mut problem = told.problem(&|path| scene.cluster.get(path).ok());
        // A filer that ends has answered nobody for a moment before it is gone.
        let until = Instant::now() + Duration::from_secs(2);
        while problem.is_some()
            && Instant::now() < until
            && scene.cluster.filer_process(0).is_running()
        {
            std::thread::sleep(Duration::from_millis(20));
        }
        if !scene.cluster.filer_process(0).is_running() {
            // 4.48 does not always survive that its client dies while it makes an entry.
            println!("round {round}: the filer has died as well");
            scene.cluster.restart_filer(0).unwrap();
            problem = told.problem(&|path| scene.cluster.get(path).ok());
        }
        if let Some(problem) = problem {
            panic!("round {round}: {problem}, through the filer");
        }
        rounds.push(told);
    }
    let mount = scene.mount_at("mnt", &[]);
    for told in &rounds {
        if let Some(problem) = told.problem(&|path| fs::read(mount.path(path)).ok()) {
            panic!("round {}: {problem}, through a mount", told.round);
        }
    }
}

/// What the writers of one round were told.
struct Told {
    round: u64,
    log: Log,
    slots: Slots,
    renamed: Renamed,
    closed: u64,
}

/// Runs all writers, and kills the mount `lives_ms` after each of them has recorded something.
fn write_until_it_dies(mut mount: Mount, round: u64, source: &Path, lives_ms: u64) -> Told {
    let dir = mount.path(&folder(round));
    fs::create_dir(&dir).unwrap();
    let records = [const { AtomicU64::new(0) }; 4];
    let [log, slots, renamed, closed] = &records;
    std::thread::scope(|scope| {
        let (log, slots, renamed, closed) = (
            scope.spawn(|| Log::write(&dir, round, log)),
            scope.spawn(|| Slots::write(&dir, round, slots)),
            scope.spawn(|| Renamed::write(&dir, round, renamed)),
            scope.spawn(|| close_copies(&dir, source, closed)),
        );
        let began = Instant::now();
        while records.iter().any(|told| told.load(Ordering::SeqCst) == 0) {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "round {round}: a writer records nothing: {records:?}"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(lives_ms));
        mount.signal(Signal::KILL);
        let _ = mount.process().wait(Duration::from_secs(10));
        Told {
            round,
            log: log.join().unwrap(),
            slots: slots.join().unwrap(),
            renamed: renamed.join().unwrap(),
            closed: closed.join().unwrap(),
        }
    })
}

impl Told {
    /// What is wrong with what `read` finds, by what was told.
    fn problem(&self, read: &dyn Fn(&str) -> Option<Vec<u8>>) -> Option<String> {
        let round = self.round;
        let check = |name: &str, problem: &dyn Fn(&[u8]) -> Option<String>| {
            let found = read(&format!("{}/{name}", folder(round)));
            found.map_or_else(|| Some(format!("{name} is lost")), |found| problem(&found))
        };
        let wanted = noise(0, COPIED);
        let copy = |n| {
            let name = format!("copy{n}");
            check(&name, &|found| {
                (found != wanted).then(|| format!("{name} has other bytes"))
            })
        };
        check("log", &|found| self.log.problem(round, found))
            .or_else(|| check("slots", &|found| self.slots.problem(round, found)))
            .or_else(|| check("renamed", &|found| self.renamed.problem(round, found)))
            .or_else(|| (0..self.closed).find_map(copy))
    }
}

/// Records of many lengths, one behind the other; some at a time are synced.
struct Log {
    written: u64,
    synced: u64,
}

impl Log {
    fn write(dir: &Path, round: u64, told: &AtomicU64) -> Self {
        let mut log = Self {
            written: 0,
            synced: 0,
        };
        let _ = log.try_write(dir, round, told);
        log
    }

    fn try_write(&mut self, dir: &Path, round: u64, told: &AtomicU64) -> std::io::Result<()> {
        let mut file = File::create(dir.join("log"))?;
        loop {
            for _ in 0..=self.written % 5 {
                self.written += 1;
                file.write_all(&Self::record(round, self.written))?;
            }
            file.sync_all()?;
            self.synced = self.written;
            told.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn record(round: u64, number: u64) -> Vec<u8> {
        let seed = round << 32 | number;
        noise(seed, 1 + (seed.wrapping_mul(0x9e37_79b9) % 90_000) as usize)
    }

    fn problem(&self, round: u64, found: &[u8]) -> Option<String> {
        let all = |count| -> Vec<u8> {
            let records = (1..=count).map(|number| Self::record(round, number));
            records.flatten().collect()
        };
        let (synced, written) = (all(self.synced).len(), all(self.written));
        if found.len() < synced {
            return Some(format!("log has {} of {synced} bytes", found.len()));
        }
        let is_right = written.starts_with(found);
        (!is_right).then(|| format!("log has other bytes than the first {}", found.len()))
    }
}

/// Places of one file that are written over and over.
struct Slots {
    written: [u64; SLOTS],
    synced: [u64; SLOTS],
}

impl Slots {
    fn write(dir: &Path, round: u64, told: &AtomicU64) -> Self {
        let mut slots = Self {
            written: [0; SLOTS],
            synced: [0; SLOTS],
        };
        let _ = slots.try_write(dir, round, told);
        slots
    }

    fn try_write(&mut self, dir: &Path, round: u64, told: &AtomicU64) -> std::io::Result<()> {
        let mut options = OpenOptions::new();
        let file = options
            .create_new(true)
            .write(true)
            .open(dir.join("slots"))?;
        let mut random = Random::new(round);
        file.set_len((SLOTS * SLOT) as u64)?;
        loop {
            for _ in 0..=random.below(6) {
                let slot = random.below(SLOTS as u64) as usize;
                self.written[slot] += 1;
                let bytes = Self::content(round, slot, self.written[slot]);
                file.write_all_at(&bytes, (slot * SLOT) as u64)?;
            }
            file.sync_all()?;
            self.synced = self.written;
            told.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn content(round: u64, slot: usize, version: u64) -> Vec<u8> {
        match version {
            0 => vec![0; SLOT],
            _ => noise(round << 40 | (slot as u64) << 32 | version, SLOT),
        }
    }

    fn problem(&self, round: u64, found: &[u8]) -> Option<String> {
        if found.len() != SLOTS * SLOT {
            return Some(format!("slots has {} bytes", found.len()));
        }
        let is_wrong = |(slot, found): &(usize, &[u8])| {
            let mut versions = self.synced[*slot]..=self.written[*slot];
            !versions.any(|version| Self::content(round, *slot, version) == *found)
        };
        let (wrong, _) = found.chunks(SLOT).enumerate().find(is_wrong)?;
        Some(format!("slot {wrong} has none of the versions it may have"))
    }
}

/// A file that is replaced by a rename again and again, after the new one was synced.
struct Renamed {
    written: u64,
    told: u64,
}

impl Renamed {
    fn write(dir: &Path, round: u64, told: &AtomicU64) -> Self {
        let mut renamed = Self {
            written: 0,
            told: 0,
        };
        let _ = renamed.try_write(dir, round, told);
        renamed
    }

    fn try_write(&mut self, dir: &Path, round: u64, told: &AtomicU64) -> std::io::Result<()> {
        loop {
            self.written += 1;
            let mut file = File::create(dir.join("new"))?;
            file.write_all(&Self::content(round, self.written))?;
            file.sync_all()?;
            drop(file);
            fs::rename(dir.join("new"), dir.join("renamed"))?;
            self.told = self.written;
            told.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn content(round: u64, version: u64) -> Vec<u8> {
        noise(
            round << 16 | version,
            40_000 + (version % 7) as usize * 50_000,
        )
    }

    fn problem(&self, round: u64, found: &[u8]) -> Option<String> {
        let is_right = (self.told..=self.written).any(|v| Self::content(round, v) == *found);
        (!is_right).then(|| "renamed has none of the versions it may have".to_owned())
    }
}

/// Has cp(1), which looks at what close(2) says, make files; how many were made.
fn close_copies(dir: &Path, source: &Path, told: &AtomicU64) -> u64 {
    let script = r#"n=0; while cp "$1" "$2/copy$n" 2>/dev/null; do echo "$n"; n=$((n + 1)); done"#;
    let mut shell = Command::new("sh")
        .args(["-c", script, "sh"])
        .args([source, dir])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(shell.stdout.take().unwrap()).lines();
    let made = lines.map_while(Result::ok);
    let made = made
        .inspect(|_| _ = told.fetch_add(1, Ordering::SeqCst))
        .count();
    shell.wait().unwrap();
    made as u64
}

fn folder(round: u64) -> String {
    format!("/round{round}")
}
