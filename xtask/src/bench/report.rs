//! The tables: for the terminal, as markdown, and all samples as JSON.

use std::fmt::Write;

use bench::Series;
use serde_json::{Map, Value, json};

use super::bars::Against;
use super::machine::Machine;
use super::measure::Results;
use super::mounted::{READ_AHEAD_KB, Variant};
use super::options::Options;
use super::verdict::{self, Verdict, ratio};
use super::workload::{self, Row};

/// What came out, and under which conditions.
pub(crate) struct Report<'a> {
    machine: Machine,
    options: &'a Options,
    results: &'a Results,
}

/// Lines of cells; the first one names the columns.
type Table = Vec<Vec<String>>;

impl<'a> Report<'a> {
    /// Of a finished run.
    pub(crate) fn new(machine: Machine, options: &'a Options, results: &'a Results) -> Self {
        Self {
            machine,
            options,
            results,
        }
    }

    /// For the terminal.
    pub(crate) fn text(&self) -> String {
        let mut text = String::from("\n");
        for (name, value) in self.conditions() {
            let _ = writeln!(text, "{name}: {value}");
        }
        for (title, table) in self.tables() {
            let _ = writeln!(text, "\n{title}\n\n{}", aligned(&table));
        }
        text + &self.summary()
    }

    /// For docs/bench.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("# Riptide and the stock mount, side by side\n\n");
        text.push_str("Written by `make bench`, with a page of plots beside it;\n");
        text.push_str("[BENCHMARKING.md](../BENCHMARKING.md) says how it is measured and what not to conclude from it.\n\n");
        for (name, value) in self.conditions() {
            let _ = writeln!(text, "- {name}: {value}");
        }
        for (title, table) in self.tables() {
            let _ = writeln!(text, "\n## {title}\n");
            for (i, line) in table.iter().enumerate() {
                let _ = writeln!(text, "| {} |", line.join(" | "));
                if i == 0 {
                    let numbers = "---:|".repeat(line.len() - 2);
                    let _ = writeln!(text, "|---|---|{numbers}");
                }
            }
        }
        let _ = writeln!(text, "\n{}", self.summary());
        text
    }

    /// Everything, for other programs and for the page.
    pub(crate) fn json(&self) -> Value {
        let variant = |v: &Variant| {
            json!({
                "key": v.key(),
                "title": v.title(),
                "short": v.short(),
                "is_ours": v.is_ours(),
                "transport": v.transport(),
            })
        };
        json!({
            "machine": self.machine.json(),
            "settings": self.settings().into_iter().map(|(k, v)| (k.to_owned(), json!(v)))
                .collect::<Map<String, Value>>(),
            "variants": self.variants().iter().map(variant).collect::<Vec<_>>(),
            "rows": self.rows().map(|row| self.row_json(row)).collect::<Vec<_>>(),
        })
    }

    fn row_json(&self, row: &'static Row) -> Value {
        let by_variant = |of: &dyn Fn(Variant) -> Option<Value>| {
            let known = Variant::ALL
                .into_iter()
                .filter_map(|v| Some((v.key().to_owned(), of(v)?)));
            Value::Object(known.collect())
        };
        let against = |against| {
            by_variant(&|v| {
                let ours = v.is_ours().then_some(v)?;
                ratio(self.results, row, ours, against).map(|r| json!(r))
            })
        };
        let distribution = |v| {
            let shares = self.results.distribution(row, v);
            (!shares.is_empty()).then(|| json!(shares))
        };
        let bar = |verdict: &Verdict| {
            json!({
                "variant": verdict.variant.key(),
                "against": verdict.bar.against.key(),
                "bound": verdict.bar.bound,
                "asked": verdict.bar.words(row),
                "found": verdict.words(),
                "met": verdict.met,
            })
        };
        json!({
            "key": row.key,
            "title": row.full_title(),
            "unit": row.unit,
            "higher_is_better": row.better == bench::Better::Higher,
            "samples": by_variant(&|v| Some(json!(self.results.of(row, v)?.samples()))),
            "ratio": against(Against::Stock),
            "of_null": against(Against::Null),
            "of_native": against(Against::Native),
            "bars": self.judged(row).iter().map(bar).collect::<Vec<_>>(),
            "distribution": by_variant(&distribution),
            "curve": row.point.map(|(curve, _)| curve),
            "known": row.point.map(|(_, share)| share * self.entries() as f64),
        })
    }

    /// Number of bars that were missed.
    pub(crate) fn missed(&self) -> usize {
        self.verdicts().filter(|verdict| !verdict.met).count()
    }

    fn rows(&self) -> impl Iterator<Item = &'static Row> {
        let has_samples = |row: &&Row| {
            let mut all = Variant::ALL.iter();
            all.any(|v| self.results.of(row, *v).is_some())
        };
        workload::rows().filter(has_samples)
    }

    /// The variants that took part, in the order of their columns.
    fn variants(&self) -> Vec<Variant> {
        let took_part = |v: &Variant| self.rows().any(|row| self.results.of(row, *v).is_some());
        Variant::ALL.into_iter().filter(took_part).collect()
    }

    fn tables(&self) -> Vec<(&'static str, Table)> {
        let mut tables = vec![("What was measured: median (best)", self.values())];
        let others = [
            ("Times better than stock", Against::Stock),
            (
                "Times better than the null mount by the same transport",
                Against::Null,
            ),
            ("Times better than the native file", Against::Native),
        ];
        let ratios = others.map(|(title, against)| (title, self.ratios(against)));
        tables.extend(ratios.into_iter().filter(|(_, table)| table.len() > 1));
        if self.verdicts().count() > 0 {
            tables.push(("Bars", self.bars()));
        }
        tables
    }

    fn values(&self) -> Table {
        let variants = self.variants();
        let mut table = vec![head("unit", &variants)];
        for row in self.rows() {
            let cell = |variant: &Variant| match self.results.of(row, *variant) {
                Some(series) => shown(series, row),
                None => String::new(),
            };
            let mut line = vec![row.title.to_owned(), row.unit.to_owned()];
            line.extend(variants.iter().map(cell));
            table.push(line);
        }
        table
    }

    /// The rows for which there is something to compare with.
    fn ratios(&self, against: Against) -> Table {
        let mut ours = self.variants();
        ours.retain(|v| v.is_ours());
        let mut table = vec![head("key", &ours)];
        for row in self.rows() {
            let found = ours.iter().map(|v| ratio(self.results, row, *v, against));
            let found: Vec<Option<f64>> = found.collect();
            if found.iter().all(Option::is_none) {
                continue;
            }
            let cell = |ratio: Option<f64>| ratio.map(|r| format!("{r:.2}")).unwrap_or_default();
            let mut line = vec![row.title.to_owned(), row.key.to_owned()];
            line.extend(found.into_iter().map(cell));
            table.push(line);
        }
        table
    }

    fn bars(&self) -> Table {
        let names = ["", "mount", "asked for", "found", "verdict"];
        let mut table = vec![names.map(str::to_owned).to_vec()];
        for verdict in self.verdicts() {
            let said = if verdict.met { "met" } else { "NOT MET" };
            table.push(vec![
                verdict.row.full_title(),
                verdict.variant.short().to_owned(),
                verdict.bar.words(verdict.row),
                verdict.words(),
                said.to_owned(),
            ]);
        }
        table
    }

    fn judged(&self, row: &'static Row) -> Vec<Verdict> {
        verdict::of(self.results, row)
    }

    /// Every bar there is to judge.
    fn verdicts(&self) -> impl Iterator<Item = Verdict> {
        self.rows().flat_map(|row| self.judged(row))
    }

    fn conditions(&self) -> Vec<(&'static str, String)> {
        let mut all = self.machine.facts();
        all.extend(self.settings());
        all
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let options = self.options;
        let flags = match options.mount_flags.as_slice() {
            [] => "the defaults of both (-cacheCapacityMB=128 -readerCacheSizeMB=256 -concurrentReaders=128)".to_owned(),
            flags => format!("{}, else the defaults of both", flags.join(" ")),
        };
        vec![
            ("mount flags", flags),
            (
                "amount",
                format!(
                    "{} rounds in {:.0} s; {} MiB in 4 MiB chunks; {} files of 4 KiB among {} entries; {} operations per latency",
                    options.rounds,
                    self.results.elapsed.as_secs_f64(),
                    options.size_mb,
                    options.files,
                    self.entries(),
                    options.operations
                ),
            ),
            (
                "cells",
                format!(
                    "median (best); read-ahead raised: read_ahead_kb set to {READ_AHEAD_KB} by hand"
                ),
            ),
        ]
    }

    /// Entries among which the small files are.
    fn entries(&self) -> usize {
        self.options.files * bench::ENTRIES_PER_FILE
    }

    fn summary(&self) -> String {
        let judged = self.verdicts().count();
        match judged {
            0 => "Nothing to compare: only one mount took part.".to_owned(),
            _ => format!("{} of {judged} bars met.", judged - self.missed()),
        }
    }
}

fn head(second: &str, variants: &[Variant]) -> Vec<String> {
    let mut head = vec![String::new(), second.to_owned()];
    head.extend(variants.iter().map(|v| v.short().to_owned()));
    head
}

/// A table with its columns under each other: names to the left, numbers to the right.
fn aligned(table: &Table) -> String {
    let mut text = String::new();
    let width = |column: usize| {
        let cells = table.iter().map(|line| line[column].chars().count());
        cells.max().unwrap_or(0)
    };
    for line in table {
        for (column, cell) in line.iter().enumerate() {
            let pad = " ".repeat(width(column) - cell.chars().count());
            let (before, after) = if column < 2 {
                ("", &pad[..])
            } else {
                (&pad[..], "")
            };
            let _ = write!(text, "{before}{cell}{after}  ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// A number with the digits that mean something.
pub(crate) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

fn shown(series: &Series, row: &Row) -> String {
    let (median, best) = (series.median(), series.best(row.better));
    match (median, best) {
        (Some(median), Some(best)) => format!("{} ({})", number(median), number(best)),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn row(key: &str) -> &'static Row {
        workload::rows().find(|row| row.key == key).expect(key)
    }

    /// A throughput with bar 1, and a CPU time with bar 2.
    fn results(ours: [f64; 3], cpu: f64) -> Results {
        let mut results = Results::default();
        let (rate, time) = (row("seq-direct"), row("seq-direct-cpu"));
        for ours in ours {
            results.push(rate, Variant::Stock, 100.0);
            results.push(rate, Variant::Riptide, ours);
        }
        results.push(time, Variant::Stock, 1.0);
        results.push(time, Variant::Riptide, cpu);
        results
    }

    fn options() -> Options {
        Options::parse(&[OsString::from("--quick")])
    }

    #[test]
    fn a_bar_is_met_by_the_median_not_by_the_best() {
        let options = options();
        let fast = results([90.0, 130.0, 400.0], 0.5);
        let report = Report::new(Machine::default(), &options, &fast);
        assert_eq!(report.missed(), 0);
        assert!(report.text().ends_with("2 of 2 bars met."));
        let slow = results([90.0, 99.0, 400.0], 0.51);
        let report = Report::new(Machine::default(), &options, &slow);
        assert_eq!(report.missed(), 2);
        assert!(report.text().contains("99.0 (400)"));
        let json = report.json();
        assert_eq!(json["rows"][0]["bars"][0]["met"], false);
        assert_eq!(json["rows"][0]["ratio"]["riptide"], 0.99);
    }

    #[test]
    fn every_line_of_a_markdown_table_has_as_many_cells() {
        let (options, mut results) = (options(), results([1.0, 2.0, 3.0], 0.1));
        results.push(row("seq-direct"), Variant::Null, 9.0);
        results.push(row("whole-seq"), Variant::Native, 9.0);
        let markdown = Report::new(Machine::default(), &options, &results).markdown();
        let tables = markdown.split("\n## ").skip(1);
        let counts: Vec<usize> = tables
            .map(|table| {
                let lines: Vec<&str> = table.lines().filter(|l| l.starts_with('|')).collect();
                let cells = lines[0].matches('|').count();
                for line in &lines {
                    assert_eq!(line.matches('|').count(), cells, "{line}");
                }
                lines.len()
            })
            .collect();
        // Heads and rules, and 3 rows, 2 to compare with stock, 1 with null, and 2 bars.
        assert_eq!(counts, [5, 4, 3, 4], "{markdown}");
    }

    #[test]
    fn numbers_have_about_three_digits() {
        let shown = [1234.5, 56.78, 3.456, 0.1234].map(number);
        assert_eq!(shown, ["1234", "56.8", "3.46", "0.123"]);
    }
}
