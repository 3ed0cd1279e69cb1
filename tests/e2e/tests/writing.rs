//! What programs write (docs/SEMANTICS.md, section on durability).

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cluster::Cluster;
use e2e::{Mount, Scene, needs_fuse, noise, text};

pub(crate) fn same(found: &[u8], wanted: &[u8], what: &str) {
    let differs = found.iter().zip(wanted).position(|(a, b)| a != b);
    assert_eq!((found.len(), differs), (wanted.len(), None), "{what}");
}

/// Compares a file as the filer gives it, and as another mount does.
pub(crate) fn everywhere(scene: &Scene, other: &Mount, path: &str, wanted: &[u8]) {
    same(
        &scene.cluster.get(path).unwrap(),
        wanted,
        "through the filer",
    );
    let began = Instant::now();
    while fs::metadata(other.path(path)).map_or(0, |found| found.len()) != wanted.len() as u64 {
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "the other mount does not see it"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    same(&other.read(path), wanted, "through another mount");
}

/// Writes files in all ways through a mount with these flags, and compares them with what is seen
/// elsewhere; the mount.
pub(crate) fn sequential_and_random(scene: &Scene, flags: &[&str]) -> Mount {
    let one = scene.mount_at("one", flags);
    let other = scene.mount_at("other", &[]);
    let mut wanted = noise(1, 64 << 20);
    let mut file = File::create(one.path("/large")).unwrap();
    for part in wanted.chunks(1 << 20) {
        file.write_all(part).unwrap();
    }
    drop(file);
    everywhere(scene, &other, "/large", &wanted);

    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(one.path("/large"))
        .unwrap();
    for step in 0..300usize {
        let at = step * 7_919_993 % (wanted.len() - 10_000);
        let part = noise(step as u64, 1 + step * 31 % 9000);
        wanted[at..at + part.len()].copy_from_slice(&part);
        file.write_all_at(&part, at as u64).unwrap();
    }
    file.sync_all().unwrap();
    drop(file);
    everywhere(scene, &other, "/large", &wanted);

    // Names and contents that compress.
    for (name, bytes) in [
        ("/t.txt", text(3, 5_000_000)),
        ("/t", text(4, 70_000)),
        ("/s", text(5, 900)),
        ("/e", vec![]),
    ] {
        fs::write(one.path(name), &bytes).unwrap();
        everywhere(scene, &other, name, &bytes);
    }
    one
}

#[test]
fn what_is_written_is_the_same_everywhere() {
    needs_fuse!();
    sequential_and_random(&Scene::start(), &[]);
}

#[test]
fn an_encrypted_cluster_holds_what_is_written() {
    needs_fuse!();
    sequential_and_random(&Scene::of(Cluster::builder().encrypted(true)), &[]);
}

#[test]
fn a_protected_cluster_takes_what_is_written() {
    needs_fuse!();
    sequential_and_random(&Scene::of(Cluster::builder().jwt(true).tls(true)), &[]);
}

#[test]
fn two_mounts_write_different_ranges_of_one_file_and_both_stay() {
    needs_fuse!();
    let scene = Scene::start();
    let (one, other) = (scene.mount_at("one", &[]), scene.mount_at("other", &[]));
    fs::write(one.path("/shared"), noise(9, 4 << 20)).unwrap();
    let mut wanted = noise(9, 4 << 20);
    while fs::metadata(other.path("/shared")).map_or(0, |found| found.len()) != 4 << 20 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let open = |mount: &Mount| {
        OpenOptions::new()
            .write(true)
            .open(mount.path("/shared"))
            .unwrap()
    };
    let files = [open(&one), open(&other)];
    for step in 0..200usize {
        let at = step * 20_000;
        let part = noise(1000 + step as u64, 5000);
        wanted[at..at + 5000].copy_from_slice(&part);
        files[step % 2].write_all_at(&part, at as u64).unwrap();
        if step % 17 == 0 {
            files[step % 2].sync_all().unwrap();
        }
    }
    drop(files);
    same(
        &scene.cluster.get("/shared").unwrap(),
        &wanted,
        "through the filer",
    );
}

/// Bytes of all volume files below `folder`.
fn volumes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => volumes(&entry.path()),
        Ok(found) if entry.path().extension() == Some("dat".as_ref()) => found.len(),
        _ => 0,
    });
    sizes.sum()
}

#[test]
fn fsync_through_another_descriptor_syncs_what_was_written_before() {
    needs_fuse!();
    let scene = Scene::start();
    let mount = scene.mount_at("mnt", &[]);
    fs::write(mount.path("/file"), noise(1, 100_000)).unwrap();
    let before = volumes(scene.cluster.root());
    assert!(before >= 100_000, "{before}");
    // A volume server syncs with something that it is given, a few bytes.
    let sync = || {
        let file = File::open(mount.path("/file")).unwrap();
        file.sync_all().unwrap();
        drop(file);
        volumes(scene.cluster.root())
    };
    fs::read(mount.path("/file")).unwrap();
    let synced = sync();
    assert!(
        synced > before,
        "{synced} bytes in volumes, none for the sync"
    );
    assert_eq!(sync(), synced, "it is on disk already");
}

/// A process that writes what it is given to a file, syncs and closes it. It is not this one:
/// a process that has the file open would wait for its flush whenever it starts another.
fn copier(to: &Path) -> Child {
    Command::new("dd")
        .arg(format!("of={}", to.display()))
        .args(["bs=1M", "iflag=fullblock", "conv=fsync", "status=none"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap()
}

fn write_through(scene: &mut Scene, mut trouble: impl FnMut(&mut Cluster, usize)) {
    let mount = scene.mount(&[]);
    let wanted = noise(5, 24 << 20);
    let mut child = copier(&mount.path("/f"));
    let mut input = child.stdin.take().unwrap();
    for (index, part) in wanted.chunks(1 << 20).enumerate() {
        input.write_all(part).unwrap();
        trouble(&mut scene.cluster, index);
    }
    drop(input);
    assert!(child.wait().unwrap().success(), "{}", mount.log());
    same(
        &scene.cluster.get("/f").unwrap(),
        &wanted,
        "through the filer",
    );
}

#[test]
fn a_volume_server_that_restarts_costs_no_byte_that_was_acknowledged() {
    needs_fuse!();
    write_through(&mut Scene::start(), |cluster, index| match index {
        6 => cluster.kill_volume(0).unwrap(),
        12 => std::thread::sleep(Duration::from_secs(3)),
        15 => cluster.restart_volume(0).unwrap(),
        _ => {}
    });
}

#[test]
fn a_filer_that_restarts_costs_no_byte_that_was_acknowledged() {
    needs_fuse!();
    write_through(&mut Scene::start(), |cluster, index| match index {
        6 => cluster.kill_filer(0).unwrap(),
        12 => std::thread::sleep(Duration::from_secs(3)),
        15 => cluster.restart_filer(0).unwrap(),
        _ => {}
    });
}

#[test]
fn more_chunks_than_an_entry_should_hold_become_a_manifest() {
    needs_fuse!();
    let scene = Scene::start();
    let mount = scene.mount(&["-chunkSizeLimitMB=1"]);
    let file = File::create(mount.path("/many")).unwrap();
    let mut wanted = vec![0; 11_000 * 100];
    for index in 0..11_000usize {
        let part = [(index % 251) as u8 + 1; 10];
        wanted[index * 100..index * 100 + 10].copy_from_slice(&part);
        file.write_all_at(&part, index as u64 * 100).unwrap();
    }
    file.set_len(wanted.len() as u64).unwrap();
    file.sync_all().unwrap();
    drop(file);
    same(
        &scene.cluster.get("/many").unwrap(),
        &wanted,
        "through the filer",
    );
    let mut found = Vec::new();
    File::open(mount.path("/many"))
        .unwrap()
        .read_to_end(&mut found)
        .unwrap();
    same(&found, &wanted, "through the mount");
}
