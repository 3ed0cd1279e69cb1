//! What both ends of a lane over RDMA verbs agree on.
//!
//! A lane is one reliable queue pair. Every frame is one message (SEND), small data behind its
//! answer in the same one; data of more than [`INLINE`] bytes is written to the client's memory
//! (RDMA WRITE) before the answer is sent. A queue pair keeps the order: when the answer has
//! been received, what was written before it is in place.
//!
//! A message needs a free slot at the receiver. The client has one for each item that it may ask
//! for at a time, because each is answered by one message; the server has more than the client ever
//! sends without having been answered. So nobody finds the other without a slot, unless it breaks
//! these rules, for which its lane ends.

use crate::wire::{HEADER, INLINE, MAX_ITEMS};

/// The longest message: an answer with its data is longer than every other frame.
pub(crate) const MESSAGE: u32 = (4 << 10) + 128;
/// The most items of one read: what is asked for together is rarely more, and a slot for each is
/// registered memory of every lane, used or not.
pub(crate) const ITEMS: u16 = 8;

/// Answers of a read, and what the server may say unasked: Pong, Bye, a refusal.
const CLIENT_SLOTS: u32 = ITEMS as u32 + 4;
/// A read, and what may come with it: a Ping, Bye.
const SERVER_SLOTS: u32 = 8;
/// Writes and answers that the server has under way on one lane.
pub(crate) const SERVER_DEPTH: u32 = 32;

/// Bytes of an answer's body and of an item, and the longest greeting.
const ANSWER: u64 = 20;
const ITEM: usize = 40;
const _: () = assert!(HEADER as u64 + ANSWER + INLINE <= MESSAGE as u64);
const _: () = assert!(HEADER + 2 + MAX_ITEMS * ITEM <= MESSAGE as usize);

/// How the client's end is sized.
pub(crate) fn client() -> verbs::Config {
    verbs::Config {
        send_depth: 4,
        recv_depth: CLIENT_SLOTS,
        message_size: MESSAGE,
        ..verbs::Config::default()
    }
}

/// How the server's end is sized.
pub(crate) fn server() -> verbs::Config {
    verbs::Config {
        send_depth: SERVER_DEPTH,
        recv_depth: SERVER_SLOTS,
        message_size: MESSAGE,
        ..verbs::Config::default()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn both_ends_are_sized_as_the_verbs_layer_allows() {
        super::client().check().unwrap();
        super::server().check().unwrap();
    }
}
