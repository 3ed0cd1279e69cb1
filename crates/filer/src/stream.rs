//! Changes one after the other in one stream of a connection (`StreamMutateEntry`).
//!
//! Nothing is opened or closed for a change: one frame goes out, one comes back. A stream that ends, or
//! answers what was not asked, is given up, and with it the connection.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use prost::Message;
use seaweed::pb;
use seaweed::pb::stream_mutate_entry_request::Request;
use tonic::codegen::http::{HeaderMap, StatusCode};
use tonic::{Code, Status};

use crate::line::failed;
use crate::peer::MAX_MESSAGE;

/// What is asked for.
pub(crate) const PATH: &str = "/filer_pb.SeaweedFiler/StreamMutateEntry";
/// What comes before a message, <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.
const PREFIX: usize = 5;
/// It is not compressed.
const PLAIN: u8 = 0;

/// A stream.
pub(crate) struct Mutations {
    questions: SendStream<Bytes>,
    answers: Answers,
    /// Of an answer that is not whole yet.
    part: BytesMut,
    /// The last question's number.
    last: u64,
}

/// Where the answers come from.
enum Answers {
    /// A filer says that it takes them when it has answered the first.
    Awaited(ResponseFuture),
    Here(RecvStream),
}

impl Mutations {
    pub(crate) fn new(answers: ResponseFuture, questions: SendStream<Bytes>) -> Self {
        Self {
            questions,
            answers: Answers::Awaited(answers),
            part: BytesMut::new(),
            last: 0,
        }
    }

    /// Asks for a change and waits for the answer.
    ///
    /// # Errors
    /// [`Code::Unimplemented`] of a filer that has no such stream; anything else is a broken way.
    pub(crate) async fn ask(
        &mut self,
        request: Request,
    ) -> Result<pb::StreamMutateEntryResponse, Status> {
        self.last += 1;
        let question = pb::StreamMutateEntryRequest {
            request_id: self.last,
            request: Some(request),
        };
        let question = frame(&question)?;
        self.questions.send_data(question, false).map_err(failed)?;
        let answer: pb::StreamMutateEntryResponse = self.next().await?;
        if answer.request_id != self.last || !answer.is_last {
            let (asked, number) = (self.last, answer.request_id);
            return Err(failed(format!("asked {asked}, answered {number}")));
        }
        Ok(answer)
    }

    /// The next message.
    async fn next<A: Message + Default>(&mut self) -> Result<A, Status> {
        loop {
            if let Some(message) = unframe(&mut self.part)? {
                return A::decode(message).map_err(failed);
            }
            if let Answers::Awaited(answer) = &mut self.answers {
                let (head, received) = answer.await.map_err(failed)?.into_parts();
                if head.status != StatusCode::OK || received.is_end_stream() {
                    return Err(end(head.status, Some(&head.headers)));
                }
                self.answers = Answers::Here(received);
            }
            let Answers::Here(received) = &mut self.answers else {
                continue;
            };
            match received.data().await {
                Some(bytes) => {
                    let bytes = bytes.map_err(failed)?;
                    let control = received.flow_control();
                    control.release_capacity(bytes.len()).map_err(failed)?;
                    self.part.extend_from_slice(&bytes);
                }
                None => {
                    let trailers = received.trailers().await.map_err(failed)?;
                    return Err(end(StatusCode::OK, trailers.as_ref()));
                }
            }
        }
    }
}

/// A message as it is sent.
pub(crate) fn frame(message: &impl Message) -> Result<Bytes, Status> {
    let len = message.encoded_len();
    let announced = u32::try_from(len).map_err(|_| Status::out_of_range("too long"))?;
    let mut framed = BytesMut::with_capacity(PREFIX + len);
    framed.put_u8(PLAIN);
    framed.put_u32(announced);
    message.encode(&mut framed).map_err(failed)?;
    Ok(framed.freeze())
}

/// Takes the next message, if all of it is here.
fn unframe(part: &mut BytesMut) -> Result<Option<Bytes>, Status> {
    if part.len() < PREFIX {
        return Ok(None);
    }
    let mut prefix = &part[..PREFIX];
    let (packed, len) = (prefix.get_u8(), prefix.get_u32() as usize);
    if packed != PLAIN || len > MAX_MESSAGE {
        let text = format!("an answer of {len} bytes, packed as {packed}");
        return Err(failed(text));
    }
    if part.len() < PREFIX + len {
        return Ok(None);
    }
    part.advance(PREFIX);
    Ok(Some(part.split_to(len).freeze()))
}

/// Why a stream has ended, which is not to say what became of the last question.
fn end(status: StatusCode, trailers: Option<&HeaderMap>) -> Status {
    match trailers.and_then(Status::from_header_map) {
        Some(said) if said.code() == Code::Unimplemented => said,
        Some(said) => failed(format!("the stream of changes ended: {said}")),
        None => failed(format!("the stream of changes ended, HTTP status {status}")),
    }
}

impl std::fmt::Debug for Mutations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mutations")
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::is_transport;

    fn bytes(packed: u8, len: u32, message: &[u8]) -> BytesMut {
        let mut bytes = BytesMut::new();
        bytes.put_u8(packed);
        bytes.put_u32(len);
        bytes.extend_from_slice(message);
        bytes
    }

    #[test]
    fn messages_are_taken_one_by_one_as_they_become_whole() {
        let id = pb::FileId {
            volume_id: 3,
            ..pb::FileId::default()
        };
        let framed = frame(&id).unwrap_or_default();
        let mut part = BytesMut::new();
        for byte in &framed {
            assert_eq!(unframe(&mut part).unwrap_or_default(), None);
            part.put_u8(*byte);
        }
        part.extend_from_slice(&framed);
        for _ in 0..2 {
            let message = unframe(&mut part).unwrap_or_default().unwrap_or_default();
            assert_eq!(pb::FileId::decode(message), Ok(id));
        }
        assert!(part.is_empty());
    }

    #[test]
    fn what_no_filer_sends_is_a_broken_way() {
        let most = MAX_MESSAGE as u32;
        for mut broken in [
            bytes(1, 1, &[0]),
            bytes(PLAIN, most + 1, &[]),
            bytes(PLAIN, u32::MAX, &[]),
        ] {
            let refused = unframe(&mut broken);
            assert!(
                refused.is_err_and(|status| is_transport(&status)),
                "{broken:?}"
            );
        }
        assert_eq!(
            unframe(&mut bytes(PLAIN, most, &[0])).unwrap_or_default(),
            None
        );
    }

    #[test]
    fn the_end_of_a_stream_is_no_answer_but_that_there_is_none() {
        let said = |code: u16| {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", code.into());
            end(StatusCode::OK, Some(&trailers))
        };
        assert_eq!(said(12).code(), Code::Unimplemented);
        assert!(!is_transport(&said(12)));
        for ended in [
            said(0),
            said(2),
            said(14),
            end(StatusCode::BAD_GATEWAY, None),
        ] {
            assert!(is_transport(&ended), "{ended}");
        }
    }
}
