//! The server's half of the fabric, as far as it needs no sockets.
//!
//! A [`Session`] is what a server knows about one lane: it takes frames and tells what to do. What
//! it lets through are reads whose every item is within the limits; [`serve`] answers them from a
//! [`Shelf`](crate::serve::Shelf), and a carrier's [`Output`] brings the bytes to the client.

mod exchange;
mod serve_item;
mod session;

pub use exchange::{Exchange, Progress, serve};
pub use serve_item::{Output, PIECE, Torn};
pub use session::{Effect, End, Session, Terms};
