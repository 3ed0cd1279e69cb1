//! The fabric in virtual time: the real codec, sessions, serving and client policies, between
//! several clients and sidecars, over a network that delays, loses, damages, repeats and reorders
//! what it carries, with sidecars that freeze, die and come back, needles that are deleted,
//! overwritten and damaged, and servers that write to memory after they were given up. Clients write as
//! well, to volume servers that refuse, are slow, or take a needle without saying so.
//!
//! A seed decides everything. What has to hold for each:
//!
//! - never a wrong byte is delivered, and never an absence that never was;
//! - what a client is told is stored is stored, byte for byte, and nothing else ever is;
//! - nothing is handed on once its client has closed the lane, as far as the sidecar can know;
//! - every call ends by its deadline;
//! - no more attempts are in flight than there are permits, hedges stay within their budget;
//! - memory that a server may still write to is in nobody else's hands;
//! - once the trouble is over, every breaker closes and everything is delivered again.
//!
//! `FABRIC_SIM_SEEDS=n` runs that many seeds, `FABRIC_SIM_SEED=n` only that one. That the checks can
//! fail is shown by clients that are wrong on purpose ([`Mutant`]).

#![allow(clippy::unwrap_used)]

mod client;
mod server;
mod shelf;
mod world;
mod writes;

use std::panic::{AssertUnwindSafe, catch_unwind};

use world::{Mutant, Tally, World};

/// Seeds of an ordinary run: a few seconds.
const SEEDS: u64 = 2000;
/// Seeds within which a mutant has to be caught.
const MUTANT_SEEDS: u64 = 300;

#[test]
fn every_promise_holds_for_every_seed() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let (first, count) = match number("FABRIC_SIM_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("FABRIC_SIM_SEEDS").unwrap_or(SEEDS)),
    };
    let mut tally = Tally::default();
    for seed in first..first + count {
        match run(seed, Mutant::None) {
            Ok(more) => tally.add(&more),
            Err(what) => panic!(
                "{what}\nrepeat it with: FABRIC_SIM_SEED={seed} cargo test -p fabric --test sim every_promise"
            ),
        }
    }
    println!("{count} seeds: {tally:?}");
    if count >= SEEDS {
        tally.check_coverage();
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..20 {
        assert_eq!(run(seed, Mutant::None), run(seed, Mutant::None), "{seed}");
    }
}

#[test]
fn a_client_that_ignores_checksums_is_caught() {
    caught(Mutant::IgnoresChecksums, "wrong byte");
}

#[test]
fn a_client_that_reuses_memory_too_early_is_caught() {
    caught(Mutant::ReusesMemory, "is written to by");
}

#[test]
fn a_client_that_sleeps_too_long_is_caught() {
    caught(Mutant::Oversleeps, "after its deadline");
}

#[test]
fn a_client_without_permits_is_caught() {
    caught(Mutant::SharesNothing, "permits");
}

#[test]
fn a_client_that_never_tells_of_answers_is_caught() {
    caught(Mutant::KeepsAnswers, "after the trouble");
}

#[test]
fn a_client_that_believes_the_first_absence_is_caught() {
    caught(Mutant::InventsAbsence, "absent");
}

#[test]
fn a_client_that_takes_silence_for_success_is_caught() {
    caught(Mutant::BelievesSilence, "acknowledged and is not stored");
}

#[test]
fn a_sidecar_that_does_not_compare_what_came_is_caught() {
    caught(Mutant::StoresUnchecked, "other bytes than were sent");
}

#[test]
fn a_sidecar_that_hands_on_what_was_given_up_is_caught() {
    caught(Mutant::HandsOnLate, "handed on after it was given up");
}

fn caught(mutant: Mutant, complaint: &str) {
    let found = (0..MUTANT_SEEDS).find_map(|seed| run(seed, mutant).err());
    let found = found.expect("no seed catches it");
    assert!(
        found.contains(complaint),
        "caught for another reason: {found}"
    );
}

fn run(seed: u64, mutant: Mutant) -> Result<Tally, String> {
    let run = || World::new(seed, mutant).run();
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|what| format!("seed {seed}: {what}")),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied());
            Err(format!("seed {seed} panics: {}", text.unwrap_or("?")))
        }
    }
}
