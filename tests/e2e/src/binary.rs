//! The `riptide` under test.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The `riptide` binary: `$RIPTIDE_BIN`, else the one that cargo builds, now
/// if need be, in the profile of this test.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn riptide() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match env::var_os("RIPTIDE_BIN") {
        Some(named) => PathBuf::from(named),
        None => build(),
    })
}

fn build() -> PathBuf {
    let profile = if cfg!(debug_assertions) {
        "dev"
    } else {
        "release"
    };
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // The whole workspace, so that features are what `cargo test --workspace` makes them.
    cargo.args([
        "build",
        "--quiet",
        "--workspace",
        "--bin",
        "riptide",
        "--profile",
        profile,
    ]);
    let built = cargo.current_dir(workspace).status();
    assert!(
        built.as_ref().is_ok_and(|s| s.success()),
        "cargo build riptide: {built:?}"
    );
    // This program is target/<profile>/deps/e2e-<hash>.
    let this = env::current_exe().expect("a running program has a path");
    let folder = this.ancestors().nth(2).expect("tests lie in deps/");
    folder.join("riptide")
}
