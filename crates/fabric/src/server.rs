//! The server's half of the fabric.
//!
//! Without sockets: a [`Session`] is what a server knows about one lane: it takes frames and tells
//! what to do. What it lets through are reads whose every item is within the limits; an [`Exchange`]
//! answers them from a [`Shelf`](crate::serve::Shelf), and a carrier's [`Output`] brings the bytes
//! to the client. A write that it lets through becomes an [`Intake`], which collects its bytes, and a
//! [`Courier`](crate::serve::Courier) hands them to a volume server.
//!
//! With sockets: a [`Server`] listens on TCP, on a unix socket and for RDMA. A few workers wait in epoll(7) for
//! all lanes together. The worker that gets a lane's event owns the lane until it has nothing more
//! to do there: it receives, serves and sends, without handing over to anybody and without waiting
//! for anything. What would make it wait goes another way:
//!
//! | what | where it goes |
//! |---|---|
//! | a client that does not take its bytes | at most a piece is queued; EPOLLOUT brings the lane back |
//! | a disk that has to be read | disk threads take the lane over until its exchange is done |
//! | a volume server that has to take a write | so do threads of their own, as these waits are longer |
//! | a long read, when others wait too | back of epoll's queue after some megabytes |
//! | more than can be served | [`Status::Busy`](crate::wire::Status::Busy), the client goes elsewhere |
//! | a handshake that does not come to its end | a timer, which runs only while there is one |
//!
//! A lane that is idle costs its buffer and no time.

mod config;
mod connection;
mod disk;
mod exchange;
mod intake;
mod lane;
mod listen;
mod outlet;
mod rdma;
mod regions;
mod running;
mod serve_item;
mod session;
mod shared;
mod stats;
mod worker;

pub use config::{MAX_RAILS, ServerConfig};
pub use exchange::{Exchange, Progress, serve};
pub use intake::Intake;
pub use running::Server;
pub use serve_item::{Output, PIECE, Taken, Torn};
pub use session::{Effect, End, Session, Terms};
pub use stats::{CarrierStats, ServerStats};
