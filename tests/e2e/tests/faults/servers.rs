//! Volume servers that restart, clean up, and hand their volumes over.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use cluster::Cluster;
use e2e::{Mount, Readers, Scene, Sidecar, data_folder, eventually, needs_fuse, noise};
use volume::DataDir;
use volume::inspect::{Found, volumes};

use super::{SHORT, SOON, STRICT, metric, mount, samples, tell};

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
        );
        assert!(meanwhile > 0, "the files are there all the time");
        assert_eq!(tally.errors, 0, "{tally}");
    }
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
    vacuum_under_readers(&[STRICT]);
}

#[test]
fn vacuum_replaces_the_files_under_who_reads_them_itself() {
    needs_fuse!();
    let mount = vacuum_under_readers(&[STRICT, SHORT]);
    let borrowed = metric(&mount.1, "short_circuit_borrowed");
    println!("files borrowed {borrowed} times");
    assert!(borrowed > metric(&mount.1, "short_circuit_volumes"));
}

fn vacuum_under_readers(flags: &[&str]) -> (Scene, Mount) {
    let scene = Scene::start();
    let junk = |n: u64| format!("/junk/{n}");
    for n in 0..30 {
        scene.put(&junk(n), &noise(n, 300_000));
    }
    let samples = samples(&scene);
    let sidecar = Sidecar::start(&scene, 0, &[]);
    let mount = mount(&scene, "strict", &sidecar.address(), flags);
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
    tell(
        &format!("vacuum of {replaced} volumes, strict"),
        &mount,
        &tally,
    );
    assert!(replaced > 0);
    assert_eq!(tally.errors, 0, "{tally}");
    (scene, mount)
}

/// Has `weed shell` carry out commands.
fn shell(scene: &Scene, commands: &str) -> String {
    let mut shell = Command::new(scene.cluster.weed())
        .arg("shell")
        .arg(format!("-master={}", scene.cluster.master_http()))
        .arg(format!("-filer={}", scene.cluster.filer_http()))
        .current_dir(scene.cluster.home())
        .env("HOME", scene.cluster.home())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = shell.stdin.take().unwrap();
    input.write_all(commands.as_bytes()).unwrap();
    drop(input);
    let output = shell.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// Moves volumes from the first server to the second as `volume.move` does: marked read-only, their
/// files copied, mounted there and deleted here. That command itself refuses servers on a loopback
/// address, so the copy is made by hand.
fn hand_over(scene: &Scene, found: &[Found]) -> String {
    let [from, to] = [0, 1].map(|i| scene.cluster.volume_http(i));
    let [old, new] = [0, 1].map(|i| data_folder(&scene.cluster, i));
    let each = |command: &str| -> String {
        let line = |volume: &Found| format!("{command} -volumeId {}\n", volume.id);
        let lines: String = found.iter().map(line).collect();
        shell(scene, &format!("lock\n{lines}unlock\nexit\n"))
    };
    let mut said = each(&format!("volume.mark -readonly -node {from}"));
    for volume in found {
        for extension in ["vif", "idx", "dat"] {
            let name = format!("{}.{extension}", volume.id);
            fs::copy(old.join(&name), new.join(&name)).unwrap();
        }
    }
    said += &each(&format!("volume.mount -node {to}"));
    said += &each(&format!("volume.delete -node {from}"));
    said
}

#[test]
fn volumes_move_to_another_server_under_readers() {
    needs_fuse!();
    volumes_move(&[]);
}

#[test]
fn volumes_move_to_another_server_under_who_reads_their_files() {
    needs_fuse!();
    volumes_move(&[SHORT]);
}

fn volumes_move(flags: &[&str]) {
    let scene = Scene::of(Cluster::builder().volume_servers(2));
    let samples = samples(&scene);
    let sidecars = [0, 1].map(|i| Sidecar::start(&scene, i, &[]));
    let both = format!("{},{}", sidecars[0].address(), sidecars[1].address());
    let two = mount(&scene, "both", &both, flags);
    let one = mount(&scene, "one", &sidecars[0].address(), flags);
    let mounts = [
        (&two, "a sidecar at both"),
        (&one, "a sidecar at the old one only"),
    ];
    let readers = mounts.map(|(mount, _)| Readers::mixed(mount, &samples, 2));
    readers
        .iter()
        .for_each(|readers| readers.recovered(40, SOON));
    let folder = data_folder(&scene.cluster, 0);
    let found = volumes(&DataDir::new(&folder)).unwrap();
    let said = hand_over(&scene, &found);
    let left = inodes(&folder).len();
    assert_eq!((found.is_empty(), left), (false, 0), "{said}");
    if flags.contains(&SHORT) {
        let before = metric(&two, "short_circuit_reads");
        eventually("the files at the new server are read", SOON, || {
            metric(&two, "short_circuit_reads") > before + 100
        });
        let one_reads = || metric(&one, "short_circuit_reads");
        let before = one_reads();
        readers
            .iter()
            .for_each(|readers| readers.recovered(100, SOON));
        assert_eq!(one_reads(), before, "who has no sidecar there has no files");
    }
    readers
        .iter()
        .for_each(|readers| readers.recovered(100, SOON));
    for (readers, (mount, what)) in readers.into_iter().zip(mounts) {
        let tally = readers.finish();
        tell(
            &format!("{} volumes moved, {what}", found.len()),
            mount,
            &tally,
        );
        assert_eq!(tally.errors, 0, "{tally}\n{said}");
    }
    assert!(one.stat("http_requests") > 0.0, "nobody else has them");
}
