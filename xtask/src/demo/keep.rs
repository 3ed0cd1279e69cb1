//! The demo that stays: a process in the background holds cluster and mount.

use std::env;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use super::Stage;

/// The word that makes this program the one in the background.
pub(crate) const HOLD: &str = "--hold";

/// Starts the demo in the background, shows what it prints, and leaves it running.
pub(crate) fn in_background() -> Result<()> {
    let mut holder = Command::new(env::current_exe()?)
        .args(["demo", HOLD])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // Ctrl-C in this terminal, later, is not meant for it.
        .process_group(0)
        .spawn()
        .context("start the holder of the demo")?;
    let mut output = holder.stdout.take().context("the holder has an output")?;
    // Ends when the holder closes it, which is when everything was shown.
    io::copy(&mut output, &mut io::stdout())?;
    thread::sleep(SETTLE);
    match holder.try_wait()? {
        None => Ok(()),
        Some(status) if status.success() => Ok(()),
        Some(status) => bail!("the demo ended with {status}"),
    }
}

/// Says how to look around, lets go of the terminal, and waits for the end of the mount.
pub(crate) fn hold(mut stage: Stage) -> Result<()> {
    say_how(&stage);
    io::stdout().flush()?;
    let nowhere = File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    rustix::stdio::dup2_stderr(&nowhere)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        while stage.mount.is_running() {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                () = tokio::time::sleep(POLL) => {}
            }
        }
        io::Result::Ok(())
    })?;
    drop(stage);
    Ok(())
}

fn say_how(stage: &Stage) {
    let (dir, riptide) = (stage.mount.dir().display(), stage.mount.program().display());
    let filer = stage.cluster.filer_http();
    println!("It stays. Look around:");
    println!("  ls -lR {dir}");
    println!("  curl -F file=@README.md http://{filer}/large/ && cat {dir}/large/README.md");
    println!("  {riptide} stats {dir}");
    println!("  curl http://{}/metrics", stage.mount.metrics());
    println!("Stop it, which removes everything:");
    println!("  {riptide} umount {dir}");
}

const SETTLE: Duration = Duration::from_millis(200);
const POLL: Duration = Duration::from_millis(300);
