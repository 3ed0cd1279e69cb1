//! `riptide stats DIR`: what a mount does, over its local socket.

mod view;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::run::{print, real_path};
use crate::server::Connection;

/// How often the view changes.
const INTERVAL: Duration = Duration::from_secs(1);
/// Puts the cursor into the upper left corner and clears all below it (ECMA-48).
const HOME_AND_CLEAR: &str = "\x1b[H\x1b[J";
/// Clears the screen once, so that the first view starts at its top.
const CLEAR: &str = "\x1b[2J";

/// Prints the statistics of the mount at `dir`: once, or each second until the mount is gone.
pub(super) fn run(dir: &Path, json: bool, once: bool) -> anyhow::Result<()> {
    let real = real_path(dir).with_context(|| format!("{}", dir.display()))?;
    let connection = Connection::find(&real)?;
    if once {
        let stats = connection.stats()?;
        let text = match json {
            true => format!("{stats:#}\n"),
            false => view::render(&stats, None),
        };
        return print(text.as_bytes());
    }
    let terminal = std::io::stdout().is_terminal() && !json;
    if terminal {
        print(CLEAR.as_bytes())?;
    }
    let mut before = None;
    loop {
        let stats = connection.stats()?;
        let seen = Instant::now();
        let text = match json {
            // One line each, for programs.
            true => format!("{stats}\n"),
            false => view::render(&stats, before.as_ref().map(|(old, at)| (old, seen - *at))),
        };
        let mut out = std::io::stdout().lock();
        if terminal {
            out.write_all(HOME_AND_CLEAR.as_bytes())?;
        }
        out.write_all(text.as_bytes())?;
        out.flush()?;
        before = Some((stats, seen));
        sleep(INTERVAL);
    }
}
