//! What has to be reached: the table of bars, as it was set before anything was measured.
//!
//! A bar belongs to a row and to the route by which a mount gets its bytes, whatever its transport. It
//! is a ratio of medians of one run: how many times better than stock, or which share of what a null
//! mount by the same transport, or a native file, does. No tolerance is added.

use super::mounted::{Route, Variant};
use super::workload::Row;

/// What a mount of ours is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Against {
    /// `weed mount` as it is.
    Stock,
    /// A mount that answers from memory, by the same transport.
    Null,
    /// A plain file.
    Native,
    /// Nothing: the value itself has a bound.
    Value,
}

/// One bar: of one row, on one variant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bar {
    pub(crate) against: Against,
    /// How many times better at least; of a value, the most it may be.
    pub(crate) bound: f64,
}

/// All bars of `variant` in `row`.
pub(crate) fn of(row: &Row, variant: Variant) -> impl Iterator<Item = Bar> {
    let (key, route) = (row.key, variant.route());
    let rows = BARS.iter().filter(move |bars| bars.0 == key);
    rows.filter_map(move |Bars(_, against, routes)| {
        let bound = match routes {
            All(bound) => route.map(|_| *bound),
            Each(each) => each
                .iter()
                .find_map(|(of, bound)| (Some(*of) == route).then_some(*bound)),
        };
        bound.map(|bound| Bar {
            against: *against,
            bound,
        })
    })
}

/// A row, what it is compared with, and for whom.
struct Bars(&'static str, Against, Routes);

enum Routes {
    /// Every mount of ours that has the row.
    All(f64),
    Each(&'static [(Route, f64)]),
}

use Against::{Native, Null, Stock, Value};
use Route::{Direct, Fast, Http, Shm, Tcp};
use Routes::{All, Each};

static BARS: &[Bars] = &[
    // Reading.
    Bars(
        "seq-buffered",
        Stock,
        Each(&[(Http, 1.3), (Tcp, 1.5), (Shm, 2.0), (Direct, 2.5)]),
    ),
    Bars("seq-buffered", Null, Each(&[(Direct, 0.8)])),
    Bars("seq-buffered-cpu", Stock, Each(&[(Http, 2.0)])),
    Bars("seq-buffered-cpu-all", Stock, All(3.0)),
    Bars(
        "seq-direct",
        Stock,
        Each(&[(Http, 1.0), (Tcp, 1.5), (Shm, 1.5), (Direct, 4.0)]),
    ),
    Bars("seq-direct", Null, Each(&[(Direct, 0.7)])),
    Bars("seq-direct-cpu", Stock, Each(&[(Http, 2.0)])),
    Bars("seq-direct-cpu-all", Stock, All(3.0)),
    Bars(
        "random-p50",
        Stock,
        Each(&[(Http, 2.0), (Tcp, 2.0), (Shm, 6.0), (Direct, 12.0)]),
    ),
    Bars(
        "random-p50",
        Null,
        Each(&[(Shm, 1.0 / 4.0), (Direct, 1.0 / 1.5)]),
    ),
    Bars("random-p99", Stock, All(1.0)),
    Bars(
        "parallel",
        Stock,
        Each(&[(Http, 1.0), (Tcp, 1.0), (Shm, 10.0), (Direct, 20.0)]),
    ),
    Bars("parallel", Null, Each(&[(Direct, 0.6)])),
    Bars("sizes-fetched", Value, All(1.1)),
    Bars("whole-seq", Stock, Each(&[(Fast, 10.0)])),
    Bars("whole-seq", Native, Each(&[(Fast, 0.9)])),
    Bars("whole-random", Stock, Each(&[(Fast, 10.0)])),
    Bars("whole-random", Native, Each(&[(Fast, 0.9)])),
    Bars("small-files", Stock, All(5.0)),
    Bars("find-cold", Stock, All(1.0)),
    Bars("find-warm", Stock, All(1.0)),
    Bars("find-stat-warm", Stock, All(5.0)),
    Bars("find-stat-later", Stock, All(20.0)),
    Bars("stat-cold", Stock, All(1.0)),
    Bars("stat-warm", Stock, All(5.0)),
    Bars("getattr", Stock, All(15.0)),
    Bars("getattr", Null, All(0.5)),
    Bars("missing", Stock, All(15.0)),
    Bars("missing", Null, All(0.5)),
    Bars("memory", Stock, All(2.0)),
    // Writing.
    Bars("write", Stock, All(1.5)),
    Bars("write-cpu", Stock, All(2.0)),
    Bars("write-cpu-all", Stock, All(1.0)),
    Bars("overwrite-p50", Stock, All(1.0)),
    Bars("overwrite-p99", Stock, All(1.0)),
    Bars("create", Stock, All(2.0)),
    Bars("create-p99", Stock, All(1.0)),
    Bars("untar", Stock, All(1.0)),
    Bars("mkdir", Stock, All(1.0)),
    Bars("rename", Stock, All(1.0)),
    Bars("unlink", Stock, All(1.0)),
    Bars("rm-rf", Stock, All(1.0)),
    Bars("memory-writing", Stock, All(1.0)),
];

impl Against {
    /// Its name in JSON.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Null => "null",
            Self::Native => "native",
            Self::Value => "value",
        }
    }

    /// The variant that `variant` is compared with.
    pub(crate) fn variant(self, variant: Variant) -> Option<Variant> {
        match self {
            Self::Stock => Some(Variant::Stock),
            Self::Null => Some(variant.floor()),
            Self::Native => Some(Variant::Native),
            Self::Value => None,
        }
    }
}

impl Bar {
    /// What is asked for, in words.
    pub(crate) fn words(self, row: &Row) -> String {
        let bound = self.bound;
        let whose = match self.against {
            Against::Value => return format!("≤ {bound}"),
            Against::Stock => return format!("≥ {bound} × better than stock"),
            Against::Null => "the null mount's",
            Against::Native => "the native file's",
        };
        match row.better {
            bench::Better::Higher => format!("≥ {:.0} % of {whose}", bound * 100.0),
            bench::Better::Lower => format!("≤ {:.2} × {whose}", 1.0 / bound),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::workload::rows;

    fn row(key: &str) -> &'static Row {
        rows().find(|row| row.key == key).expect(key)
    }

    #[test]
    fn every_bar_is_of_a_row_and_no_two_are_of_the_same() {
        for Bars(key, ..) in BARS {
            row(key);
        }
        for variant in Variant::ALL {
            for row in rows() {
                let mut seen: Vec<_> = of(row, variant).map(|bar| bar.against.key()).collect();
                let count = seen.len();
                seen.sort_unstable();
                seen.dedup();
                assert_eq!(seen.len(), count, "{} of {}", row.key, variant.key());
            }
        }
    }

    #[test]
    fn a_bar_is_that_of_the_route_whatever_the_transport() {
        let bars = |variant| of(row("random-p50"), variant).collect::<Vec<_>>();
        let shm = bars(Variant::RiptideShm);
        assert_eq!(shm.len(), 2);
        assert_eq!(shm, bars(Variant::RiptideShmUring));
        assert_eq!(bars(Variant::Riptide).len(), 1);
        assert!(bars(Variant::Stock).is_empty() && bars(Variant::NullUring).is_empty());
        let floor = Against::Null.variant(Variant::RiptideShmUring);
        assert_eq!(floor, Some(Variant::NullUring));
    }

    #[test]
    fn a_bar_is_said_as_it_was_set() {
        let words = |key, variant| {
            let all = of(row(key), variant);
            all.map(|bar| bar.words(row(key))).collect::<Vec<_>>()
        };
        let shm = words("random-p50", Variant::RiptideShm);
        assert_eq!(
            shm,
            ["≥ 6 × better than stock", "≤ 4.00 × the null mount's"]
        );
        assert_eq!(words("sizes-fetched", Variant::Riptide), ["≤ 1.1"]);
    }
}
