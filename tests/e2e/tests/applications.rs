//! Programs that people run, on a mount: each does on it what it does on a local disk
//! (docs/SEMANTICS.md, sections 8 and 12). The scripts are in `applications/`.
//!
//! `make test` gives each a small job and leaves out, by name, those whose program is not installed;
//! with `RIPTIDE_APPLICATIONS=full`, as `make conformance` sets it, jobs are large, and a missing
//! program is a failure.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use e2e::{Scene, needs_fuse};

/// How a script says that a program is missing.
const MISSING: i32 = 77;

fn run(name: &str) {
    needs_fuse!();
    let full = env::var_os("RIPTIDE_APPLICATIONS").is_some_and(|value| value == "full");
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/applications/{name}.sh"));
    let scene = Scene::start();
    let mount = scene.mount(&[]);
    let (dir, local) = (mount.path("/work"), scene.path("local"));
    fs::create_dir(&dir).unwrap();
    fs::create_dir(&local).unwrap();
    let output = Command::new("bash")
        .arg(script)
        .args([&dir, &local])
        .env("FULL", if full { "1" } else { "0" })
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(MISSING) && !full {
        println!("skipped: {name}: {}", said.trim());
        return;
    }
    assert!(
        output.status.success(),
        "{name}: {}\n{said}\n{}",
        output.status,
        mount.log()
    );
}

macro_rules! applications {
    ($($test:ident: $name:literal,)*) => {
        $(#[test]
        fn $test() {
            run($name);
        })*
    };
}

applications! {
    git_keeps_its_repositories: "git",
    sqlite_keeps_its_databases: "sqlite",
    cargo_builds: "cargo",
    python_installs_packages: "venv",
    rsync_and_tar_copy_trees: "copy",
    fio_finds_its_checksums: "fio",
    a_directory_has_many_names: "directories",
    files_are_larger_than_four_gibibytes: "large",
    dbench_runs: "dbench",
}

/// Those that take long or much, only for `make conformance`.
macro_rules! long_applications {
    ($($test:ident: $name:literal,)*) => {
        $(#[test]
        #[ignore = "make conformance runs it"]
        fn $test() {
            run($name);
        })*
    };
}

long_applications! {
    stress_ng_finds_nothing: "stress",
    postgres_recovers: "postgres",
}
