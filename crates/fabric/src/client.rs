//! The client's half of the fabric, as far as it needs no sockets: whom to ask, how long to wait,
//! when to ask a second one, when to leave the fabric alone.
//!
//! A [`Call`] is one read over the fabric, a [`Posting`] one write. It is driven by the thread that
//! reads or writes, between whose lanes and clock it decides. What is learnt about a sidecar is shared in
//! its [`Peer`]; what is shared of the mount's own resources is in the [`Policy`]. Nothing here asks for
//! the time or for true randomness, so the same events lead to the same decisions.

mod balance;
mod breaker;
mod call;
mod config;
mod handshake;
mod latency;
mod peer;
mod permits;
mod policy;
mod posting;
mod random;
mod reason;

pub use balance::{Candidate, Nearness};
pub use breaker::{Breaker, Change, Entry};
pub use call::{Call, Step, Verdict};
pub use config::{BreakerConfig, Config, HedgeConfig};
pub use handshake::{Handshake, Reply};
pub use latency::Latency;
pub use peer::Peer;
pub use permits::{Permit, Permits};
pub use policy::Policy;
pub use posting::{Posting, Sent, Turn};
pub use random::Random;
pub use reason::Reason;
