//! Needles over the volume servers' HTTP port.
//!
//! A client for one protocol, cut to what a read needs: [`parse_head`] turns the
//! front of an answer into a typed head, `connection` sends a request and receives with
//! poll(2), `body` moves the payload into place, `exchange` finds a
//! connection, `answer` checks that what came is what was asked for, and [`HttpRoute`] chooses servers, switches and retries.
//! [`HttpStore`] writes needles over the same connections.
//!
//! A read of 4 KiB costs four system calls: send, poll, one recv for head and body together, and
//! the kernel's wake-up in between. A large body is received straight into the destination.

mod answer;
mod body;
mod config;
mod connection;
mod exchange;
mod fetch;
mod head;
mod pool;
mod request;
pub(crate) mod resolve;
mod retry;
mod route;
mod stats;
mod store;
mod tls;
pub(crate) mod wait;
mod wake;
pub(crate) mod wire;

pub use config::{Access, HttpConfig};
pub use fetch::{FetchError, fetch};
pub use head::{ContentRange, Framing, Head, HeadError, Parsed, parse_head};
pub use route::HttpRoute;
pub use rustls::ClientConfig;
pub use stats::HttpStats;
pub(crate) use store::compare;
pub use store::{Form, HttpStore, Kept, Place, StoreConfig, StoreError};
pub use tls::{TlsError, client_config};
