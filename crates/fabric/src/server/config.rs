//! How a server is to be.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use seaweed::jwt::SigningKey;

use crate::serve::{Courier, Memory};

/// The most rails of one server; machines have up to eight ports.
pub const MAX_RAILS: usize = 10;

/// How a [`Server`](super::Server) is to be.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Starts the names of its threads.
    pub name: String,
    /// Where to listen on TCP. Port 0 takes any that is free.
    pub tcp: Option<SocketAddr>,
    /// Where to listen on a unix socket. Who may connect is decided by the umask and the folder;
    /// a socket that a dead server left there is replaced.
    pub unix: Option<PathBuf>,
    /// Where to listen for RDMA: an address of a device for each rail, at most [`MAX_RAILS`].
    pub rdma: Vec<SocketAddr>,
    /// The most bytes that are registered for RDMA to read needles into.
    pub rdma_buffers: u64,
    /// The cluster's read key; without one every client may read.
    pub read_key: Option<SigningKey>,
    /// Makes TCP TLS.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// The most open lanes. A mount has as many as it has reads at once.
    pub max_lanes: usize,
    /// The most bytes of clients' memory that are mapped at once. What the clients have not
    /// touched before counts against this process's control group when it is written to.
    pub memory_limit: u64,
    /// With more bytes than this being worked on, clients are told to go elsewhere. A write of more
    /// is declined.
    pub busy_bytes: u64,
    /// Where the bytes of writes are kept within; `busy_bytes` alone bounds them without. Reads need none.
    pub memory: Option<Arc<dyn Memory>>,
    /// Threads that serve what is in memory; about as many as there are cores to spare.
    pub workers: usize,
    /// Threads that wait for disks; about as many as the disks do at once.
    pub disk_threads: usize,
    /// Hands writes to volume servers; without one they are declined.
    pub courier: Option<Arc<dyn Courier>>,
    /// Lends the files of volumes to clients on the unix socket that run as root or as the user of this process.
    pub lends: bool,
    /// Threads that wait for volume servers, and so the most writes that are handed on at once.
    pub courier_threads: usize,
    /// How long a client may take to open a lane.
    pub patience: Duration,
    /// How long a client may go without taking a byte of its answers.
    pub stall: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            name: "fabric".into(),
            tcp: None,
            unix: None,
            rdma: Vec::new(),
            rdma_buffers: 128 << 20,
            read_key: None,
            tls: None,
            max_lanes: 4096,
            memory_limit: 1 << 40,
            busy_bytes: 1 << 30,
            memory: None,
            workers: 2,
            disk_threads: 8,
            courier: None,
            lends: false,
            courier_threads: 16,
            patience: Duration::from_secs(5),
            stall: Duration::from_secs(30),
        }
    }
}
