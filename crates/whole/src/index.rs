//! Which files are here, and which goes next.
//!
//! The one that was not opened for longest goes first. One that somebody has open stays: it
//! could be removed, but its bytes would stay on the disk until it is closed, and nothing would be
//! won. So such a file, when it has to go because it is out of date, is counted until then.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use seaweed::ContentKey;

/// The files of one store.
#[derive(Debug, Default)]
pub(crate) struct Index {
    files: HashMap<ContentKey, Slot>,
    order: BTreeSet<(u64, ContentKey)>,
    bytes: u64,
    /// Removed while open.
    lingering: Vec<(u64, Pin)>,
}

/// Held by whoever has a file open.
pub(crate) type Pin = Arc<()>;

/// One file.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) name: Arc<str>,
    pub(crate) size: u64,
    pub(crate) mtime_ns: i64,
    /// Bytes of disk that it takes.
    pub(crate) disk: u64,
    /// When it was opened last, in milliseconds since 1970.
    pub(crate) used: u64,
    /// The same as far as the disk knows.
    pub(crate) noted: u64,
    /// Its bytes are known to be those of its record.
    pub(crate) checked: bool,
    /// A pin is held by those who have it open, and one here.
    pub(crate) pin: Pin,
}

impl Slot {
    pub(crate) fn is_open(&self) -> bool {
        is_held(&self.pin)
    }
}

/// Pins are given out under the index's lock only: one that is not held stays so meanwhile.
fn is_held(pin: &Pin) -> bool {
    Arc::strong_count(pin) > 1
}

impl Index {
    pub(crate) fn get(&self, key: &ContentKey) -> Option<&Slot> {
        self.files.get(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ContentKey, &Slot)> {
        self.files.iter()
    }

    /// Bytes of disk that all files take, those included that are removed and still open.
    pub(crate) fn bytes(&mut self) -> u64 {
        self.lingering.retain(|(_, pin)| is_held(pin));
        let lingering: u64 = self.lingering.iter().map(|(bytes, _)| bytes).sum();
        self.bytes + lingering
    }

    /// Adds a file; false, and nothing changed, when it is there already.
    pub(crate) fn insert(&mut self, key: ContentKey, slot: Slot) -> bool {
        if self.files.contains_key(&key) {
            return false;
        }
        self.bytes += slot.disk;
        self.order.insert((slot.used, key));
        self.files.insert(key, slot);
        true
    }

    /// A file is opened at `now`, under `name` if that is known.
    pub(crate) fn open(
        &mut self,
        key: &ContentKey,
        name: Option<&str>,
        now: u64,
    ) -> Option<&mut Slot> {
        let slot = self.files.get_mut(key)?;
        self.order.remove(&(slot.used, *key));
        slot.used = now.max(slot.used);
        self.order.insert((slot.used, *key));
        if let Some(name) = name.filter(|name| **name != *slot.name) {
            slot.name = name.into();
        }
        Some(slot)
    }

    pub(crate) fn get_mut(&mut self, key: &ContentKey) -> Option<&mut Slot> {
        self.files.get_mut(key)
    }

    /// Forgets a file, for the caller to delete.
    pub(crate) fn remove(&mut self, key: &ContentKey) -> Option<Slot> {
        let slot = self.files.remove(key)?;
        self.order.remove(&(slot.used, *key));
        self.bytes -= slot.disk;
        if slot.is_open() {
            self.lingering.push((slot.disk, Arc::clone(&slot.pin)));
        }
        Some(slot)
    }

    /// Forgets the file whose turn it is, for the caller to delete; `None` when all are open.
    pub(crate) fn evict(&mut self) -> Option<(ContentKey, Slot)> {
        let free =
            |(_, key): &&(u64, ContentKey)| self.files.get(key).is_some_and(|s| !s.is_open());
        let key = self.order.iter().find(free)?.1;
        Some((key, self.remove(&key)?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(n: u8) -> ContentKey {
        ContentKey::from_bytes([n; 32])
    }

    fn slot(disk: u64, used: u64) -> Slot {
        Slot {
            name: "/a".into(),
            size: disk,
            mtime_ns: 0,
            disk,
            used,
            noted: used,
            checked: true,
            pin: Pin::default(),
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u8, u64),
        Open(u8),
        Close(u8),
        Remove(u8),
        Evict,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..12u8, 1..100u64).prop_map(|(n, disk)| Step::Insert(n, disk)),
            (0..12u8).prop_map(Step::Open),
            (0..12u8).prop_map(Step::Close),
            (0..12u8).prop_map(Step::Remove),
            Just(Step::Evict),
        ]
    }

    /// A file as the model has it: when it was used, its bytes, and who has it open.
    #[derive(Debug)]
    struct Modelled {
        n: u8,
        used: u64,
        disk: u64,
        pins: Vec<Pin>,
    }

    proptest! {
        #[test]
        fn the_oldest_that_nobody_has_open_goes_and_all_bytes_are_counted(
            steps in proptest::collection::vec(step(), 0..200),
        ) {
            let mut index = Index::default();
            let (mut there, mut gone): (Vec<Modelled>, Vec<Modelled>) = (Vec::new(), Vec::new());
            for (now, step) in (1u64..).zip(steps) {
                match step {
                    Step::Insert(n, disk) => {
                        let is_new = there.iter().all(|file| file.n != n);
                        prop_assert_eq!(index.insert(key(n), slot(disk, now)), is_new);
                        if is_new {
                            there.push(Modelled { n, used: now, disk, pins: Vec::new() });
                        }
                    }
                    Step::Open(n) => {
                        let pin = index.open(&key(n), Some("/b"), now).map(|slot| Arc::clone(&slot.pin));
                        let file = there.iter_mut().find(|file| file.n == n);
                        prop_assert_eq!(pin.is_some(), file.is_some());
                        if let (Some(pin), Some(file)) = (pin, file) {
                            file.used = now;
                            file.pins.push(pin);
                        }
                    }
                    Step::Close(n) => {
                        for file in there.iter_mut().chain(&mut gone).filter(|file| file.n == n) {
                            file.pins.pop();
                        }
                    }
                    Step::Remove(n) => {
                        prop_assert_eq!(
                            index.remove(&key(n)).is_some(),
                            there.iter().any(|file| file.n == n)
                        );
                        let at = there.iter().position(|file| file.n == n);
                        gone.extend(at.map(|at| there.remove(at)));
                    }
                    Step::Evict => {
                        let free = there.iter().filter(|file| file.pins.is_empty());
                        let oldest = free.min_by_key(|file| file.used).map(|file| file.n);
                        prop_assert_eq!(index.evict().map(|(key, _)| key), oldest.map(key));
                        there.retain(|file| Some(file.n) != oldest);
                    }
                }
                gone.retain(|file| !file.pins.is_empty());
                let bytes: u64 = there.iter().chain(&gone).map(|file| file.disk).sum();
                prop_assert_eq!(index.bytes(), bytes);
                prop_assert_eq!(index.len(), there.len());
            }
        }
    }
}
