//! Files that a store lends, read by somebody else.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs::{self, File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Volume, config, data, flip, open};
use seaweed::FileId;
use seaweed::volume::{OffsetWidth, Version};
use tempfile::tempdir;
use volume::lent::{BorrowError, Borrowed, Borrower, Files, Unfound};
use volume::{Absent, Lending, Miss, Reason, Store, VerifyRanges};

const WIDTH: OffsetWidth = OffsetWidth::Five;

fn create(dir: &Path) -> Volume {
    let volume = Volume::create(dir, 1, Version::V3, WIDTH);
    volume.vif(r#"{"bytesOffset":5}"#);
    volume
}

fn files(store: &Store) -> Files {
    match store.lend(1, None).unwrap() {
        Lending::Files(files) => files,
        Lending::Same => panic!("nothing is held"),
    }
}

fn borrower() -> Borrower {
    Borrower::new(8, 1 << 20, 1 << 20).unwrap()
}

fn borrow(borrower: &Borrower, store: &Store) -> Borrowed {
    borrower.borrow(files(store)).unwrap()
}

fn whole(volume: &Borrowed, id: FileId) -> Vec<u8> {
    let needle = volume.find(id).unwrap();
    let mut bytes = vec![0; needle.len() as usize];
    needle.read_cached_at(0, &mut bytes).unwrap().unwrap();
    bytes
}

#[test]
fn what_is_appended_is_found_and_what_is_deleted_is_not() {
    let dir = tempdir().unwrap();
    let mut server = create(dir.path());
    let (small, large) = (data(1, 500), data(2, 300_000));
    let first = server.put(1, &small);
    let store = open(config(dir.path()));
    let borrower = borrower();
    let lent = borrow(&borrower, &store);
    assert_eq!(whole(&lent, first), small);
    let second = server.put(2, &large);
    assert_eq!(whole(&lent, second), large);
    let mut part = [0; 5000];
    for _ in 0..2 {
        let needle = lent.find(second).unwrap();
        needle.read_cached_at(70_001, &mut part).unwrap().unwrap();
        assert_eq!(part, large[70_001..75_001]);
    }
    server.delete(2);
    let gone = lent.find(second).unwrap_err();
    let is_gone = matches!(gone, Unfound::Miss(Miss::Absent(Absent::Deleted)));
    assert!(is_gone, "{gone:?}");
    let other = FileId {
        cookie: first.cookie ^ 1,
        ..first
    };
    let unfound = lent.find(other).unwrap_err();
    let is_other = matches!(unfound, Unfound::Miss(Miss::Absent(Absent::Cookie)));
    assert!(is_other, "{unfound:?}");
    assert!(lent.keep_up());
    assert_eq!((borrower.volumes(), borrower.index_bytes()), (1, 3 * 16));
    drop(lent);
    assert_eq!((borrower.volumes(), borrower.index_bytes()), (0, 0));
}

#[test]
fn a_cookie_is_compared_also_when_the_needle_was_read_before() {
    let dir = tempdir().unwrap();
    let mut server = create(dir.path());
    let id = server.put(1, &data(1, 100_000));
    let store = open(config(dir.path()));
    let lent = borrow(&borrower(), &store);
    whole(&lent, id);
    let other = FileId {
        cookie: id.cookie ^ 1,
        ..id
    };
    for _ in 0..2 {
        let unfound = lent.find(other).unwrap_err();
        let is_other = matches!(unfound, Unfound::Miss(Miss::Absent(Absent::Cookie)));
        assert!(is_other, "{unfound:?}");
        whole(&lent, id);
    }
}

#[test]
fn files_that_a_vacuum_has_replaced_are_not_read_and_newer_ones_are_lent() {
    let dir = tempdir().unwrap();
    let mut server = create(dir.path());
    let id = server.put(1, &data(1, 100_000));
    let store = open(config(dir.path()));
    let borrower = borrower();
    let lent = borrow(&borrower, &store);
    whole(&lent, id);
    let held = Some(lent.inodes());
    assert!(matches!(store.lend(1, held).unwrap(), Lending::Same));

    let mut new = Volume::create_named(dir.path(), "next", 1, Version::V3, WIDTH, 1);
    new.put(7, &data(7, 77));
    new.put(1, &data(1, 100_000));
    for extension in ["dat", "idx"] {
        let next = new.base.with_extension(extension);
        fs::rename(next, server.base.with_extension(extension)).unwrap();
    }
    assert!(matches!(lent.find(id), Err(Unfound::Replaced)));
    assert!(!lent.keep_up());
    let Lending::Files(files) = store.lend(1, held).unwrap() else {
        panic!("they are not the same");
    };
    assert_eq!(files.revision, 1);
    let newer = borrower.borrow(files).unwrap();
    assert_ne!(Some(newer.inodes()), held);
    assert_eq!(whole(&newer, id), data(1, 100_000));
    assert_eq!(whole(&newer, new.file_id(7)), data(7, 77));
}

#[test]
fn what_may_not_be_served_is_not_lent_any_more() {
    let dir = tempdir().unwrap();
    let mut server = create(dir.path());
    server.put(1, &data(1, 100));
    let store = open(config(dir.path()));
    let lent = borrow(&borrower(), &store);
    let held = Some(lent.inodes());
    for (extension, reason) in [("note", Reason::Copying), ("ecx", Reason::ErasureCoded)] {
        let path = server.base.with_extension(extension);
        fs::write(&path, "").unwrap();
        for held in [held, None] {
            let miss = store.lend(1, held).unwrap_err();
            let is_declined = matches!(&miss, Miss::Declined(why) if *why == reason);
            assert!(is_declined, "{miss:?}");
        }
        fs::remove_file(path).unwrap();
        assert!(matches!(store.lend(1, held).unwrap(), Lending::Same));
    }
    server.vif(r#"{"bytesOffset":5,"files":[{"backendType":"s3"}]}"#);
    assert!(matches!(
        store.lend(1, held),
        Err(Miss::Declined(Reason::Tiered))
    ));
    server.vif(r#"{"bytesOffset":5}"#);
    assert!(matches!(store.lend(1, held).unwrap(), Lending::Same));
    assert!(matches!(store.lend(2, None), Err(Miss::NotHere)));
    fs::remove_file(server.dat()).unwrap();
    fs::remove_file(server.idx()).unwrap();
    let miss = store.lend(1, held).unwrap_err();
    assert!(
        matches!(miss, Miss::Declined(_) | Miss::NotHere),
        "{miss:?}"
    );
    assert!(!lent.keep_up());
}

#[test]
fn an_index_that_was_cut_off_asks_for_newer_files() {
    let dir = tempdir().unwrap();
    let mut server = create(dir.path());
    let id = server.put(1, &data(1, 100));
    server.put(2, &data(2, 100));
    let store = open(config(dir.path()));
    let lent = borrow(&borrower(), &store);
    let index = OpenOptions::new().write(true).open(server.idx()).unwrap();
    index.set_len(17).unwrap();
    assert!(matches!(lent.find(id), Err(Unfound::Replaced)));
}

#[test]
fn damage_is_noticed_in_the_whole_and_in_blocks_that_were_once_right() {
    let dir = tempdir().unwrap();
    let mut server = create(dir.path());
    let bytes = data(1, 200_000);
    let id = server.put(1, &bytes);
    let store = open(config(dir.path()));
    let lent = borrow(&borrower(), &store);
    let mut part = [0; 4096];
    let needle = lent.find(id).unwrap();
    needle.read_cached_at(4096, &mut part).unwrap().unwrap();
    assert_eq!(part, bytes[4096..8192]);
    flip(&server.dat(), needle.record_offset() + 10_000);
    let needle = lent.find(id).unwrap();
    assert!(needle.read_cached_at(9_000, &mut part).is_err());
    needle.read_cached_at(100_000, &mut part).unwrap().unwrap();
    assert_eq!(
        part,
        bytes[100_000..104_096],
        "other blocks are as they were"
    );
    let mut all = vec![0; bytes.len()];
    assert!(needle.read_cached_at(0, &mut all).is_err());
}

#[test]
fn of_many_readers_of_a_needle_one_reads_all_of_it() {
    let dir = tempdir().unwrap();
    let mut server = create(dir.path());
    let bytes = data(1, 3_000_000);
    let id = server.put(1, &bytes);
    let store = open(config(dir.path()));
    let borrower = borrower();
    let lent = borrow(&borrower, &store);
    let together = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (lent, bytes, together) = (&lent, &bytes, &together);
            scope.spawn(move || {
                let (mut part, at) = ([0; 4096], thread * 300_000);
                together.wait();
                let needle = lent.find(id).unwrap();
                let read = needle.read_cached_at(at as u64, &mut part).unwrap();
                assert!(read.is_some() && part == bytes[at..at + 4096]);
            });
        }
    });
    assert_eq!(borrower.stats().verified_bytes.get(), 3_000_000);
}

#[test]
fn descriptors_that_are_no_volume_are_refused_by_name() {
    let dir = tempdir().unwrap();
    let mut server = create(dir.path());
    server.put(1, &data(1, 100));
    let store = open(config(dir.path()));
    let borrower = borrower();
    let refused = |change: &dyn Fn(&mut Files)| -> String {
        let mut files = files(&store);
        change(&mut files);
        borrower.borrow(files).unwrap_err().to_string()
    };
    let read = |path: &Path| -> OwnedFd { File::open(path).unwrap().into() };
    let with = |flags: i32| -> OwnedFd {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(flags);
        options.open(server.dat()).unwrap().into()
    };
    let socket = || UnixStream::pair().unwrap().0.into();
    let writable = || -> OwnedFd {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .open(server.dat())
            .unwrap()
            .into()
    };
    let only_to_read = "it is not open for reading, and for nothing else";
    let cases: [(OwnedFd, &str); 6] = [
        (socket(), only_to_read),
        (writable(), only_to_read),
        (with(libc::O_PATH), only_to_read),
        (with(libc::O_DIRECT), "it is open for direct reading"),
        (read(dir.path()), "it is no regular file"),
        (read(Path::new("/dev/zero")), "it is no regular file"),
    ];
    for (fd, why) in cases {
        for what in [".dat", ".idx"] {
            let fd = fd.try_clone().unwrap();
            let slot = std::cell::Cell::new(Some(fd));
            let said = refused(&|files| {
                let fd = slot.take().unwrap();
                match what {
                    ".dat" => files.dat = fd,
                    _ => files.idx = fd,
                }
            });
            assert_eq!(said, format!("{what}: {why}"));
        }
    }
    let said = refused(&|files| files.revision = 3);
    assert_eq!(said, "the volume has revision 0, lent was 3");
    // The index is no data file, and an empty file is none either.
    let said = refused(&|files| std::mem::swap(&mut files.dat, &mut files.idx));
    assert!(said.starts_with("its super block"), "{said}");
    let empty = dir.path().join("empty");
    fs::write(&empty, "").unwrap();
    let said = refused(&|files| files.dat = read(&empty));
    assert!(said.contains("read the super block"), "{said}");
    assert_eq!((borrower.volumes(), borrower.index_bytes()), (0, 0));
}

#[test]
fn an_index_of_other_files_leads_to_nothing() {
    let (dir, other) = (tempdir().unwrap(), tempdir().unwrap());
    let (mut server, mut stranger) = (create(dir.path()), create(other.path()));
    let id = server.put(1, &data(1, 100_000));
    stranger.put(5, &data(5, 64));
    stranger.put(1, &data(9, 100_000));
    let store = open(config(dir.path()));
    let mut files = files(&store);
    files.idx = File::open(stranger.idx()).unwrap().into();
    let lent = borrower().borrow(files).unwrap();
    let unfound = lent.find(id).unwrap_err();
    assert!(
        matches!(unfound, Unfound::Miss(Miss::Corrupt(_))),
        "{unfound:?}"
    );
}

#[test]
fn lent_descriptors_have_a_position_and_flags_of_their_own_and_cannot_write() {
    let dir = tempdir().unwrap();
    let mut server = create(dir.path());
    let id = server.put(1, &data(1, 100_000));
    let store = open(config(dir.path()));
    let files = files(&store);
    let flags = rustix::fs::fcntl_getfl(&files.dat).unwrap();
    assert_eq!(
        flags & rustix::fs::OFlags::RWMODE,
        rustix::fs::OFlags::RDONLY
    );
    assert!(rustix::io::write(&files.dat, b"x").is_err());
    rustix::fs::fcntl_setfl(&files.dat, flags | rustix::fs::OFlags::DIRECT).unwrap();
    let mut part = [0; 333];
    let needle = store.find(id).unwrap();
    needle.read_at(5, &mut part).unwrap();
    assert_eq!(part, data(1, 100_000)[5..338]);
}

#[test]
fn a_long_index_serves_while_it_is_read_and_a_budget_is_kept() {
    let dir = tempdir().unwrap();
    let mut server = create(dir.path());
    let bytes = data(1, 2_000);
    for key in 1..=70_000 {
        // Old entries of nothing, and one needle at the end.
        server.index(key, 1, 100);
    }
    let id = server.put(70_001, &bytes);
    let store = open(config(dir.path()));
    let small = Borrower::new(8, 70_000 * 16, 0).unwrap();
    let error = small.borrow(files(&store)).unwrap_err();
    let is_budget = matches!(error, BorrowError::Declined(Reason::IndexMemory { .. }));
    assert!(is_budget, "{error:?}");
    let one = Borrower::new(1, 1 << 30, 0).unwrap();
    let lent = one.borrow(files(&store)).unwrap();
    let error = one.borrow(files(&store)).unwrap_err();
    let is_budget = matches!(error, BorrowError::Declined(Reason::TooMany { max: 1 }));
    assert!(is_budget, "{error:?}");
    let start = Instant::now();
    while lent.is_loading() {
        assert!(start.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(whole(&lent, id), bytes);
    assert_eq!(one.index_bytes(), 70_001 * 16);
}

#[test]
fn the_lender_says_how_ranges_are_checked() {
    let dir = tempdir().unwrap();
    let mut server = create(dir.path());
    let bytes = data(1, 200_000);
    let id = server.put(1, &bytes);
    for (verify, is_noticed) in [(VerifyRanges::Always, true), (VerifyRanges::Never, false)] {
        let mut config = config(dir.path());
        config.verify = verify;
        let store = open(config);
        let lent = borrow(&borrower(), &store);
        let at = lent.find(id).unwrap().record_offset() + 150_000;
        flip(&server.dat(), at);
        let read = lent.find(id).unwrap().read_cached_at(0, &mut [0; 100]);
        assert_eq!(read.is_err(), is_noticed, "{verify:?}");
        flip(&server.dat(), at);
    }
}
