//! Which bars were met.

use super::bars::{self, Against, Bar};
use super::measure::Results;
use super::mounted::Variant;
use super::workload::Row;

/// A bar that could be judged: both its sides took part.
pub(crate) struct Verdict {
    pub(crate) row: &'static Row,
    pub(crate) variant: Variant,
    pub(crate) bar: Bar,
    /// How many times better than what it is compared with; the value itself where that is bounded.
    pub(crate) found: f64,
    pub(crate) met: bool,
}

/// How many times better the median of `variant` is than that of what it is compared with.
pub(crate) fn ratio(
    results: &Results,
    row: &Row,
    variant: Variant,
    against: Against,
) -> Option<f64> {
    let ours = results.of(row, variant)?.median()?;
    let theirs = results.of(row, against.variant(variant)?)?.median()?;
    Some(row.better.ratio(ours, theirs)).filter(|ratio| ratio.is_finite())
}

/// The verdicts on a row.
pub(crate) fn of(results: &Results, row: &'static Row) -> Vec<Verdict> {
    let judge = |variant: Variant, bar: Bar| {
        let (found, met) = match bar.against {
            Against::Value => {
                let value = results.of(row, variant)?.median()?;
                (value, value <= bar.bound)
            }
            against => {
                let found = ratio(results, row, variant, against)?;
                (found, found >= bar.bound)
            }
        };
        Some(Verdict {
            row,
            variant,
            bar,
            found,
            met,
        })
    };
    let all = Variant::ALL.into_iter();
    all.flat_map(|variant| bars::of(row, variant).map(move |bar| (variant, bar)))
        .filter_map(|(variant, bar)| judge(variant, bar))
        .collect()
}

impl Verdict {
    /// What was found, in the words of the bar.
    pub(crate) fn words(&self) -> String {
        let found = self.found;
        match (self.bar.against, self.row.better) {
            (Against::Value, _) => format!("{found:.2}"),
            (Against::Stock, _) => format!("{found:.2} ×"),
            (_, bench::Better::Higher) => format!("{:.0} %", found * 100.0),
            (_, bench::Better::Lower) => format!("{:.2} ×", 1.0 / found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::workload::rows;

    #[test]
    fn latencies_are_compared_with_the_null_mount_of_the_same_transport() {
        let row = rows().find(|row| row.key == "random-p50").expect("a row");
        let mut results = Results::default();
        for (variant, value) in [
            (Variant::Stock, 200.0),
            (Variant::RiptideShm, 40.0),
            (Variant::RiptideShmUring, 30.0),
            (Variant::Null, 10.0),
            (Variant::NullUring, 6.0),
        ] {
            results.push(row, variant, value);
        }
        let found: Vec<_> = of(&results, row)
            .iter()
            .map(|v| (v.variant.key(), v.bar.against.key(), v.words(), v.met))
            .collect();
        let expected = [
            ("riptide-shm", "stock", "5.00 ×", false),
            ("riptide-shm", "null", "4.00 ×", true),
            ("riptide-shm-uring", "stock", "6.67 ×", true),
            ("riptide-shm-uring", "null", "5.00 ×", false),
        ];
        let expected = expected.map(|(a, b, words, met)| (a, b, words.to_owned(), met));
        assert_eq!(found, expected);
    }

    #[test]
    fn a_bound_of_a_value_needs_nobody_to_compare_with() {
        let row = rows()
            .find(|row| row.key == "sizes-fetched")
            .expect("a row");
        let mut results = Results::default();
        results.push(row, Variant::Riptide, 1.11);
        results.push(row, Variant::RiptideTcp, 1.1);
        let met: Vec<bool> = of(&results, row).iter().map(|v| v.met).collect();
        assert_eq!(met, [false, true]);
    }
}
