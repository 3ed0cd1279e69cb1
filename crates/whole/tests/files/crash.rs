//! Whatever a crash leaves, nothing half is taken for whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use crate::common::{Origin, assert_same, bring, find, open, paths, until};

/// A copy of a folder as it is now, times included.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

/// Opens what a crash has left: each file is whole or not there.
fn assert_sound(left: &Path, origins: &[&Arc<Origin>]) -> usize {
    let files = open(left);
    let mut whole = 0;
    for origin in origins {
        if let Some(found) = find(&files, origin) {
            assert_same(&found, origin);
            whole += 1;
        }
    }
    // What was left of the others is gone: all that is there belongs to whole files.
    until("what makes no sense is gone", || {
        let there = |path: &PathBuf| !path.ends_with("lock");
        paths(left, "").iter().filter(|path| there(path)).count() == 2 * files.list("/").len()
    });
    // And they can be brought in.
    for origin in origins {
        bring(&files, origin);
        assert_same(&find(&files, origin).unwrap(), origin);
    }
    whole
}

#[test]
fn a_mount_that_dies_while_files_come_leaves_nothing_half() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("live");
    fs::create_dir(&place).unwrap();
    let files = open(&place);
    let first = Origin::new(1, 2, 2 << 20);
    bring(&files, &first);
    // At every run of the second file the world stops.
    let second = Origin::new(2, 6, 400_000);
    let copies = Arc::new(AtomicU64::new(0));
    let (from, to, count) = (place.clone(), dir.path().to_owned(), Arc::clone(&copies));
    *second.hook.lock() = Some(Box::new(move || {
        let number = count.fetch_add(1, Ordering::SeqCst);
        copy(&from, &to.join(number.to_string()));
    }));
    bring(&files, &second);
    *second.hook.lock() = None;
    copy(&place, &dir.path().join("end"));
    assert_eq!(copies.load(Ordering::SeqCst), 6);
    for number in 0..6 {
        let left = dir.path().join(number.to_string());
        assert_eq!(assert_sound(&left, &[&first, &second]), 1);
    }
    assert_eq!(assert_sound(&dir.path().join("end"), &[&first, &second]), 2);
}

/// What a crash may do to the files of a folder whose names were written and whose bytes were not.
#[derive(Debug, Clone)]
enum Loss {
    Missing,
    Cut(prop::sample::Index),
    /// Cut and filled with zeros again, as a file system does whose sizes come before its data;
    /// with its time as it was.
    Zeros(prop::sample::Index),
}

fn loss() -> impl Strategy<Value = Loss> {
    prop_oneof![
        Just(Loss::Missing),
        any::<prop::sample::Index>().prop_map(Loss::Cut),
        any::<prop::sample::Index>().prop_map(Loss::Zeros),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Files up to 1 MiB are not synced: all of this can come of a power cut.
    #[test]
    fn small_files_and_records_that_were_lost_in_part_are_not_there(
        losses in proptest::collection::vec((any::<prop::sample::Index>(), loss()), 1..4),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let origins = [Origin::new(1, 3, 7000), Origin::new(2, 1, 300_000)];
        {
            let files = open(dir.path());
            origins.iter().for_each(|origin| bring(&files, origin));
        }
        let mut there: Vec<PathBuf> = paths(dir.path(), "");
        there.retain(|path| !path.ends_with("lock"));
        there.sort();
        for (which, loss) in losses {
            let path = &there[which.index(there.len())];
            let Ok(file) = fs::File::options().write(true).open(path) else { continue };
            let (len, time) = (file.metadata().unwrap().len(), file.metadata().unwrap().modified());
            match loss {
                Loss::Missing => fs::remove_file(path).unwrap(),
                Loss::Cut(at) => file.set_len(at.index(len.max(1) as usize) as u64).unwrap(),
                Loss::Zeros(at) => {
                    file.set_len(at.index(len.max(1) as usize) as u64).unwrap();
                    file.set_len(len).unwrap();
                    file.set_modified(time.unwrap()).unwrap();
                }
            }
        }
        assert_sound(dir.path(), &[&origins[0], &origins[1]]);
    }
}

#[test]
fn a_large_file_that_is_not_as_long_or_as_old_as_its_record_says_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let origin = Origin::new(1, 2, 1 << 20);
    for change in [0, 1, 2] {
        {
            let files = open(dir.path());
            bring(&files, &origin);
        }
        let path = paths(dir.path(), &origin.key.to_string()).remove(0);
        let file = fs::File::options().write(true).open(&path).unwrap();
        match change {
            0 => file.set_len(origin.bytes.len() as u64 - 1).unwrap(),
            1 => file
                .set_modified(std::time::SystemTime::UNIX_EPOCH)
                .unwrap(),
            _ => fs::rename(&path, path.with_extension("sum")).unwrap(),
        }
        assert_eq!(assert_sound(dir.path(), &[&origin]), 0);
    }
}
