//! A session of its own for the run, at a raised priority.
//!
//! Where the kernel groups tasks by session (`sched_autogroup`), a nice value
//! counts only within its session, and a build in another terminal takes half
//! of the machine whatever its priority. So the run moves to a new session and
//! raises that one as a whole: reader, mounts and servers alike.
//!
//! A terminal sends Ctrl-C only to its own session, so the process that was
//! started stays there, waits, and passes it on; the run ends after the sample
//! it is at and removes what it made.

use std::ffi::OsString;
use std::process::{self, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{env, fs, thread};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal, setsid};
use tokio::signal::unix::{SignalKind, signal};

/// Starts the run again in a session of its own and waits for it: false, or
/// ends this process with the run's exit code. True in the run itself.
pub(crate) fn enter(args: &[OsString], nice: i8) -> Result<bool> {
    if env::var_os(INSIDE).is_none() {
        return wait_for_run(args).map(|()| false);
    }
    setsid().context("start a session")?;
    // However the waiting process ends, the run does too.
    set_parent_process_death_signal(Some(Signal::TERM))?;
    on_stop(|| STOPPED.store(true, Ordering::Relaxed))?;
    if nice != 0
        && let Err(error) = fs::write(AUTOGROUP, nice.to_string())
    {
        eprintln!("bench: the priority stays as it is ({AUTOGROUP}: {error})");
    }
    Ok(true)
}

/// An error once the user wants the run to end.
pub(crate) fn go_on() -> Result<()> {
    if STOPPED.load(Ordering::Relaxed) {
        bail!("stopped");
    }
    Ok(())
}

/// The priority of the run, as the kernel tells it; None where it does not group by session.
pub(crate) fn priority() -> Option<String> {
    let text = fs::read_to_string(AUTOGROUP).ok()?;
    Some(text.trim().split_once(' ')?.1.to_owned())
}

fn wait_for_run(args: &[OsString]) -> Result<()> {
    let program = env::current_exe().context("find this program")?;
    let mut run = Command::new(program)
        .arg("bench")
        .args(args)
        .env(INSIDE, "1")
        .spawn()
        .context("start the run")?;
    let pid = Pid::from_child(&run);
    on_stop(move || {
        // It may just have ended.
        let _ = kill_process(pid, Signal::TERM);
    })?;
    let status = run.wait()?;
    if status.success() {
        return Ok(());
    }
    process::exit(status.code().unwrap_or(1))
}

/// Calls `action` for each SIGINT and SIGTERM, on a thread of its own.
fn on_stop(action: impl Fn() + Send + 'static) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    thread::spawn(move || {
        runtime.block_on(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => action(),
                    _ = terminate.recv() => action(),
                }
            }
        });
    });
    Ok(())
}

static STOPPED: AtomicBool = AtomicBool::new(false);
/// Marks the process that is the run.
const INSIDE: &str = "RIPTIDE_BENCH_RUN";
const AUTOGROUP: &str = "/proc/self/autogroup";
