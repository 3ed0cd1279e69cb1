//! The programs that are compared.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::options::Options;

/// Where they are.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// The stock SeaweedFS: servers and mount.
    pub(crate) weed: PathBuf,
    /// Ours; None when it takes no part.
    pub(crate) riptide: Option<PathBuf>,
}

impl Programs {
    /// Finds `weed`, and `riptide` where `$RIPTIDE_BIN` says, or builds it.
    pub(crate) fn find(options: &Options) -> Result<Self> {
        let wanted = options.variants.iter().any(|variant| variant.is_riptide());
        Ok(Self {
            weed: cluster::weed()?,
            riptide: if wanted { Some(riptide()?) } else { None },
        })
    }
}

impl Programs {
    /// Ours.
    pub(crate) fn riptide(&self) -> Result<PathBuf> {
        let program = self.riptide.clone();
        program.context("there is no riptide program")
    }
}

/// The `riptide` that `$RIPTIDE_BIN` names, or a new build in release mode.
pub(crate) fn riptide() -> Result<PathBuf> {
    if let Some(named) = env::var_os(OVERRIDE) {
        let path = PathBuf::from(named);
        let canonical = path.canonicalize();
        return canonical.with_context(|| format!("{OVERRIDE} names {}", path.display()));
    }
    eprintln!("building riptide in release mode");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let built = Command::new(cargo)
        .args(["build", "--release", "--package=riptide", "--bin=riptide"])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .context("run cargo")?;
    if !built.status.success() {
        bail!("riptide does not build");
    }
    executable(&String::from_utf8_lossy(&built.stdout)).context("cargo names no riptide program")
}

/// The program that cargo's messages, one JSON object a line, tell of.
fn executable(messages: &str) -> Option<PathBuf> {
    messages.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    })
}

const OVERRIDE: &str = "RIPTIDE_BIN";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_the_one_cargo_names() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"stats"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","executable":"/t/release/riptide"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#
        );
        assert_eq!(
            executable(messages),
            Some(PathBuf::from("/t/release/riptide"))
        );
        assert_eq!(executable("{}"), None);
    }
}
