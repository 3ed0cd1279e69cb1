//! The connection of a subscription, and the small questions asked on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use seaweed::pb;
use tokio::time::timeout;
use tonic::Status;
use tonic::transport::Channel;

use crate::attempt::silence;
use crate::configuration::Configuration;
use crate::peer::{CONFIGURATION, client};
use crate::{Filer, RawClient};

/// How long the answer may take. A filer under load answers this in
/// milliseconds; one that takes longer cannot be relied on to push changes.
const PROBE: Duration = Duration::from_secs(2);

/// A connection that belongs to a subscription.
pub(super) struct Connection {
    pub(super) index: usize,
    pub(super) channel: Channel,
    dialled: Arc<AtomicU64>,
    /// Value of `dialled` while a session was live on it.
    live_at: Option<u64>,
}

impl Connection {
    pub(super) fn new(filer: &Filer, index: usize) -> Self {
        let (channel, dialled) = filer.peer(index).private_channel();
        Self {
            index,
            channel,
            dialled,
            live_at: None,
        }
    }

    pub(super) fn client(&self) -> RawClient {
        client(self.channel.clone())
    }

    /// Whether this still is the very connection that was live before.
    pub(super) fn is_unbroken(&self) -> bool {
        self.live_at == Some(self.dialled.load(Ordering::Acquire))
    }

    /// A session is live on it.
    pub(super) fn mark_live(&mut self) {
        self.live_at = Some(self.dialled.load(Ordering::Acquire));
    }

    /// What happened while it was live is not the whole story.
    pub(super) fn forget_live(&mut self) {
        self.live_at = None;
    }
}

/// Learns who answers and what its clock says.
pub(super) async fn greet(filer: &Filer, connection: &Connection) -> Result<(i32, i64), Status> {
    let patience = filer.patience();
    let greeting = async {
        let mut client = connection.client();
        let answer = client
            .get_filer_configuration(CONFIGURATION)
            .await?
            .into_inner();
        let root = pb::LookupDirectoryEntryRequest {
            directory: "/".into(),
            name: String::new(),
        };
        let clock_ns = client
            .lookup_directory_entry(root)
            .await?
            .into_inner()
            .log_ts_ns;
        let signature = answer.signature;
        let address = filer.peer(connection.index).address.clone();
        filer.learn(connection.index, Configuration::new(address, answer));
        Ok((signature, clock_ns))
    };
    match timeout(patience, greeting).await {
        Ok(greeting) => greeting,
        Err(_) => Err(silence(patience)),
    }
}

/// What the filer's clock says: each answer about an entry tells it.
pub(super) async fn clock(mut client: RawClient) -> Result<i64, Status> {
    let root = pb::LookupDirectoryEntryRequest {
        directory: "/".into(),
        name: String::new(),
    };
    Ok(client
        .lookup_directory_entry(root)
        .await?
        .into_inner()
        .log_ts_ns)
}

/// Asks something small, to see whether anybody answers.
pub(super) async fn ping(mut client: RawClient) -> Result<(), Status> {
    match timeout(PROBE, client.get_filer_configuration(CONFIGURATION)).await {
        Ok(answer) => answer.map(|_| ()),
        Err(_) => Err(silence(PROBE)),
    }
}
