//! A connection of HTTP/2 without layers, for a lane.
//!
//! [`Channel`] puts between a call and its connection a queue, a task that takes from it, one that sends the body
//! and one that waits for the answer, as many callers share it and it connects anew by itself. A lane has one caller,
//! and is thrown away when it breaks. So here a call goes to `h2` at once, and the connection's own task is
//! the only one that runs beside it.
//!
//! [`Transport`] is what the generated client speaks through: this, or a channel. What is asked most often goes past
//! the client as well ([`Transport::exchange`]), whose buffers cost more than the question.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::RecvStream;
use h2::client::SendRequest;
use http_body::Frame;
use prost::Message;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codegen::http::header::{CONTENT_TYPE, HeaderValue, TE};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use tonic::codegen::{Body as _, Service};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use crate::dialer::{CONNECTION_WINDOW, Dialer, STREAM_WINDOW, Wire};
use crate::peer::MAX_MESSAGE;

/// What comes before a message, <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.
const PREFIX: usize = 5;
/// It is not compressed.
const PLAIN: u8 = 0;

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
    sender: Arc<Mutex<Option<SendRequest<Bytes>>>>,
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
    /// Asks one question, as [`ProstCodec`] would.
    pub(crate) async fn exchange<Q, A>(&self, path: &'static str, question: &Q) -> Result<A, Status>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        match self {
            Self::Line(line) => {
                let len = question.encoded_len();
                let announced = u32::try_from(len).map_err(|_| Status::out_of_range("too long"))?;
                let mut message = BytesMut::with_capacity(PREFIX + len);
                message.put_u8(PLAIN);
                message.put_u32(announced);
                question.encode(&mut message).map_err(failed)?;
                unframe(line.exchange(path, message.freeze()).await?)
            }
            Self::Channel(_) => {
                let mut grpc = Grpc::new(self.clone()).max_decoding_message_size(MAX_MESSAGE);
                grpc.ready().await?;
                let (path, codec) = (
                    PathAndQuery::from_static(path),
                    ProstCodec::<Q, A>::default(),
                );
                let request = tonic::Request::new(question.clone());
                Ok(grpc.unary(request, path, codec).await?.into_inner())
            }
        }
    }
}

/// The message of an answer: a byte that says how it is packed, four of its length, and itself.
fn unframe<A: Message + Default>(mut answer: Bytes) -> Result<A, Status> {
    if answer.len() < PREFIX {
        return Err(failed(format!("an answer of {} bytes", answer.len())));
    }
    let (packed, len) = (answer.get_u8(), answer.get_u32() as usize);
    if packed != PLAIN || len != answer.len() {
        let text = format!(
            "an answer of {} bytes says {packed} and {len}",
            answer.len()
        );
        return Err(failed(text));
    }
    A::decode(answer).map_err(failed)
}

impl Line {
    pub(crate) fn new(dialer: &Dialer) -> Self {
        Self {
            dialer: Arc::new(dialer.clone()),
            sender: Arc::default(),
        }
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

    /// Sends one message, as gRPC frames it, and gives the one that is answered.
    async fn exchange(&self, path: &str, message: Bytes) -> Result<Bytes, Status> {
        let mut sender = self.sender().await?.ready().await.map_err(failed)?;
        let mut head = Request::new(());
        *head.method_mut() = Method::POST;
        *head.uri_mut() = self.uri(path)?;
        let headers = head.headers_mut();
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let (answer, mut stream) = sender.send_request(head, false).map_err(failed)?;
        stream.send_data(message, true).map_err(failed)?;
        let (head, mut received) = answer.await.map_err(failed)?.into_parts();
        if head.status != StatusCode::OK {
            let text = format!("HTTP status {} instead of an answer", head.status);
            return Err(failed(text));
        }
        let mut bytes = BytesMut::new();
        while let Some(some) = received.data().await {
            let some = some.map_err(failed)?;
            let control = received.flow_control();
            control.release_capacity(some.len()).map_err(failed)?;
            if bytes.len() + some.len() > MAX_MESSAGE {
                return Err(Status::out_of_range(format!(
                    "an answer of more than {MAX_MESSAGE} bytes"
                )));
            }
            bytes.extend_from_slice(&some);
        }
        let trailers = received.trailers().await.map_err(failed)?;
        let status = Status::from_header_map(trailers.as_ref().unwrap_or(&head.headers));
        match status {
            Some(status) if status.code() == Code::Ok => Ok(bytes.freeze()),
            Some(status) => Err(status),
            None => Err(failed("the answer has no status")),
        }
    }

    /// What a request names: HTTP/2 wants more than the path.
    fn uri(&self, path: &str) -> Result<Uri, Status> {
        let mut parts = self.dialer.origin().into_parts();
        parts.path_and_query = Some(path.parse().map_err(failed)?);
        Uri::from_parts(parts).map_err(failed)
    }

    async fn sender(&self) -> Result<SendRequest<Bytes>, Status> {
        let known = self
            .sender
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(sender) = known {
            return Ok(sender);
        }
        let wire = self.dialer.dial().await.map_err(failed)?.into_inner();
        let sender = start(wire).await?;
        *self.sender.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender.clone());
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
fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Status {
    Status::from_error(error.into())
}

#[cfg(test)]
mod tests {
    use seaweed::pb::FileId;

    use super::*;
    use crate::error::is_transport;

    fn framed(packed: u8, len: u32, message: &[u8]) -> Bytes {
        let mut bytes = BytesMut::new();
        bytes.put_u8(packed);
        bytes.put_u32(len);
        bytes.extend_from_slice(message);
        bytes.freeze()
    }

    #[test]
    fn an_answer_that_is_not_one_whole_message_is_a_broken_way() {
        let id = FileId {
            volume_id: 3,
            ..FileId::default()
        };
        let message = id.encode_to_vec();
        let len = message.len() as u32;
        let read = |bytes| unframe::<FileId>(bytes);
        assert_eq!(read(framed(PLAIN, len, &message)).unwrap(), id);
        assert_eq!(read(framed(PLAIN, 0, &[])).unwrap(), FileId::default());
        for broken in [
            Bytes::new(),
            Bytes::from_static(&[0, 0, 0, 0]),
            framed(1, len, &message),
            framed(PLAIN, len + 1, &message),
            framed(PLAIN, u32::MAX, &message),
            framed(PLAIN, len - 1, &message),
            framed(PLAIN, 1, &[0xff]),
        ] {
            let refused = read(broken.clone()).unwrap_err();
            assert!(is_transport(&refused), "{broken:?}: {refused}");
        }
    }
}
