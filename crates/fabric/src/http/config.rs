//! What an HTTP route can be told.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use seaweed::jwt::SigningKey;

/// Settings of an [`HttpRoute`](super::HttpRoute).
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Whom to ask (`-volumeServerAccess`).
    pub access: Access,
    /// How long a read that fails everywhere is repeated (`-readRetryTime`).
    pub retry: Duration,
    /// Mints the tokens that volume servers with `jwt.signing.read.key` want to see.
    pub read_key: Option<SigningKey>,
    /// Mints the tokens that filers with `jwt.filer_signing.read.key` want to see before they
    /// pass a question on. (What the volume server wants, they add themselves.)
    pub filer_read_key: Option<SigningKey>,
    /// Speak HTTPS, as [`client_config`](super::client_config) sets it up.
    pub tls: Option<Arc<ClientConfig>>,
    /// How long a server may keep silent while another replica is left to ask.
    pub switch_after: Duration,
    /// How long the last server left may keep silent.
    pub give_up_after: Duration,
    /// Idle connections kept for each server.
    pub idle_connections: usize,
    /// How long each is kept; below the servers' own limit of 30 s.
    pub idle_time: Duration,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            access: Access::Direct,
            retry: Duration::from_secs(6),
            read_key: None,
            filer_read_key: None,
            tls: None,
            switch_after: Duration::from_secs(2),
            give_up_after: Duration::from_secs(20),
            idle_connections: 128,
            idle_time: Duration::from_secs(20),
        }
    }
}

/// Which way requests take to a volume server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Access {
    /// To its `url`.
    #[default]
    Direct,
    /// To its `publicUrl`, or its `url` where it announces none.
    PublicUrl,
    /// Through one of these filers (`host:port`), which ask the volume server for us.
    FilerProxy(Vec<String>),
}
