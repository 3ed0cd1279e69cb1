//! A mount that goes on when the command that started it has returned.
//!
//! Nothing forks: a program with threads cannot. [`start`] runs this program again, as `mount` in the
//! foreground, with a pipe as its standard output, and waits for one word on it. The mount keeps the
//! standard error of whoever called until it is ready, so that a failure shows its reason where it was asked
//! for; then [`Detached::ready`] leaves the session, lets go of the three standard streams, and says the word.
//! From there on it logs to syslog.

use std::env;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::process::{Command, ExitStatus, Stdio};

use crate::logging;

/// Set in the environment of the mount; its standard output is the pipe then.
const VARIABLE: &str = "RIPTIDE_READY_ON_STDOUT";
/// The word on the pipe.
const READY: &[u8] = b"ready\n";
/// Where the setuid helper is looked for when nobody says; fstab runs with an empty environment.
const SEARCH_PATH: &str = "/bin:/sbin:/usr/bin:/usr/sbin";

/// Why there is no mount in the background.
#[derive(Debug, thiserror::Error)]
pub enum BackgroundError {
    /// It could not be started.
    #[error("cannot start the mount: {0}")]
    Start(#[from] io::Error),
    /// It ended before it was ready; it has said why.
    #[error("not mounted ({0})")]
    Ended(ExitStatus),
}

/// Runs this program with `words` and returns when it says that it is ready.
///
/// # Errors
/// When it ends before.
pub fn start(words: &[OsString], search_path: Option<OsString>) -> Result<(), BackgroundError> {
    let mut command = Command::new(env::current_exe()?);
    command.args(words).env(VARIABLE, "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let is_empty = env::var_os("PATH").is_none_or(|path| path.is_empty());
    if let Some(path) = search_path.or_else(|| is_empty.then(|| SEARCH_PATH.into())) {
        command.env("PATH", path);
    }
    let mut child = command.spawn()?;
    let mut word = [0; READY.len()];
    let heard = match &mut child.stdout {
        Some(pipe) => pipe.read_exact(&mut word),
        None => Err(io::ErrorKind::BrokenPipe.into()),
    };
    match heard {
        Ok(()) if word == READY => Ok(()),
        _ => Err(BackgroundError::Ended(child.wait()?)),
    }
}

/// That this process is such a mount.
#[derive(Debug)]
pub struct Detached(());

impl Detached {
    /// This process, if it was started by [`start`].
    pub fn this() -> Option<Self> {
        env::var_os(VARIABLE).map(|_| Self(()))
    }

    /// Says that the mount is ready, and lets go of the terminal.
    ///
    /// # Errors
    /// When nobody listens any more: then nobody knows of the mount.
    pub fn ready(self) -> io::Result<()> {
        // Fails only for the leader of a group, who needs no other session.
        let _ = rustix::process::setsid();
        // A folder that is somebody's current one cannot be unmounted.
        env::set_current_dir("/")?;
        let mut out = io::stdout().lock();
        out.write_all(READY)?;
        out.flush()?;
        logging::leave_terminal();
        let null = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::stdio::dup2_stderr(&null)?;
        Ok(())
    }
}
