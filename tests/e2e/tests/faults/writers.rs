//! Servers that restart, clean up or are full under programs that write: what was acknowledged is there
//! afterwards, as every other way to it shows (docs/SEMANTICS.md, section 12).

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cluster::Cluster;
use e2e::{Mount, Scene, Sidecar, eventually, needs_fuse, noise};
use rustix::io::Errno;
use rustix::process::Signal;

use super::SOON;

/// Contents that writers choose from; of all sizes from less than a page to several chunks.
const CONTENTS: usize = 8;

/// Programs that write files, sync and close them, and say so. They are processes of their own: one
/// that has files open waits for them to be flushed whenever it starts another, such as a server.
struct Writers {
    children: Vec<Child>,
    listeners: Vec<JoinHandle<()>>,
    acknowledged: Arc<Mutex<BTreeMap<String, usize>>>,
    count: Arc<AtomicUsize>,
    contents: Vec<Vec<u8>>,
}

impl Writers {
    /// Starts `count` of them in directory `w` of the mount, each with `names` names that it writes
    /// again and again. Each file is made under another name and renamed, or written over as it is.
    fn start(scene: &Scene, mount: &Mount, count: usize, names: usize) -> Self {
        let source = scene.path("contents");
        fs::create_dir_all(&source).unwrap();
        let contents: Vec<Vec<u8>> = (0..CONTENTS)
            .map(|n| noise(n as u64, 1 + n * n * 110_003))
            .collect();
        for (n, bytes) in contents.iter().enumerate() {
            fs::write(source.join(n.to_string()), bytes).unwrap();
        }
        let dir = mount.path("/w");
        fs::create_dir(&dir).unwrap();
        let mut writers = Self {
            children: Vec::new(),
            listeners: Vec::new(),
            acknowledged: Arc::default(),
            count: Arc::default(),
            contents,
        };
        for writer in 0..count {
            let mut child = Command::new("sh")
                .args(["-c", SCRIPT, "writer"])
                .args([&source, &dir])
                .arg(writer.to_string())
                .arg(names.to_string())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let told = BufReader::new(child.stdout.take().unwrap());
            let (acknowledged, count) = (
                Arc::clone(&writers.acknowledged),
                Arc::clone(&writers.count),
            );
            writers.listeners.push(thread::spawn(move || {
                for line in told.lines().map_while(Result::ok) {
                    let (name, content) = line.split_once(' ').unwrap();
                    let content = content.parse().unwrap();
                    acknowledged
                        .lock()
                        .unwrap()
                        .insert(name.to_owned(), content);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }));
            writers.children.push(child);
        }
        writers
    }

    /// Waits until so many more files were acknowledged.
    fn go_on(&self, files: usize) {
        let from = self.count.load(Ordering::Relaxed);
        eventually("writers go on", SOON, || {
            self.count.load(Ordering::Relaxed) >= from + files
        });
    }

    /// Ends them between two files; what each said on standard error.
    fn stop(&mut self, dir: &Path) -> Vec<String> {
        // It may be full.
        let _ = fs::write(dir.join("stop"), b"");
        let told = self.children.iter_mut().map(|child| {
            let mut text = String::new();
            child
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut text)
                .unwrap();
            child.wait().unwrap();
            text
        });
        let told = told.collect();
        for listener in self.listeners.drain(..) {
            listener.join().unwrap();
        }
        told
    }

    /// Every file that was acknowledged, and its content.
    fn acknowledged(&self) -> BTreeMap<String, &[u8]> {
        let all = self.acknowledged.lock().unwrap();
        all.iter()
            .map(|(name, content)| (name.clone(), &*self.contents[*content]))
            .collect()
    }

    /// Compares all that was acknowledged with what the filer gives, and a mount that has seen
    /// nothing of it.
    fn check(&self, scene: &Scene, what: &str) {
        let fresh = scene.mount_at("fresh", &[]);
        let all = self.acknowledged();
        for (name, bytes) in &all {
            let path = format!("/w/{name}");
            let got = fresh.read(&path);
            let differs = got.iter().zip(*bytes).position(|(a, b)| a != b);
            assert_eq!(
                (got.len(), differs),
                (bytes.len(), None),
                "{what}: {path} by mount"
            );
            assert!(
                scene.cluster.get(&path).unwrap() == *bytes,
                "{what}: {path} by the filer"
            );
        }
        println!(
            "{what}: {} files written, {} names, all right",
            self.count.load(Ordering::Relaxed),
            all.len()
        );
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Writes until there is a file called `stop`, or something fails. Which content a file has changes
/// from round to round. An acknowledgement is one line: name and content.
const SCRIPT: &str = r#"
source=$1 dir=$2 writer=$3 names=$4 n=0
while [ ! -e "$source/stop" ]; do
    n=$((n + 1))
    content=$(((n * 5 + writer) % 8))
    name=w$writer.$((n % names))
    if [ $((n % 2)) = 0 ]; then
        dd if="$source/$content" of="$dir/$name.new" bs=64k conv=fsync status=none || exit 1
        mv "$dir/$name.new" "$dir/$name" || exit 1
    else
        dd if="$source/$content" of="$dir/$name" bs=64k conv=fsync status=none || exit 1
    fi
    echo "$name $content"
done
"#;

fn sources(scene: &Scene) -> PathBuf {
    scene.path("contents")
}

#[test]
fn a_volume_server_that_dies_again_and_again_costs_writers_nothing() {
    needs_fuse!();
    survive("volume server dies", |cluster| {
        cluster.kill_volume(0).unwrap();
        thread::sleep(AWAY);
        cluster.restart_volume(0).unwrap();
    });
}

#[test]
fn a_filer_that_dies_again_and_again_costs_writers_nothing() {
    needs_fuse!();
    survive("filer dies", |cluster| {
        cluster.kill_filer(0).unwrap();
        thread::sleep(AWAY);
        cluster.restart_filer(0).unwrap();
    });
}

/// The sidecar is killed, frozen in the middle of writes for longer than anybody waits, and stutters, with
/// a mount that writes by way of it.
fn sidecar_ordeal(what: &str, transports: &str) {
    let scene = Scene::start();
    scene.put("/seed", &noise(1, 1000));
    let mut sidecar = Sidecar::start(&scene, 0, &[transports]);
    let flags = ["-rdma.timeoutMs=700"];
    let mount = super::mount(&scene, "mnt", &sidecar.address(), &flags);
    let over = |mount: &Mount| mount.stat("rdma_writes");
    let mut writers = Writers::start(&scene, &mount, 3, 20);
    writers.go_on(15);
    assert!(over(&mount) > 0.0);
    for _ in 0..2 {
        sidecar.process().kill().unwrap();
        writers.go_on(15);
        sidecar.process().restart().unwrap();
        let before = over(&mount);
        eventually("writes go over the fabric again", SOON, || {
            over(&mount) > before + 10.0
        });
        sidecar.process().signal(Signal::STOP).unwrap();
        writers.go_on(15);
        sidecar.process().signal(Signal::CONT).unwrap();
        let before = over(&mount);
        eventually("writes go over the fabric again", SOON, || {
            over(&mount) > before + 10.0
        });
    }
    for _ in 0..6 {
        sidecar.process().signal(Signal::STOP).unwrap();
        thread::sleep(Duration::from_millis(300));
        sidecar.process().signal(Signal::CONT).unwrap();
        thread::sleep(Duration::from_millis(300));
    }
    writers.go_on(15);
    let told = writers.stop(&sources(&scene));
    assert!(
        told.iter().all(String::is_empty),
        "{told:?}\n{}",
        mount.log()
    );
    writers.check(&scene, what);
    let (over, http) = (over(&mount), mount.stat("http_writes"));
    println!("{what}: {over} chunks over the fabric, {http} over HTTP");
    assert!(http > 0.0 && over > 0.0);
    assert_eq!(mount.stat("write_fallbacks"), http);
}

#[test]
fn a_sidecar_that_dies_and_freezes_costs_those_who_write_over_shared_memory_nothing() {
    needs_fuse!();
    sidecar_ordeal("sidecar dies and freezes, shm", "-transports=shm");
}

#[test]
fn a_sidecar_that_dies_and_freezes_costs_those_who_write_over_tcp_nothing() {
    needs_fuse!();
    sidecar_ordeal("sidecar dies and freezes, tcp", "-transports=tcp");
}

/// How long a killed server is away.
const AWAY: Duration = Duration::from_millis(500);

/// Lets writers write while `fault` comes three times: none may be told of it, and nothing may be lost.
fn survive(what: &str, fault: impl Fn(&mut Cluster)) {
    let mut scene = Scene::start();
    let mount = scene.mount(&[]);
    let mut writers = Writers::start(&scene, &mount, 2, 20);
    for _ in 0..3 {
        writers.go_on(15);
        fault(&mut scene.cluster);
    }
    writers.go_on(15);
    let told = writers.stop(&sources(&scene));
    assert!(
        told.iter().all(String::is_empty),
        "{told:?}\n{}",
        mount.log()
    );
    writers.check(&scene, what);
}

#[test]
fn vacuum_takes_nothing_that_writers_need() {
    needs_fuse!();
    let scene = Scene::start();
    let mount = scene.mount(&[]);
    // Few names, so that most of what is written is garbage soon.
    let mut writers = Writers::start(&scene, &mount, 2, 3);
    let folder = e2e::data_folder(&scene.cluster, 0);
    let before = super::servers::inodes(&folder);
    writers.go_on(30);
    eventually("a volume is replaced", SOON, || {
        let mut master = TcpStream::connect(scene.cluster.master_http()).unwrap();
        let ask = b"GET /vol/vacuum?garbageThreshold=0.0001 HTTP/1.0\r\n\r\n";
        master.write_all(ask).unwrap();
        master
            .set_read_timeout(Some(Duration::from_secs(1)))
            .unwrap();
        let _ = master.read(&mut [0; 1000]);
        super::servers::inodes(&folder) != before
    });
    writers.go_on(30);
    let told = writers.stop(&sources(&scene));
    assert!(
        told.iter().all(String::is_empty),
        "{told:?}\n{}",
        mount.log()
    );
    writers.check(&scene, "vacuum");
}

/// A small file system in memory, for a disk that gets full.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(dir: &Path, megabytes: u32) -> Self {
        let size = format!("size={megabytes}m");
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "riptide-test"])
            .arg(dir)
            .status()
            .unwrap();
        assert!(done.success());
        Self(dir.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_an_error_and_nothing_that_was_acknowledged_is_lost() {
    needs_fuse!();
    let dir = tempfile::tempdir().unwrap();
    let _disk = SmallDisk::mount(dir.path(), 48);
    let scene = Scene::of(Cluster::builder().volume_arg(&format!("-dir={}", dir.path().display())));
    let mount = scene.mount(&[]);
    let mut writers = Writers::start(&scene, &mount, 2, 1000);
    eventually("both writers fail", Duration::from_secs(200), || {
        writers
            .children
            .iter_mut()
            .all(|child| child.try_wait().unwrap().is_some())
    });
    let told = writers.stop(&sources(&scene));
    for said in &told {
        let known = said.contains("No space left on device");
        assert!(known, "{said}\n{}", mount.log());
    }
    println!("a full disk: {}", told.join("").trim());
    writers.check(&scene, "full disk");
    expect_full(&mount);
}

#[test]
fn a_cluster_that_can_have_no_more_volumes_is_full() {
    needs_fuse!();
    let scene = Scene::of(
        Cluster::builder()
            .volume_size_limit_mb(8)
            .volume_arg("-max=1"),
    );
    let mount = scene.mount(&[]);
    fill(&mount, 1);
    expect_full(&mount);
    // What is there can still be read and removed, and metadata changes.
    assert_eq!(mount.read("/fill0").len(), 1 << 20);
    fs::remove_file(mount.path("/fill0")).unwrap();
    fs::create_dir(mount.path("/d")).unwrap();
}

#[test]
#[ignore = "a volume server looks at its disk once a minute: make conformance runs it"]
fn volumes_that_are_read_only_for_want_of_room_are_full() {
    needs_fuse!();
    let dir = tempfile::tempdir().unwrap();
    let _disk = SmallDisk::mount(dir.path(), 200);
    let scene = Scene::of(
        Cluster::builder()
            .volume_arg(&format!("-dir={}", dir.path().display()))
            .volume_arg("-minFreeSpace=40"),
    );
    let mount = scene.mount(&[]);
    fs::write(mount.path("/before"), b"x").unwrap();
    fs::write(dir.path().join("junk"), vec![0; 110 << 20]).unwrap();
    eventually(
        "the volumes are read-only",
        Duration::from_secs(150),
        || {
            thread::sleep(Duration::from_secs(1));
            write_synced(&mount, "/probe").is_err()
        },
    );
    expect_full(&mount);
    assert_eq!(mount.read("/before"), b"x");
}

#[test]
fn a_volume_server_that_is_away_for_ten_seconds_is_waited_for() {
    needs_fuse!();
    let mut scene = Scene::start();
    let mount = scene.mount(&[]);
    fs::write(mount.path("/before"), b"x").unwrap();
    scene.cluster.kill_volume(0).unwrap();
    let source = scene.path("source");
    fs::write(&source, noise(1, 3 << 20)).unwrap();
    // A process of its own: one that has the file open could not start the server.
    let mut writer = Command::new("dd")
        .arg(format!("if={}", source.display()))
        .arg(format!("of={}", mount.path("/meanwhile").display()))
        .args(["bs=1M", "conv=fsync", "status=none"])
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_secs(10));
    assert!(writer.try_wait().unwrap().is_none(), "{}", mount.log());
    scene.cluster.restart_volume(0).unwrap();
    assert!(writer.wait().unwrap().success(), "{}", mount.log());
    assert!(mount.read("/meanwhile") == noise(1, 3 << 20));
}

/// Writes files of 1 MiB until one fails, which is not one of the first `least`.
fn fill(mount: &Mount, least: usize) {
    for n in 0.. {
        if let Err(error) = write_synced(mount, &format!("/fill{n}")) {
            assert!(n >= least as u64, "{n}: {error}");
            return;
        }
    }
}

/// Writes a file of 1 MiB and syncs it: an error of `close` is not seen by most programs.
fn write_synced(mount: &Mount, path: &str) -> std::io::Result<()> {
    let mut file = fs::File::create(mount.path(path))?;
    file.write_all(&noise(1, 1 << 20))?;
    file.sync_all()
}

/// Writing fails with ENOSPC, and soon.
fn expect_full(mount: &Mount) {
    let start = Instant::now();
    let written = write_synced(mount, "/one more");
    let took = start.elapsed();
    let found = written.unwrap_err().raw_os_error();
    assert_eq!(found, Some(Errno::NOSPC.raw_os_error()), "{}", mount.log());
    println!("full: told after {took:?}");
    assert!(took < FULL, "{took:?}\n{}", mount.log());
}

/// A cluster without room is believed after three seconds (docs/SEMANTICS.md, section 12); doubled, as
/// machines that test are busy.
const FULL: Duration = Duration::from_secs(6);
