//! The program itself: what it prints where, and how it ends.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

fn riptide(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_riptide"))
        .args(args)
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn help_goes_to_standard_output_and_is_a_success() {
    for args in [&[][..], &["-h"], &["help"], &["--help"]] {
        let output = riptide(args);
        assert!(output.status.success(), "{args:?}");
        assert!(out(&output).contains("umount       Unmount it"), "{args:?}");
        assert_eq!(err(&output), "", "{args:?}");
    }
    let help = out(&riptide(&["mount", "-h"]));
    assert!(
        help.contains("-readerCacheSizeMB int (default 256)"),
        "{help}"
    );
    let help = out(&riptide(&["mount-fast", "-h"]));
    for preset in [
        "-readOnly (default true)",
        "-cache.aggressive (default true)",
    ] {
        assert!(help.contains(preset), "{help}");
    }
}

#[test]
fn a_command_line_that_cannot_be_followed_ends_with_status_2_and_one_line() {
    for (args, message) in [
        (
            &["mount", "-filr=a:1"][..],
            "flag -filr does not exist; did you mean -filer?",
        ),
        (
            &["mount", "-umask=999"],
            "flag -umask: \"999\" is not allowed: expected an octal number",
        ),
        (
            &["mount", "-filer=nonsense"],
            "flag -filer: \"nonsense\" is not allowed: expected host:port",
        ),
        (
            &["mount", "-rdma.enabled", "-rdma.sidecar=a"],
            "flag -rdma.sidecar: \"a\" is not allowed: expected auto, or host:port",
        ),
        (
            &["mound"],
            "subcommand \"mound\" does not exist; did you mean mount?",
        ),
        (&["umount"], "missing argument DIR"),
    ] {
        let output = riptide(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let said = err(&output);
        assert!(said.starts_with(&format!("riptide: {message}")), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn a_mount_that_cannot_start_says_why_and_ends_with_status_1() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("precious"), "").unwrap();
    let point = format!("-dir={}", dir.path().display());
    let output = riptide(&["mount", &point, "-peer.enable", "-rdma.timeoutMs=9"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = err(&output);
    assert!(
        said.contains("flag -peer.enable=true has no effect: chunks are not shared between mounts"),
        "{said}"
    );
    assert!(
        said.contains("flag -rdma.timeoutMs=9 has no effect: the fabric is off"),
        "{said}"
    );
    assert!(
        said.lines()
            .last()
            .unwrap()
            .contains("-nonempty mounts over"),
        "{said}"
    );
}

#[test]
fn a_filer_that_does_not_answer_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (point, cache) = (dir.path().join("mnt"), dir.path().join("cache"));
    let output = riptide(&[
        "mount",
        "-filer=127.0.0.1:1",
        "-readRetryTime=1s",
        "-dirAutoCreate",
        &format!("-dir={}", point.display()),
        &format!("-cacheDir={}", cache.display()),
    ]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = err(&output);
    assert!(
        said.lines().last().unwrap().contains("127.0.0.1:1"),
        "{said}"
    );
    assert!(point.is_dir());
}

#[test]
fn stats_and_umount_of_a_folder_that_is_no_mount_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let output = riptide(&["stats", dir, "-once"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err(&output).contains("no riptide is mounted at"),
        "{output:?}"
    );
    let output = riptide(&["umount", dir]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("nothing is mounted on"), "{output:?}");
}

#[test]
fn version_man_page_and_completions_are_printed() {
    let version = out(&riptide(&["version"]));
    assert!(
        version.starts_with(concat!("riptide ", env!("CARGO_PKG_VERSION"))),
        "{version}"
    );
    assert_eq!(out(&riptide(&["--version"])), version);
    assert!(out(&riptide(&["man"])).starts_with(".TH RIPTIDE 1"));
    for (shell, mark) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef"),
        ("fish", "complete -c"),
    ] {
        assert!(
            out(&riptide(&["completions", shell])).contains(mark),
            "{shell}"
        );
    }
}

#[test]
fn what_packaging_installs_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/install.sh");
    let output = Command::new(script)
        .arg(env!("CARGO_BIN_EXE_riptide"))
        .env("DESTDIR", dir.path())
        .env_remove("PREFIX")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    for file in [
        "usr/bin/riptide",
        "usr/lib/systemd/system/riptide@.service",
        "usr/share/man/man1/riptide.1",
        "usr/share/bash-completion/completions/riptide",
        "usr/share/zsh/site-functions/_riptide",
        "usr/share/fish/vendor_completions.d/riptide.fish",
    ] {
        let size = std::fs::metadata(dir.path().join(file)).unwrap().len();
        assert!(size > 0, "{file}");
    }
    let example = std::fs::read_to_string(
        dir.path()
            .join("usr/share/doc/riptide/data.options.example"),
    );
    let sections = &riptide::flags::mount::ALL;
    let words = riptide::flags::options_file::parse(&example.unwrap(), sections).unwrap();
    assert!(words.len() >= 3, "{words:?}");
}
