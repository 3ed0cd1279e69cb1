//! A throw-away SeaweedFS: the real `weed`, on loopback, in a temporary folder.
//!
//! [`Cluster::builder`] starts a master, volume servers and filers as separate
//! processes, so that a test can kill, freeze or restart any one of them, and
//! returns once a file written through each filer reads back. Everything they
//! write (data, logs, unix sockets, certificates) lies in one temporary
//! folder; no configuration from outside it is read.
//!
//! Nothing stays behind: dropping the [`Cluster`] stops the processes and
//! removes the folder, also when a test panics, and when the process that
//! owns it dies without unwinding, the kernel kills its servers
//! (`PR_SET_PDEATHSIG`, see `process`).
//!
//! ```no_run
//! let cluster = cluster::Cluster::builder().volume_servers(2).start()?;
//! cluster.put("/docs/hello.txt", b"hello")?;
//! assert_eq!(cluster.get("/docs/hello.txt")?, b"hello");
//! # anyhow::Ok(())
//! ```
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test ends at the first surprise")
)]

mod binary;
mod builder;
mod certificates;
mod http;
mod ports;
mod process;
mod ready;
mod running;
mod scratch;
mod security;
mod stock;

pub use binary::{weed, weed_with_rdma};
pub use builder::Builder;
pub use certificates::{Certificates, Identity};
pub use http::{Http, Response};
pub use ports::{PortPair, free_port_pair};
pub use process::{Process, Spec};
pub use running::Cluster;
pub use stock::{StockMount, mounted, unmount};

/// The signing key of the volume servers' read tokens in a cluster started with [`Builder::jwt`].
pub const READ_KEY: &str = "read-key-of-a-throw-away-cluster";

/// The signing key of the volume servers' write tokens in a cluster started with [`Builder::jwt`].
pub const WRITE_KEY: &str = "write-key-of-a-throw-away-cluster";
