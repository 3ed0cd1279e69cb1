//! From being wanted to being out of date.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use whole::{State, Verdict, Want};

use crate::common::{Origin, assert_same, bring, find, open, paths, until, want};

#[test]
fn a_file_is_there_when_all_of_it_is_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let files = open(dir.path());
    let origin = Origin::new(1, 5, 100_000);
    assert_eq!(files.state(&origin.key), State::Absent);
    origin.closed.store(true, Ordering::SeqCst);
    assert_eq!(want(&files, &origin), Want::Coming);
    until("it is begun", || {
        matches!(files.state(&origin.key), State::Partial { .. })
    });
    assert!(find(&files, &origin).is_none());
    let listed = files.list("/files");
    assert_eq!(
        (listed.len(), listed[0].here, listed[0].data),
        (1, 0, 500_000)
    );
    origin.closed.store(false, Ordering::SeqCst);
    bring(&files, &origin);
    let whole = find(&files, &origin).unwrap();
    assert_same(&whole, &origin);
    assert!(
        whole.file().metadata().unwrap().blocks() * 512 < 600_000,
        "its holes are holes"
    );
    assert_eq!(want(&files, &origin), Want::Here);
    assert!(files.list("/")[0].open);
    drop(whole);
    assert!(!files.list("/files/1")[0].open);
    assert!(files.list("/file").is_empty());
}

#[test]
fn whoever_wants_it_at_once_it_is_fetched_once() {
    let dir = tempfile::tempdir().unwrap();
    let files = open(dir.path());
    let origins: Vec<_> = (0..20).map(|n| Origin::new(n, 4, 10_000)).collect();
    thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| {
                for origin in &origins {
                    want(&files, origin);
                    if let Some(whole) = find(&files, origin) {
                        assert_same(&whole, origin);
                    }
                }
            });
        }
    });
    for origin in &origins {
        bring(&files, origin);
        assert_same(&find(&files, origin).unwrap(), origin);
        assert_eq!(origin.reads.load(Ordering::SeqCst), 4);
    }
}

#[test]
fn what_is_kept_is_found_after_a_restart_without_asking_anybody() {
    let dir = tempfile::tempdir().unwrap();
    let origins: Vec<_> = (0..10)
        .map(|n| Origin::new(n, 3, 50_000 << (n % 3 * 2)))
        .collect();
    {
        let files = open(dir.path());
        origins.iter().for_each(|origin| bring(&files, origin));
    }
    let files = open(dir.path());
    for origin in &origins {
        assert_eq!(want(&files, origin), Want::Here);
        assert_same(&find(&files, origin).unwrap(), origin);
        assert_eq!(origin.reads.load(Ordering::SeqCst), 3);
    }
    until("all are listed", || files.list("/").len() == 10);
    assert_eq!(files.stats().leftovers.get(), 0);
}

#[test]
fn a_file_that_fails_says_why_and_comes_the_next_time() {
    let dir = tempfile::tempdir().unwrap();
    let files = open(dir.path());
    let origin = Origin::new(1, 9, 10_000);
    origin.failing.store(true, Ordering::SeqCst);
    want(&files, &origin);
    until("it has failed", || {
        matches!(files.state(&origin.key), State::Failed(_))
    });
    assert_eq!(
        files.state(&origin.key),
        State::Failed("no such luck".to_owned())
    );
    assert!(find(&files, &origin).is_none());
    until("nothing is left of it", || {
        paths(dir.path(), "")
            .iter()
            .all(|path| path.ends_with("lock"))
    });
    origin.failing.store(false, Ordering::SeqCst);
    bring(&files, &origin);
    assert_same(&find(&files, &origin).unwrap(), &origin);
}

#[test]
fn what_is_out_of_date_goes_and_stays_for_those_who_have_it_open() {
    let dir = tempfile::tempdir().unwrap();
    let files = open(dir.path());
    let origin = Origin::new(1, 3, 2 << 20);
    bring(&files, &origin);
    let whole = find(&files, &origin).unwrap();
    files.outdated(&origin.key);
    assert!(find(&files, &origin).is_none());
    assert_eq!(files.state(&origin.key), State::Absent);
    assert_same(&whole, &origin);
    assert!(
        files.stats().held.get() > 6 << 20,
        "its bytes count as long as it is open"
    );
    drop(whole);
    let other = Origin::new(2, 1, 4096);
    bring(&files, &other);
    assert!(files.stats().held.get() < 1 << 20);

    // On its way, it does not arrive.
    let origin = Origin::new(3, 4, 1000);
    origin.closed.store(true, Ordering::SeqCst);
    want(&files, &origin);
    until("it is begun", || {
        matches!(files.state(&origin.key), State::Partial { .. })
    });
    files.outdated(&origin.key);
    assert_eq!(files.state(&origin.key), State::Absent);
    origin.closed.store(false, Ordering::SeqCst);
    until("nothing is left of it", || files.list("/").len() == 1);
    assert!(find(&files, &origin).is_none());
    // Wanted again, it does.
    bring(&files, &origin);
    assert_same(&find(&files, &origin).unwrap(), &origin);
}

#[test]
fn damage_is_found_by_who_looks_for_it_and_the_file_goes() {
    let dir = tempfile::tempdir().unwrap();
    let files = open(dir.path());
    for (number, at) in [(1, 3 << 20), (2, 5), (3, (12 << 20) - 1)] {
        let origin = Origin::new(number, 2, 3 << 20);
        bring(&files, &origin);
        assert_eq!(files.verify(&origin.key), Verdict::Good);
        let path = paths(dir.path(), &origin.key.to_string()).remove(0);
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        // In data, and in holes: nothing tells but the bytes.
        std::os::unix::fs::FileExt::write_all_at(&file, &[2], at).unwrap();
        file.set_modified(before).unwrap();
        assert_eq!(files.verify(&origin.key), Verdict::Damaged, "at {at}");
        assert_eq!(files.verify(&origin.key), Verdict::Absent);
        assert!(find(&files, &origin).is_none());
    }
}

#[test]
fn a_file_that_somebody_wrote_to_is_not_handed_out() {
    let dir = tempfile::tempdir().unwrap();
    let files = open(dir.path());
    let origin = Origin::new(1, 2, 3 << 20);
    bring(&files, &origin);
    let path = paths(dir.path(), &origin.key.to_string()).remove(0);
    thread::sleep(std::time::Duration::from_millis(20));
    fs::File::options().append(true).open(&path).unwrap();
    assert!(find(&files, &origin).is_some(), "opened only");
    let file = fs::File::options().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[2], 77).unwrap();
    assert!(find(&files, &origin).is_none());
    assert_eq!(files.stats().damaged.get(), 1);
    bring(&files, &origin);
    assert_same(&find(&files, &Arc::clone(&origin)).unwrap(), &origin);
}
