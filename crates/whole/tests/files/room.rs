//! Never more than there is room for, and never at the cost of who has a file open.

use std::sync::Arc;
use std::time::{Duration, Instant};

use whole::{Config, Files, State};

use crate::common::{Origin, assert_same, bring, config, find, until, want};

/// Room for three files of 2 MiB, and not for four.
const THREE: u64 = 7 << 20;

fn open(dir: &std::path::Path, capacity_bytes: u64) -> Files {
    let config = Config {
        capacity_bytes,
        ..config(dir)
    };
    Files::open(&config).unwrap()
}

fn files_of_2_mib(count: u8) -> Vec<Arc<Origin>> {
    (0..count).map(|n| Origin::new(n, 2, 1 << 20)).collect()
}

fn why(files: &Files, origin: &Arc<Origin>) -> String {
    want(files, origin);
    let mut reason = String::new();
    until("it is refused", || match files.state(&origin.key) {
        State::Failed(why) => {
            reason = why;
            true
        }
        _ => false,
    });
    reason
}

#[test]
fn the_one_not_opened_for_longest_goes_and_none_that_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let files = open(dir.path(), THREE);
    let origins = files_of_2_mib(8);
    let held = {
        bring(&files, &origins[0]);
        find(&files, &origins[0]).unwrap()
    };
    for origin in &origins[1..] {
        // Uses are told apart by the millisecond.
        std::thread::sleep(Duration::from_millis(3));
        bring(&files, origin);
        assert!(files.stats().held.get() as u64 <= THREE);
    }
    let here: Vec<u8> = origins
        .iter()
        .filter(|origin| files.state(&origin.key) == State::Complete)
        .map(|origin| origin.key.as_bytes()[0])
        .collect();
    assert_eq!(here, [0, 6, 7]);
    assert_same(&held, &origins[0]);
    assert_eq!(files.stats().evictions.get(), 5);
    let evicted = files.evict("/files");
    assert_eq!((evicted.files, evicted.kept), (2, 1));
    assert_same(&held, &origins[0]);
    drop(held);
    assert_eq!(files.evict("/files/0").files, 1);
    assert_eq!(files.stats().held.get(), 0);
}

#[test]
fn when_all_are_open_or_it_is_too_large_a_file_is_refused_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let files = open(dir.path(), THREE);
    let origins = files_of_2_mib(4);
    let mut held = Vec::new();
    for origin in &origins[..3] {
        bring(&files, origin);
        held.push(find(&files, origin).unwrap());
    }
    assert!(why(&files, &origins[3]).contains("files that are open"));
    for (whole, origin) in held.iter().zip(&origins) {
        assert_same(whole, origin);
    }
    held.clear();
    bring(&files, &origins[3]);
    let large = Origin::new(9, 8, 1 << 20);
    let reason = why(&files, &large);
    assert!(
        reason.contains("it has 8388608 bytes, and the cache 7340032"),
        "{reason}"
    );
    assert_eq!(files.stats().refused.get(), 2);
}

#[test]
fn a_full_disk_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        min_free_bytes: u64::MAX / 2,
        ..config(dir.path())
    };
    let files = Files::open(&config).unwrap();
    let reason = why(&files, &Origin::new(1, 1, 1000));
    assert!(reason.contains("are free on the disk"), "{reason}");
}

#[test]
fn a_smaller_cache_than_before_lets_files_go_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let origins = files_of_2_mib(6);
    {
        let files = open(dir.path(), 64 << 20);
        origins.iter().for_each(|origin| bring(&files, origin));
    }
    let files = open(dir.path(), THREE);
    until("it is within its room", || {
        files.list("/").len() == 3 && files.stats().held.get() as u64 <= THREE
    });
}

#[test]
fn the_bandwidth_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        bytes_per_second: 8 << 20,
        ..config(dir.path())
    };
    let files = Files::open(&config).unwrap();
    let origin = Origin::new(1, 8, 512 << 10);
    let start = Instant::now();
    bring(&files, &origin);
    // 4 MiB at 8 MiB a second; the last parts are not paid for before the file is there.
    let took = start.elapsed();
    assert!(took > Duration::from_millis(200), "{took:?}");
}
