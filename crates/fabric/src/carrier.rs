//! Lanes to a sidecar, and how they are opened.
//!
//! A [`Dialer`] is told where a sidecar listens and opens the best lane it can: shared memory where
//! both run on the same kernel, RDMA where both have it, TCP everywhere else. The first and the
//! last are sockets and share one lane (`stream`); they differ in how they connect and in whether the
//! server can write to our memory. RDMA has a lane of its own (`verbs`). A [`Lender`] is a connection by which a sidecar of the same host
//! lends volume files.

mod dial;
mod error;
mod greet;
mod lender;
mod shm;
mod stream;
mod tcp;
mod verbs;
mod ways;

pub use dial::{Dial, Dialer, DialerConfig};
pub use error::{Attempt, DialError};
pub use lender::{Borrowed, Lender, LenderError};
pub use shm::Stranger;
