//! A flag that wakes both a poll(2) and a future.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Poll, Waker};

use rustix::event::{EventfdFlags, eventfd};

/// Raised when the caller of a request no longer wants its answer.
///
/// One interrupt belongs to one worker at a time: the worker clears it before
/// it starts a request, and whoever learns of the caller's death raises it.
#[derive(Debug)]
pub struct Interrupt {
    raised: AtomicBool,
    event: OwnedFd,
    waker: Mutex<Option<Waker>>,
}

impl Interrupt {
    /// Makes an interrupt that is not raised.
    ///
    /// # Errors
    /// The kernel's, when no descriptor is left.
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            raised: AtomicBool::new(false),
            event,
            waker: Mutex::new(None),
        })
    }

    /// Wakes whatever waits on this interrupt, now or later.
    pub fn raise(&self) {
        if self.raised.swap(true, Ordering::AcqRel) {
            return;
        }
        // The counter cannot overflow: it is written once per raise and
        // drained by `clear`, so a failure here has no meaning to report.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        let waker = self.lock_waker().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Makes the interrupt ready for the next request.
    pub fn clear(&self) {
        if self.raised.swap(false, Ordering::AcqRel) {
            let mut count = [0u8; 8];
            let _ = rustix::io::read(&self.event, &mut count);
        }
    }

    /// Whether the caller has given up.
    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Acquire)
    }

    /// Completes once the interrupt is raised.
    pub async fn raised(&self) {
        poll_fn(|cx| {
            if self.is_raised() {
                return Poll::Ready(());
            }
            *self.lock_waker() = Some(cx.waker().clone());
            // Raised between the look and the registration?
            if self.is_raised() {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }

    fn lock_waker(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Interrupt {
    /// Readable for poll(2) while the interrupt is raised.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
