//! Runs every fuzz target on the stable compiler: over its seeds, and over thousands of inputs
//! that are seeds with a little damage. What the fuzzer does for hours, for a second.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use fuzzed::TARGETS;

/// Damaged inputs for each target.
const ROUNDS: usize = 3000;

#[test]
fn every_target_takes_its_seeds_and_what_is_near_them() {
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "fuzz/seeds/{name} has no seeds");
        for seed in &seeds {
            target(seed);
        }
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for _ in 0..ROUNDS {
            let other = &seeds[random.below(seeds.len())];
            let mut input = seeds[random.below(seeds.len())].clone();
            damage(&mut input, other, &mut random);
            target(&input);
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

/// xorshift64*: the same numbers in every run.
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
