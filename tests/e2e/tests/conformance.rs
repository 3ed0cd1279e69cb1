//! POSIX conformance: the test suite `pjdfstest` (the crate, which `make setup` installs), whole,
//! with nothing that is known to fail.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Scene, needs_fuse};

/// Tests that pass.
const PASSED: usize = 384;
/// Tests that remount.
const REMOUNTING: usize = 13;
/// They do so by mount(8), which looks for a helper of the file system's type unless it is told not to.
const MOUNT: &str = "#!/bin/sh\nexec /bin/mount -i \"$@\"\n";
/// Tests that cannot run, by what the suite says of them. Each needs a reason.
const SKIPPED: [(&str, usize); 2] = [
    // They remount the file system read-only, which is busy for ever to the kernel where some tests
    // were before. The next test runs them alone.
    ("Remounts (allow_remount) are not allowed", REMOUNTING),
    // FUSE has no way to answer pathconf(_PC_LINK_MAX).
    ("Cannot get value for LINK_MAX", 1),
];

#[test]
fn pjdfstest_passes() {
    needs_fuse!();
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: pjdfstest changes users, which only root may");
        return;
    }
    let scene = Scene::start();
    let mount = scene.mount(&["-posix.dirNLink"]);
    let ran = run(&scene, &mount.path("/pjdfstest"), Part::AllButRemounting);
    let failed: Vec<&str> = ran
        .lines()
        .filter(|line| line.ends_with("FAILED"))
        .collect();
    assert!(failed.is_empty(), "{}\n{ran}", failed.join("\n"));
    for (reason, count) in SKIPPED {
        assert_eq!(ran.matches(reason).count(), count, "{reason}");
    }
    let skipped: usize = SKIPPED.iter().map(|(_, count)| count).sum();
    assert_eq!(summary(&ran), [0, skipped, PASSED]);
}

#[test]
fn pjdfstest_passes_where_it_remounts() {
    needs_fuse!();
    let scene = Scene::start();
    let mount = scene.mount(&["-posix.dirNLink"]);
    let ran = run(&scene, &mount.path("/pjdfstest"), Part::Remounting);
    assert_eq!(summary(&ran), [0, 0, REMOUNTING], "{ran}");
}

/// Run by `make conformance`: the same on the stock mount, to compare with.
#[test]
#[ignore = "it measures another program"]
fn pjdfstest_on_the_stock_mount() {
    needs_fuse!();
    let scene = Scene::start();
    let stock = scene.stock(&["-posix.dirNLink"]);
    let ran = run(
        &scene,
        &stock.dir().join("pjdfstest"),
        Part::AllButRemounting,
    );
    let [failed, skipped, passed] = summary(&ran);
    println!("weed mount: {failed} failed, {skipped} skipped, {passed} passed");
    for line in ran.lines().filter(|line| line.ends_with("FAILED")) {
        println!("  {line}");
    }
    assert_eq!(failed + skipped + passed, 398, "{ran}");
}

/// Which of its tests.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    AllButRemounting,
    Remounting,
}

/// Runs the suite in a new directory; what it printed.
fn run(scene: &Scene, dir: &Path, part: Part) -> String {
    fs::create_dir(dir).unwrap();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    let config = scene.path("pjdfstest.toml");
    let text = format!(
        "[features]\nposix_fallocate = {{}}\nrename_ctime = {{}}\nutimensat = {{}}\nutime_now = {{}}\n\
         [settings]\nnaptime = 0.005\nallow_remount = {}\n\
         [dummy_auth]\nentries = [{}, {}]\n",
        part == Part::Remounting,
        user("nobody"),
        user("daemon"),
    );
    fs::write(&config, text).unwrap();
    // For the tests of EXDEV.
    let other = tempfile::tempdir_in("/dev/shm").unwrap();
    let programs = scene.path("programs");
    fs::create_dir(&programs).unwrap();
    fs::write(programs.join("mount"), MOUNT).unwrap();
    fs::set_permissions(programs.join("mount"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let pattern = (part == Part::Remounting).then_some("erofs");
    let ran = Command::new(suite())
        .env("PATH", format!("{}:{path}", programs.display()))
        .args(pattern)
        .arg("-c")
        .arg(&config)
        .arg("-p")
        .arg(dir)
        .arg("-s")
        .arg(other.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    text + &String::from_utf8_lossy(&ran.stderr)
}

/// The installed suite.
fn suite() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let suite = workspace.join(".tools/cargo/bin/pjdfstest");
    assert!(suite.exists(), "no {}: run make setup", suite.display());
    suite
}

/// A user of this system and its own group, as the suite wants them.
fn user(name: &str) -> String {
    let field = |file: &str, at: usize, is: &dyn Fn(&[&str]) -> bool| {
        let text = fs::read_to_string(file).unwrap();
        let lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let mut found = lines.filter(|fields| is(fields));
        let fields = found
            .next()
            .unwrap_or_else(|| panic!("{name}: not in {file}"));
        fields[at].to_owned()
    };
    let gid = field("/etc/passwd", 3, &|fields| fields[0] == name);
    let group = field("/etc/group", 0, &|fields| {
        fields.get(2) == Some(&gid.as_str())
    });
    format!("[\"{name}\", \"{group}\"]")
}

/// Failed, skipped and passed tests, from the suite's last line.
fn summary(ran: &str) -> [usize; 3] {
    let line = ran.lines().find_map(|line| line.strip_prefix("Summary: "));
    let line = line.unwrap_or_else(|| panic!("no summary in\n{ran}"));
    let count = |what: &str| {
        let mut parts = line.split(", ").filter_map(|part| part.strip_suffix(what));
        parts.next().and_then(|number| number.trim().parse().ok())
    };
    ["failed", "skipped", "passed"]
        .map(|what| count(what).unwrap_or_else(|| panic!("no number of {what} in {line}")))
}
