//! The needles of all volume servers beside this sidecar, as one shelf.
//!
//! A volume server's folders become known when it answers, which may be after the sidecar's start,
//! and two servers of one host may hold replicas of the same volume. So there is one shelf a
//! volume server, they may come later, and a needle is looked for on each until one has it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use fabric::serve::{Loan, Miss, Shelf};
use seaweed::FileId;
use serde::Serialize;
use stats::{Exporter, Labels, Snapshot};

/// A shelf that can tell what is on it.
pub trait Stock: Shelf {
    /// Its volumes, in the order of their numbers.
    fn volumes(&self) -> Vec<VolumeReport>;

    /// Lists its numbers.
    fn export(&self, to: &mut dyn Exporter);
}

/// What is known of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VolumeReport {
    /// Its number.
    pub id: u32,
    /// Its collection; empty for the default one.
    pub collection: String,
    /// Whether needles of it are served.
    pub state: VolumeState,
    /// Why they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Needles in its index.
    pub needles: u64,
}

/// Whether needles of a volume are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum VolumeState {
    /// All of them.
    Serving,
    /// Those that the index, which is being read, has already.
    Loading,
    /// None: the volume is in a form that is not served, or broken.
    Declined,
}

impl VolumeState {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Serving, Self::Loading, Self::Declined];

    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Loading => "loading",
            Self::Declined => "declined",
        }
    }
}

/// Shelves that are searched one after the other. More can be added while they are in use.
#[derive(Debug)]
pub struct Shelves<S> {
    all: ArcSwap<Vec<(String, Arc<S>)>>,
}

impl<S> Default for Shelves<S> {
    fn default() -> Self {
        Self {
            all: ArcSwap::from_pointee(Vec::new()),
        }
    }
}

impl<S: Stock> Shelves<S> {
    /// Puts the shelf of the server `name` up, in place of the one it had or behind the others.
    pub fn put(&self, name: &str, shelf: &Arc<S>) {
        self.all.rcu(|all| {
            let mut all = Vec::clone(all);
            match all.iter_mut().find(|(known, _)| known == name) {
                Some((_, old)) => *old = Arc::clone(shelf),
                None => all.push((name.to_owned(), Arc::clone(shelf))),
            }
            all
        });
    }
}

impl<S: Stock> Shelf for Shelves<S> {
    type Needle = S::Needle;

    fn find(&self, needle: FileId) -> Result<S::Needle, Miss> {
        let all = self.all.load();
        let mut worst = Miss::NotHere;
        for (_, shelf) in all.iter() {
            match shelf.find(needle) {
                Ok(held) => return Ok(held),
                Err(miss) if weight(miss) > weight(worst) => worst = miss,
                Err(_) => {}
            }
        }
        Err(worst)
    }

    /// What one shelf has at once need not wait for what another one would have to look for.
    fn try_find(&self, needle: FileId) -> Option<Result<S::Needle, Miss>> {
        let all = self.all.load();
        let (mut worst, mut would_wait) = (Miss::NotHere, false);
        for (_, shelf) in all.iter() {
            match shelf.try_find(needle) {
                None => would_wait = true,
                Some(Ok(held)) => return Some(Ok(held)),
                Some(Err(miss)) if weight(miss) > weight(worst) => worst = miss,
                Some(Err(_)) => {}
            }
        }
        (!would_wait).then_some(Err(worst))
    }

    /// From the first that lends it. A volume on several shelves is lent from the one that is held.
    fn lend(&self, volume: u32, held: Option<[u64; 4]>) -> Result<Loan, Miss> {
        let all = self.all.load();
        let mut worst = Miss::NotHere;
        let mut best = None;
        for (_, shelf) in all.iter() {
            match shelf.lend(volume, held) {
                Ok(Loan::Same) => return Ok(Loan::Same),
                Ok(loan) => best = best.or(Some(loan)),
                Err(miss) if weight(miss) > weight(worst) => worst = miss,
                Err(_) => {}
            }
        }
        best.ok_or(worst)
    }
}

impl<S: Stock> Stock for Shelves<S> {
    /// A volume that is on several shelves is reported once, in its best state.
    fn volumes(&self) -> Vec<VolumeReport> {
        let all = self.all.load();
        let mut reports: Vec<_> = all.iter().flat_map(|(_, shelf)| shelf.volumes()).collect();
        reports.sort_by_key(|report| (report.id, report.state as u8));
        reports.dedup_by_key(|report| report.id);
        reports
    }

    /// Those of each shelf, with the name of its server as a label.
    fn export(&self, to: &mut dyn Exporter) {
        for (server, shelf) in self.all.load().iter() {
            shelf.export(&mut Labelled { server, to });
        }
    }
}

/// Puts a label before those that a shelf gives.
struct Labelled<'e> {
    server: &'e str,
    to: &'e mut dyn Exporter,
}

impl Labelled<'_> {
    fn labels<'l>(server: &'l str, labels: Labels<'l>) -> Vec<(&'l str, &'l str)> {
        let own = [("server", server)];
        own.into_iter().chain(labels.iter().copied()).collect()
    }
}

impl Exporter for Labelled<'_> {
    fn counter(&mut self, name: &str, help: &str, labels: Labels<'_>, value: u64) {
        let labels = Self::labels(self.server, labels);
        self.to.counter(name, help, &labels, value);
    }

    fn gauge(&mut self, name: &str, help: &str, labels: Labels<'_>, value: f64) {
        let labels = Self::labels(self.server, labels);
        self.to.gauge(name, help, &labels, value);
    }

    fn histogram(&mut self, name: &str, help: &str, labels: Labels<'_>, value: &Snapshot) {
        let labels = Self::labels(self.server, labels);
        self.to.histogram(name, help, &labels, value);
    }
}

/// Which of two misses says more. That a needle is absent is said only when each shelf that has
/// the volume says so: a replica that cannot be read might have it.
fn weight(miss: Miss) -> u8 {
    match miss {
        Miss::NotHere => 0,
        Miss::Absent => 1,
        Miss::Declined => 2,
        Miss::Loading => 3,
        Miss::Corrupt => 4,
        Miss::Failed => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryShelf;

    fn id(volume: u32, key: u64) -> FileId {
        FileId {
            volume,
            key,
            cookie: 7,
        }
    }

    #[test]
    fn a_needle_is_found_on_whichever_shelf_has_it() {
        let (first, second) = (MemoryShelf::default(), MemoryShelf::default());
        first.put(id(1, 1), b"one");
        second.put(id(1, 2), b"two");
        second.put(id(2, 1), b"three");
        let shelves = Shelves::default();
        assert_eq!(shelves.find(id(1, 1)).unwrap_err(), Miss::NotHere);
        shelves.put("first", &Arc::new(first));
        assert_eq!(shelves.find(id(1, 2)).unwrap_err(), Miss::Absent);
        shelves.put("second", &Arc::new(second));
        for needle in [id(1, 1), id(1, 2), id(2, 1)] {
            assert!(shelves.find(needle).is_ok(), "{needle}");
        }
        assert_eq!(shelves.find(id(1, 3)).unwrap_err(), Miss::Absent);
        assert_eq!(shelves.find(id(3, 1)).unwrap_err(), Miss::NotHere);
        let volumes: Vec<_> = shelves.volumes().iter().map(|v| v.id).collect();
        assert_eq!(volumes, [1, 2]);
        shelves.put("first", &Arc::default());
        assert_eq!(shelves.find(id(1, 1)).unwrap_err(), Miss::Absent);
    }

    #[test]
    fn a_shelf_that_would_wait_is_left_to_who_may_unless_another_one_has_the_needle() {
        let (slow, quick) = (MemoryShelf::default(), MemoryShelf::default());
        for key in 1..=2 {
            slow.put(id(1, key), b"one");
            slow.sink(id(1, key));
        }
        quick.put(id(1, 2), b"two");
        let shelves = Shelves::default();
        shelves.put("slow", &Arc::new(slow));
        shelves.put("quick", &Arc::new(quick));
        // That the other one lacks it says nothing yet.
        assert!(shelves.try_find(id(1, 1)).is_none());
        assert!(shelves.find(id(1, 1)).is_ok());
        assert!(matches!(shelves.try_find(id(1, 2)), Some(Ok(_))));
        let absent = shelves.try_find(id(1, 3));
        assert!(matches!(absent, Some(Err(Miss::Absent))));
    }

    #[test]
    fn a_replica_that_cannot_be_read_does_not_make_a_needle_absent() {
        let (good, bad) = (MemoryShelf::default(), MemoryShelf::default());
        good.put(id(1, 1), b"one");
        bad.miss(id(1, 9), Miss::Loading);
        let shelves = Shelves::default();
        shelves.put("good", &Arc::new(good));
        shelves.put("bad", &Arc::new(bad));
        assert_eq!(shelves.find(id(1, 9)).unwrap_err(), Miss::Loading);
    }
}
