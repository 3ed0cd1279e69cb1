//! One server process: started with its log in a file, stopped by its own id.
//!
//! `PR_SET_PDEATHSIG` makes the kernel kill a child when the *thread* that
//! started it ends. A test's thread may end long before its cluster is done,
//! so all children are started by one thread that lives as long as the process.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, io};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

/// How to start a process, again and again.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Name for messages.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Working directory and HOME.
    pub home: PathBuf,
    /// Where standard output and error go; a restart appends.
    pub log: PathBuf,
    /// Additional environment.
    pub env: Vec<(OsString, OsString)>,
}

/// A running, or killed, server process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    spec: Spec,
    child: Child,
    status: Option<ExitStatus>,
    ended_on_purpose: bool,
}

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(spec: Spec) -> Result<Self> {
        let child = spawn(&spec)?;
        Ok(Self {
            spec,
            child,
            status: None,
            ended_on_purpose: false,
        })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it was started from.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.poll().is_none()
    }

    /// Sends a signal to it, if it still runs.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.poll().is_none() {
            let pid = Pid::from_child(&self.child);
            kill_process(pid, signal).with_context(|| format!("signal {}", self.spec.name))?;
        }
        Ok(())
    }

    /// Kills it (SIGKILL) and waits for its end.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> Result<()> {
        self.ended_on_purpose = true;
        if self.poll().is_none() {
            self.child
                .kill()
                .with_context(|| format!("kill {}", self.spec.name))?;
            self.status = Some(self.child.wait()?);
        }
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits.
    ///
    /// # Errors
    /// When it is still there after `limit`.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.ended_on_purpose = true;
        self.signal(Signal::TERM)?;
        self.wait(limit)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it is still there after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        while start.elapsed() < limit {
            if let Some(status) = self.poll() {
                return Ok(status);
            }
            thread::sleep(POLL);
        }
        bail!(
            "{} (pid {}) still runs after {limit:?}",
            self.spec.name,
            self.id()
        )
    }

    /// Starts it anew with the same arguments, killing it first if it runs.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.child = spawn(&self.spec)?;
        self.status = None;
        self.ended_on_purpose = false;
        Ok(())
    }

    /// Whether it was killed or terminated by this program.
    #[must_use]
    pub fn ended_on_purpose(&self) -> bool {
        self.ended_on_purpose
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        let text = fs::read(&self.spec.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// An error that says how it ended and shows its log, if it did end.
    ///
    /// # Errors
    /// When it has ended.
    pub fn expect_running(&mut self) -> Result<()> {
        match self.poll() {
            None => Ok(()),
            Some(status) => {
                let how = match (status.code(), status.signal()) {
                    (Some(code), _) => format!("exit code {code}"),
                    (None, Some(signal)) => format!("signal {signal}"),
                    (None, None) => "unknown reason".to_owned(),
                };
                bail!(
                    "{} ended with {how}; its log:\n{}",
                    self.spec.name,
                    self.log_tail(30)
                )
            }
        }
    }

    fn poll(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A stopped process (SIGSTOP) dies of SIGKILL as well.
        let _ = self.kill();
    }
}

fn spawn(spec: &Spec) -> Result<Child> {
    let spawned = on_lasting_thread(command(spec)?);
    spawned.with_context(|| format!("start {} ({})", spec.name, spec.program.display()))
}

fn command(spec: &Spec) -> Result<Command> {
    let log = open_log(&spec.log)?;
    let mut command = Command::new(&spec.program);
    command
        .args(&spec.args)
        .current_dir(&spec.home)
        .env("HOME", &spec.home)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    // SeaweedFS takes settings from WEED_* variables: none of the outside's.
    for (key, _) in env::vars_os().filter(|(k, _)| k.as_encoded_bytes().starts_with(b"WEED_")) {
        command.env_remove(key);
    }
    command.envs(spec.env.iter().map(|(k, v)| (k, v)));
    die_with_parent(&mut command);
    Ok(command)
}

fn open_log(path: &Path) -> Result<File> {
    let file = File::options().create(true).append(true).open(path);
    file.with_context(|| format!("open log {}", path.display()))
}

/// Has the kernel kill the child when its parent is gone, however it went.
fn die_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    let in_child = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the line above took effect.
        if rustix::process::getppid() != Some(parent) {
            return Err(io::Error::other("parent is gone"));
        }
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; the closure
    // makes two system calls and, in the failing case only, an error value that the child
    // reports before it exits.
    unsafe {
        command.pre_exec(in_child);
    }
}

fn on_lasting_thread(command: Command) -> io::Result<Child> {
    type Job = (Command, Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, queue) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for (mut command, answer) in queue {
                let _ = answer.send(command.spawn());
            }
        });
        jobs
    });
    let (answer, result) = mpsc::channel();
    let gone = |_| io::Error::other("the thread that starts processes is gone");
    spawner
        .send((command, answer))
        .map_err(|e| gone(e.to_string()))?;
    result.recv().map_err(|e| gone(e.to_string()))?
}

const POLL: Duration = Duration::from_millis(5);
