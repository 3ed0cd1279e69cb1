//! One lane, as the server sees it.
//!
//! ```text
//! Greeting ──Hello──▶ Proving ──Proof──▶ Offering ──Memory──▶ Admitting ──admit()──▶ Idle ─Read, Write▶ Serving
//!     │                  │  └──without memory──│────────────────▶ │                   ▲                 │
//!     └──── anything else, or too slow: Refusal, Closed ──────────┘                   └───finished()────┘
//! ```
//!
//! Frames come in, an [`Effect`] comes out; time and the nonce are arguments. The Welcome, with our proof, goes
//! to clients only whose proof was accepted. What a client says about its memory is not taken before: only
//! [`Effect::Admit`] tells the carrier to map it, and only its [`Session::admit`] opens the lane.
//!
//! A client has one exchange in flight. [`Session::finished`] is called *before* the last answer is
//! sent, because the next request may arrive the moment after. A request that repeats the id of the one
//! before is refused: serving it again would touch memory that the client has taken back.

use std::fmt;
use std::time::{Duration, Instant};

use seaweed::jwt::SigningKey;

use crate::wire::{
    Borrow, Challenge, Frame, Hello, Item, Limits, MAX_ITEMS, MAX_READ, Memory, Message, Place,
    Proof, Refusal, Region, Role, Signed, Way, Welcome, WireError, Write,
};

/// What a server grants, the same for all lanes.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The cluster's read key, if it has one.
    pub key: Option<SigningKey>,
    /// Items it takes in one read; from 1 to [`MAX_ITEMS`].
    pub max_items: u16,
    /// Bytes it gives for one item; from 1 to [`MAX_READ`].
    pub max_read: u64,
    /// Bytes it gives for one item whose place is inline.
    pub max_inline: u64,
    /// How long a client may take to open a lane.
    pub patience: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            key: None,
            max_items: MAX_ITEMS as u16,
            max_read: MAX_READ,
            max_inline: MAX_READ,
            patience: PATIENCE,
        }
    }
}

/// What a server knows about one lane.
#[derive(Debug)]
pub struct Session {
    terms: Terms,
    /// What both ends sign; the client's part is known from its Hello on.
    signed: Signed,
    name: String,
    /// Whether a Memory follows the Welcome.
    offers: bool,
    regions: Vec<Region>,
    state: State,
    /// The id of the last request.
    last: Option<u64>,
    deadline: Instant,
}

/// What the driver has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send this.
    Send(Frame),
    /// The client may read. Make its regions usable, then call [`Session::admit`] or
    /// [`Session::refuse`].
    Admit,
    /// Answer these items in their order under this id, and call [`Session::finished`] before the
    /// last answer goes out.
    Serve {
        /// Of the exchange.
        id: u64,
        /// At least one; every place is within the client's regions.
        items: Vec<Item>,
    },
    /// Take the bytes of this needle, hand them on, and tell under this id what became of it. Call
    /// [`Session::finished`] before.
    Store {
        /// Of the exchange.
        id: u64,
        /// Its place is within the client's regions.
        write: Write,
    },
    /// Tell under this id whether the files of a volume are lent, with the files. Call
    /// [`Session::finished`] before.
    Lend {
        /// Of the exchange.
        id: u64,
        /// Which volume.
        borrow: Borrow,
    },
    /// Nothing to do.
    Nothing,
    /// The lane is over. Send the frame if there is one, then close.
    Close(Option<Frame>, End),
}

/// Why a lane is over, for log and statistics.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// In good order.
    #[error("the client says goodbye")]
    Bye,
    /// The client may not read.
    #[error("the client does not prove that it holds the read key")]
    Unproven,
    /// The lane was not opened in time.
    #[error("the client does not open the lane in time")]
    Slow,
    /// Something else is wrong with the client, or with its regions.
    #[error("{0}")]
    Refused(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Greeting,
    Proving,
    /// It was welcomed, and its memory is to come.
    Offering,
    Admitting,
    Idle,
    Serving(u64),
    Closed,
}

impl Session {
    /// A lane that was just accepted, by this way. `nonce` is random and never used again.
    pub fn new(terms: Terms, way: Way, nonce: [u8; 16], now: Instant) -> Self {
        Self {
            deadline: now + terms.patience,
            terms,
            signed: Signed {
                client: [0; 16],
                server: nonce,
                way,
            },
            name: String::new(),
            offers: false,
            regions: Vec::new(),
            state: State::Greeting,
            last: None,
        }
    }

    /// The client's name; empty before it said Hello.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The memory the client offers. Not to be touched before [`Effect::Admit`].
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// Whether the next frame is the client's memory, with descriptors beside it if there are any.
    pub fn wants_memory(&self) -> bool {
        self.state == State::Offering
    }

    /// Whether the handshake is over, so that reads are taken.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Idle | State::Serving(_))
    }

    /// When [`tick`](Self::tick) should be called; not at all once the lane is open.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Greeting | State::Proving | State::Offering | State::Admitting => {
                Some(self.deadline)
            }
            State::Idle | State::Serving(_) | State::Closed => None,
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Effect {
        match self.deadline() {
            Some(deadline) if now >= deadline => self.close(End::Slow),
            _ => Effect::Nothing,
        }
    }

    /// A frame has arrived.
    pub fn take(&mut self, frame: Frame) -> Effect {
        let Frame { id, message } = frame;
        match (self.state, message) {
            (State::Closed, _) => Effect::Nothing,
            (_, Message::Bye) => {
                self.state = State::Closed;
                Effect::Close(None, End::Bye)
            }
            (State::Greeting, Message::Hello(hello)) => self.greet(hello),
            (State::Proving, Message::Proof(proof)) => self.prove(&proof),
            (State::Offering, Message::Memory(memory)) => self.offered(memory),
            (State::Idle | State::Serving(_), Message::Ping) => send(id, Message::Pong),
            (State::Idle | State::Serving(_), Message::Pong) => Effect::Nothing,
            (State::Idle, Message::Read(_)) if self.last == Some(id) => {
                self.refuse(format!("read {id} is sent again"))
            }
            (State::Idle, Message::Read(read)) => match self.check(&read.items) {
                Ok(()) => {
                    self.last = Some(id);
                    self.state = State::Serving(id);
                    Effect::Serve {
                        id,
                        items: read.items,
                    }
                }
                Err(what) => self.refuse(what),
            },
            (State::Idle, Message::Write(_)) if self.last == Some(id) => {
                self.refuse(format!("write {id} is sent again"))
            }
            (State::Idle, Message::Write(write)) => {
                let checked = self.check_place(format_args!("a write"), write.place, write.len);
                match checked {
                    Ok(()) => {
                        self.last = Some(id);
                        self.state = State::Serving(id);
                        Effect::Store { id, write }
                    }
                    Err(what) => self.refuse(what),
                }
            }
            (State::Idle, Message::Borrow(borrow)) => {
                self.last = Some(id);
                self.state = State::Serving(id);
                Effect::Lend { id, borrow }
            }
            (State::Serving(_), Message::Read(_) | Message::Write(_) | Message::Borrow(_)) => {
                self.refuse("another request is still in flight on this lane")
            }
            (_, message) => self.refuse(format!("{} is out of turn", message.name())),
        }
    }

    /// What has arrived is no frame.
    pub fn nonsense(&mut self, error: &WireError) -> Effect {
        self.refuse(error.to_string())
    }

    /// The client's regions are usable: opens the lane.
    pub fn admit(&mut self) -> Effect {
        if self.state != State::Admitting {
            return Effect::Nothing;
        }
        self.state = State::Idle;
        match self.offers {
            true => send(0, Message::Ready),
            false => self.welcome(),
        }
    }

    /// Ends the lane for a reason that the client is told.
    pub fn refuse(&mut self, reason: impl Into<String>) -> Effect {
        self.close(End::Refused(reason.into()))
    }

    /// All items of the exchange are served; the last answer is about to be sent.
    pub fn finished(&mut self, id: u64) {
        debug_assert!(
            matches!(self.state, State::Serving(served) if served == id)
                || self.state == State::Closed,
            "exchange {id} is not the one being served"
        );
        if self.state == State::Serving(id) {
            self.state = State::Idle;
        }
    }

    fn greet(&mut self, hello: Hello) -> Effect {
        self.signed.client = hello.nonce;
        self.name = hello.name;
        self.offers = hello.offers;
        self.state = State::Proving;
        let challenge = Challenge {
            nonce: self.signed.server,
            wants_proof: self.terms.key.is_some(),
        };
        send(0, Message::Challenge(challenge))
    }

    fn prove(&mut self, proof: &Proof) -> Effect {
        if !proof.is_good(self.terms.key.as_ref(), Role::Client, &self.signed) {
            return self.close(End::Unproven);
        }
        if self.offers {
            self.state = State::Offering;
            return self.welcome();
        }
        self.state = State::Admitting;
        Effect::Admit
    }

    fn welcome(&self) -> Effect {
        let limits = Limits {
            max_items: self.terms.max_items,
            max_read: self.terms.max_read,
        };
        let proof = Proof::new(self.terms.key.as_ref(), Role::Server, &self.signed);
        send(0, Message::Welcome(Welcome { limits, proof }))
    }

    fn offered(&mut self, memory: Memory) -> Effect {
        for (at, region) in memory.regions.iter().enumerate() {
            if region.len == 0 || region.base.checked_add(region.len).is_none() {
                let Region { len, base, .. } = region;
                return self.refuse(format!(
                    "region {at} of {len} bytes at {base:#x} is no memory"
                ));
            }
        }
        self.regions = memory.regions;
        self.state = State::Admitting;
        Effect::Admit
    }

    fn check(&self, items: &[Item]) -> Result<(), String> {
        let most = self.terms.max_items;
        if items.len() > usize::from(most) {
            let count = items.len();
            return Err(format!("a read of {count} items is more than {most}"));
        }
        items.iter().enumerate().try_for_each(|(at, item)| {
            let what = format_args!("item {at}");
            self.check_place(what, item.place, item.extent.room())
        })
    }

    /// Whether `what` of so many bytes is within what was granted, and its place within what was
    /// offered.
    fn check_place(
        &self,
        what: fmt::Arguments<'_>,
        place: Place,
        bytes: u32,
    ) -> Result<(), String> {
        let bytes = u64::from(bytes);
        let most = self.terms.max_read;
        if bytes > most {
            return Err(format!("{what} of {bytes} bytes is more than {most}"));
        }
        let Place::Region { region, offset } = place else {
            let most = self.terms.max_inline;
            return match bytes > most {
                true => Err(format!(
                    "{what} of {bytes} bytes inline is more than {most}"
                )),
                false => Ok(()),
            };
        };
        let memory = self.regions.get(usize::from(region));
        let memory = memory.ok_or_else(|| format!("{what} names no region {region}"))?;
        let end = offset.checked_add(bytes);
        match end.is_some_and(|end| end <= memory.len) {
            true => Ok(()),
            false => Err(format!(
                "{what} of {bytes} bytes at {offset} is outside region {region}"
            )),
        }
    }

    fn close(&mut self, end: End) -> Effect {
        if self.state == State::Closed {
            return Effect::Nothing;
        }
        self.state = State::Closed;
        let message = Message::Refusal(Refusal::new(end.to_string()));
        Effect::Close(Some(Frame { id: 0, message }), end)
    }
}

/// How long a client may take to open a lane: some round trips, and the registration of memory.
const PATIENCE: Duration = Duration::from_secs(5);

fn send(id: u64, message: Message) -> Effect {
    Effect::Send(Frame { id, message })
}

#[cfg(test)]
mod tests;
