//! Volume servers that restart and clean up.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use e2e::{Mount, Readers, Scene, Sidecar, data_folder, eventually, needs_fuse, noise};
use volume::DataDir;
use volume::inspect::volumes;

use super::{SHORT, SOON, STRICT, TIMEOUT, metric, mount, samples, tell};

#[test]
fn a_volume_server_that_restarts_is_not_missed_where_there_is_a_sidecar() {
    needs_fuse!();
    volume_server_restarts(&[]);
}

#[test]
fn a_volume_server_that_restarts_is_not_missed_by_who_reads_its_files() {
    needs_fuse!();
    volume_server_restarts(&[SHORT]);
}

fn volume_server_restarts(flags: &[&str]) {
    let mut scene = Scene::start();
    let samples = samples(&scene);
    let sidecar = Sidecar::start(&scene, 0, &[]);
    let address = sidecar.address();
    let falls = mount(&scene, "falls", &address, flags);
    let strict = mount(&scene, "strict", &address, &[flags, &[STRICT]].concat());
    let mounts = [(&falls, "falls back"), (&strict, "strict")];
    let readers = mounts.map(|(mount, _)| Readers::mixed(mount, &samples, 2));
    readers
        .iter()
        .for_each(|readers| readers.recovered(40, SOON));
    scene.cluster.kill_volume(0).unwrap();
    let before = readers.each_ref().map(Readers::reads);
    thread::sleep(Duration::from_secs(2));
    let after = readers.each_ref().map(Readers::reads);
    scene.cluster.restart_volume(0).unwrap();
    let short = [&falls, &strict].map(|mount| metric(mount, "short_circuit_reads"));
    readers
        .iter()
        .for_each(|readers| readers.recovered(40, SOON));
    if flags.contains(&SHORT) {
        eventually("its files are read afterwards", SOON, || {
            metric(&falls, "short_circuit_reads") > short[0] + 40
                && metric(&strict, "short_circuit_reads") > short[1] + 40
        });
    }
    for (n, (readers, (mount, mode))) in readers.into_iter().zip(mounts).enumerate() {
        let tally = readers.finish();
        let meanwhile = after[n] - before[n];
        tell(
            &format!("volume server restarts, {meanwhile} reads while away, {mode}"),
            mount,
            &tally,
            TIMEOUT,
        );
        assert!(meanwhile > 0, "the files are there all the time");
        assert_eq!(tally.errors, 0, "{tally}");
    }
    assert_eq!(metric(&strict, "http_requests"), 0);
}

/// The inodes of the volumes' files: a vacuum replaces them.
pub(crate) fn inodes(folder: &Path) -> Vec<u64> {
    let found = volumes(&DataDir::new(folder)).unwrap().into_iter();
    let inode = |id| fs::metadata(folder.join(format!("{id}.dat"))).map(|file| file.ino());
    found.filter_map(|volume| inode(volume.id).ok()).collect()
}

#[test]
fn vacuum_replaces_the_files_under_readers() {
    needs_fuse!();
    vacuum_under_readers(&[]);
}

#[test]
fn without_fallback_vacuum_replaces_the_files_under_readers_too() {
    needs_fuse!();
    vacuum_under_readers(&[STRICT]);
}

#[test]
fn vacuum_replaces_the_files_under_who_reads_them_itself() {
    needs_fuse!();
    let kept = vacuum_under_readers(&[STRICT, SHORT]);
    let mount = &kept.0;
    let borrowed = metric(mount, "short_circuit_borrowed");
    println!("files borrowed {borrowed} times");
    assert!(borrowed > metric(mount, "short_circuit_volumes"));
}

/// The mount comes first: it has to go before the folder that it is in.
fn vacuum_under_readers(flags: &[&str]) -> (Mount, Scene) {
    let scene = Scene::start();
    let junk = |n: u64| format!("/junk/{n}");
    for n in 0..30 {
        scene.put(&junk(n), &noise(n, 300_000));
    }
    let samples = samples(&scene);
    let sidecar = Sidecar::start(&scene, 0, &[]);
    let mount = mount(&scene, "mnt", &sidecar.address(), flags);
    let readers = Readers::mixed(&mount, &samples, 3);
    readers.recovered(40, SOON);
    let folder = data_folder(&scene.cluster, 0);
    let before = inodes(&folder);
    for n in 0..30 {
        scene.cluster.delete(&junk(n)).unwrap();
    }
    eventually("a volume is replaced", SOON, || {
        let mut master = TcpStream::connect(scene.cluster.master_http()).unwrap();
        let ask = b"GET /vol/vacuum?garbageThreshold=0.0001 HTTP/1.0\r\n\r\n";
        master.write_all(ask).unwrap();
        // It goes from volume to volume, and pauses in between.
        master
            .set_read_timeout(Some(Duration::from_secs(1)))
            .unwrap();
        let _ = master.read(&mut [0; 1000]);
        inodes(&folder) != before
    });
    readers.recovered(100, SOON);
    let replaced = inodes(&folder)
        .iter()
        .filter(|new| !before.contains(new))
        .count();
    let tally = readers.finish();
    let what = format!("vacuum of {replaced} volumes, {flags:?}");
    tell(&what, &mount, &tally, TIMEOUT);
    assert!(replaced > 0);
    assert_eq!(tally.errors, 0, "{tally}");
    assert!(!flags.contains(&STRICT) || metric(&mount, "http_requests") == 0);
    (mount, scene)
}
