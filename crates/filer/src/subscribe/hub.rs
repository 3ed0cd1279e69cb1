//! Keeps a subscription alive over connections and filers.

use seaweed::pb;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::connection::Connection;
use super::position::Position;
use super::recent::Recent;
use super::session::{End, Session};
use super::{Event, Notice, Subscription};
use crate::Filer;
use crate::backoff::Backoff;
use crate::random::Random;

/// What is added to our client id for following other filers; the feeds of the
/// current one add 0 and 1.
const OTHERS: i32 = 2;

/// Distance of epochs: a filer refuses a stream that is not newer than one it
/// still holds.
const EPOCHS: i32 = 1000;

/// What outlives a connection.
pub(super) struct Hub {
    pub(super) filer: Filer,
    subscription: Subscription,
    sender: mpsc::Sender<Notice>,
    /// How filers tell our streams from those of others. Each feed adds its
    /// number, because a lone filer's merged log is its own log to it.
    client_id: i32,
    epoch: i32,
    /// Off once a batch was too large to be received.
    pub(super) batching: bool,
    pub(super) own: Position,
    pub(super) merged: Position,
    pub(super) flushed_ns: i64,
    /// What events are left out; see [`quiet`](crate::quiet).
    pub(super) filter: i32,
    /// The next session that comes to be live tells of nothing that was left out before it.
    pub(super) turned: bool,
    recent: Recent,
    /// Whether the receiver was told that changes are noticed.
    live: bool,
    /// The filer that was live last.
    last: Option<usize>,
}

impl Hub {
    pub(super) fn new(
        filer: Filer,
        subscription: Subscription,
        sender: mpsc::Sender<Notice>,
    ) -> Self {
        // Positive, since a filer stores the negative for its own log, and
        // not 0, which means that there is no id.
        let id = 1 + Random::new().below(1 << 30);
        let start = Position::new(subscription.since_ns, Instant::now());
        Self {
            filer,
            subscription,
            sender,
            client_id: i32::try_from(id).unwrap_or(1),
            epoch: 0,
            batching: true,
            own: start.clone(),
            merged: start,
            flushed_ns: 0,
            filter: 0,
            turned: false,
            recent: Recent::default(),
            live: false,
            last: None,
        }
    }

    /// Runs until the receiver is gone.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new();
        let mut kept: Option<Connection> = None;
        let mut in_a_row = 0;
        while !self.sender.is_closed() {
            let index = self.filer.current_index();
            let connection = match kept.take() {
                Some(connection) if connection.index == index => connection,
                _ => Connection::new(&self.filer, index),
            };
            let end = Session::run(&mut self, connection).await;
            let End {
                reason,
                reached,
                fault,
                connection,
            } = end;
            if self.live {
                tracing::warn!(filer = %self.filer.peer(index).address, reason, "subscription lost");
            } else {
                tracing::debug!(filer = %self.filer.peer(index).address, reason, "no subscription");
            }
            self.lost(reason).await;
            if let Some(status) = fault {
                self.filer.leave(index, &status);
            }
            kept = connection;
            if reached {
                backoff.reset();
                in_a_row = 0;
            }
            // At once after a loss, and on each other filer; then in calm.
            in_a_row += 1;
            if in_a_row > self.filer.config().addresses.len() {
                sleep(backoff.pause()).await;
            }
        }
    }

    /// The request that opens a stream at `since_ns`.
    pub(super) fn request(&mut self, feed: i32, since_ns: i64) -> pb::SubscribeMetadataRequest {
        // By more than a follower adds by itself within one session.
        self.epoch = self.epoch.saturating_add(EPOCHS);
        pb::SubscribeMetadataRequest {
            client_name: self.filer.config().client_name.clone(),
            path_prefix: self.subscription.path_prefix.clone(),
            since_ns,
            client_id: self.client_id + feed,
            client_epoch: self.epoch,
            client_supports_batching: self.batching,
            client_supports_idle_heartbeat: true,
            signature: self.filter,
            ..Default::default()
        }
    }

    /// The filers beside the current one, and the requests to follow them.
    pub(super) fn others(&mut self, current: usize) -> Vec<(usize, pb::SubscribeMetadataRequest)> {
        let count = self.filer.config().addresses.len();
        let others = (0..count).filter(|index| *index != current);
        others
            .map(|index| (index, self.request(OTHERS, 0)))
            .collect()
    }

    /// The position from which the subscriber wants to know.
    pub(super) fn since_ns(&self) -> i64 {
        self.subscription.since_ns
    }

    /// Whether any session has been live.
    pub(super) fn has_been_live(&self) -> bool {
        self.last.is_some()
    }

    pub(super) fn is_live(&self) -> bool {
        self.live
    }

    pub(super) async fn event(&mut self, event: Box<Event>) {
        if self.recent.insert(&event) {
            self.tell(Notice::Event(event)).await;
        }
    }

    /// An event that the merged log will tell once more.
    pub(super) async fn early(&mut self, event: Box<Event>) {
        self.tell(Notice::Event(event)).await;
    }

    pub(super) async fn alive(&mut self, server_ts_ns: i64) {
        let flushed_ts_ns = self.flushed_ns;
        self.tell(Notice::Alive {
            server_ts_ns,
            flushed_ts_ns,
        })
        .await;
    }

    pub(super) async fn lost(&mut self, reason: String) {
        if std::mem::replace(&mut self.live, false) {
            self.tell(Notice::Lost { reason }).await;
        }
    }

    pub(super) async fn resumed(&mut self, index: usize, signature: i32, continuous: bool) {
        if std::mem::replace(&mut self.live, true) {
            return;
        }
        let filer_changed = self.last.is_some_and(|last| last != index);
        self.last = Some(index);
        let filer = self.filer.peer(index).address.clone();
        tracing::info!(%filer, continuous, "subscribed");
        let notice = Notice::Resumed {
            continuous,
            filer_changed,
            filer,
            signature,
        };
        self.tell(notice).await;
    }

    /// Completes when the receiver is gone.
    pub(super) fn closed(&self) -> impl Future<Output = ()> + use<> {
        let sender = self.sender.clone();
        async move { sender.closed().await }
    }

    /// Waits for room; whether the receiver still exists is asked elsewhere.
    async fn tell(&self, notice: Notice) {
        let _ = self.sender.send(notice).await;
    }
}
