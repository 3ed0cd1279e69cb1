//! The rounds.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bench::Series;
use bench::usage::peak_memory;
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
    /// How long the rounds took.
    pub(crate) elapsed: Duration,
}

impl Results {
    /// The samples of a row.
    pub(crate) fn of(&self, row: &Row, variant: Variant) -> Option<&Series> {
        self.series.get(&(row.key, variant))
    }

    /// Adds one more.
    pub(crate) fn push(&mut self, row: &'static Row, variant: Variant, sample: f64) {
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
            let mut variants = taking_part(options, workload);
            let first = (round + i) % variants.len().max(1);
            variants.rotate_left(first);
            eprint!(
                "bench: round {}/{} {}:",
                round + 1,
                options.rounds,
                workload.rows[0].key
            );
            for variant in variants {
                session::go_on()?;
                let (values, peak) = one(bench, options, workload, variant, round)?;
                eprint!(" {} {}", variant.key(), number(values[0]));
                for (row, value) in workload.rows.iter().zip(values) {
                    results.push(row, variant, value);
                }
                let highest = peaks.entry((workload.kind, variant)).or_default();
                *highest = peak.max(*highest);
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
            Variant::RiptideDirect | Variant::RiptideDirectUring => workload.kind == Kind::Read,
        })
        .collect()
}

/// One sample: the values of the workload's rows, and the mount's peak memory.
fn one(
    bench: &Bench,
    options: &Options,
    workload: &Workload,
    variant: Variant,
    round: usize,
) -> Result<(Vec<f64>, u64)> {
    let mount = Mounted::start(bench, variant)?;
    let sample = Sample {
        bench,
        mount: &mount,
        variant,
        round: round as u64,
        operations: options.operations,
    };
    let values = killed_after(TOO_LONG, mount.id(), || (workload.run)(&sample))
        .with_context(|| workload.rows[0].key)
        .map_err(|error| mount.explain(error))?;
    assert_eq!(
        values.len(),
        workload.rows.len(),
        "{}",
        workload.rows[0].key
    );
    let peak = peak_memory(mount.id()).context("peak memory of the mount")?;
    mount.stop()?;
    Ok((values, peak))
}

/// Does `work`; kills process `pid` if that takes longer than `limit`, so that
/// whoever waits for its answers gets an error instead of waiting forever.
fn killed_after<T>(limit: Duration, pid: u32, work: impl FnOnce() -> T) -> T {
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
        let status = killed_after(Duration::from_millis(20), pid, || child.wait());
        assert!(!status.expect("wait").success());
    }

    #[test]
    fn work_that_ends_in_time_kills_nobody() {
        let mut child = sleeper();
        killed_after(Duration::from_secs(60), child.id(), || ());
        assert!(child.try_wait().expect("wait").is_none());
        child.kill().expect("kill");
        child.wait().expect("wait");
    }
}
