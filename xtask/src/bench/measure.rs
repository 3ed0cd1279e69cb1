//! The rounds.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bench::usage::peak_memory;
use bench::{Latencies, Series};
use rustix::process::{Pid, Signal, kill_process};

use super::mounted::{Mounted, Variant};
use super::options::Options;
use super::report::number;
use super::sample::Sample;
use super::session;
use super::setup::Bench;
use super::workload::{Kind, MEMORIES, Row, Workload};

/// All samples.
#[derive(Debug, Default)]
pub(crate) struct Results {
    series: BTreeMap<(&'static str, Variant), Series>,
    /// Of the rows whose whole distribution is shown: all rounds together.
    latencies: BTreeMap<(&'static str, Variant), Vec<Duration>>,
    /// How long the rounds took.
    pub(crate) elapsed: Duration,
}

impl Results {
    /// The samples of a row.
    pub(crate) fn of(&self, row: &Row, variant: Variant) -> Option<&Series> {
        self.series.get(&(row.key, variant))
    }

    /// Times that shares of the operations of a row did not exceed, in µs; empty without any.
    pub(crate) fn distribution(&self, row: &Row, variant: Variant) -> Vec<(f64, f64)> {
        let Some(each) = self.latencies.get(&(row.key, variant)) else {
            return Vec::new();
        };
        let mut each = each.clone();
        each.sort_unstable();
        let all = Latencies {
            each: each.into(),
            elapsed: Duration::ZERO,
        };
        let share = |q: f64| (q, all.quantile_us(q));
        SHARES.iter().copied().map(share).collect()
    }

    /// Adds latencies of one more round.
    fn note(&mut self, key: &'static str, variant: Variant, latencies: &Latencies) {
        let all = self.latencies.entry((key, variant)).or_default();
        all.extend_from_slice(&latencies.each);
    }

    /// Adds one more, unless there is none.
    pub(crate) fn push(&mut self, row: &'static Row, variant: Variant, sample: f64) {
        if sample.is_nan() {
            return;
        }
        self.series
            .entry((row.key, variant))
            .or_default()
            .push(sample);
    }
}

/// Runs every wanted workload on every variant, `options.rounds` times.
pub(crate) fn all(bench: &Bench, options: &Options) -> Result<Results> {
    let workloads = options.workloads();
    ensure!(
        !workloads.is_empty(),
        "no row is called {}",
        options.rows.join(" or ")
    );
    let start = Instant::now();
    let mut results = Results::default();
    for round in 0..options.rounds {
        let mut peaks: BTreeMap<(Kind, Variant), u64> = BTreeMap::new();
        for (i, workload) in workloads.iter().enumerate() {
            if round >= workload.rounds {
                continue;
            }
            let mut variants = taking_part(options, workload);
            let first = (round + i) % variants.len().max(1);
            variants.rotate_left(first);
            eprint!(
                "bench: round {}/{} {}:",
                round + 1,
                options.rounds,
                workload.rows[0].key
            );
            for (variant, taken) in samples(bench, options, workload, &variants, round)? {
                for (row, value) in workload.rows.iter().zip(taken.values) {
                    results.push(row, variant, value);
                }
                for (key, latencies) in &taken.noted {
                    results.note(key, variant, latencies);
                }
                if let Some(peak) = taken.peak {
                    let highest = peaks.entry((workload.kind, variant)).or_default();
                    *highest = peak.max(*highest);
                }
            }
            eprintln!(" {}", workload.rows[0].unit);
        }
        for ((kind, variant), peak) in peaks {
            for (_, row) in MEMORIES.iter().filter(|(of, _)| *of == kind) {
                results.push(row, variant, peak as f64 / f64::from(1 << 20));
            }
        }
    }
    results.elapsed = start.elapsed();
    Ok(results)
}

/// The mounts that a workload is run on.
pub(crate) fn taking_part(options: &Options, workload: &Workload) -> Vec<Variant> {
    let variants = options.variants.iter().copied();
    variants
        .filter(|variant| match variant {
            Variant::Stock | Variant::Riptide => true,
            // Nothing is written over io_uring.
            Variant::RiptideUring => workload.kind == Kind::Read,
            Variant::StockReadAhead => workload.reads_ahead,
            Variant::RiptideShm | Variant::RiptideTcp | Variant::RiptideShmUring => workload.fabric,
            // What waits shows the limits of caches, which a null mount does not have.
            Variant::Null | Variant::NullUring => {
                workload.kind == Kind::Read && workload.later.is_none()
            }
            Variant::Native => workload.native,
            Variant::Bare => workload.rows.iter().any(|row| BARE.contains(&row.key)),
            Variant::RiptideFast => workload.whole,
            Variant::RiptideDirect | Variant::RiptideDirectUring => workload.kind == Kind::Read,
        })
        .collect()
}

/// Rows of which HTTP without a mount has values.
const BARE: [&str; 2] = ["random-p50", "parallel"];

/// What a workload gave on one variant.
struct Taken {
    values: Vec<f64>,
    noted: Vec<(&'static str, Latencies)>,
    /// The mount's peak memory; nothing of what is not compared.
    peak: Option<u64>,
}

/// One sample of each of `variants`, in this order: each on a mount of its own, which is gone when
/// the next one starts, or, of a workload with a pause, waits together with the others.
fn samples(
    bench: &Bench,
    options: &Options,
    workload: &Workload,
    variants: &[Variant],
    round: usize,
) -> Result<Vec<(Variant, Taken)>> {
    let start = |variant| -> Result<(Mounted, Taken)> {
        session::go_on()?;
        let mount = Mounted::start(bench, variant)?;
        let taken = one(bench, options, workload.run, &mount, variant, round)?;
        let shown = taken.values.iter().copied().find(|value| !value.is_nan());
        eprint!(
            " {} {}",
            variant.key(),
            shown.map(number).unwrap_or_default()
        );
        Ok((mount, taken))
    };
    let mut all = Vec::new();
    let Some(later) = &workload.later else {
        for variant in variants {
            let (mount, taken) = start(*variant)?;
            mount.stop()?;
            all.push((*variant, complete(workload, taken)));
        }
        return Ok(all);
    };
    let mut waiting = Vec::new();
    for variant in variants {
        waiting.push((*variant, start(*variant)?));
    }
    let began = Instant::now();
    while began.elapsed() < later.pause {
        session::go_on()?;
        thread::sleep(PAUSE);
    }
    for (variant, (mount, mut taken)) in waiting {
        let more = one(bench, options, later.run, &mount, variant, round)?;
        taken.values.extend(more.values);
        taken.peak = more.peak;
        mount.stop()?;
        all.push((variant, complete(workload, taken)));
    }
    Ok(all)
}

fn complete(workload: &Workload, taken: Taken) -> Taken {
    let (values, rows) = (taken.values.len(), workload.rows);
    assert_eq!(values, rows.len(), "{}", rows[0].key);
    taken
}

/// Runs a workload, or one half of it, on a mount.
fn one(
    bench: &Bench,
    options: &Options,
    run: fn(&Sample) -> Result<Vec<f64>>,
    mount: &Mounted,
    variant: Variant,
    round: usize,
) -> Result<Taken> {
    let sample = Sample {
        bench,
        mount,
        variant,
        round: round as u64,
        operations: options.operations,
        noted: RefCell::default(),
    };
    let values = killed_after(TOO_LONG, mount.id(), || run(&sample))
        .with_context(|| format!("a sample of {}", variant.key()))
        .map_err(|error| mount.explain(error))?;
    let measured = mount.id().filter(|_| variant.is_compared());
    let peak = measured.map(peak_memory).transpose();
    Ok(Taken {
        values,
        noted: sample.noted.into_inner(),
        peak: peak.context("peak memory of the mount")?,
    })
}

/// Does `work`; kills process `pid` if that takes longer than `limit`, so that
/// whoever waits for its answers gets an error instead of waiting forever.
fn killed_after<T>(limit: Duration, pid: Option<u32>, work: impl FnOnce() -> T) -> T {
    let Some(pid) = pid else {
        return work();
    };
    thread::scope(|scope| {
        let (done, waiting) = mpsc::channel::<()>();
        scope.spawn(move || {
            if waiting.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                eprintln!("bench: no end after {limit:?}, killing process {pid}");
                let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
                if let Some(pid) = pid {
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
        });
        let result = work();
        drop(done);
        result
    })
}

/// Far above what the slowest workload takes on the slowest mount.
const TOO_LONG: Duration = Duration::from_secs(180);

const PAUSE: Duration = Duration::from_millis(100);
/// What a distribution is drawn from: finer towards its end.
const SHARES: [f64; 31] = [
    0.001, 0.01, 0.03, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7,
    0.75, 0.8, 0.84, 0.87, 0.9, 0.92, 0.94, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995, 0.999,
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    fn sleeper() -> Child {
        Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("start sleep")
    }

    #[test]
    fn work_that_hangs_on_a_process_ends_with_it() {
        let mut child = sleeper();
        let pid = child.id();
        let status = killed_after(Duration::from_millis(20), Some(pid), || child.wait());
        assert!(!status.expect("wait").success());
    }

    #[test]
    fn work_that_ends_in_time_kills_nobody() {
        let mut child = sleeper();
        killed_after(Duration::from_secs(60), Some(child.id()), || ());
        assert!(child.try_wait().expect("wait").is_none());
        child.kill().expect("kill");
        child.wait().expect("wait");
    }
}
