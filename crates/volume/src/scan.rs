//! Which volumes there are: what the names in a folder say.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use seaweed::volume::VolumeFile;

use crate::DataDir;

/// A volume by the names of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) base: String,
    pub(crate) collection: String,
    pub(crate) id: u32,
}

/// What files a volume has.
#[derive(Debug, Default, Clone, Copy)]
struct Has {
    dat: bool,
    idx: bool,
    vif: bool,
    shards: bool,
}

/// When a folder was changed last, as far as its own time stamp tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    changed: Option<SystemTime>,
    /// It changed so shortly before the look that another change may have the same stamp.
    fresh: bool,
}

impl Stamp {
    /// To be taken before a folder is listed.
    pub(crate) fn of(dir: &DataDir) -> Self {
        let changed = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).ok();
        let index = dir.index.as_deref().and_then(changed);
        let changed = changed(&dir.data).max(index);
        let fresh = match changed.map(|time| SystemTime::now().duration_since(time)) {
            Some(Ok(age)) => age < GRAIN,
            // No such folder, or a clock that was set back: only a change tells.
            _ => false,
        };
        Self { changed, fresh }
    }

    /// Whether a folder that was listed after `self` was taken may look different by now.
    pub(crate) fn is_outdated(&self, now: &Self) -> bool {
        self.fresh || self.changed != now.changed
    }
}

/// Time stamps of files advance in steps of a timer tick, 10 ms at most.
const GRAIN: Duration = Duration::from_millis(25);

/// Lists the volumes of a folder that has at least their data, shards, or a note where the data is.
pub(crate) fn list(dir: &DataDir) -> io::Result<Vec<Named>> {
    let mut found: BTreeMap<(u32, String), (String, Has)> = BTreeMap::new();
    for folder in [Some(&dir.data), dir.index.as_ref()].into_iter().flatten() {
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name();
            let Some(file) = name.to_str().and_then(VolumeFile::parse) else {
                continue;
            };
            let key = (file.volume, file.base.to_owned());
            let (_, has) = found
                .entry(key)
                .or_insert_with(|| (file.collection.to_owned(), Has::default()));
            match file.extension {
                "dat" => has.dat = true,
                "idx" => has.idx = true,
                "vif" => has.vif = true,
                "ecx" => has.shards = true,
                shard if is_shard(shard) => has.shards = true,
                _ => {}
            }
        }
    }
    let here = |has: &Has| has.dat || has.shards || (has.idx && has.vif);
    let named =
        found
            .into_iter()
            .filter(|(_, (_, has))| here(has))
            .map(|((id, base), (collection, _))| Named {
                base,
                collection,
                id,
            });
    Ok(named.collect())
}

/// `ec00` and so on; not `ecj` and `ecsum`.
fn is_shard(extension: &str) -> bool {
    extension
        .strip_prefix("ec")
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_which_volumes_are_here() {
        let data = tempfile::tempdir().unwrap();
        let index = tempfile::tempdir().unwrap();
        for name in [
            "1.dat",
            "1.idx",
            "1.vif",
            "a_b_2.dat",
            "3.vif",
            "4.vif",
            "5.ec03",
            "6.ecsum",
            "vol_dir.uuid",
            "x.dat",
            "7.idx",
        ] {
            fs::write(data.path().join(name), "").unwrap();
        }
        fs::write(index.path().join("4.idx"), "").unwrap();
        fs::write(index.path().join("8.ecx"), "").unwrap();
        let dir = DataDir {
            data: data.path().into(),
            index: Some(index.path().into()),
        };
        let found = list(&dir).unwrap();
        let ids: Vec<_> = found.iter().map(|named| named.id).collect();
        assert_eq!(ids, [1, 2, 4, 5, 8]);
        assert_eq!(found[1].collection, "a_b");
    }

    #[test]
    fn a_new_file_outdates_the_list() {
        let data = tempfile::tempdir().unwrap();
        let dir = DataDir::new(data.path());
        std::thread::sleep(2 * GRAIN);
        let before = Stamp::of(&dir);
        assert!(!before.is_outdated(&Stamp::of(&dir)));
        fs::write(data.path().join("1.dat"), "").unwrap();
        let now = Stamp::of(&dir);
        assert!(before.is_outdated(&now));
        assert!(now.is_outdated(&Stamp::of(&dir)), "too fresh to be sure");
    }
}
