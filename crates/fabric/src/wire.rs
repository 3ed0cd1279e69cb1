//! The fabric's protocol: what its frames say.
//!
//! One protocol for all carriers. A *lane* is one connection that has one exchange in flight at a
//! time: a [`Read`] of one or more items, answered by one [`Answer`] for each item in the order of
//! the items, or a [`Write`] of one needle, answered by a [`Written`]. Lanes are many, so nothing is
//! multiplexed and a slow needle holds up nobody else.
//!
//! ```text
//! client                                   server
//! Hello   nonce, whether memory comes  ──▶
//!                                      ◀── Challenge   nonce, whether a proof is wanted
//! Proof   HMAC over both nonces        ──▶
//!                                      ◀── Welcome     limits, HMAC  (or Refusal, then the end)
//! Memory  regions                      ──▶
//!                                      ◀── Ready
//! Read    items                        ──▶
//!                                      ◀── Answer      item 0, its bytes inline or already placed
//!                                      ◀── Answer      item 1 …
//! Write   needle, its bytes behind it  ──▶
//!         or in a region
//!                                      ◀── Written     what its volume server says
//! Borrow  volume                       ──▶
//!                                      ◀── Lent        its files beside it
//! ```
//!
//! A server that is older than writes refuses one as a frame of unknown kind. A client does not send
//! it any: it sends writes to those only whose announcement says that they take them
//! ([`Endpoints::writes`](crate::announce::Endpoints::writes)), which older clients do not look at. So it is with
//! files that are lent ([`Endpoints::lends`](crate::announce::Endpoints::lends)).
//!
//! Each end proves to the other that it holds the cluster's read key, if there is one ([`Proof`]). No memory
//! key, address or descriptor leaves the client before the server has accepted its proof and given its own. A
//! client without memory sends no Memory, and its lane is open with the Welcome.
//!
//! Where bytes go is decided for each item: [`Place::Inline`] puts them behind the answer's frame,
//! [`Place::Region`] names memory of the client that the server writes to before it answers (by
//! pread(2) into shared memory, by RDMA WRITE). The bytes of a write come the same ways: behind its
//! frame, or in memory of the client that the server reads from. A frame:
//!
//! | bytes | field | |
//! |---|---|---|
//! | 0..2 | magic | `RT` |
//! | 2 | version | [`VERSION`] |
//! | 3 | kind | of the message |
//! | 4..8 | length | of the body, at most [`MAX_BODY`] |
//! | 8..16 | id | of the exchange, another one than of that before; an answer repeats that of its read |
//! | 16..20 | data | bytes behind the body that the frame's checksum does not cover, at most [`MAX_READ`] |
//! | 20..24 | checksum | CRC32C of the header, with zeros here, and of the body |
//!
//! All integers are little-endian. Data is covered by the checksum in its message; it follows only an
//! [`Answer`] that is [`Status::Done`] and inline, and a [`Write`] whose place is inline, and is then as
//! long as they say. The
//! bodies, where every byte that is not named does not exist:
//!
//! | body | bytes | field |
//! |---|---|---|
//! | Hello | 0..16 | nonce |
//! | | 16 | 1 if a Memory comes, else 0 |
//! | | then all | name |
//! | Challenge | 0..16 | nonce |
//! | | 16 | 1 if a proof is wanted, else 0 |
//! | Proof | 0..32 | code |
//! | Welcome | 0..2 | most items |
//! | | 2..10 | most bytes of one item |
//! | | 10..42 | code |
//! | Refusal | all | reason, UTF-8 |
//! | Read | 0..2 | number of items |
//! | | then 40 each | items |
//! | item | 0..4 | volume |
//! | | 4..12 | key |
//! | | 12..16 | cookie |
//! | | 16 | extent: 0 whole, 1 range |
//! | | 17 | place: 0 inline, 1 region |
//! | | 18..20 | region; 0 when inline |
//! | | 20..24 | room of a whole, length of a range |
//! | | 24..32 | offset of a range; 0 of a whole |
//! | | 32..40 | offset in the region; 0 when inline |
//! | Answer | 0..2 | number of the item |
//! | | 2 | status |
//! | | 3 | 1 inline, 2 gzip, added up |
//! | | 4..8 | bytes delivered |
//! | | 8..16 | bytes stored |
//! | | 16..20 | CRC32C of the bytes delivered |
//! | Ping, Pong, Bye | none | |
//! | Write | 0..4 | volume |
//! | | 4..12 | key of the first id of the assignment |
//! | | 12..16 | cookie |
//! | | 16..20 | which id of the assignment, from 0 |
//! | | 20 | 1 gzip, 2 fsync, added up |
//! | | 21 | place: 0 inline, 1 region |
//! | | 22..24 | region; 0 when inline |
//! | | 24..28 | bytes, at least one |
//! | | 28..32 | their CRC32C |
//! | | 32..40 | offset in the region; 0 when inline |
//! | | 40..44 | milliseconds that the client waits for an answer |
//! | | 44..46 | `s`, length of the server |
//! | | 46..48 | `t`, length of the token |
//! | | 48..48+s | server: the volume server, as the sidecar announced it |
//! | | then t | token: of the assignment; empty where none is needed |
//! | Written | 0 | outcome |
//! | | 1 | 1 if the checksum is known, else 0 |
//! | | 2..4 | the volume server's HTTP status; 0 if it gave none |
//! | | 4..8 | CRC32C of what it stored, by its own account; 0 if not known |
//! | | then all | what it says, or the sidecar, UTF-8 |
//! | Borrow | 0..4 | volume |
//! | | 4..36 | device and inode of the data, then of the index, that are held; zeros for none |
//! | Lent | 0 | outcome |
//! | | 1 | bytes of an offset in the index, 4 or 5; 0 without files |
//! | | 2 | ranges are checked: 0 always, 1 when cached, 2 never; 0 without files |
//! | | 3..5 | compaction revision of the volume; 0 without files |
//! | Memory | 20 each | regions, at least one: `len` (8), `base` (8), `key` (4) |
//! | Ready | none | |
//!
//! A frame has one encoding only: what decodes encodes to the same bytes again. Bytes from a socket
//! go through a [`FrameReader`]; [`encode()`] appends frames to a buffer that is used again and again.

mod decode;
mod encode;
mod error;
mod header;
mod lend;
mod proof;
mod reader;
#[cfg(test)]
mod tests;
mod write;

use seaweed::FileId;

use header::Kind;

pub use encode::{encode, encode_answer, encode_read, encode_write};
pub use error::WireError;
pub use lend::{Borrow, FileTerms, Inodes, Lent, Verify};
pub use proof::{Proof, Role, Signed, Way};
pub use reader::{Frame, FrameReader, Next};
pub use write::{MAX_SERVER, MAX_TEXT, MAX_TOKEN, Outcome, Write, Written};

/// The version spoken here. Another one is refused by name.
pub const VERSION: u8 = 2;
/// Bytes of a frame's header.
pub const HEADER: usize = 24;
/// The longest body of a frame.
pub const MAX_BODY: usize = 8 << 10;
/// The most items of one read.
pub const MAX_ITEMS: usize = 64;
/// The most bytes one item may ask for; larger pieces are asked for in parts. Nor has a write more.
pub const MAX_READ: u64 = 64 << 20;
/// The most bytes that are sent inline when the item has a place of its own in a region.
/// Below this a copy costs less than telling where to put it.
pub const INLINE: u64 = 4 << 10;
/// The most regions a client may offer.
pub const MAX_REGIONS: usize = 16;
/// The longest name of a client, in bytes.
pub const MAX_NAME: usize = 64;
/// The longest reason of a refusal, in bytes.
pub const MAX_REASON: usize = 256;

/// A frame's meaning. Kinds are numbered in this order, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The client's first frame.
    Hello(Hello),
    /// The server's first frame.
    Challenge(Challenge),
    /// The client proves that it holds the cluster's read key.
    Proof(Proof),
    /// The proof was accepted, and here is the server's. The lane is open, or memory may be told.
    Welcome(Welcome),
    /// The lane will not be opened; the connection ends.
    Refusal(Refusal),
    /// Needles, please.
    Read(Read),
    /// One item of a read is done.
    Answer(Answer),
    /// Is anybody there? Answered by [`Message::Pong`], also while a read is in flight.
    Ping,
    /// Yes.
    Pong,
    /// The sender ends the lane in good order.
    Bye,
    /// A needle for a volume server, please.
    Write(Write),
    /// What became of a write.
    Written(Written),
    /// The files of a volume, please.
    Borrow(Borrow),
    /// The files, or why not.
    Lent(Lent),
    /// The client's memory.
    Memory(Memory),
    /// The memory can be used: the lane is open.
    Ready,
}

/// How the client introduces itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Random, for the proofs.
    pub nonce: [u8; 16],
    /// Whether a [`Message::Memory`] follows the Welcome.
    pub offers: bool,
    /// Who it is, for the server's log and statistics; at most 64 bytes of printable ASCII.
    pub name: String,
}

/// What the server may write to, and read from for writes, once the lane is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// 1 to [`MAX_REGIONS`].
    pub regions: Vec<Region>,
}

/// Memory of the client.
///
/// On a lane of shared memory its descriptor travels beside the Memory (`SCM_RIGHTS`), one for each
/// region in their order; with verbs `key` is the remote key and `base` the virtual address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Bytes.
    pub len: u64,
    /// Address of its first byte, as the carrier counts; 0 in shared memory.
    pub base: u64,
    /// The carrier's key for it; 0 in shared memory.
    pub key: u32,
}

/// What the client has to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Challenge {
    /// Random, never used again.
    pub nonce: [u8; 16],
    /// Whether the cluster has a read key, so that an empty proof will not do.
    pub wants_proof: bool,
}

/// The server has accepted the client's proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Welcome {
    /// What it grants.
    pub limits: Limits,
    /// That the server holds the cluster's read key as well.
    pub proof: Proof,
}

/// What the server grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Items it takes in one read, at most [`MAX_ITEMS`].
    pub max_items: u16,
    /// Bytes it gives for one item, at most [`MAX_READ`].
    pub max_read: u64,
}

/// Why the server does not open the lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// In words, at most 256 bytes.
    pub reason: String,
}

/// Items to be answered in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// 1 to [`MAX_ITEMS`].
    pub items: Vec<Item>,
}

/// A run of stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// Of which needle.
    pub needle: FileId,
    /// Which bytes of it.
    pub extent: Extent,
    /// Where to.
    pub place: Place,
}

/// Which bytes of a needle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All stored bytes, if they are at most `room`; otherwise [`Status::TooLarge`] and the length.
    Whole {
        /// Bytes the client has room for.
        room: u32,
    },
    /// Exactly these clear bytes. A needle the volume server compressed is not cut: it is
    /// answered with [`Status::Gzip`].
    Range {
        /// The first.
        offset: u64,
        /// How many, at least one.
        len: u32,
    },
}

/// Where bytes are to be put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Behind the answer.
    Inline,
    /// In a region of the client, whole within its bounds. The server may still send up to
    /// [`INLINE`] bytes inline.
    Region {
        /// Number of the region in the Memory.
        region: u16,
        /// The first byte, counted from the start of the region.
        offset: u64,
    },
}

/// How an item came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Number of the item in its read.
    pub item: u16,
    /// What became of it.
    pub status: Status,
    /// Whether the bytes are inline, behind this frame. Meaningless without [`Status::Done`].
    pub is_inline: bool,
    /// Whether the stored bytes are a gzip stream by the volume server's own account.
    pub is_gzip: bool,
    /// Bytes delivered.
    pub len: u32,
    /// Bytes stored in the needle, if it was found.
    pub stored: u64,
    /// CRC32C of the bytes delivered. Of a whole needle it is the one kept in the volume, so
    /// that it covers the disk as well as the way.
    pub crc: u32,
}

/// What became of an item. Numbered in this order, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// The bytes are there.
    Done,
    /// See [`Miss::Absent`](crate::serve::Miss::Absent).
    Absent,
    /// See [`Miss::NotHere`](crate::serve::Miss::NotHere).
    NotHere,
    /// See [`Miss::Declined`](crate::serve::Miss::Declined).
    Declined,
    /// See [`Miss::Loading`](crate::serve::Miss::Loading).
    Loading,
    /// What is stored is damaged.
    Corrupt,
    /// The disk or the system failed.
    Failed,
    /// The range does not lie within the needle.
    PastEnd,
    /// All of the needle is more than there is room for.
    TooLarge,
    /// A range was asked of a needle that is stored compressed.
    Gzip,
    /// The server has too much to do; the client goes another way now and comes back later.
    Busy,
}

impl Message {
    /// Its kind, as errors call it.
    pub fn name(&self) -> &'static str {
        Kind::of(self).name()
    }

    /// Bytes that follow the frame.
    pub fn data(&self) -> usize {
        match self {
            Self::Answer(answer) => answer.data(),
            Self::Write(write) => write.data(),
            _ => 0,
        }
    }
}

impl Answer {
    /// Bytes that follow the answer's frame.
    pub fn data(&self) -> usize {
        match self.is_inline && self.status == Status::Done {
            true => self.len as usize,
            false => 0,
        }
    }
}

impl Extent {
    /// The most bytes that may be delivered for it.
    pub fn room(&self) -> u32 {
        match *self {
            Self::Whole { room } => room,
            Self::Range { len, .. } => len,
        }
    }
}

impl Refusal {
    /// A refusal for this reason, cut to what a frame may hold.
    pub fn new(reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        reason.truncate(reason.floor_char_boundary(MAX_REASON));
        Self { reason }
    }
}
