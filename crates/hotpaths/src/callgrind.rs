//! One path under valgrind's callgrind.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::paths::Path as HotPath;

/// Instructions of one operation of a path.
pub(crate) fn count(path: &HotPath) -> Result<f64> {
    let scratch = tempfile::tempdir()?;
    let few = total(path, path.times, scratch.path())?;
    let many = total(path, path.times * MORE, scratch.path())?;
    let more = many
        .checked_sub(few)
        .context("more operations took fewer instructions")?;
    Ok(more as f64 / (path.times * (MORE - 1)) as f64)
}

/// valgrind's version.
pub(crate) fn version() -> Result<String> {
    let output = Command::new("valgrind")
        .arg("--version")
        .output()
        .context("valgrind cannot be run: scripts/setup.sh --counts installs it")?;
    let told = String::from_utf8_lossy(&output.stdout);
    Ok(told.trim().trim_start_matches("valgrind-").to_owned())
}

/// Instructions of a whole run of this program.
fn total(path: &HotPath, times: u64, scratch: &Path) -> Result<u64> {
    let out = scratch.join(format!("callgrind.{times}"));
    let mut file = std::ffi::OsString::from("--callgrind-out-file=");
    file.push(&out);
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(file)
        .arg(env::current_exe()?)
        .args(["--run", path.name, &times.to_string()])
        // Otherwise the C library copies by `rep movsb` where the processor is good at that, and
        // callgrind counts each byte as an instruction.
        .env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-ERMS,-FSRM")
        .stdin(Stdio::null())
        .output()
        .context("valgrind cannot be run: scripts/setup.sh --counts installs it")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{} under valgrind: {told}",
        path.name
    );
    let text = std::fs::read_to_string(&out).with_context(|| out.display().to_string())?;
    instructions(&text).with_context(|| path.name)
}

/// The sum that callgrind writes at the end of its file: of all its parts, if there are several.
fn instructions(text: &str) -> Result<u64> {
    let events = text.lines().find_map(|line| line.strip_prefix("events: "));
    ensure!(
        events.is_some_and(|events| events.split(' ').next() == Some("Ir")),
        "callgrind counted {events:?}, not instructions"
    );
    let totals = text.lines().filter_map(|line| {
        line.strip_prefix("totals: ")?
            .split(' ')
            .next()?
            .parse::<u64>()
            .ok()
    });
    match totals.reduce(|sum, part| sum + part) {
        Some(sum) => Ok(sum),
        None => bail!("callgrind wrote no totals"),
    }
}

/// So many times as many operations in the second run.
const MORE: u64 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_totals_are_read_from_what_callgrind_writes() {
        let text = "# callgrind format\nversion: 1\ncreator: callgrind-3.19.0\npid: 7\n\
                    cmd:  hotpaths --run x 1\npart: 1\n\ndesc: Trigger: Program termination\n\n\
                    positions: line\nevents: Ir\nsummary: 99\n\nfn=(1) main\n16 99\n\ntotals: 12345\n";
        assert_eq!(instructions(text).expect("a sum"), 12345);
        let two = format!("{text}part: 2\ntotals: 5\n");
        assert_eq!(instructions(&two).expect("a sum"), 12350);
    }

    #[test]
    fn other_events_and_a_file_cut_short_are_errors() {
        let error = |text| instructions(text).expect_err("no sum").to_string();
        assert!(error("events: Dr Ir\ntotals: 1 2\n").contains("not instructions"));
        assert!(error("").contains("not instructions"));
        assert_eq!(error("events: Ir\n16 99\n"), "callgrind wrote no totals");
    }
}
