//! Every change of the tree, as it happens.
//!
//! # What a 4.48 filer sends (observed)
//!
//! `SubscribeLocalMetadata` streams the filer's own log: an event leaves
//! 0.2–0.4 ms after the change. A caught-up stream begins with a heartbeat (no
//! notification, `ts_ns` = the filer's clock) and repeats it every 5 s, beside
//! a message that carries only `flushed_ts_ns`, the point up to which the log
//! is on disk. The log is flushed once a minute: **kill -9 loses up to a minute
//! of events** although the entries themselves are stored.
//!
//! `SubscribeMetadata` is the same while a filer is alone. With peers it
//! streams a log merged from all of them, and holds every event back until all
//! peers are known to have passed it: 0.2 s to 2 s, redelivering some, and
//! for as long as a peer is stalled nothing new at all, not even heartbeats.
//!
//! # What we make of it
//!
//! One connection to the current filer carries two *feeds*: its own log for
//! speed and certainty, and the merged log for what other filers did. The
//! merged one is dropped when the filer turns out to be alone, and tried again
//! once a minute in case a peer joined. Events that both deliver, or that are
//! delivered again, come out once.
//!
//! When several filers are configured, the own logs of the others are read as
//! well, best effort: their changes are told at once (our filer may still be
//! about to learn them), and again when the merged log has them.
//!
//! What we do ourselves is left out as long as all of it is answered ([`quiet`](crate::quiet)).
//!
//! The stream counts as **lost** when the connection breaks, when a probe on it
//! is not answered within two seconds, when a feed makes no progress for longer
//! than two heartbeats, or when another filer became current. It then reconnects
//! at once, later with pauses. It is **continuous** only when the connection
//! itself survived (just a stream was ended by the filer): the same process
//! then still holds its log. A new connection may lead to a restarted filer
//! whose log has a hole, and nothing in the protocol would show it.

mod connection;
mod feed;
mod follower;
mod hub;
mod position;
mod recent;
mod session;

use seaweed::ServerAddress;
use seaweed::pb;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::Filer;
use crate::calls::Stamped;

/// How many notices may wait for the receiver before the filer is slowed down.
const WAITING: usize = 4096;

/// What to be told about.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// Only changes at or below this path; `/` for all.
    pub path_prefix: String,
    /// Only changes after this moment of the filer's clock: the `log_ts_ns` of
    /// a lookup made before, never a local clock.
    pub since_ns: i64,
}

/// Something a subscriber must know.
#[derive(Debug, Clone)]
pub enum Notice {
    /// An entry changed.
    Event(Box<Event>),
    /// Nothing changed, and the filer's log has been read up to here.
    Alive {
        /// The filer's clock.
        server_ts_ns: i64,
        /// Up to where its log is on disk; 0 when it has not said.
        flushed_ts_ns: i64,
    },
    /// Changes may go unnoticed from now on (for the last seconds, when the
    /// reason is silence): cached metadata must not be trusted.
    Lost {
        /// Why, for the log.
        reason: String,
    },
    /// Changes are noticed again. Sent at the start as well, not continuous.
    ///
    /// After a resumption that is not continuous everything cached must go,
    /// and so must the answers to lookups that were asked before this notice.
    Resumed {
        /// No event was missed.
        continuous: bool,
        /// Another filer answers now, with a clock and a store of its own.
        filer_changed: bool,
        /// Who it is.
        filer: ServerAddress,
        /// Its signature.
        signature: i32,
    },
}

/// One change: a creation has only `new`, a deletion only `old`, an update
/// both, a rename both and a `new_parent_path` or name that differs.
///
/// An event may be told twice: after a reconnection, and when another filer
/// made the change (see [`Event::own`]).
#[derive(Debug, Clone)]
pub struct Event {
    /// Directory of the old entry, or of the new one when there is no old one.
    pub directory: String,
    /// The entry as it was.
    pub old: Option<pb::Entry>,
    /// The entry as it is.
    pub new: Option<pb::Entry>,
    /// Directory of the new entry.
    pub new_parent_path: String,
    /// Moment of the change by the clock of the filer that made it.
    pub ts_ns: i64,
    /// Clients and filers that the change passed through.
    pub signatures: Vec<i32>,
    /// The filer that answers our calls made this change itself. Only then
    /// can [`Event::is_contained_in`] order it against an answer; a change made
    /// by another filer calls for asking again.
    pub own: bool,
}

impl Event {
    /// Whether `answer` was given with this change already made.
    ///
    /// Clocks of different filers cannot be compared, and a filer learns of
    /// another one's change after a while: `false` for those.
    pub fn is_contained_in<T>(&self, answer: &Stamped<T>) -> bool {
        self.own
            && self.signatures.contains(&answer.log_signature)
            && self.ts_ns <= answer.log_ts_ns
    }
}

/// The receiving end. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Notices {
    receiver: mpsc::Receiver<Notice>,
    task: JoinHandle<()>,
}

impl Filer {
    /// Subscribes to changes. Must be called within a tokio runtime, which
    /// keeps the subscription going.
    ///
    /// The receiver should be fast: when it lags thousands of notices behind,
    /// the filer's stream is held up and will count as lost.
    pub fn subscribe(&self, subscription: Subscription) -> Notices {
        let (sender, receiver) = mpsc::channel(WAITING);
        let hub = hub::Hub::new(self.clone(), subscription, sender);
        Notices {
            receiver,
            task: tokio::spawn(hub.run()),
        }
    }
}

impl Notices {
    /// The next notice. `None` is never seen while the runtime lives: a
    /// subscription does not give up.
    pub async fn next(&mut self) -> Option<Notice> {
        self.receiver.recv().await
    }

    /// The next notice if one is waiting.
    pub fn try_next(&mut self) -> Option<Notice> {
        self.receiver.try_recv().ok()
    }

    /// The next notice, for a thread outside of the runtime.
    pub fn blocking_next(&mut self) -> Option<Notice> {
        self.receiver.blocking_recv()
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        self.task.abort();
    }
}
