//! One question on a lane, for whoever wants to know about the lane and not about the bytes.

use context::{Context, Stopped};
use rustix::event::{PollFd, PollFlags, poll};
use seaweed::FileId;

use super::drive::timespec;
use crate::lane::{Answered, Broken, Inbox, Lane};
use crate::wire::{Answer, Extent, Item, Place};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The lane is of no use any more.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// No answer in time; the lane is of no use any more either.
    #[error("no answer: {0}")]
    Stopped(#[from] Stopped),
}

/// Asks for all of `needle` without having room for more than nothing: what comes back is whether
/// the sidecar has it and how long it is, after one round trip.
///
/// # Errors
/// See [`AskError`].
pub fn ask(
    ctx: &Context<'_>,
    lane: &mut dyn Lane,
    id: u64,
    needle: FileId,
) -> Result<Answer, AskError> {
    let item = Item {
        needle,
        extent: Extent::Whole { room: 0 },
        place: Place::Inline,
    };
    lane.start(id, &[item])?;
    let mut heard = Heard(None);
    loop {
        let (fd, what) = lane.wait_on();
        let mut fds = [PollFd::from_borrowed_fd(fd, what), interrupt_of(ctx, fd)];
        let _ = poll(&mut fds, Some(&timespec(ctx.remaining())));
        ctx.check()?;
        if lane.advance(&mut heard)? {
            let nothing = || Broken::Protocol("an exchange ended without an answer".into());
            return Ok(heard.0.ok_or_else(nothing)?);
        }
    }
}

/// The request's interrupt, or the lane once more.
fn interrupt_of<'a>(ctx: &Context<'a>, lane: std::os::fd::BorrowedFd<'a>) -> PollFd<'a> {
    match ctx.interrupt() {
        Some(interrupt) => PollFd::new(interrupt, PollFlags::IN),
        None => PollFd::from_borrowed_fd(lane, PollFlags::empty()),
    }
}

struct Heard(Option<Answer>);

impl Inbox for Heard {
    fn memory(&mut self, _: &Answered) -> Option<&mut [u8]> {
        None
    }

    fn done(&mut self, answered: &Answered) {
        self.0 = Some(**answered);
    }
}
