//! The comparison.
//!
//! Between two questions a needle may change. So the server is asked before and after the sidecar. When it says the same
//! twice, the sidecar has to say that too. Otherwise the sidecar says one of the two, or something that was being
//! written then.
//!
//! A server that is vacuumed while it reads a large needle that is overwritten now and then mixes the two: it finds the
//! checksum wrong, which is a 500, or breaks off, or it gives a part without a look at the checksum. So what it says
//! counts only where that was written; otherwise, which has to be rare, the sidecar has to say what was written.

use e2e::Random;
use seaweed::FileId;

use super::Churn;
use super::answer::{Answer, Part, WAYS, Way};
use super::asking::Asker;
use super::needles::{KINDS, Needle};
use super::tally::Outcome;

impl Churn<'_> {
    /// Compares needles until all is over.
    pub(super) fn compare_some(&self, mut asker: Asker<'_>, mut random: Random) {
        for way in WAYS.into_iter().cycle() {
            if self.is_over() {
                return;
            }
            let kind = random.below(KINDS.len() as u64) as usize;
            let Some(needle) = self.pick(kind, &mut random) else {
                continue;
            };
            if random.below(8) == 0 {
                self.compare_wrong_cookie(&mut asker, &needle, way);
                continue;
            }
            let part = match random.below(2) {
                0 => None,
                _ => part_of(&needle, &mut random),
            };
            self.compare(&mut asker, &needle, part, way);
        }
    }

    /// Compares every needle in every way.
    pub(super) fn compare_all(&self, mut asker: Asker<'_>) {
        let mut random = Random::new(5);
        for all in &self.needles {
            let all = all.lock().unwrap().clone();
            for (needle, way) in all.iter().flat_map(|needle| WAYS.map(|way| (needle, way))) {
                let outcome = self.compare(&mut asker, needle, None, way);
                if outcome != Outcome::Absent {
                    let part = part_of(needle, &mut random);
                    self.compare(&mut asker, needle, part, way);
                }
            }
        }
    }

    pub(super) fn compare(
        &self,
        asker: &mut Asker<'_>,
        needle: &Needle,
        part: Part,
        way: Way,
    ) -> Outcome {
        let (settled, _) = needle.settled();
        let before = asker.server(needle.id, part, way);
        let ours = asker.sidecar(needle.id, part, way);
        let after = asker.server(needle.id, part, way);
        let since = needle.since(settled);
        let is_written = |answer: &Answer| {
            let mut versions = since.iter();
            versions.any(|version| answer.shows(version.as_deref(), part, way))
        };
        let told = || {
            let lens: Vec<_> = since.iter().map(|v| v.as_ref().map(|v| v.len())).collect();
            let (kind, id) = (needle.kind.name, needle.id);
            let asked =
                format!("{kind} {id} {part:?} by {way:?}, which may have had {lens:?} bytes");
            format!("{asked}: server {before:?}, sidecar {ours:?}, server {after:?}")
        };
        let outcome = if ours.status == 503 {
            Outcome::Left
        } else if !is_written(&before) || !is_written(&after) {
            println!("{}", told());
            assert!(is_written(&ours), "{}", told());
            Outcome::Erred
        } else if before == after && (ours == before || since.len() <= 2) {
            // Where it was changed once at most, nothing was in between two answers that are equal.
            assert!(ours == before, "{}", told());
            match ours.status {
                404 => Outcome::Absent,
                _ => Outcome::Equal,
            }
        } else {
            let is_either = ours == before || ours == after;
            assert!(is_either || is_written(&ours), "{}", told());
            Outcome::Changed
        };
        let mut tally = self.tally.lock().unwrap();
        tally.count(needle.kind, part, way, &ours, outcome);
        outcome
    }

    fn compare_wrong_cookie(&self, asker: &mut Asker<'_>, needle: &Needle, way: Way) {
        let cookie = !needle.id.cookie;
        let id = FileId {
            cookie,
            ..needle.id
        };
        let theirs = asker.server(id, None, way);
        let ours = asker.sidecar(id, None, way);
        let mut tally = self.tally.lock().unwrap();
        match (theirs.status, ours.status) {
            (404, 404) => tally.count_wrong_cookie(needle.kind, way),
            (_, 503) => tally.count(needle.kind, None, way, &ours, Outcome::Left),
            (500, 404) => tally.count(needle.kind, None, way, &ours, Outcome::Erred),
            both => panic!("{id} by {way:?}: {both:?}"),
        }
    }
}

/// Some bytes of a needle; where it has none, the first.
fn part_of(needle: &Needle, random: &mut Random) -> Part {
    let (_, version) = needle.settled();
    let len = version.map_or(1, |bytes| bytes.len()) as u64;
    let offset = random.below(len);
    Some((offset as usize, random.below(len - offset) as usize + 1))
}
