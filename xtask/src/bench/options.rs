//! The flags of `cargo xtask bench`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::mounted::Variant;
use super::workload::{self, Kind, Workload};

/// What is measured, and how much of it.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// How often everything is repeated.
    pub(crate) rounds: usize,
    /// Size of the large file, in MiB.
    pub(crate) size_mb: u64,
    /// Small files with content.
    pub(crate) files: usize,
    /// Operations of a latency row; each of the parallel readers makes a quarter.
    pub(crate) operations: usize,
    /// Parts of keys of rows; empty for all.
    pub(crate) rows: Vec<String>,
    /// Whether reading is measured, or writing, or both.
    pub(crate) kinds: Vec<Kind>,
    /// Flags that both mounts get.
    pub(crate) mount_flags: Vec<String>,
    /// The mounts that take part.
    pub(crate) variants: Vec<Variant>,
    /// Where the samples go as JSON.
    pub(crate) json: Option<PathBuf>,
    /// Where the tables (`.md`) and the page (`.html`) go, without the ends of their names.
    pub(crate) report: PathBuf,
    /// Whether a missed bar is a failure.
    pub(crate) check: bool,
    /// Priority of everything in the run, as a nice value; 0 leaves it.
    pub(crate) nice: i8,
}

impl Options {
    /// Reads the words after `bench`; ends the process with help or an error where clap does.
    pub(crate) fn parse(args: &[OsString]) -> Self {
        Self::from(&command().get_matches_from(args))
    }

    /// Those with a row that is wanted.
    pub(crate) fn workloads(&self) -> Vec<&'static Workload> {
        let wanted = |w: &&Workload| {
            self.kinds.contains(&w.kind) && w.rows.iter().any(|row| self.wants(row.key))
        };
        workload::all().filter(wanted).collect()
    }

    /// The files of the report: tables, and the page.
    pub(crate) fn report_files(&self) -> (PathBuf, PathBuf) {
        let file = |end: &str| {
            let mut name = self.report.clone().into_os_string();
            name.push(end);
            PathBuf::from(name)
        };
        (file(".md"), file(".html"))
    }

    fn wants(&self, key: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|part| key.contains(part))
    }
}

impl From<&ArgMatches> for Options {
    fn from(matches: &ArgMatches) -> Self {
        let amount = if matches.get_flag("quick") {
            QUICK
        } else {
            FULL
        };
        let number =
            |name: &str, or: usize| matches.get_one::<u64>(name).map_or(or, |n| *n as usize);
        let words = |name: &str| -> Vec<String> {
            matches
                .get_many(name)
                .into_iter()
                .flatten()
                .cloned()
                .collect()
        };
        let (kinds, mounts): (Vec<String>, Vec<String>) = words("only")
            .into_iter()
            .partition(|word| KINDS.iter().any(|(name, _)| name == word));
        let takes_part = |variant: &Variant| {
            mounts.is_empty() || mounts.iter().any(|name| variant.key().starts_with(name))
        };
        let measured = KINDS
            .iter()
            .filter(|(name, _)| kinds.is_empty() || kinds.iter().any(|kind| kind == name));
        Self {
            rounds: number("rounds", amount.rounds),
            size_mb: number("size-mb", amount.size_mb) as u64,
            files: number("files", amount.files),
            operations: amount.operations,
            rows: words("rows"),
            kinds: measured.map(|(_, kind)| *kind).collect(),
            mount_flags: words("mount-flag"),
            variants: Variant::ALL.into_iter().filter(takes_part).collect(),
            json: matches.get_one("json").cloned(),
            report: matches
                .get_one("report")
                .cloned()
                .unwrap_or_else(|| PathBuf::from(LAST)),
            check: matches.get_flag("check"),
            nice: matches.get_one("nice").copied().unwrap_or(NICE),
        }
    }
}

fn command() -> Command {
    let number = |name: &'static str, least: u64, most: u64| {
        Arg::new(name)
            .long(name)
            .value_parser(value_parser!(u64).range(least..=most))
    };
    let file = |name: &'static str| {
        Arg::new(name)
            .long(name)
            .value_parser(value_parser!(PathBuf))
    };
    let switch = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    Command::new("bench")
        .no_binary_name(true)
        .about("Measures Riptide and the stock weed mount side by side")
        .args([
            switch("quick").help("Less of everything: a look, not a result"),
            number("rounds", 1, 100).help("Repetitions of everything [default: 5]"),
            number("size-mb", 1, 16_384).help("MiB of the large file [default: 256]"),
            number("files", 1, 250_000)
                .help("Small files with content; four times as many entries [default: 5000]"),
            Arg::new("rows")
                .long("rows")
                .value_delimiter(',')
                .help("Only workloads with a row whose key contains one of these"),
            Arg::new("only")
                .long("only")
                .value_delimiter(',')
                .value_parser(PossibleValuesParser::new([
                    "read",
                    "write",
                    "stock",
                    "riptide",
                    "riptide-shm",
                    "riptide-tcp",
                    "riptide-direct",
                    "riptide-fast",
                    "null",
                    "http",
                    "native",
                ]))
                .help("Only what reads or writes; only these mounts, riptide is all of ours"),
            Arg::new("mount-flag")
                .long("mount-flag")
                .action(ArgAction::Append)
                .allow_hyphen_values(true)
                .help("A flag for both mounts, such as -cacheCapacityMB=0"),
            file("json").help("Write all samples there"),
            file("report").help("Write NAME.md and NAME.html [default: target/bench/last]"),
            switch("check").help("Fail when a bar is not met"),
            Arg::new("nice")
                .long("nice")
                .allow_hyphen_values(true)
                .value_parser(value_parser!(i8).range(-20..=19))
                .help("Priority of the whole run, servers included; 0 leaves it [default: -20]"),
        ])
}

/// How much is measured.
struct Amount {
    rounds: usize,
    size_mb: usize,
    files: usize,
    operations: usize,
}

const FULL: Amount = Amount {
    rounds: 5,
    size_mb: 256,
    files: 5000,
    operations: 2000,
};
const QUICK: Amount = Amount {
    rounds: 2,
    size_mb: 64,
    files: 1000,
    operations: 600,
};
/// The report of a run that is not to be kept.
const LAST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench/last");
/// Their names in `--only`.
const KINDS: [(&str, Kind); 2] = [("read", Kind::Read), ("write", Kind::Write)];
/// Sessions compete as groups: without it, a build in another terminal is half of the result.
const NICE: i8 = -20;

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Options {
        Options::from(&command().get_matches_from(words))
    }

    #[test]
    fn a_number_given_wins_over_quick() {
        let options = parsed(&["--quick", "--files=7"]);
        assert_eq!((options.rounds, options.files), (QUICK.rounds, 7));
        assert_eq!(parsed(&[]).files, FULL.files);
    }

    #[test]
    fn only_stock_includes_stock_with_more_read_ahead() {
        let stock = [Variant::Stock, Variant::StockReadAhead];
        assert_eq!(parsed(&["--only", "stock"]).variants, stock);
        let ours = parsed(&["--only=riptide"]).variants;
        assert!(ours.len() >= 5 && ours.iter().all(|variant| variant.is_ours()));
        let floor = [Variant::Null, Variant::NullUring];
        assert_eq!(parsed(&["--only=null"]).variants, floor);
        assert_eq!(parsed(&[]).variants, Variant::ALL);
    }

    #[test]
    fn only_what_writes_leaves_all_mounts_and_a_mount_leaves_both_kinds() {
        let options = parsed(&["--only", "write"]);
        assert_eq!(options.variants, Variant::ALL);
        assert!(options.workloads().iter().all(|w| w.kind == Kind::Write));
        let options = parsed(&["--only=write,riptide-tcp,stock"]);
        assert_eq!(options.kinds, [Kind::Write]);
        let mounts = [Variant::Stock, Variant::StockReadAhead, Variant::RiptideTcp];
        assert_eq!(options.variants, mounts);
        assert_eq!(parsed(&["--only=stock"]).kinds, [Kind::Read, Kind::Write]);
    }

    #[test]
    fn a_report_is_two_files_of_one_name() {
        let (markdown, page) = parsed(&["--report", "docs/bench/2026.1"]).report_files();
        assert_eq!(markdown, PathBuf::from("docs/bench/2026.1.md"));
        assert_eq!(page, PathBuf::from("docs/bench/2026.1.html"));
        assert!(
            parsed(&[])
                .report_files()
                .1
                .ends_with("target/bench/last.html")
        );
    }

    #[test]
    fn rows_are_chosen_by_parts_of_their_keys() {
        let options = parsed(&["--rows", "seq,p50"]);
        assert!(options.wants("seq-direct") && options.wants("random-p50"));
        assert!(!options.wants("stat-warm"));
        assert!(parsed(&[]).wants("stat-warm"));
    }

    #[test]
    fn flags_of_the_mounts_keep_their_dashes() {
        let options = parsed(&["--mount-flag", "-cacheCapacityMB=0", "--nice", "-5"]);
        assert_eq!(options.mount_flags, ["-cacheCapacityMB=0"]);
        assert_eq!(options.nice, -5);
    }
}
