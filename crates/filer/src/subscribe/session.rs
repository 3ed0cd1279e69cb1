//! One connection of a subscription: its two feeds, and whether all is well.

use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tonic::{Code, Status};

use super::connection::{Connection, greet, ping};
use super::feed::{Feed, Said, Source};
use super::follower::follow;
use super::hub::Hub;
use crate::error::{describe, is_transport};
use crate::quiet::Turn;

/// How long to hear nothing before asking whether the filer is there.
const QUIET: Duration = Duration::from_secs(1);

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
            connection.forget_live();
        }
        let turned = hub.turned;
        if turned {
            // What was left out so far would come after what was told.
            connection.forget_live();
        }
        let (own_ns, merged_ns) = if turned {
            (clock_ns, hub.merged.resume_ns(clock_ns))
        } else if hub.has_been_live() {
            (hub.own.resume_ns(clock_ns), hub.merged.resume_ns(clock_ns))
        } else {
            (hub.since_ns(), hub.since_ns() - super::position::OVERLAP_NS)
        };
        hub.filter = hub.filer.quiet().filter();
        let (sink, said) = mpsc::channel(BACKLOG);
        let own = start(hub, &connection, Source::Own, own_ns, &sink);
        let merged = Merged::Running(start(hub, &connection, Source::Merged, merged_ns, &sink));
        let mut others = Vec::new();
        for (index, request) in hub.others(connection.index) {
            others.push(follow(hub.filer.clone(), index, request, sink.clone()));
        }
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
        drop((own, others));
        session.end(stop)
    }

    async fn listen(&mut self, mut said: mpsc::Receiver<(Source, Said)>) -> Stop {
        let mut current = self.hub.filer.watch_current();
        let mut closed = std::pin::pin!(self.hub.closed());
        let (filer, filter) = (self.hub.filer.clone(), self.hub.filter);
        let mut turn = std::pin::pin!(filer.quiet().turns(filter));
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
                turn = &mut turn => {
                    self.hub.turned |= turn == Turn::Loud;
                    let why = match turn {
                        Turn::Loud => "a change may be made late: our own are to be told as well",
                        Turn::Quiet => "no change is in doubt: our own need not be told",
                    };
                    return Stop::Because(why.into());
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
                        probe = Some(Box::pin(ping(self.connection.client())));
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
            Said::Event(event) if source == Source::Other => {
                self.hub.early(event).await;
                return Ok(());
            }
            _ if source == Source::Other => return Ok(()),
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
            Source::Other => {}
        }
        Ok(())
    }

    fn position(&mut self, source: Source) -> &mut super::position::Position {
        match source {
            Source::Own => &mut self.hub.own,
            Source::Merged | Source::Other => &mut self.hub.merged,
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
                self.connection.forget_live();
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
        self.connection.mark_live();
        self.reached = true;
        let (index, signature) = (self.connection.index, self.signature);
        self.hub.resumed(index, signature, continuous).await;
        self.hub.turned = false;
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
    let request = hub.request(source as i32, since_ns);
    let channel = connection.channel.clone();
    Feed::start(channel, connection.client(), source, request, sink.clone())
}
