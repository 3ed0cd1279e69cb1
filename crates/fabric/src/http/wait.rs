//! Waiting for a socket without losing sight of the caller.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use context::{Context, Stopped};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Why a step on a socket did not get done.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The caller or the deadline ended the request.
    Stopped(Stopped),
    /// The peer let more than the patience pass without a byte.
    Silent,
    /// The peer is gone, or the system refuses.
    Broken(io::Error),
    /// The peer breaks the protocol.
    Malformed(&'static str),
}

impl From<io::Error> for Halt {
    fn from(source: io::Error) -> Self {
        Self::Broken(source)
    }
}

impl From<Stopped> for Halt {
    fn from(why: Stopped) -> Self {
        Self::Stopped(why)
    }
}

/// How long a request may wait, and who can end it sooner.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch<'a> {
    pub(crate) ctx: Context<'a>,
    /// How long the peer may keep silent.
    pub(crate) patience: Duration,
}

impl Watch<'_> {
    /// Waits until `fd` is ready for `what`, or has an error to tell.
    pub(crate) fn ready(&self, fd: BorrowedFd<'_>, what: PollFlags) -> Result<(), Halt> {
        let silence = Instant::now() + self.patience;
        let until = silence.min(self.ctx.deadline());
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let woken = match self.ctx.interrupt() {
                None => {
                    let mut fds = [PollFd::from_borrowed_fd(fd, what)];
                    poll(&mut fds, Some(&timespec(left)))
                }
                Some(interrupt) => {
                    let mut fds = [
                        PollFd::from_borrowed_fd(fd, what),
                        PollFd::new(interrupt, PollFlags::IN),
                    ];
                    let woken = poll(&mut fds, Some(&timespec(left)));
                    if woken.is_ok() && !fds[1].revents().is_empty() {
                        return Err(Halt::Stopped(Stopped::Interrupted));
                    }
                    woken
                }
            };
            match woken {
                Ok(0) if Instant::now() >= self.ctx.deadline() => {
                    return Err(Halt::Stopped(Stopped::TimedOut));
                }
                Ok(0) if Instant::now() >= silence => return Err(Halt::Silent),
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(Halt::Broken(errno.into())),
            }
        }
    }
}

fn timespec(left: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    }
}
