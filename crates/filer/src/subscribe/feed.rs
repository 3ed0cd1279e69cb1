//! One stream of one filer's log, read by a task of its own.

use seaweed::pb::{self, SubscribeMetadataRequest, SubscribeMetadataResponse};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

use super::Event;
use super::position::SILENCE;
use crate::RawClient;
use crate::attempt::silence;
use crate::peer::MAX_MESSAGE;

/// Which log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// What this filer itself did.
    Own,
    /// What all filers of the cluster did.
    Merged,
    /// What another filer itself did.
    Other,
}

/// What a feed says.
#[derive(Debug)]
pub(crate) enum Said {
    /// Something changed.
    Event(Box<Event>),
    /// The filer's clock, and nothing happened up to there.
    Heartbeat(i64),
    /// Up to where the log is on disk. Only a filer's own log tells this.
    Flushed(i64),
    /// The stream ended.
    Ended(Status),
}

/// A running feed; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Feed {
    task: JoinHandle<()>,
}

impl Feed {
    /// Opens a stream and sends what it says to `sink`.
    pub(crate) fn start(
        channel: Channel,
        client: RawClient,
        source: Source,
        request: SubscribeMetadataRequest,
        sink: mpsc::Sender<(Source, Said)>,
    ) -> Self {
        let task = tokio::spawn(async move {
            let status = match open(channel, client, source, request).await {
                Ok(stream) => relay(stream, source, &sink).await,
                Err(status) => status,
            };
            let _ = sink.send((source, Said::Ended(status))).await;
        });
        Self { task }
    }

    /// A feed made elsewhere.
    pub(crate) fn of(task: JoinHandle<()>) -> Self {
        Self { task }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a filer sends.
pub(crate) type Stream = Streaming<SubscribeMetadataResponse>;

/// Waits for the stream. A filer sends its headers with the first message, so
/// this may take as long as a held-back log is held back; whoever started the
/// feed watches its progress.
pub(crate) async fn open(
    channel: Channel,
    mut client: RawClient,
    source: Source,
    request: SubscribeMetadataRequest,
) -> Result<Stream, Status> {
    match source {
        Source::Merged => Ok(client.subscribe_metadata(request).await?.into_inner()),
        Source::Own | Source::Other => {
            // The same messages under a name that the schema leaves out.
            const PATH: &str = "/filer_pb.SeaweedFiler/SubscribeLocalMetadata";
            let mut grpc = tonic::client::Grpc::new(channel).max_decoding_message_size(MAX_MESSAGE);
            grpc.ready()
                .await
                .map_err(|e| Status::from_error(e.into()))?;
            let codec = tonic_prost::ProstCodec::default();
            let path = PathAndQuery::from_static(PATH);
            let answer = grpc.server_streaming(Request::new(request), path, codec);
            Ok(answer.await?.into_inner())
        }
    }
}

/// Sends what the stream says to `sink`, and returns why it ended.
pub(crate) async fn relay(
    mut stream: Stream,
    source: Source,
    sink: &mpsc::Sender<(Source, Said)>,
) -> Status {
    loop {
        let next = stream.message();
        let next = match source {
            // Nobody else watches over these.
            Source::Other => timeout(SILENCE, next)
                .await
                .unwrap_or_else(|_| Err(silence(SILENCE))),
            Source::Own | Source::Merged => next.await,
        };
        let mut message = match next {
            Ok(Some(message)) => message,
            Ok(None) => return Status::unknown("the filer ended the stream"),
            Err(status) => return status,
        };
        // A batch: the first event is the message itself, the rest nested.
        let nested = std::mem::take(&mut message.events);
        for one in std::iter::once(message).chain(nested) {
            if sink.send((source, read(one, source))).await.is_err() {
                return Status::cancelled("nobody listens");
            }
        }
    }
}

/// What one message says.
fn read(message: SubscribeMetadataResponse, source: Source) -> Said {
    match message.event_notification {
        Some(event) if event.old_entry.is_some() || event.new_entry.is_some() => Said::Event(
            Box::new(event_of(message.directory, message.ts_ns, event, source)),
        ),
        // Also the marker that a filer sends after many events outside of our
        // prefix: an empty notification with a stamp.
        _ if message.ts_ns != 0 => Said::Heartbeat(message.ts_ns),
        _ => Said::Flushed(message.flushed_ts_ns),
    }
}

fn event_of(directory: String, ts_ns: i64, event: pb::EventNotification, source: Source) -> Event {
    Event {
        directory,
        old: event.old_entry,
        new: event.new_entry,
        new_parent_path: event.new_parent_path,
        ts_ns,
        signatures: event.signatures,
        own: source == Source::Own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_without_an_entry_are_signs_of_life() {
        let beat = SubscribeMetadataResponse {
            ts_ns: 5,
            ..Default::default()
        };
        assert!(matches!(read(beat, Source::Own), Said::Heartbeat(5)));
        let marker = SubscribeMetadataResponse {
            ts_ns: 6,
            event_notification: Some(pb::EventNotification::default()),
            ..Default::default()
        };
        assert!(matches!(read(marker, Source::Own), Said::Heartbeat(6)));
        let flushed = SubscribeMetadataResponse {
            flushed_ts_ns: 7,
            ..Default::default()
        };
        assert!(matches!(read(flushed, Source::Own), Said::Flushed(7)));
    }
}
