//! Unmounting when the program is told to end.
//!
//! The first SIGINT or SIGTERM unmounts; while the mount is in use that is
//! tried again, and after [`PATIENCE`] the mount is detached. A second signal
//! detaches at once. The program itself ends when the kernel says that the
//! mount is gone, so that requests under way are still answered.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

/// How long a busy mount is tried again before it is detached: below the 10 s
/// that containers and the 90 s that systemd leave a program between SIGTERM and SIGKILL.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is tried.
const INTERVAL: Duration = Duration::from_millis(200);

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Unmount,
    Wait(Duration),
    Detach,
}

/// The rules, without signals or clocks of their own.
#[derive(Debug, Default)]
struct Termination {
    asked_at: Option<Instant>,
}

impl Termination {
    fn on_signal(&mut self, now: Instant) -> Step {
        match self.asked_at.replace(now) {
            None => Step::Unmount,
            Some(_) => Step::Detach,
        }
    }

    fn on_busy(&self, now: Instant) -> Step {
        let asked_at = self.asked_at.unwrap_or(now);
        match now.duration_since(asked_at) < PATIENCE {
            true => Step::Wait(INTERVAL),
            false => Step::Detach,
        }
    }
}

/// SIGINT and SIGTERM, caught from now on.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Catches the signals. Install before the mount exists, so that none kills the program
    /// while it does.
    pub fn install(runtime: &Handle) -> io::Result<Self> {
        let _guard = runtime.enter();
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next one and names it.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }

    /// From now on, signals unmount. `unmount(lazy)` is called on a thread that may block, and
    /// answers `ResourceBusy` for a mount in use.
    pub fn unmount_on_signal(
        mut self,
        runtime: &Handle,
        unmount: impl Fn(bool) -> io::Result<()> + Send + Sync + 'static,
    ) -> JoinHandle<()> {
        let unmount = Arc::new(unmount);
        runtime.spawn(async move { self.supervise(unmount).await })
    }

    async fn supervise<F>(&mut self, unmount: Arc<F>)
    where
        F: Fn(bool) -> io::Result<()> + Send + Sync + 'static,
    {
        let mut rules = Termination::default();
        let name = self.next().await;
        tracing::info!(signal = name, "unmounting");
        crate::lifecycle::systemd::stopping();
        let mut step = rules.on_signal(Instant::now());
        loop {
            step = match step {
                Step::Wait(interval) => tokio::select! {
                    () = tokio::time::sleep(interval) => Step::Unmount,
                    _ = self.next() => rules.on_signal(Instant::now()),
                },
                Step::Unmount => match attempt(&unmount, false).await {
                    Ok(()) => return,
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                        rules.on_busy(Instant::now())
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot unmount");
                        rules.on_busy(Instant::now())
                    }
                },
                Step::Detach => {
                    tracing::warn!("the mount is still in use: detaching it");
                    if let Err(error) = attempt(&unmount, true).await {
                        tracing::error!(%error, "cannot detach the mount");
                    }
                    return;
                }
            };
        }
    }
}

async fn attempt<F>(unmount: &Arc<F>, lazy: bool) -> io::Result<()>
where
    F: Fn(bool) -> io::Result<()> + Send + Sync + 'static,
{
    let unmount = Arc::clone(unmount);
    tokio::task::spawn_blocking(move || unmount(lazy))
        .await
        .map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_mount_is_tried_again_and_then_detached() {
        let start = Instant::now();
        let mut rules = Termination::default();
        assert_eq!(rules.on_signal(start), Step::Unmount);
        assert_eq!(rules.on_busy(start), Step::Wait(INTERVAL));
        assert_eq!(rules.on_busy(start + PATIENCE / 2), Step::Wait(INTERVAL));
        assert_eq!(rules.on_busy(start + PATIENCE), Step::Detach);
    }

    #[test]
    fn a_second_signal_detaches_at_once() {
        let mut rules = Termination::default();
        rules.on_signal(Instant::now());
        assert_eq!(rules.on_signal(Instant::now()), Step::Detach);
    }
}
