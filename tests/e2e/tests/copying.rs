//! Copies inside the mount, holes, and what fallocate(2) does.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::time::Duration;

use e2e::{Mount, Scene, eventually, needs_fuse, noise};
use rustix::fs::{FallocateFlags, SeekFrom, copy_file_range, fallocate, seek};
use rustix::io::Errno;

const SOON: Duration = Duration::from_secs(20);

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
    assert_eq!(hole(8 * MIB), Ok(10 * MIB), "a whole chunk is freed");
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
fn punching_frees_whole_chunks_and_uncovers_nothing() {
    needs_fuse!();
    let scene = Scene::start();
    let mount = scene.mount(&[]);
    const MIB: u64 = 1 << 20;
    let file = open(&mount, "/p");
    let mut wanted = noise(1, 9 << 20);
    file.write_all_at(&wanted, 0).unwrap();
    file.sync_all().unwrap();
    // A small chunk over a large one, which must not be uncovered.
    wanted[5 << 20..(5 << 20) + 4096].copy_from_slice(&noise(2, 4096));
    file.write_all_at(&noise(2, 4096), 5 * MIB).unwrap();
    file.sync_all().unwrap();
    let before = chunks(&scene, "/p");
    assert_eq!(before.len(), 6, "{before:?}");
    let taken = file.metadata().unwrap().blocks();
    let other = scene.mount_at("other", &[]);
    let check = |wanted: &[u8], what: &str| {
        assert!(mount.read("/p") == wanted, "{what}");
        assert!(
            scene.cluster.get("/p").unwrap() == wanted,
            "{what}: by the filer"
        );
        eventually(what, SOON, || other.read("/p") == wanted);
    };

    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&file, punch, 5 * MIB, 4096).unwrap();
    wanted[5 << 20..(5 << 20) + 4096].fill(0);
    file.sync_all().unwrap();
    let after = chunks(&scene, "/p");
    assert!(
        after.contains(&before[2]),
        "what is under it stays: {after:?}"
    );
    assert!(!after.contains(&before[3]), "{after:?}");
    check(&wanted, "a chunk over another one");

    // From inside the first chunk to inside the fifth.
    let (from, to) = (MIB + 100, 8 * MIB + MIB / 2);
    fallocate(&file, punch, from, to - from).unwrap();
    wanted[from as usize..to as usize].fill(0);
    check(&wanted, "chunks in the middle");
    let after = chunks(&scene, "/p");
    let kept: Vec<_> = before.iter().filter(|id| after.contains(id)).collect();
    assert_eq!(kept, [&before[0], &before[5]]);
    assert_eq!(seek(&file, SeekFrom::Hole(0)), Ok(2 * MIB));
    assert_eq!(seek(&file, SeekFrom::Data(2 * MIB)), Ok(8 * MIB));
    assert!(file.metadata().unwrap().blocks() < taken);
    // Garbage is collected.
    let server = scene.cluster.volume_http(0);
    eventually("the needles are gone", SOON, || {
        before[1..5].iter().all(|id| {
            let target = format!("{server}/{id}");
            let found = scene.cluster.http().send("GET", &target, &[], &[]);
            found.unwrap().status == 404
        })
    });

    // Not saved yet, to the end of the file and beyond.
    file.write_all_at(&noise(3, 6 << 20), 2 * MIB).unwrap();
    wanted[2 << 20..8 << 20].copy_from_slice(&noise(3, 6 << 20));
    fallocate(&file, FallocateFlags::ZERO_RANGE, 3 * MIB, 7 * MIB).unwrap();
    wanted.resize(10 << 20, 0);
    wanted[3 << 20..].fill(0);
    file.sync_all().unwrap();
    check(&wanted, "what was just written");
    assert_eq!(seek(&file, SeekFrom::Hole(2 * MIB)), Ok(4 * MIB));
    assert_eq!(seek(&file, SeekFrom::Data(4 * MIB)), Err(Errno::NXIO));
}

/// The ids of a file's chunks, by their places and then by age.
fn chunks(scene: &Scene, path: &str) -> Vec<String> {
    let answer = scene
        .cluster
        .filer(0, "GET", path, "metadata=true", &[], b"")
        .unwrap();
    let entry: serde_json::Value = serde_json::from_slice(&answer.ok().unwrap().body).unwrap();
    let mut chunks: Vec<(u64, String)> = entry["chunks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|chunk| {
            let (at, id) = (&chunk["offset"], &chunk["file_id"]);
            (at.as_u64().unwrap_or(0), id.as_str().unwrap().to_owned())
        })
        .collect();
    chunks.sort();
    chunks.into_iter().map(|(_, id)| id).collect()
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
