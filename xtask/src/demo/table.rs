//! The table of what was done.

use std::fmt;
use std::time::Duration;

/// Rows of text under a heading, columns as wide as they must be.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<[String; 5]>,
}

impl Table {
    /// Without rows.
    pub(crate) fn new() -> Self {
        Self { rows: Vec::new() }
    }

    /// Files that were moved in a time.
    pub(crate) fn moved(&mut self, what: &str, files: usize, bytes: usize, time: Duration) {
        let rate = bytes as f64 / 1e6 / time.as_secs_f64();
        let each = time / u32::try_from(files.max(1)).unwrap_or(u32::MAX);
        let rate = format!("{rate:.0} MB/s");
        self.row([
            what,
            &files.to_string(),
            &shown(time),
            &rate,
            &format!("{} a file", shown(each)),
        ]);
    }

    /// Single operations and how long each took.
    pub(crate) fn timed(&mut self, what: &str, mut times: Vec<Duration>) {
        times.sort_unstable();
        let at = |share: usize| shown(times[(times.len() - 1) * share / 100]);
        let total: Duration = times.iter().sum();
        let spread = format!("p50 {}, p99 {}", at(50), at(99));
        self.row([what, &times.len().to_string(), &shown(total), "", &spread]);
    }

    fn row(&mut self, cells: [&str; 5]) {
        self.rows.push(cells.map(str::to_owned));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heading = ["what ran", "count", "time", "throughput", "latency"].map(str::to_owned);
        let all = || [&heading].into_iter().chain(&self.rows);
        let width = |column: usize| all().map(|row| row[column].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..heading.len()).map(width).collect();
        for row in all() {
            write!(f, "  {:<w$}", row[0], w = widths[0])?;
            for column in 1..4 {
                write!(f, "  {:>w$}", row[column], w = widths[column])?;
            }
            writeln!(f, "  {}", row[4])?;
        }
        Ok(())
    }
}

/// Three digits and a unit.
fn shown(time: Duration) -> String {
    match time.as_secs_f64() {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.1} ms", s * 1e3),
        s => format!("{:.0} µs", s * 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new();
        table.moved("short", 2, 1_000_000, Duration::from_millis(100));
        table.timed("a longer one", vec![Duration::from_micros(7); 3]);
        let text = table.to_string();
        let at = |needle: &str| {
            let line = text
                .lines()
                .find(|l| l.contains(needle))
                .unwrap_or_default();
            line.chars().take_while(|c| *c != 'l' && *c != 'p').count()
        };
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(
            text.contains("10 MB/s") && text.contains("50.0 ms a file"),
            "{text}"
        );
        assert!(text.contains("p50 7 µs, p99 7 µs"), "{text}");
        assert!(at("what ran") > 0);
    }
}
