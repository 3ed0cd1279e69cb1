//! Replies whose body is too large or too varied to be a return value.
//!
//! Both kinds are built in memory that the back end lends for one request and
//! that is exactly as long as the kernel allows the reply to be.

mod dir;
mod read;

pub use dir::DirReply;
pub(crate) use dir::entries_plus;
pub use read::{Overflow, ReadReply, Segments};
