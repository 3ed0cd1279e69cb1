//! What was compared, and how it came out.

use std::collections::BTreeMap;
use std::fmt;

use super::answer::{Answer, Part, WAYS, Way};
use super::needles::{KINDS, Kind};

/// How a comparison came out. That both differ is none: it ends the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Both have the same bytes.
    Equal,
    /// Both have none.
    Absent,
    /// The needle was changed meanwhile, and the sidecar says what it was at some moment of that.
    Changed,
    /// The sidecar leaves it to the volume server.
    Left,
    /// The volume server says what never was, and the sidecar does not.
    Erred,
}

/// Outcomes by kind of needle and way.
#[derive(Debug, Default)]
pub(super) struct Tally(BTreeMap<(&'static str, Way), Row>);

#[derive(Debug, Default, Clone, Copy)]
struct Row {
    whole: u64,
    parts: u64,
    /// Of the whole ones, and as they are stored.
    gzip: u64,
    absent: u64,
    wrong_cookies: u64,
    changed: u64,
    left: u64,
    erred: u64,
}

impl Tally {
    pub(super) fn count(
        &mut self,
        kind: &Kind,
        part: Part,
        way: Way,
        answer: &Answer,
        outcome: Outcome,
    ) {
        let row = self.row(kind, way);
        let number = match (outcome, part) {
            (Outcome::Equal, None) => &mut row.whole,
            (Outcome::Equal, Some(_)) => &mut row.parts,
            (Outcome::Absent, _) => &mut row.absent,
            (Outcome::Changed, _) => &mut row.changed,
            (Outcome::Left, _) => &mut row.left,
            (Outcome::Erred, _) => &mut row.erred,
        };
        *number += 1;
        row.gzip += u64::from(outcome == Outcome::Equal && answer.is_gzip);
    }

    pub(super) fn count_wrong_cookie(&mut self, kind: &Kind, way: Way) {
        self.row(kind, way).wrong_cookies += 1;
    }

    fn row(&mut self, kind: &Kind, way: Way) -> &mut Row {
        self.0.entry((kind.name, way)).or_default()
    }

    /// Whether every kind was compared often enough in every way.
    pub(super) fn is_enough(&self) -> bool {
        let all = KINDS.iter().flat_map(|kind| WAYS.map(|way| (kind, way)));
        all.into_iter().all(|(kind, way)| {
            let row = self.0.get(&(kind.name, way)).copied().unwrap_or_default();
            let least = [row.whole, row.parts, row.absent, row.wrong_cookies];
            // HTTP inflates what it gives.
            let is_gzip = kind.is_compressed() && way != Way::Http;
            least.iter().all(|number| *number >= ENOUGH) && (!is_gzip || row.gzip >= ENOUGH)
        })
    }

    /// The sum of all rows: both said the same of what did not change; it changed; one of them said nothing of use.
    fn sums(&self) -> [u64; 3] {
        self.0
            .values()
            .fold([0; 3], |[same, changed, useless], row| {
                let more = row.whole + row.parts + row.absent + row.wrong_cookies;
                let changed = changed + row.changed;
                [same + more, changed, useless + row.left + row.erred]
            })
    }

    /// Most comparisons must say something.
    pub(super) fn check(&self) {
        let [same, changed, useless] = self.sums();
        assert!(same > 9 * changed && same > 200 * useless, "{self}");
    }
}

impl Row {
    fn columns(self) -> [(&'static str, u64); 8] {
        [
            ("whole", self.whole),
            ("gzip", self.gzip),
            ("parts", self.parts),
            ("absent", self.absent),
            ("cookie", self.wrong_cookies),
            ("changed", self.changed),
            ("left", self.left),
            ("erred", self.erred),
        ]
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:30}", "")?;
        for (name, _) in Row::default().columns() {
            write!(f, "{name:>8}")?;
        }
        for ((kind, way), row) in &self.0 {
            write!(f, "\n{:30}", format!("{kind}, {way:?}"))?;
            for (_, number) in row.columns() {
                write!(f, "{number:>8}")?;
            }
        }
        let [same, changed, useless] = self.sums();
        let sums = format!("{same} the same, {changed} changed, {useless} without use");
        write!(f, "\n{sums}")
    }
}

/// Of each kind in each way.
const ENOUGH: u64 = 20;
