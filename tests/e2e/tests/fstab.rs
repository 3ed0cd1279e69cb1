//! `riptide fuse` and mount(8): mounts in the background.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use cluster::{mounted, unmount};
use e2e::{Scene, eventually, needs_fuse, riptide};

/// A mount point that is free again when the test ends.
struct Point(PathBuf);

impl Point {
    fn new(scene: &Scene) -> Self {
        let dir = scene.path("mnt");
        fs::create_dir_all(&dir).unwrap();
        Self(dir.canonicalize().unwrap())
    }

    /// The processes that serve it, by their command line.
    fn servers(&self) -> usize {
        let flag = format!("--dir={}", self.0.display());
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
        lines
            .filter(|line| {
                line.split(|byte| *byte == 0)
                    .any(|word| word == flag.as_bytes())
            })
            .count()
    }

    /// Unmounts as an administrator does, after which nobody serves it.
    fn end(&self) {
        let status = Command::new("umount").arg(&self.0).status().unwrap();
        assert!(status.success(), "{status}");
        eventually("its process is gone", Duration::from_secs(20), || {
            self.servers() == 0
        });
        assert!(!mounted(&self.0).unwrap());
    }
}

impl Drop for Point {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.0) {
            eprintln!("{error:#}");
        }
    }
}

fn options(scene: &Scene, more: &str) -> String {
    let cache = scene.path("cache");
    fs::create_dir_all(&cache).unwrap();
    let filer = scene.cluster.filer_http();
    let home = scene.cluster.home().display();
    format!(
        "filer='{filer}',cacheDir={},config_dir={home}{more}",
        cache.display()
    )
}

fn run(program: &Path, words: &[&str]) -> Output {
    Command::new(program).args(words).output().unwrap()
}

/// A link to the program.
fn linked_as(scene: &Scene, name: &str) -> PathBuf {
    let bin = scene.path("bin");
    fs::create_dir_all(&bin).unwrap();
    let link = bin.join(name);
    symlink(riptide().canonicalize().unwrap(), &link).unwrap();
    link
}

#[test]
fn fuse_returns_when_the_mount_is_ready() {
    needs_fuse!();
    let scene = Scene::start();
    scene.put("/sub/f", b"x");
    let point = Point::new(&scene);
    let dir = point.0.to_str().unwrap();
    let wanted = options(&scene, ",filer.path=/sub,_netdev,noexec");
    let output = run(riptide(), &["fuse", dir, "-o", &wanted]);
    assert!(output.status.success(), "{output:?}");
    // Not eventually: it is there by now.
    assert_eq!(fs::read(point.0.join("f")).unwrap(), b"x");
    fs::write(point.0.join("g"), b"y").unwrap();
    assert_eq!(scene.cluster.get("/sub/g").unwrap(), b"y");
    let line = fs::read_to_string("/proc/mounts").unwrap();
    let line = line.lines().find(|line| line.contains(dir)).unwrap();
    assert!(line.contains("noexec"), "{line}");
    assert_eq!(point.servers(), 1);
    point.end();
}

#[test]
fn a_mount_that_fails_says_why_with_a_status() {
    needs_fuse!();
    let scene = Scene::start();
    let point = Point::new(&scene);
    fs::write(point.0.join("in the way"), b"").unwrap();
    let dir = point.0.to_str().unwrap();
    let output = run(riptide(), &["fuse", dir, "-o", &options(&scene, "")]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("not empty"), "{said}");

    let output = run(riptide(), &["fuse", dir, "-o", "filr=a:1"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("did you mean -filer?"), "{said}");

    let helper = linked_as(&scene, "mount.riptide");
    let output = run(&helper, &["fuse", dir, "-o", &options(&scene, "")]);
    assert_eq!(output.status.code(), Some(32), "what mount(8) passes on");
    let output = run(&helper, &["fuse", dir, "-o", "filr=a:1"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(point.servers(), 0);
}

#[test]
fn mount_finds_it_by_its_type() {
    needs_fuse!();
    if !["/sbin/mount.fuse", "/usr/sbin/mount.fuse"]
        .iter()
        .any(|helper| Path::new(helper).exists())
    {
        println!("skipped: needs mount.fuse(8)");
        return;
    }
    let scene = Scene::start();
    scene.put("/f", b"x");
    let point = Point::new(&scene);
    // mount.fuse(8) looks in its own PATH; a path in the type is found without.
    let kind = format!("fuse.{}", linked_as(&scene, "riptide").display());
    let source = format!("{}:/", scene.cluster.filer_http());
    // As with `weed`, and as with every other network file system.
    let rest = options(&scene, "");
    let (filer, without_filer) = rest.split_once(',').unwrap();
    for (source, wanted) in [
        ("fuse", format!("{filer},{without_filer},ro")),
        (&source, format!("{without_filer},ro")),
    ] {
        let output = Command::new("mount")
            .args(["-t", &kind, source])
            .arg(&point.0)
            .args(["-o", &wanted])
            .output()
            .unwrap();
        assert!(output.status.success(), "{source}: {output:?}");
        assert_eq!(fs::read(point.0.join("f")).unwrap(), b"x");
        let refused = fs::write(point.0.join("g"), b"").unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        point.end();
    }
}

#[test]
fn the_helper_does_nothing_when_it_is_to_pretend() {
    needs_fuse!();
    let scene = Scene::start();
    let point = Point::new(&scene);
    let helper = linked_as(&scene, "mount.fuse.riptide");
    let dir = point.0.to_str().unwrap();
    let source = format!("{}:/", scene.cluster.filer_http());
    let output = run(&helper, &[&source, dir, "-sf", "-o", "what=ever"]);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("option what does not exist"), "{said}");
    assert!(!mounted(&point.0).unwrap());

    let output = run(&helper, &[&source, dir, "-n", "-o", &without_filer(&scene)]);
    assert!(output.status.success(), "{output:?}");
    assert!(mounted(&point.0).unwrap());
    point.end();
}

fn without_filer(scene: &Scene) -> String {
    let all = options(scene, "");
    all.split_once(',').unwrap().1.to_owned()
}
