//! Counts that are kept, and what it means that new ones differ.
//!
//! The file says with which compiler, valgrind and kind of processor it was made. Only counts of the
//! same are judged: another compiler inlines otherwise, another processor makes libraries take other
//! paths, and neither is a regression of ours.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};

use crate::{callgrind, paths};

/// Instructions of each path, and of what.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Baseline {
    rustc: String,
    valgrind: String,
    machine: String,
    counts: BTreeMap<String, f64>,
}

/// One path, before and now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Difference {
    name: String,
    committed: Option<f64>,
    counted: Option<f64>,
}

impl Baseline {
    /// Counts all paths, here and now.
    pub(crate) fn count() -> Result<Self> {
        let counts = Mutex::new(BTreeMap::new());
        let next = AtomicUsize::new(0);
        let work = || -> Result<()> {
            while let Some(path) = paths::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                let count = callgrind::count(path)?;
                let mut counts = counts.lock().map_err(|_| anyhow!("a thread panicked"))?;
                counts.insert(path.name.to_owned(), count);
            }
            Ok(())
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
            for thread in threads {
                thread.join().map_err(|_| anyhow!("a thread panicked"))??;
            }
            anyhow::Ok(())
        })?;
        Ok(Self {
            rustc: rustc()?,
            valgrind: callgrind::version()?,
            machine: machine(),
            counts: counts
                .into_inner()
                .map_err(|_| anyhow!("a thread panicked"))?,
        })
    }

    /// What the file says.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut facts = BTreeMap::new();
        let mut counts = BTreeMap::new();
        let lines = text.lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let both = line.split_once(char::is_whitespace);
            let (name, value) =
                both.with_context(|| format!("{line:?}: expected a name and a value"))?;
            let value = value.trim();
            if FACTS.contains(&name) {
                facts.insert(name, value.to_owned());
                continue;
            }
            let count: f64 = value
                .parse()
                .with_context(|| format!("{line:?}: expected a number"))?;
            if !(count.is_finite() && count > 0.0) {
                bail!("{line:?}: expected a number above 0");
            }
            counts.insert(name.to_owned(), count);
        }
        let mut fact = |name: &str| {
            facts
                .remove(name)
                .with_context(|| format!("no line {name}"))
        };
        Ok(Self {
            rustc: fact("rustc")?,
            valgrind: fact("valgrind")?,
            machine: fact("machine")?,
            counts,
        })
    }

    /// The file.
    pub(crate) fn text(&self) -> String {
        let mut text = String::from(
            "# Instructions of one operation of each hot path, as callgrind counts them.\n\
             # make bench-check compares, make bench-check ARGS=--bless writes this anew.\n",
        );
        let facts = [&self.rustc, &self.valgrind, &self.machine];
        for (name, value) in FACTS.iter().zip(facts) {
            text += &format!("{name} {value}\n");
        }
        for (name, count) in &self.counts {
            text += &format!("{name} {count:.1}\n");
        }
        text
    }

    /// Why counts of the two cannot be compared; nothing if they can.
    pub(crate) fn why_incomparable(&self, counted: &Self) -> Option<String> {
        let pairs = [
            (&self.rustc, &counted.rustc),
            (&self.valgrind, &counted.valgrind),
            (&self.machine, &counted.machine),
        ];
        let mut facts = FACTS.iter().zip(pairs);
        let differs = facts.find(|(_, (committed, now))| committed != now);
        differs.map(|(fact, (committed, now))| {
            format!("The committed counts are of {fact} {committed}, these of {now}.")
        })
    }

    /// Every path of either.
    pub(crate) fn compare(&self, counted: &Self) -> Vec<Difference> {
        let mut names: Vec<&String> = self.counts.keys().chain(counted.counts.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let difference = |name: &String| Difference {
            name: name.clone(),
            committed: self.counts.get(name).copied(),
            counted: counted.counts.get(name).copied(),
        };
        names.into_iter().map(difference).collect()
    }
}

impl Difference {
    /// Dearer by more than what is allowed, or not in both.
    pub(crate) fn is_bad(&self) -> bool {
        self.change().is_none_or(|change| change > ALLOWED)
    }

    /// Cheaper by as much.
    pub(crate) fn is_cheaper(&self) -> bool {
        self.change().is_some_and(|change| change < -ALLOWED)
    }

    fn change(&self) -> Option<f64> {
        Some(self.counted? / self.committed? - 1.0)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |count: Option<f64>| count.map_or("-".to_owned(), |n| format!("{n:.1}"));
        let said = match (self.change(), self.is_bad()) {
            (None, _) if self.committed.is_none() => "NOT COMMITTED".to_owned(),
            (None, _) => "NOT COUNTED".to_owned(),
            (Some(change), true) => format!("{:+.1} % TOO MANY", change * 100.0),
            (Some(change), false) => format!("{:+.1} %", change * 100.0),
        };
        write!(
            f,
            "{:<22} committed {:>10}, counted {:>10}  {said}",
            self.name,
            number(self.committed),
            number(self.counted)
        )
    }
}

/// The compiler that cargo takes here, which has just built this program.
fn rustc() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .arg("--version")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .context("run rustc --version")?;
    let told = String::from_utf8_lossy(&output.stdout);
    Ok(told.trim().trim_start_matches("rustc ").to_owned())
}

/// What makes libraries choose their code: valgrind shows programs a processor with AVX2 or without,
/// whatever else there is.
fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has_avx2 = info.split_whitespace().any(|word| word == "avx2");
    let simd = if has_avx2 { " with AVX2" } else { "" };
    format!("{}{simd}", std::env::consts::ARCH)
}

const FACTS: [&str; 3] = ["rustc", "valgrind", "machine"];
/// A path may be dearer by this share.
const ALLOWED: f64 = 0.05;
/// valgrind runs a program on one CPU; small machines have two.
const THREADS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(counts: &[(&str, f64)]) -> Baseline {
        Baseline {
            rustc: "1.95.0 (x)".to_owned(),
            valgrind: "3.19.0".to_owned(),
            machine: "x86_64 with AVX2".to_owned(),
            counts: counts
                .iter()
                .map(|(name, n)| ((*name).to_owned(), *n))
                .collect(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let baseline = of(&[("file-id", 123.5), ("index", 99.0)]);
        assert_eq!(
            Baseline::parse(&baseline.text()).expect("a baseline"),
            baseline
        );
    }

    #[test]
    fn a_line_that_cannot_be_followed_is_named() {
        let error = |line: &str| {
            let text = format!("{}{line}\n", of(&[]).text());
            format!("{:#}", Baseline::parse(&text).expect_err(line))
        };
        assert!(error("file-id").contains("\"file-id\": expected a name and a value"));
        assert!(error("file-id x").contains("\"file-id x\": expected a number"));
        assert!(error("file-id -1").contains("expected a number above 0"));
        let none = Baseline::parse("a 1\n").expect_err("no facts").to_string();
        assert_eq!(none, "no line rustc");
    }

    #[test]
    fn more_than_five_per_cent_is_too_much_and_named_with_both_counts() {
        let committed = of(&[("a", 100.0), ("b", 100.0), ("c", 100.0), ("gone", 1.0)]);
        let counted = of(&[("a", 104.9), ("b", 105.2), ("c", 90.0), ("new", 1.0)]);
        let all = committed.compare(&counted);
        let said: Vec<_> = all
            .iter()
            .map(|one| (one.name.as_str(), one.is_bad()))
            .collect();
        let expected = [
            ("a", false),
            ("b", true),
            ("c", false),
            ("gone", true),
            ("new", true),
        ];
        assert_eq!(said, expected);
        assert!(all[2].is_cheaper() && !all[0].is_cheaper());
        let line = all[1].to_string();
        for part in ["b ", "100.0", "105.2", "+5.2 % TOO MANY"] {
            assert!(line.contains(part), "{line}");
        }
        assert!(all[3].to_string().contains("NOT COUNTED"));
        assert!(all[4].to_string().contains("NOT COMMITTED"));
    }

    #[test]
    fn counts_of_another_compiler_or_machine_are_not_judged() {
        let committed = of(&[]);
        assert_eq!(committed.why_incomparable(&of(&[])), None);
        let newer = Baseline {
            rustc: "1.96.0 (y)".to_owned(),
            ..of(&[])
        };
        let reason = committed.why_incomparable(&newer).expect("a reason");
        assert!(
            reason.contains("1.95.0") && reason.contains("1.96.0"),
            "{reason}"
        );
        let older = Baseline {
            machine: "x86_64".to_owned(),
            ..of(&[])
        };
        assert!(committed.why_incomparable(&older).is_some());
    }
}
