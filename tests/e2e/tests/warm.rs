//! `riptide warmup` and `riptide cache`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::{Scene, eventually, needs_fuse, noise, riptide};
use serde_json::Value;

/// For what comes by itself.
const SOON: Duration = Duration::from_secs(60);

fn run(words: &[&str], paths: &[&Path]) -> (bool, String, String) {
    let output = Command::new(riptide())
        .args(words)
        .args(paths)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.success(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn cache(action: &str, path: &Path) -> Value {
    let (_, out, err) = run(&["cache", action, "-json"], &[path]);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"))
}

#[test]
fn the_disk_cache_of_a_mount_is_warmed_by_reading_and_shown_emptied_and_checked() {
    needs_fuse!();
    let mut scene = Scene::start();
    let files = [
        ("/a/1", noise(1, 5 << 20)),
        ("/a/2", noise(2, 60_000)),
        ("/b", noise(3, 1 << 20)),
    ];
    for (path, bytes) in &files {
        scene.put(path, bytes);
    }
    let mount = scene.mount(&["-cacheCapacityMB=256"]);
    let (done, out, err) = run(&["warmup"], &[&mount.path("/a"), &mount.path("/b")]);
    assert!(done, "{err}");
    assert!(
        out.contains("3 files of 6.06 MiB are read into the caches"),
        "{out}"
    );
    eventually("the disk cache has it", SOON, || {
        cache("ls", mount.dir())["chunks"]["bytes"].as_u64() >= Some((6 << 20) + 60_000)
    });
    let listed = cache("ls", &mount.path("/a"));
    let shown: Vec<_> = listed["chunks"].as_array().unwrap().iter().collect();
    assert_eq!(shown.len(), 2, "{listed:#}");
    assert_eq!(
        (shown[0]["name"].as_str(), shown[0]["here"].as_u64()),
        (Some("/a/1"), Some(5 << 20))
    );
    let verified = cache("verify", mount.dir());
    assert_eq!(verified["damaged_chunks"], 0);

    let evicted = cache("evict", &mount.path("/a/1"));
    assert!(
        evicted["chunks"]["bytes"].as_u64() >= Some(5 << 20),
        "{evicted:#}"
    );
    assert_eq!(
        cache("ls", &mount.path("/a"))["chunks"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert!(mount.read("/a/1") == files[0].1);

    // Damage is found, and read around.
    for path in chunk_files(&scene.path("mnt.cache")) {
        let mut bytes = fs::read(&path).unwrap();
        bytes[10] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    let (right, _, err) = run(&["cache", "verify"], &[mount.dir()]);
    assert!(
        !right && err.contains("what was damaged is removed"),
        "{err}"
    );
    assert_eq!(cache("ls", mount.dir())["chunks"]["chunks"], 0);
    for (path, bytes) in &files {
        assert!(mount.read(path) == *bytes);
    }
    let (_, out, _) = run(&["cache", "ls"], &[mount.dir()]);
    assert!(
        out.contains("no files are kept whole: -cache.aggressive is off"),
        "{out}"
    );
    drop(mount);

    // What is warm is read without a volume server.
    let mount = scene.mount(&["-cacheCapacityMB=256"]);
    assert!(run(&["warmup"], &[mount.dir()]).0);
    eventually("the disk cache has it", SOON, || {
        cache("ls", mount.dir())["chunks"]["bytes"].as_u64() >= Some((6 << 20) + 60_000)
    });
    drop(mount);
    scene.cluster.kill_volume(0).unwrap();
    let mount = scene.mount(&["-cacheCapacityMB=256"]);
    for (path, bytes) in &files {
        assert!(mount.read(path) == *bytes);
    }
}

/// The files of chunks in a disk cache.
fn chunk_files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(chunk_files(&path)),
            false if path.to_string_lossy().contains("-p-") => found.push(path),
            false => {}
        }
    }
    found
}

#[test]
fn whole_files_are_shown_emptied_and_checked() {
    needs_fuse!();
    let scene = Scene::start();
    for n in 0..4 {
        scene.put(&format!("/root/d{}/{n}", n % 2), &noise(n, 3_000_000));
    }
    let mount = scene.mount(&["mount-fast", "-filer.path=/root", "-cache.minFreeMB=64"]);
    let (done, out, err) = run(&["warmup"], &[mount.dir()]);
    assert!(done, "{err}");
    assert!(
        out.contains("4 files of 11.44 MiB are whole on the local disk"),
        "{out}"
    );
    let listed = cache("ls", mount.dir());
    let names: Vec<_> = listed["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["name"].clone())
        .collect();
    assert_eq!(names, ["/d0/0", "/d0/2", "/d1/1", "/d1/3"]);
    assert!(
        listed["files"]
            .as_array()
            .unwrap()
            .iter()
            .all(|file| file["complete"] == true)
    );
    let below = cache("ls", &mount.path("/d1"));
    assert_eq!(below["files"].as_array().unwrap().len(), 2);
    let held = fs::File::open(mount.path("/d1/1")).unwrap();
    let (_, out, _) = run(&["cache", "ls"], &[&mount.path("/d1")]);
    let open = out
        .lines()
        .any(|line| line.contains("open") && line.ends_with("/d1/1"));
    assert!(open || listed["whole"]["passthrough"] == false, "{out}");
    drop(held);

    assert_eq!(cache("verify", mount.dir())["good"], 4);
    let key = listed["files"][0]["key"].as_str().unwrap();
    let path = find(&scene.path("mnt.cache"), key);
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[1, 2, 3, 4], 2_000_000).unwrap();
    file.set_modified(time).unwrap();
    let (right, out, _) = run(&["cache", "verify"], &[mount.dir()]);
    assert!(!right && out.contains("damaged /d0/0"), "{out}");
    assert!(mount.read("/d0/0") == noise(0, 3_000_000));

    let evicted = cache("evict", &mount.path("/d1"));
    assert_eq!(
        (evicted["files"].clone(), evicted["kept"].clone()),
        (2.into(), 0.into())
    );
    assert!(
        cache("ls", &mount.path("/d1"))["files"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

fn find(dir: &Path, name: &str) -> std::path::PathBuf {
    let below = |path: &Path| -> Option<std::path::PathBuf> {
        let inner = path.join(&name[..2]).join(name);
        inner.exists().then_some(inner)
    };
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        if let Some(found) = below(&folder) {
            return found;
        }
        let entries = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        folders.extend(entries.filter(|path| path.is_dir()));
    }
    panic!("no {name} below {}", dir.display());
}

#[test]
fn who_follows_warms_what_comes_and_changes() {
    needs_fuse!();
    let scene = Scene::start();
    scene.put("/d/old", &noise(1, 100_000));
    let mount = scene.mount(&["mount-fast", "-cache.minFreeMB=64"]);
    let mut command = Command::new(riptide());
    command.args(["warmup", "-follow"]).arg(mount.path("/d"));
    let mut following = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("1 files of"));
    let is_whole = |name: &str, size: u64| {
        let listed = cache("ls", mount.dir());
        let files = listed["files"].as_array().unwrap();
        files
            .iter()
            .any(|file| file["name"] == name && file["size"] == size && file["complete"] == true)
    };
    scene.put("/d/new/deep", &noise(2, 200_000));
    eventually("what came is whole", SOON, || {
        is_whole("/d/new/deep", 200_000)
    });
    scene.put("/d/old", &noise(3, 300_000));
    eventually("what changed is whole", SOON, || {
        is_whole("/d/old", 300_000)
    });
    eventually("the old one is gone", SOON, || !is_whole("/d/old", 100_000));
    scene.put("/elsewhere", &noise(4, 50_000));
    scene.put("/d/last", &noise(5, 60_000));
    eventually("the last one is whole", SOON, || {
        is_whole("/d/last", 60_000)
    });
    assert!(!is_whole("/elsewhere", 50_000));
    following.kill().unwrap();
    following.wait().unwrap();
}

#[test]
fn what_is_not_below_a_mount_is_named() {
    needs_fuse!();
    let scene = Scene::start();
    for words in [vec!["warmup"], vec!["cache", "ls"], vec!["cache", "verify"]] {
        let (done, _, err) = run(&words, &[scene.scratch()]);
        assert!(
            !done && err.contains("is not below a mount of riptide"),
            "{err}"
        );
    }
}
