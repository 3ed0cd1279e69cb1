//! The fabric's protocol: what its frames say.
//!
//! One protocol for all carriers. A *lane* is one connection that has one exchange in flight at a
//! time: a [`Read`] of one or more items, answered by one [`Answer`] for each item in the order of
//! the items. Lanes are many, so nothing is multiplexed and a slow needle holds up nobody else.
//!
//! ```text
//! client                                   server
//! Hello   version, nonce, placement    ──▶
//!                                      ◀── Challenge   nonce, whether a proof is wanted
//! Proof   HMAC over both nonces        ──▶
//!                                      ◀── Welcome     limits     (or Refusal, then the end)
//! Read    items                        ──▶
//!                                      ◀── Answer      item 0, its bytes inline or already placed
//!                                      ◀── Answer      item 1 …
//! ```
//!
//! No memory key and no descriptor is used before the proof was accepted.
//!
//! Where bytes go is decided for each item: [`Place::Inline`] puts them behind the answer's frame,
//! [`Place::Region`] names memory of the client that the server writes to before it answers (by
//! pread(2) into shared memory, by RDMA WRITE). A frame:
//!
//! | bytes | field | |
//! |---|---|---|
//! | 0..2 | magic | `RT` |
//! | 2 | version | [`VERSION`] |
//! | 3 | kind | of the message |
//! | 4..8 | length | of the body, at most [`MAX_BODY`] |
//! | 8..16 | id | of the exchange; an answer repeats that of its request |
//! | 16..20 | data | bytes behind the body that the frame's checksum does not cover, at most [`MAX_READ`] |
//! | 20..24 | checksum | CRC32C of the header, with zeros here, and of the body |
//!
//! All integers are little-endian. Data is covered by the answer's own checksum.

use seaweed::FileId;

/// The version spoken here. Another one is refused by name.
pub const VERSION: u8 = 1;
/// Bytes of a frame's header.
pub const HEADER: usize = 24;
/// The longest body of a frame.
pub const MAX_BODY: usize = 8 << 10;
/// The most items of one read.
pub const MAX_ITEMS: usize = 64;
/// The most bytes one item may ask for; larger pieces are asked for in parts.
pub const MAX_READ: u64 = 64 << 20;
/// The most bytes that are sent inline when the item has a place of its own in a region.
/// Below this a copy costs less than telling where to put it.
pub const INLINE: u64 = 4 << 10;
/// The most regions a client may offer.
pub const MAX_REGIONS: usize = 16;

/// A frame's meaning. Kinds are numbered in this order, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The client's first frame.
    Hello(Hello),
    /// The server's first frame.
    Challenge(Challenge),
    /// The client proves that it holds the cluster's read key.
    Proof(Proof),
    /// The lane is open.
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
}

/// How the client introduces itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Random, for the proof.
    pub nonce: [u8; 16],
    /// Who it is, for the server's log and statistics; at most 64 bytes of printable ASCII.
    pub name: String,
    /// Memory the server may write to, once the lane is open.
    pub regions: Vec<Region>,
}

/// Memory of the client.
///
/// On a lane of shared memory its descriptor travels beside the Hello (`SCM_RIGHTS`), one for each
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

/// HMAC-SHA256 under the cluster's read key of `"riptide fabric 1"`, the client's nonce and the
/// server's; zeros where no proof is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// The code.
    pub mac: [u8; 32],
}

/// What the server grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Welcome {
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
        /// Number of the region in the Hello.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
