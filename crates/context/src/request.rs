//! The context of one request.

use std::future::Future;
use std::time::{Duration, Instant};

use crate::Interrupt;

/// Deadline and interrupt of one request.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    deadline: Instant,
    interrupt: Option<&'a Interrupt>,
}

/// Why a request was given up before it had an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// The caller was interrupted.
    Interrupted,
    /// The deadline passed.
    TimedOut,
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Interrupted => "interrupted by the caller",
            Self::TimedOut => "deadline passed",
        })
    }
}

impl std::error::Error for Stopped {}

impl<'a> Context<'a> {
    /// A request that may take `budget` from now and can be interrupted.
    pub fn new(budget: Duration, interrupt: &'a Interrupt) -> Self {
        Self {
            deadline: Instant::now() + budget,
            interrupt: Some(interrupt),
        }
    }

    /// Work of our own (prefetch, refresh): a deadline, nobody to interrupt it.
    pub fn background(budget: Duration) -> Context<'static> {
        Context {
            deadline: Instant::now() + budget,
            interrupt: None,
        }
    }

    /// The same request with at most `budget` left for the next step.
    #[must_use]
    pub fn at_most(self, budget: Duration) -> Self {
        Self {
            deadline: self.deadline.min(Instant::now() + budget),
            ..self
        }
    }

    /// The same request with at least `budget` left: its last step has not taken too long, but much
    /// to do.
    #[must_use]
    pub fn at_least(self, budget: Duration) -> Self {
        Self {
            deadline: self.deadline.max(Instant::now() + budget),
            ..self
        }
    }

    /// When the request must have an answer.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Time left; zero once the deadline has passed.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The interrupt to watch while blocking, if there is one.
    pub fn interrupt(&self) -> Option<&'a Interrupt> {
        self.interrupt
    }

    /// Whether to go on.
    ///
    /// # Errors
    /// [`Stopped`] when the caller has given up or time is over.
    pub fn check(&self) -> Result<(), Stopped> {
        if self.interrupt.is_some_and(Interrupt::is_raised) {
            return Err(Stopped::Interrupted);
        }
        if self.remaining().is_zero() {
            return Err(Stopped::TimedOut);
        }
        Ok(())
    }

    /// Runs `work` until it is done, the caller gives up or time is over.
    ///
    /// # Errors
    /// [`Stopped`] when `work` was dropped unfinished.
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output, Stopped> {
        let interrupted = async {
            match self.interrupt {
                Some(interrupt) => interrupt.raised().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = interrupted => Err(Stopped::Interrupted),
            () = tokio::time::sleep_until(self.deadline.into()) => Err(Stopped::TimedOut),
        }
    }

    /// Sleeps for `pause`, or less when the request is stopped meanwhile.
    ///
    /// # Errors
    /// [`Stopped`] when the pause was cut short.
    pub fn sleep(&self, pause: Duration) -> Result<(), Stopped> {
        let pause = pause.min(self.remaining());
        match self.interrupt {
            None => std::thread::sleep(pause),
            Some(interrupt) => {
                use rustix::event::{PollFd, PollFlags, Timespec, poll};
                let timeout = Timespec {
                    tv_sec: i64::try_from(pause.as_secs()).unwrap_or(i64::MAX),
                    tv_nsec: pause.subsec_nanos().into(),
                };
                let mut fds = [PollFd::new(interrupt, PollFlags::IN)];
                let _ = poll(&mut fds, Some(&timeout));
            }
        }
        self.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("runtime")
    }

    #[test]
    fn an_interrupt_ends_a_sleep_and_a_future() {
        let interrupt = Interrupt::new().expect("eventfd");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(20));
                interrupt.raise();
            });
            let ctx = Context::new(Duration::from_secs(60), &interrupt);
            assert_eq!(
                ctx.sleep(Duration::from_secs(50)),
                Err(Stopped::Interrupted)
            );
        });
        let ctx = Context::new(Duration::from_secs(60), &interrupt);
        let run = runtime().block_on(ctx.run(std::future::pending::<()>()));
        assert_eq!(run, Err(Stopped::Interrupted));
    }

    #[test]
    fn a_cleared_interrupt_serves_the_next_request() {
        let interrupt = Interrupt::new().expect("eventfd");
        interrupt.raise();
        interrupt.clear();
        let ctx = Context::new(Duration::from_millis(10), &interrupt);
        assert_eq!(ctx.check(), Ok(()));
        let run = runtime().block_on(ctx.run(std::future::pending::<()>()));
        assert_eq!(run, Err(Stopped::TimedOut));
    }

    #[test]
    fn finished_work_wins_over_a_raised_interrupt() {
        let interrupt = Interrupt::new().expect("eventfd");
        interrupt.raise();
        let ctx = Context::new(Duration::from_secs(1), &interrupt);
        let run = runtime().block_on(ctx.run(std::future::ready(7)));
        assert_eq!(run, Ok(7));
    }
}
