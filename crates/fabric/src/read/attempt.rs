//! One question on one lane, and where its answer is put.
//!
//! There are three places. A large answer is written by the server into a block of the arena, if
//! the lane has one. Any other comes inline and is received straight into the caller's memory, or,
//! where another attempt may be doing so already or the bytes have to be inflated first, into memory
//! aside.
//!
//! An attempt that is dropped before it was answered closes its lane, and leaves the block it had
//! offered to the quarantine until the server is known to write no more.

use std::sync::Arc;

use super::Missed;
use super::wanted::Wanted;
use crate::checksum;
use crate::eager::Seen;
use crate::lane::{Answered, Broken, Inbox, Lane};
use crate::memory::{Arena, Block, Landing};
use crate::peers::Peer;
use crate::wire::{Answer, Extent, Item, Place, Status};

/// From this many bytes on an answer is put into the arena. Over a unix socket a range of up to
/// 128 KiB takes as long either way (50 to 90 µs, a difference within the noise of where the
/// scheduler puts the sidecar), and 1 MiB takes 250 µs instead of 400 µs; and from here on a whole
/// needle is worth a block of its own.
pub(super) const ARENA_FROM: u64 = 64 << 10;

/// A question on its way.
pub(super) struct Attempt {
    pub(super) number: u32,
    pub(super) peer: Arc<Peer>,
    /// It was asked while another one was on its way.
    pub(super) is_hedge: bool,
    /// `None` as soon as it is idle again or closed.
    lane: Option<Box<dyn Lane>>,
    carrier: &'static str,
    memory: Memory,
    /// Whether the caller's memory is this attempt's to write to.
    is_direct: bool,
    answer: Option<Answer>,
    missed: Option<Missed>,
}

/// Where the bytes are.
enum Memory {
    /// Nowhere yet.
    None,
    /// The server may be writing them.
    Offered(Landing),
    /// In a block that is ours again.
    Block(Block),
    /// Where the caller wants them.
    Direct,
    /// Elsewhere.
    Aside(Vec<u8>),
}

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    pub(super) number: u32,
    pub(super) id: u64,
    pub(super) item: Item,
    pub(super) is_direct: bool,
    pub(super) is_hedge: bool,
}

impl Attempt {
    /// A block of `arena` for an answer of up to `room` bytes on `lane`, if that is worth it.
    pub(super) fn block(lane: &dyn Lane, arena: Option<&Arena>, room: u64) -> Option<(u16, Block)> {
        let (region, arena) = (lane.region()?, arena?);
        if room < ARENA_FROM && room <= lane.most_inline() {
            return None;
        }
        Some((region, arena.take(usize::try_from(room).ok()?)?))
    }

    /// Sends the question on `lane`. With a `block` the server may write the answer there.
    pub(super) fn start(
        peer: Arc<Peer>,
        lane: Box<dyn Lane>,
        block: Option<(u16, Block)>,
        question: Question,
    ) -> Result<Self, Broken> {
        let mut item = question.item;
        let memory = match block {
            Some((region, block)) => {
                let landing = block.offer();
                item.place = landing.place(region);
                Memory::Offered(landing)
            }
            None => Memory::None,
        };
        let mut attempt = Self {
            number: question.number,
            peer,
            is_hedge: question.is_hedge,
            carrier: lane.carrier(),
            lane: Some(lane),
            memory,
            is_direct: question.is_direct,
            answer: None,
            missed: None,
        };
        match &mut attempt.lane {
            Some(lane) => lane.start(question.id, &[item])?,
            None => unreachable!("it was put there above"),
        }
        Ok(attempt)
    }

    /// The lane to wait on, as long as there is no answer.
    pub(super) fn lane(&self) -> Option<&dyn Lane> {
        self.lane.as_deref()
    }

    /// Whether there is something to receive; does not wait.
    pub(super) fn look(&mut self) -> Seen {
        match self.lane.as_mut().is_some_and(|lane| lane.has_come()) {
            true => Seen::Came,
            false => Seen::Nothing,
        }
    }

    /// What was answered.
    pub(super) fn answer(&self) -> Option<Answer> {
        self.answer
    }

    pub(super) fn carrier(&self) -> &'static str {
        self.carrier
    }

    pub(super) fn is_direct(&self) -> bool {
        self.is_direct
    }

    /// Receives what is there; the answer, once it is complete.
    pub(super) fn advance(&mut self, wanted: &mut Wanted<'_>) -> Result<Option<Answer>, Broken> {
        let Some(mut lane) = self.lane.take() else {
            return Ok(self.answer);
        };
        let mut port = Port {
            memory: &mut self.memory,
            answer: &mut self.answer,
            missed: &mut self.missed,
            is_direct: self.is_direct,
            wanted,
        };
        match lane.advance(&mut port) {
            Ok(true) => {
                self.peer.kept.lanes.keep(lane);
                let nothing = || Broken::Protocol("an exchange ended without an answer".into());
                self.answer.map(Some).ok_or_else(nothing)
            }
            Ok(false) => {
                self.lane = Some(lane);
                Ok(None)
            }
            Err(broken) => {
                self.lane = Some(lane);
                Err(broken)
            }
        }
    }

    /// Why the bytes could not be taken, although they came.
    pub(super) fn missed(&self) -> Option<Missed> {
        self.missed
    }

    /// Whether the bytes are those that the answer promises.
    pub(super) fn is_right(&self, wanted: &mut Wanted<'_>) -> bool {
        let Some(answer) = self.answer.filter(|answer| answer.status == Status::Done) else {
            return false;
        };
        let is_whole = matches!(wanted.extent(), Extent::Whole { .. });
        let len = answer.len as usize;
        let bytes: &[u8] = match &self.memory {
            Memory::Block(block) => block,
            Memory::Aside(bytes) => bytes,
            Memory::Direct => match wanted.memory(len) {
                Ok(memory) => memory,
                Err(_) => return false,
            },
            Memory::None => &[],
            Memory::Offered(_) => return false,
        };
        let got = seaweed::crc::crc32c(bytes);
        // A range is told its own checksum, a whole needle the one that the volume keeps.
        let agrees = match is_whole {
            true => checksum::agrees(answer.crc, got),
            false => answer.crc == got,
        };
        bytes.len() == len && agrees
    }

    /// Puts the bytes to where they are wanted; how many that makes.
    pub(super) fn deliver(mut self, wanted: &mut Wanted<'_>) -> Result<usize, Missed> {
        let inflate = self.answer.is_some_and(|answer| wanted.inflates(&answer));
        match std::mem::replace(&mut self.memory, Memory::None) {
            Memory::Direct => Ok(self.answer.map_or(0, |answer| answer.len as usize)),
            Memory::Block(block) => wanted.adopt(block, inflate),
            Memory::Aside(bytes) => wanted.copy(&bytes, inflate),
            Memory::None => wanted.copy(&[], inflate),
            Memory::Offered(landing) => {
                debug_assert!(false, "what was not answered for is not delivered");
                drop(landing);
                Err(Missed::Suspect)
            }
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let retiring = self.lane.take().and_then(|lane| lane.close());
        if let Memory::Offered(landing) = std::mem::replace(&mut self.memory, Memory::None) {
            landing.abandon(retiring.as_ref());
        }
    }
}

/// An attempt while its lane receives.
struct Port<'a, 'd> {
    memory: &'a mut Memory,
    answer: &'a mut Option<Answer>,
    missed: &'a mut Option<Missed>,
    is_direct: bool,
    wanted: &'a mut Wanted<'d>,
}

impl Port<'_, '_> {
    /// The server has done with what it was offered. Small answers come inline all the same.
    fn reclaim(&mut self, answered: &Answered) {
        *self.memory = match std::mem::replace(self.memory, Memory::None) {
            Memory::Offered(landing) => match landing.reclaim(answered) {
                Ok(_) if answered.is_inline => Memory::None,
                Ok(mut block) => {
                    // The lane has checked that it is no more than there is room for.
                    block.resize((answered.len as usize).min(block.capacity()));
                    Memory::Block(block)
                }
                Err(landing) => Memory::Offered(landing),
            },
            other => other,
        };
    }
}

impl Inbox for Port<'_, '_> {
    fn memory(&mut self, answered: &Answered) -> Option<&mut [u8]> {
        self.reclaim(answered);
        let len = answered.len as usize;
        if matches!(self.memory, Memory::None) {
            *self.memory = match self.is_direct && !self.wanted.inflates(answered) {
                true => Memory::Direct,
                false => Memory::Aside(vec![0; len]),
            };
        }
        match self.memory {
            Memory::Aside(bytes) => Some(bytes),
            Memory::Direct => match self.wanted.memory(len) {
                Ok(memory) => Some(memory),
                Err(missed) => {
                    *self.missed = Some(missed);
                    None
                }
            },
            Memory::None | Memory::Offered(_) | Memory::Block(_) => None,
        }
    }

    fn done(&mut self, answered: &Answered) {
        self.reclaim(answered);
        *self.answer = Some(**answered);
    }
}

/// The item that asks for it.
pub(super) fn item(needle: seaweed::FileId, wanted: &Wanted<'_>) -> Item {
    Item {
        needle,
        extent: wanted.extent(),
        place: Place::Inline,
    }
}
