//! A connection of HTTP/2 without layers, for a lane.
//!
//! [`Channel`] puts between a call and its connection a queue, a task that takes from it, one that sends the body
//! and one that waits for the answer, as many callers share it and it connects anew by itself. A lane has one caller,
//! and is thrown away when it breaks. So here a call goes to `h2` at once, and the connection's own task is
//! the only one that runs beside it.
//!
//! [`Transport`] is what the generated client speaks through: this, or a channel. Changes, of which a file that is made is two, go
//! past the client as well, in a stream that stays open ([`stream`](crate::stream)).

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use http_body::Frame;
use seaweed::pb;
use seaweed::pb::stream_mutate_entry_request::Request as Asked;
use tonic::body::Body;
use tonic::codegen::http::header::{CONTENT_TYPE, HeaderValue, TE};
use tonic::codegen::http::{HeaderMap, Method, Request, Response, Uri};
use tonic::codegen::{Body as _, Service};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::changes::{Change, read};
use crate::dialer::{CONNECTION_WINDOW, Dialer, STREAM_WINDOW, Wire};
use crate::peer::by;
use crate::stream::{Mutations, PATH};

/// How the generated client reaches a filer.
#[derive(Debug, Clone)]
pub enum Transport {
    /// By a connection that all share.
    Channel(Channel),
    /// By one of its own.
    Line(Line),
}

/// A connection that is made when it is first used, and never again.
#[derive(Clone)]
pub struct Line {
    dialer: Arc<Dialer>,
    state: Arc<Mutex<State>>,
    /// Set when the filer has no streams of changes; all lines to it share this.
    unary: Arc<AtomicBool>,
}

#[derive(Default)]
struct State {
    sender: Option<SendRequest<Bytes>>,
    /// Taken out while a change is asked for.
    mutations: Option<Mutations>,
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

impl Service<Request<Body>> for Transport {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Answer;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        match self {
            Self::Channel(channel) => channel.poll_ready(context).map_err(failed),
            Self::Line(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        match self {
            Self::Channel(channel) => {
                let asked = channel.call(request);
                Box::pin(async { asked.await.map_err(failed) })
            }
            Self::Line(line) => {
                let line = line.clone();
                Box::pin(async move { line.ask(request).await })
            }
        }
    }
}

impl Transport {
    /// Asks for a change: in a stream, where a caller has one to himself and the filer knows it.
    pub(crate) async fn change<C: Change>(&self, change: C) -> Result<C::Answer, Status> {
        if let Self::Line(line) = self
            && line.has_streams()
        {
            match line.change(change.clone().question()).await {
                Err(status) if status.code() == Code::Unimplemented => line.has_none(),
                answer => return read::<C>(answer?),
            }
        }
        let answer = change.alone(by(self.clone())).await?;
        Ok(answer.into_inner())
    }
}

impl Line {
    pub(crate) fn new(dialer: &Dialer, unary: &Arc<AtomicBool>) -> Self {
        Self {
            dialer: Arc::new(dialer.clone()),
            state: Arc::default(),
            unary: Arc::clone(unary),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let mut sender = self.sender().await?.ready().await.map_err(failed)?;
        let (mut head, mut body) = request.into_parts();
        head.uri = self.uri(head.uri.path())?;
        // A unary question is one message, which is there at once.
        let mut message = next(&mut body).await?;
        let (answer, mut stream) = sender
            .send_request(Request::from_parts(head, ()), message.is_none())
            .map_err(failed)?;
        while let Some(bytes) = message {
            message = next(&mut body).await?;
            stream.send_data(bytes, message.is_none()).map_err(failed)?;
        }
        let answer = answer.await.map_err(failed)?;
        Ok(answer.map(|received| Body::new(Received { received })))
    }

    /// Asks for a change, in the stream that is there or a new one. When it is not answered, there is none after.
    async fn change(&self, change: Asked) -> Result<pb::StreamMutateEntryResponse, Status> {
        let open = self.lock().mutations.take();
        let mut mutations = match open {
            Some(mutations) => mutations,
            None => self.mutations().await?,
        };
        let answer = mutations.ask(change).await?;
        self.lock().mutations = Some(mutations);
        Ok(answer)
    }

    /// A new stream of changes.
    async fn mutations(&self) -> Result<Mutations, Status> {
        let mut sender = self.sender().await?.ready().await.map_err(failed)?;
        let mut head = Request::new(());
        *head.method_mut() = Method::POST;
        *head.uri_mut() = self.uri(PATH)?;
        let headers = head.headers_mut();
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let (answers, questions) = sender.send_request(head, false).map_err(failed)?;
        Ok(Mutations::new(answers, questions))
    }

    /// Whether the filer may take changes in a stream.
    fn has_streams(&self) -> bool {
        !self.unary.load(Ordering::Relaxed)
    }

    /// It does not.
    fn has_none(&self) {
        if !self.unary.swap(true, Ordering::Relaxed) {
            tracing::info!("the filer has no StreamMutateEntry: each change is a call of its own");
        }
    }

    /// What a request names: HTTP/2 wants more than the path.
    fn uri(&self, path: &str) -> Result<Uri, Status> {
        let mut parts = self.dialer.origin().into_parts();
        parts.path_and_query = Some(path.parse().map_err(failed)?);
        Uri::from_parts(parts).map_err(failed)
    }

    async fn sender(&self) -> Result<SendRequest<Bytes>, Status> {
        let known = self.lock().sender.clone();
        if let Some(sender) = known {
            return Ok(sender);
        }
        let wire = self.dialer.dial().await.map_err(failed)?.into_inner();
        let sender = start(wire).await?;
        self.lock().sender = Some(sender.clone());
        Ok(sender)
    }
}

/// Speaks HTTP/2 on a connection.
async fn start(wire: Box<dyn Wire>) -> Result<SendRequest<Bytes>, Status> {
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .enable_push(false)
        .handshake(wire)
        .await
        .map_err(failed)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a lane's connection ended");
        }
    });
    Ok(sender)
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

/// The next bytes of a body of ours, which has no trailers.
async fn next(body: &mut Body) -> Result<Option<Bytes>, Status> {
    let mut body = pin!(body);
    let frame = poll_fn(|context| body.as_mut().poll_frame(context)).await;
    let frame = frame.transpose()?;
    Ok(frame.and_then(|frame| frame.into_data().ok()))
}

/// What the filer answers.
struct Received {
    received: RecvStream,
}

impl tonic::codegen::Body for Received {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let stream = &mut self.received;
        if let Some(bytes) = ready!(stream.poll_data(context)) {
            let bytes = bytes.map_err(failed)?;
            // Whoever asks for the next has taken these.
            stream
                .flow_control()
                .release_capacity(bytes.len())
                .map_err(failed)?;
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let trailers: Option<HeaderMap> = ready!(stream.poll_trailers(context)).map_err(failed)?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.received.is_end_stream()
    }
}

/// With the error as its source, by which a broken way is told from an answer.
pub(crate) fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Status {
    Status::from_error(error.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use tokio::net::TcpListener;

    use super::*;
    use crate::stream::frame;

    /// Answers changes that are calls, as filers before `StreamMutateEntry` do; counts what else is asked.
    async fn old_filer(listener: TcpListener, streams: Arc<AtomicU32>) -> Option<()> {
        let (socket, _) = listener.accept().await.ok()?;
        let mut connection = h2::server::handshake(socket).await.ok()?;
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let mut head = Response::new(());
            if request.uri().path() == PATH {
                streams.fetch_add(1, Ordering::Relaxed);
                head.headers_mut().insert("grpc-status", 12.into());
                respond.send_response(head, true).ok()?;
                continue;
            }
            let answer = pb::CreateEntryResponse {
                log_ts_ns: 7,
                ..Default::default()
            };
            let content = HeaderValue::from_static("application/grpc");
            head.headers_mut().insert(CONTENT_TYPE, content);
            let mut body = respond.send_response(head, false).ok()?;
            body.send_data(frame(&answer).ok()?, false).ok()?;
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", 0.into());
            body.send_trailers(trailers).ok()?;
        }
        Some(())
    }

    #[tokio::test]
    async fn a_filer_without_streams_is_asked_by_calls_from_then_on() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let streams = Arc::new(AtomicU32::new(0));
        tokio::spawn(old_filer(listener, Arc::clone(&streams)));
        let address = format!("127.0.0.1:1.{port}").parse().unwrap();
        let line = Line::new(&Dialer::new(&address, None), &Arc::default());
        let transport = Transport::Line(line);
        for _ in 0..3 {
            let answer = transport.change(pb::CreateEntryRequest::default()).await;
            assert_eq!(answer.unwrap().log_ts_ns, 7);
        }
        assert_eq!(streams.load(Ordering::Relaxed), 1);
    }
}
