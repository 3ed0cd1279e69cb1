//! One connection of a subscription: its two feeds, and whether all is well.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use seaweed::pb;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::feed::{Feed, Said, Source};
use super::hub::Hub;
use crate::attempt::silence;
use crate::configuration::Configuration;
use crate::error::{describe, is_transport};
use crate::peer::{CONFIGURATION, client};
use crate::{Filer, RawClient};

/// How long to hear nothing before asking whether the filer is there.
const QUIET: Duration = Duration::from_secs(1);

/// How long the answer may take. A filer under load answers this in
/// milliseconds; one that takes longer cannot be relied on to push changes.
const PROBE: Duration = Duration::from_secs(2);

/// How many probes in a row may stay unanswered before the connection is given
/// up. Until then a filer that was only stopped resumes without a gap; with
/// other filers to turn to, one is enough.
const PROBES_ALONE: u32 = 5;

/// How often a lone filer is asked whether it still is alone.
const RECHECK: Duration = Duration::from_secs(60);

/// By when a lone filer has shown that it is (it does so at once).
const RECHECK_ANSWER: Duration = Duration::from_secs(3);

/// How many messages of the feeds wait for the session.
const BACKLOG: usize = 1024;

/// A connection that belongs to a subscription.
pub(super) struct Connection {
    pub(super) index: usize,
    channel: Channel,
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

    fn client(&self) -> RawClient {
        client(self.channel.clone())
    }

    /// Whether this still is the very connection that was live before.
    fn is_unbroken(&self) -> bool {
        self.live_at == Some(self.dialled.load(Ordering::Acquire))
    }
}

/// How a session ended.
pub(super) struct End {
    pub(super) reason: String,
    /// It had been live.
    pub(super) reached: bool,
    /// The filer does not answer.
    pub(super) fault: Option<Status>,
    /// The connection, unless it is broken.
    pub(super) connection: Option<Connection>,
}

/// The state of the merged feed.
enum Merged {
    /// The filer has peers, or has not shown yet that it has none.
    #[expect(dead_code, reason = "held so that it runs")]
    Running(Feed),
    /// The filer is alone; asked again at this time.
    Alone(Instant),
    /// A lone filer is asked whether it still is; it has until this time.
    #[expect(dead_code, reason = "held so that it runs")]
    Rechecking(Feed, Instant),
}

pub(super) struct Session<'a> {
    hub: &'a mut Hub,
    connection: Connection,
    signature: i32,
    sink: mpsc::Sender<(Source, Said)>,
    merged: Merged,
    own_moves: bool,
    merged_moves: bool,
    unanswered: u32,
    quiet_since: Instant,
    reached: bool,
}

/// Why a session must end.
enum Stop {
    /// A status of the connection or of a stream.
    Status(Status),
    /// Anything else; the connection is sound.
    Because(String),
}

impl<'a> Session<'a> {
    /// Runs until something breaks or the receiver is gone.
    pub(super) async fn run(hub: &'a mut Hub, mut connection: Connection) -> End {
        let (signature, clock_ns) = match greet(&hub.filer, &connection).await {
            Ok(greeting) => greeting,
            Err(status) => {
                let reason = describe(&status);
                return End {
                    reason,
                    reached: false,
                    fault: Some(status),
                    connection: None,
                };
            }
        };
        if hub.own.is_behind(clock_ns) {
            // The backlog will be skipped.
            connection.live_at = None;
        }
        let (own_ns, merged_ns) = if hub.has_been_live() {
            (hub.own.resume_ns(clock_ns), hub.merged.resume_ns(clock_ns))
        } else {
            (hub.since_ns(), hub.since_ns() - super::position::OVERLAP_NS)
        };
        let (sink, said) = mpsc::channel(BACKLOG);
        let own = start(hub, &connection, Source::Own, own_ns, &sink);
        let merged = Merged::Running(start(hub, &connection, Source::Merged, merged_ns, &sink));
        let now = Instant::now();
        hub.own.opened(now);
        hub.merged.opened(now);
        let mut session = Session {
            hub,
            connection,
            signature,
            sink,
            merged,
            own_moves: false,
            merged_moves: false,
            unanswered: 0,
            quiet_since: now,
            reached: false,
        };
        let stop = session.listen(said).await;
        drop(own);
        session.end(stop)
    }

    async fn listen(&mut self, mut said: mpsc::Receiver<(Source, Said)>) -> Stop {
        let mut current = self.hub.filer.watch_current();
        let mut closed = std::pin::pin!(self.hub.closed());
        let mut probe: Option<BoxFuture<'static, Result<(), Status>>> = None;
        loop {
            let alarm = self.alarm(probe.is_some());
            let index = self.connection.index;
            let step = tokio::select! {
                biased;
                () = &mut closed => return Stop::Because("nobody listens".into()),
                () = async { let _ = current.wait_for(|now| *now != index).await; } => {
                    return Stop::Because("another filer took over".into());
                }
                Some((source, said)) = said.recv() => {
                    self.quiet_since = Instant::now();
                    self.unanswered = 0;
                    self.hear(source, said).await
                }
                answer = async { probe.as_mut().expect("checked").await }, if probe.is_some() => {
                    probe = None;
                    self.answered(answer).await
                }
                () = sleep_until(alarm) => {
                    if probe.is_none() && self.quiet_since + QUIET <= Instant::now() {
                        probe = Some(Box::pin(ask(self.connection.client())));
                    }
                    self.check().await
                }
            };
            if let Err(stop) = step {
                return stop;
            }
            self.settle().await;
        }
    }

    /// Takes in what a feed says.
    async fn hear(&mut self, source: Source, said: Said) -> Result<(), Stop> {
        let now = Instant::now();
        match said {
            Said::Ended(status) => {
                if status.code() == Code::OutOfRange && self.hub.batching {
                    // A batch above our message limit; alone each event fits.
                    self.hub.batching = false;
                }
                return Err(Stop::Status(status));
            }
            Said::Event(event) => {
                self.position(source).event(event.ts_ns, now);
                self.hub.event(event).await;
            }
            Said::Heartbeat(ts_ns) => {
                self.position(source).heartbeat(ts_ns, now);
                if source == Source::Own {
                    self.hub.alive(ts_ns).await;
                }
            }
            Said::Flushed(ts_ns) if source == Source::Own => self.hub.flushed_ns = ts_ns,
            // Only a filer's own log tells this: there is nothing to merge.
            Said::Flushed(_) => self.merged = Merged::Alone(now + RECHECK),
        }
        match source {
            Source::Own => self.own_moves = true,
            Source::Merged => self.merged_moves = true,
        }
        Ok(())
    }

    fn position(&mut self, source: Source) -> &mut super::position::Position {
        match source {
            Source::Own => &mut self.hub.own,
            Source::Merged => &mut self.hub.merged,
        }
    }

    async fn answered(&mut self, answer: Result<(), Status>) -> Result<(), Stop> {
        self.quiet_since = Instant::now();
        let Err(status) = answer else {
            self.unanswered = 0;
            return Ok(());
        };
        self.unanswered += 1;
        let alone = self.hub.filer.config().addresses.len() == 1;
        let slow = status.code() == Code::DeadlineExceeded;
        if alone && slow && self.unanswered < PROBES_ALONE {
            self.hub.lost(describe(&status)).await;
            return Ok(());
        }
        Err(Stop::Status(status))
    }

    /// What time alone decides.
    async fn check(&mut self) -> Result<(), Stop> {
        let now = Instant::now();
        if self.hub.own.deadline() <= now {
            return Err(Stop::Because("the filer's log is silent".into()));
        }
        match self.merged {
            Merged::Running(_) if self.hub.merged.deadline() <= now && self.merged_moves => {
                // Another connection would not move it either.
                self.merged_moves = false;
                let reason = "a peer of the filer holds back the merged log";
                self.hub.lost(reason.into()).await;
            }
            Merged::Alone(at) if at <= now => {
                let since_ns = self.hub.own.newest_ns();
                let feed = start(
                    self.hub,
                    &self.connection,
                    Source::Merged,
                    since_ns,
                    &self.sink,
                );
                self.merged = Merged::Rechecking(feed, now + RECHECK_ANSWER);
            }
            Merged::Rechecking(_, until) if until <= now => {
                // What the peer did meanwhile went unnoticed.
                self.connection.live_at = None;
                return Err(Stop::Because("the filer is no longer alone".into()));
            }
            _ => {}
        }
        Ok(())
    }

    /// When to look at the clock again.
    fn alarm(&self, probing: bool) -> Instant {
        let merged = match self.merged {
            Merged::Running(_) if self.merged_moves => self.hub.merged.deadline(),
            Merged::Running(_) => self.hub.own.deadline(),
            Merged::Alone(at) => at,
            Merged::Rechecking(_, until) => until,
        };
        let alarm = self.hub.own.deadline().min(merged);
        if probing {
            alarm
        } else {
            alarm.min(self.quiet_since + QUIET)
        }
    }

    /// Tells the receiver once everything is well.
    async fn settle(&mut self) {
        if !(self.own_moves && self.merged_moves && self.unanswered == 0) || self.hub.is_live() {
            return;
        }
        // Within a session the streams themselves are unbroken.
        let continuous = self.reached || self.connection.is_unbroken();
        self.connection.live_at = Some(self.connection.dialled.load(Ordering::Acquire));
        self.reached = true;
        let (index, signature) = (self.connection.index, self.signature);
        self.hub.resumed(index, signature, continuous).await;
    }

    fn end(self, stop: Stop) -> End {
        let reached = self.reached;
        match stop {
            Stop::Because(reason) => {
                let connection = Some(self.connection);
                End {
                    reason,
                    reached,
                    fault: None,
                    connection,
                }
            }
            Stop::Status(status) if is_transport(&status) => {
                let reason = describe(&status);
                End {
                    reason,
                    reached,
                    fault: Some(status),
                    connection: None,
                }
            }
            Stop::Status(status) => {
                let connection = Some(self.connection);
                End {
                    reason: describe(&status),
                    reached,
                    fault: None,
                    connection,
                }
            }
        }
    }
}

fn start(
    hub: &mut Hub,
    connection: &Connection,
    source: Source,
    since_ns: i64,
    sink: &mpsc::Sender<(Source, Said)>,
) -> Feed {
    let request = hub.request(source as usize, since_ns);
    let channel = connection.channel.clone();
    Feed::start(channel, connection.client(), source, request, sink.clone())
}

/// Learns who answers and what its clock says.
async fn greet(filer: &Filer, connection: &Connection) -> Result<(i32, i64), Status> {
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

/// Asks something small, to see whether anybody answers.
async fn ask(mut client: RawClient) -> Result<(), Status> {
    match timeout(PROBE, client.get_filer_configuration(CONFIGURATION)).await {
        Ok(answer) => answer.map(|_| ()),
        Err(_) => Err(silence(PROBE)),
    }
}
