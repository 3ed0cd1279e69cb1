//! Runs every fuzz target on the stable compiler: over its seeds, and over thousands of inputs
//! that are seeds with a little damage. What the fuzzer does for hours, for a second; or, with
//! `RIPTIDE_FUZZ_SECONDS=60`, for a minute for those targets that read what disks and networks bring.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use fuzzed::{TARGETS, Target};

/// Damaged inputs for each target.
const ROUNDS: usize = 3000;

/// For how long, instead, each of [`LONG`] is run where this variable says so, in seconds.
const SECONDS: &str = "RIPTIDE_FUZZ_SECONDS";
/// Targets whose inputs come from files that others write and from the network.
const LONG: [&str; 5] = [
    "volume_index",
    "volume_data",
    "fabric_frame",
    "sidecar_query",
    "saved_index",
];

#[test]
fn every_target_takes_its_seeds_and_what_is_near_them() {
    for (name, target) in TARGETS {
        run(name, *target, FIRST, |round, _| round < ROUNDS);
    }
}

#[test]
fn the_targets_of_files_and_networks_take_what_comes_for_as_long_as_wanted() {
    let Some(wanted) = std::env::var_os(SECONDS) else {
        println!("skipped: {SECONDS} is not set");
        return;
    };
    let seconds = wanted.to_str().and_then(|text| text.parse::<u32>().ok());
    let seconds = seconds.unwrap_or_else(|| panic!("{SECONDS} is {wanted:?}, expected a number"));
    let limit = Duration::from_secs(seconds.into());
    // Other inputs in every run; one that breaks its target is printed.
    let seed = std::process::id();
    thread::scope(|scope| {
        for (name, target) in TARGETS.iter().filter(|(name, _)| LONG.contains(name)) {
            scope.spawn(move || {
                let count = run(name, *target, FIRST ^ u64::from(seed), |_, took| {
                    took < limit
                });
                let rate = count as f64 / limit.as_secs_f64().max(1e-9);
                println!("{name}: {count} inputs in {seconds} s, {rate:.0} a second");
            });
        }
    });
}

/// Hands a target its seeds, and then damaged ones for as long as `goes_on` by the number of
/// inputs so far and the time they took; how many.
fn run(name: &str, target: Target, first: u64, goes_on: impl Fn(usize, Duration) -> bool) -> usize {
    let seeds = seeds(name);
    assert!(!seeds.is_empty(), "fuzz/seeds/{name} has no seeds");
    for seed in &seeds {
        target(seed);
    }
    let began = Instant::now();
    let mut random = Random(first);
    let mut round = 0;
    while goes_on(round, began.elapsed()) {
        let other = &seeds[random.below(seeds.len())];
        let mut input = seeds[random.below(seeds.len())].clone();
        damage(&mut input, other, &mut random);
        let told = Failing(name, &input);
        target(&input);
        drop(told);
        round += 1;
    }
    round
}

/// Prints the input during which a target panicked: it belongs among the seeds.
struct Failing<'a>(&'a str, &'a [u8]);

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "{} fails for {:?}",
                self.0,
                self.1.escape_ascii().to_string()
            );
        }
    }
}

#[test]
fn every_target_is_known_to_the_fuzzer() {
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        let line = format!("name = \"{name}\"");
        assert!(
            manifest.lines().any(|l| l == line),
            "fuzz/Cargo.toml lacks {name}"
        );
        let source = fuzz().join("fuzz_targets").join(name).with_extension("rs");
        let source = fs::read_to_string(source).unwrap();
        assert!(
            source.contains(&format!("fuzzed::{name}(")),
            "{name} calls another"
        );
    }
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = fuzz().join("seeds").join(target);
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    // Whatever the order of the folder, a failure repeats.
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn damage(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        match random.below(6) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = random.next() as u8,
            2 => input.insert(at, random.next() as u8),
            3 => input.truncate(at),
            4 => drop(input.drain(at..(at + random.below(8)).min(input.len()))),
            _ => {
                let from = random.below(other.len() + 1);
                input.truncate(at);
                input.extend(&other[from..]);
            }
        }
    }
}

/// Where the numbers start.
const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;

/// xorshift64*: the same numbers in every run that starts with the same one.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}
