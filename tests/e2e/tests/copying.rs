//! Copies inside the mount, holes, and what fallocate(2) does.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

use e2e::{Mount, Scene, needs_fuse, noise};
use rustix::fs::{FallocateFlags, SeekFrom, copy_file_range, fallocate, seek};
use rustix::io::Errno;

fn open(mount: &Mount, path: &str) -> File {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true);
    options.open(mount.path(path)).unwrap()
}

/// Copies as cp(1) does: until nothing comes any more.
fn copy(from: &File, mut at: u64, to: &File, mut into: u64, length: usize) -> usize {
    let mut done = 0;
    while done < length {
        let copied = copy_file_range(from, Some(&mut at), to, Some(&mut into), length - done);
        match copied.unwrap() {
            0 => break,
            copied => done += copied,
        }
    }
    done
}

#[test]
fn ranges_are_copied_without_leaving_the_mount() {
    needs_fuse!();
    let scene = Scene::start();
    let mount = scene.mount(&[]);
    let bytes = noise(1, 5_000_123);
    let from = open(&mount, "/from");
    (&from).write_all(&bytes).unwrap();
    // What is not saved yet is copied too.
    let to = open(&mount, "/to");
    assert_eq!(copy(&from, 0, &to, 0, usize::MAX >> 2), bytes.len());
    let mut wanted = bytes.clone();
    // Into the middle, over what is there, and behind the end.
    assert_eq!(copy(&from, 1000, &to, 2_000_001, 1_500_000), 1_500_000);
    wanted[2_000_001..3_500_001].copy_from_slice(&bytes[1000..1_501_000]);
    assert_eq!(copy(&from, 4_999_000, &to, 6_000_000, 10_000), 1123);
    wanted.resize(6_000_000, 0);
    wanted.extend_from_slice(&bytes[4_999_000..]);
    // Within one file.
    assert_eq!(copy(&to, 0, &to, 4_000_000, 100_000), 100_000);
    wanted.copy_within(0..100_000, 4_000_000);
    assert_eq!(
        copy(&from, 9_000_000, &to, 0, 10),
        0,
        "behind the end is nothing"
    );
    assert!(
        mount.stat("copied_bytes") >= 6_600_000.0,
        "it went through the kernel"
    );
    assert!(mount.read("/to") == wanted);
    drop((from, to));
    assert!(scene.cluster.get("/to").unwrap() == wanted);
    // The copy is whole without what it was copied from.
    fs::remove_file(mount.path("/from")).unwrap();
    assert!(mount.read("/to") == wanted);
}

#[test]
fn holes_are_found_and_stay_holes() {
    needs_fuse!();
    let scene = Scene::start();
    let mount = scene.mount(&[]);
    const MIB: u64 = 1 << 20;
    let file = open(&mount, "/sparse");
    file.set_len(20 * MIB).unwrap();
    file.write_all_at(&noise(1, 3 << 20), 8 * MIB).unwrap();
    let data = |at| seek(&file, SeekFrom::Data(at));
    let hole = |at| seek(&file, SeekFrom::Hole(at));
    // Nothing of it was saved before.
    assert_eq!(data(0), Ok(8 * MIB));
    assert_eq!(hole(0), Ok(0));
    assert_eq!(hole(9 * MIB), Ok(11 * MIB));
    assert_eq!(data(11 * MIB), Err(Errno::NXIO));
    assert_eq!(hole(20 * MIB), Err(Errno::NXIO));

    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&file, punch, 0, 9 * MIB).unwrap();
    file.sync_all().unwrap();
    fallocate(&file, FallocateFlags::ZERO_RANGE, 10 * MIB, 15 * MIB).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 25 * MIB);
    assert_eq!(data(0), Ok(8 * MIB), "what was a hole stays one");
    assert_eq!(hole(8 * MIB), Ok(11 * MIB));
    let mut wanted = vec![0; 25 << 20];
    wanted[9 << 20..10 << 20].copy_from_slice(&noise(1, 3 << 20)[1 << 20..2 << 20]);
    assert!(mount.read("/sparse") == wanted);

    fallocate(&file, FallocateFlags::KEEP_SIZE, 0, 30 * MIB).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 25 * MIB);
    fallocate(&file, FallocateFlags::empty(), 0, 30 * MIB).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 30 * MIB);
    let refused = fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, MIB);
    assert_eq!(refused, Err(Errno::OPNOTSUPP));
    drop(file);
    wanted.resize(30 << 20, 0);
    assert!(scene.cluster.get("/sparse").unwrap() == wanted);
}

#[test]
fn a_file_without_a_name_has_no_hole_where_it_has_data() {
    needs_fuse!();
    let scene = Scene::start();
    let mount = scene.mount(&[]);
    let file = open(&mount, "/f");
    fs::remove_file(mount.path("/f")).unwrap();
    file.write_all_at(b"data", 5000).unwrap();
    let found = seek(&file, SeekFrom::Data(0)).unwrap();
    assert!(found <= 5000, "{found}");
    assert_eq!(seek(&file, SeekFrom::Hole(5000)), Ok(5004));
}
