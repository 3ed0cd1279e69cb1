//! Files that are whole on the local disk and read there by the kernel itself (docs/SEMANTICS.md,
//! section 13).

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use e2e::{
    Bound, Mount, Random, Sample, Scene, Sidecar, assert_reads, eventually, needs_fuse, noise,
    plant, read_at, read_mapped, riptide,
};
use rustix::process::Signal;

/// The promise. One of a few measurements must keep it: the machine may be busy.
const PROMISE: Bound = Bound {
    limit: Duration::from_millis(100),
    tries: 8,
};

/// For what comes by itself.
const SOON: Duration = Duration::from_secs(60);

/// Without a disk cache of chunks, so that it is whole files that are seen.
const FAST: [&str; 3] = ["mount-fast", "-cacheCapacityMB=0", "-cache.minFreeMB=64"];

fn fast(scene: &Scene, flags: &[&str]) -> Mount {
    scene.mount(&[&FAST, flags].concat())
}

/// What the command says.
fn warmup(paths: &[&Path]) -> Output {
    let mut command = Command::new(riptide());
    command.arg("warmup").args(paths).output().unwrap()
}

fn warm(path: &Path) {
    let output = warmup(&[path]);
    assert!(output.status.success(), "{output:?}");
}

/// Whether this kernel can; says if not.
fn passes(mount: &Mount) -> bool {
    let metrics = String::from_utf8(mount.http("/metrics").body).unwrap();
    let line = metrics
        .lines()
        .find(|line| line.starts_with("riptide_passthrough{"));
    let line = line.unwrap_or_default();
    let passes = line.contains("used=\"true\"");
    if !passes {
        eprintln!("SKIPPED: no passthrough here: {line}");
    }
    passes
}

#[test]
fn the_kernel_reads_a_whole_file_without_asking() {
    needs_fuse!();
    let scene = Scene::start();
    let bytes = noise(1, (12 << 20) + 345);
    scene.put("/a/file", &bytes);
    let mount = fast(&scene, &[]);
    if !passes(&mount) {
        return;
    }
    let path = mount.path("/a/file");
    warm(&path);
    let before = mount.stat("total_reads");
    assert_reads(&path, &bytes);
    assert_eq!(
        mount.stat("total_reads"),
        before,
        "reads that came to the mount"
    );
    assert!(mount.stat("passthrough_opens") > 10.0);
    assert_eq!(fs::metadata(&path).unwrap().len(), bytes.len() as u64);
    eventually("nothing stays open", SOON, || {
        mount.stat("passthrough_files") == 0.0
    });
    // Written to, it is not.
    let error = File::options().append(true).open(&path).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(30), "{error}");
}

#[test]
fn until_it_is_whole_many_read_it_as_usual() {
    needs_fuse!();
    let scene = Scene::start();
    let bytes = noise(2, 24 << 20);
    scene.put("/file", &bytes);
    let mount = fast(&scene, &["-cache.fillMBps=16"]);
    let path = mount.path("/file");
    let complete = AtomicBool::new(false);
    thread::scope(|threads| {
        for seed in 0..12 {
            let (path, bytes, complete) = (&path, &bytes, &complete);
            threads.spawn(move || {
                let mut random = Random::new(seed);
                while !complete.load(Ordering::Relaxed) {
                    let file = File::open(path).unwrap();
                    for _ in 0..20 {
                        let at = random.below(bytes.len() as u64);
                        let read = read_at(&file, at, 70_000).unwrap();
                        assert!(read == bytes[at as usize..][..read.len()], "at {at}");
                    }
                }
            });
        }
        // Nobody warms it: that it is opened is enough.
        eventually("it is whole", SOON, || mount.stat("whole_filled") == 1.0);
        complete.store(true, Ordering::Relaxed);
    });
    if !passes(&mount) {
        return;
    }
    eventually("it is read past the mount", SOON, || {
        let before = mount.stat("total_reads");
        fs::read(&path).unwrap() == bytes && mount.stat("total_reads") == before
    });
}

#[test]
fn every_kind_of_file_is_kept_whole_and_reads_as_planted() {
    needs_fuse!();
    let scene = Scene::start();
    let samples = plant(&scene);
    let mount = fast(&scene, &["-cache.decrypted"]);
    warm(&mount.path("/kinds"));
    let before = mount.stat("total_reads");
    // A file without bytes needs no keeping.
    let (empty, samples): (Vec<_>, Vec<_>) =
        samples.iter().partition(|sample| sample.bytes.is_empty());
    for Sample { path, bytes } in samples {
        assert_reads(&mount.path(path), bytes);
    }
    if passes(&mount) {
        assert_eq!(
            mount.stat("total_reads"),
            before,
            "reads that came to the mount"
        );
    }
    for Sample { path, .. } in empty {
        assert_reads(&mount.path(path), &[]);
    }
}

#[test]
fn what_is_stored_encrypted_is_kept_only_when_asked_for() {
    needs_fuse!();
    let scene = Scene::start();
    let samples = plant(&scene);
    let mount = fast(&scene, &[]);
    let output = warmup(&[&mount.path("/kinds")]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        errors.contains("/kinds/sealed: it is stored encrypted"),
        "{errors}"
    );
    assert!(errors.contains("1 files are not warm"), "{errors}");
    for Sample { path, bytes } in &samples {
        assert_reads(&mount.path(path), bytes);
    }
    let sealed = samples
        .iter()
        .find(|sample| sample.path == "/kinds/sealed")
        .unwrap();
    assert!(!contains(&scene.path("mnt.cache"), &sealed.bytes[..4096]));
}

/// Whether some file below a folder has these bytes.
fn contains(dir: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => contains(&path, bytes),
            false => fs::read(&path)
                .unwrap()
                .windows(bytes.len())
                .any(|window| window == bytes),
        }
    })
}

#[test]
fn a_change_elsewhere_is_seen_at_the_next_open_and_not_by_who_has_it_open() {
    needs_fuse!();
    let scene = Scene::start();
    let version = |n: u32| noise(u64::from(n), 3_000_000 + 70_001 * n as usize);
    scene.put("/d/file", &version(0));
    let mount = fast(&scene, &[]);
    if !passes(&mount) {
        return;
    }
    let path = mount.path("/d/file");
    warm(&path);
    let mut held: Vec<(File, Vec<u8>)> = Vec::new();
    let check = |(file, bytes): &(File, Vec<u8>)| {
        let before = mount.stat("total_reads");
        assert_eq!(file.metadata().unwrap().len(), bytes.len() as u64);
        assert!(read_at(file, 0, bytes.len() + 10).unwrap() == *bytes);
        let mut byte = [0];
        assert_eq!(
            file.read_at(&mut byte, bytes.len() as u64).unwrap(),
            0,
            "its end"
        );
        assert_eq!(mount.stat("total_reads"), before);
    };
    PROMISE.hold(
        "another version",
        |n| {
            warm(&path);
            held.push((File::open(&path).unwrap(), version(n)));
            check(&held[n as usize]);
            scene.put("/d/file", &version(n + 1));
        },
        |n| {
            let read = fs::read(&path).unwrap();
            let is_old = read == version(n);
            assert!(is_old || read == version(n + 1), "neither of the two");
            !is_old && fs::metadata(&path).unwrap().len() == read.len() as u64
        },
    );
    // All versions at once, each in its handle.
    held.iter().for_each(check);
    // As with a file that was replaced by a rename, a handle opened by way of another stays there.
    let (old, bytes) = &held[0];
    use std::os::fd::AsRawFd;
    let again = File::open(format!("/proc/self/fd/{}", old.as_raw_fd())).unwrap();
    assert!(read_at(&again, 0, bytes.len()).unwrap() == *bytes);
    assert_eq!(old.metadata().unwrap().nlink(), 0);
    drop((held, again));
    eventually("nothing stays open", SOON, || {
        mount.stat("passthrough_files") == 0.0
    });
}

#[test]
fn appended_truncated_removed_and_made_again_it_is_never_mixed() {
    needs_fuse!();
    let scene = Scene::start();
    let first = noise(1, 2_000_000);
    scene.put("/file", &first);
    let mount = fast(&scene, &[]);
    if !passes(&mount) {
        return;
    }
    let path = mount.path("/file");
    let other = scene.mount_at("other", &[]);
    let mut expected = first;
    let mut held = Vec::new();
    for round in 0..6_u64 {
        eventually("it is the current one", SOON, || {
            fs::read(&path).is_ok_and(|bytes| bytes == expected)
        });
        warm(&path);
        let file = File::open(&path).unwrap();
        let mapped = read_mapped(&path).unwrap();
        assert!(mapped == expected);
        held.push((file, expected.clone()));
        let elsewhere = other.path("/file");
        match round % 3 {
            0 => {
                let more = noise(100 + round, 300_000);
                let mut all = expected.clone();
                all.extend(&more);
                fs::write(&elsewhere, &all).unwrap();
                expected = all;
            }
            1 => {
                let file = File::options().write(true).open(&elsewhere).unwrap();
                file.set_len(123_456).unwrap();
                expected.truncate(123_456);
            }
            _ => {
                fs::remove_file(&elsewhere).unwrap();
                eventually("it is gone", SOON, || !path.exists());
                expected = noise(200 + round, 1_500_000);
                fs::write(&elsewhere, &expected).unwrap();
            }
        }
        for (file, bytes) in &held {
            assert!(read_at(file, 0, bytes.len() + 1).unwrap() == *bytes);
        }
    }
}

#[test]
fn a_hard_link_shows_the_new_version_under_all_its_names() {
    needs_fuse!();
    let scene = Scene::start();
    let writer = scene.mount_at("writer", &[]);
    let (old, new) = (noise(1, 400_000), noise(2, 500_000));
    fs::write(writer.path("/one"), &old).unwrap();
    fs::hard_link(writer.path("/one"), writer.path("/two")).unwrap();
    let mount = fast(&scene, &[]);
    let (one, two) = (mount.path("/one"), mount.path("/two"));
    eventually("both are there", SOON, || one.exists() && two.exists());
    warm(&one);
    let held = File::open(&one).unwrap();
    assert!(fs::read(&two).unwrap() == old);
    fs::write(writer.path("/two"), &new).unwrap();
    for path in [&one, &two] {
        eventually("the new version", SOON, || fs::read(path).unwrap() == new);
        assert_eq!(fs::metadata(path).unwrap().nlink(), 2);
    }
    if passes(&mount) {
        assert!(read_at(&held, 0, 600_000).unwrap() == old);
    }
}

#[test]
fn a_remount_has_it_without_asking_a_server() {
    needs_fuse!();
    let mut scene = Scene::start();
    let files = [
        ("/a", noise(1, 9 << 20)),
        ("/b/c", noise(2, 777)),
        ("/b/d", noise(3, 1 << 20)),
    ];
    for (path, bytes) in &files {
        scene.put(path, bytes);
    }
    {
        let mount = fast(&scene, &[]);
        warm(mount.dir());
        assert_eq!(mount.stat("whole_filled"), 3.0);
    }
    scene.cluster.kill_volume(0).unwrap();
    let mount = fast(&scene, &[]);
    for (path, bytes) in &files {
        assert_reads(&mount.path(path), bytes);
    }
    assert_eq!(mount.stat("whole_filled"), 0.0);
    assert_eq!(mount.stat("whole_filled_bytes"), 0.0);
}

#[test]
fn a_file_that_is_open_is_not_evicted() {
    needs_fuse!();
    let scene = Scene::start();
    let bytes = |n| noise(n, 5 << 20);
    for n in 0..5 {
        scene.put(&format!("/{n}"), &bytes(n));
    }
    let mount = fast(&scene, &["-cache.filesMB=12"]);
    warm(&mount.path("/0"));
    let held = File::open(mount.path("/0")).unwrap();
    for n in 1..5 {
        let path = mount.path(&format!("/{n}"));
        warm(&path);
        assert_reads(&path, &bytes(n));
    }
    assert!(mount.stat("whole_held_bytes") <= f64::from(12 << 20));
    assert!(mount.stat("whole_evictions") >= 3.0);
    let before = mount.stat("total_reads");
    assert!(read_at(&held, 0, 6 << 20).unwrap() == bytes(0));
    if passes(&mount) {
        assert_eq!(mount.stat("total_reads"), before);
        let evicted = Command::new(riptide())
            .args(["cache", "evict"])
            .arg(mount.dir())
            .output();
        let said = String::from_utf8(evicted.unwrap().stdout).unwrap();
        assert!(said.contains("1 files stay, as they are open"), "{said}");
        assert!(read_at(&held, 0, 6 << 20).unwrap() == bytes(0));
    }
}

#[test]
fn a_file_larger_than_the_room_is_read_as_usual() {
    needs_fuse!();
    let scene = Scene::start();
    let bytes = noise(1, 9 << 20);
    scene.put("/large", &bytes);
    let mount = fast(&scene, &["-cache.filesMB=4"]);
    let path = mount.path("/large");
    let output = warmup(&[&path]);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        errors.contains("it has 9437184 bytes, and the cache 4194304"),
        "{errors}"
    );
    assert_reads(&path, &bytes);
}

#[test]
fn killed_while_files_come_it_finds_none_of_them_half() {
    needs_fuse!();
    let scene = Scene::start();
    let files: Vec<_> = (0..6)
        .map(|n| (format!("/{n}"), noise(n, 4 << 20)))
        .collect();
    for (path, bytes) in &files {
        scene.put(path, bytes);
    }
    for round in 0..3 {
        let mut mount = fast(&scene, &["-cache.fillMBps=12", "-cache.fillers=3"]);
        for (path, bytes) in &files {
            let file = File::open(mount.path(path)).unwrap();
            assert!(read_at(&file, 0, 1000).unwrap() == bytes[..1000]);
        }
        thread::sleep(Duration::from_millis(300 * (round + 1)));
        mount.signal(Signal::KILL);
        mount.process().wait(SOON).unwrap();
        drop(mount);
    }
    let mount = fast(&scene, &[]);
    for (path, bytes) in &files {
        assert_reads(&mount.path(path), bytes);
    }
    warm(mount.dir());
    let before = mount.stat("total_reads");
    for (path, bytes) in &files {
        assert_reads(&mount.path(path), bytes);
    }
    if passes(&mount) {
        assert_eq!(mount.stat("total_reads"), before);
    }
}

/// An overlay file system; unmounted when dropped.
struct Overlay<'a>(&'a Path);

impl Drop for Overlay<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn where_the_kernel_does_not_read_it_the_mount_does_from_the_same_file() {
    needs_fuse!();
    let mut scene = Scene::start();
    let bytes = noise(1, 7 << 20);
    scene.put("/file", &bytes);
    // The kernel registers no files of a file system that lies on another.
    for folder in ["lower", "upper", "work", "merged"] {
        fs::create_dir(scene.path(folder)).unwrap();
    }
    let at = |name| scene.path(name).display().to_string();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        at("lower"),
        at("upper"),
        at("work")
    );
    let merged = scene.path("merged");
    let mut command = Command::new("mount");
    command
        .args(["-t", "overlay", "overlay", "-o", &options])
        .arg(&merged);
    if !command.status().unwrap().success() {
        eprintln!("SKIPPED: no overlayfs here");
        return;
    }
    let overlay = Overlay(&merged);
    let cache = format!("-cacheDir={}", merged.display());
    {
        let mount = fast(&scene, &[&cache]);
        let metrics = String::from_utf8(mount.http("/metrics").body).unwrap();
        assert!(
            metrics.contains("riptide_passthrough{used=\"false\",reason=\"the cache lies on"),
            "{metrics}"
        );
        warm(&mount.path("/file"));
        assert_reads(&mount.path("/file"), &bytes);
        assert_eq!(mount.stat("passthrough_opens"), 0.0);
    }
    scene.cluster.kill_volume(0).unwrap();
    let mount = fast(&scene, &[&cache]);
    assert_reads(&mount.path("/file"), &bytes);
    drop(mount);
    drop(overlay);
}

#[test]
fn it_goes_with_io_uring_and_with_a_sidecar_alone() {
    needs_fuse!();
    let scene = Scene::start();
    let bytes = noise(1, 11 << 20);
    scene.put("/file", &bytes);
    let sidecar = Sidecar::start(&scene, 0, &[]);
    let at = format!("-rdma.sidecar={}", sidecar.address());
    let mut flags = vec!["-rdma.enabled", "-rdma.fallback=false", &at];
    if Path::new("/sys/module/fuse/parameters/enable_uring").exists() {
        flags.push("-fuse.transport=uring");
    }
    let mount = fast(&scene, &flags);
    let path = mount.path("/file");
    assert_reads(&path, &bytes);
    warm(&path);
    let before = mount.stat("total_reads");
    eventually("it is read past the mount", SOON, || {
        let read = fs::read(&path).unwrap();
        assert!(read == bytes);
        !passes(&mount) || mount.stat("total_reads") == before
    });
}

#[test]
fn a_mount_that_writes_keeps_no_whole_files() {
    needs_fuse!();
    let scene = Scene::start();
    let refused = Mount::refused(
        &scene,
        "writes",
        &["mount-fast", "-read-only=false", "-dirAutoCreate"],
    );
    assert!(
        refused.output.contains("-cache.aggressive needs -readOnly"),
        "{}",
        refused.output
    );
}
