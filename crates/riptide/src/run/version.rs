//! `riptide version`.

/// Name, version, and the commit it was built from where that was known.
pub(super) fn text() -> String {
    match option_env!("RIPTIDE_COMMIT") {
        Some(commit) => format!("riptide {} ({commit})\n", env!("CARGO_PKG_VERSION")),
        None => format!("riptide {}\n", env!("CARGO_PKG_VERSION")),
    }
}
