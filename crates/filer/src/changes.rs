//! Changes of one entry, alone or in a stream.
//!
//! A filer (4.48) takes changes as calls of their own, or one after the other in one stream, which costs us half as much and
//! the filer a tenth less (docs/adr/0007). The answers in a stream are those of the calls. Where a call would have failed with a
//! status, the stream has the words of it, as Go prints a status.

use seaweed::pb;
use seaweed::pb::stream_mutate_entry_request::Request;
use seaweed::pb::stream_mutate_entry_response::Response;
use tonic::{Code, Status};

use crate::RawClient;

/// One change.
pub(crate) trait Change: Clone + Send + 'static {
    /// What is answered.
    type Answer: Send + 'static;
    /// Whether the answer itself says why it was not done.
    const SAYS_WHY: bool;

    /// It in a stream.
    fn question(self) -> Request;

    /// Asks for it by a call of its own.
    fn alone(
        self,
        client: RawClient,
    ) -> impl Future<Output = Result<tonic::Response<Self::Answer>, Status>> + Send;

    /// Its answer in a stream; `None` when that is another one's.
    fn answer(response: Response) -> Option<Self::Answer>;
}

/// The answer to a change in a stream.
pub(crate) fn read<C: Change>(answer: pb::StreamMutateEntryResponse) -> Result<C::Answer, Status> {
    let other = || Status::from_error("the answer is to another question".into());
    let read = answer.response.and_then(C::answer).ok_or_else(other)?;
    let error = &answer.error;
    let failed = !error.is_empty() && (!C::SAYS_WHY || error.starts_with(STATUS));
    if failed { Err(status(error)) } else { Ok(read) }
}

/// How a status begins that was made a text.
const STATUS: &str = "rpc error: code = ";

/// The status that a text was; of other texts, which a call would have had as well, the code is unknown.
fn status(text: &str) -> Status {
    let parts = text.strip_prefix(STATUS);
    let Some((name, words)) = parts.and_then(|rest| rest.split_once(" desc = ")) else {
        return Status::unknown(text);
    };
    let mut codes = (0..=16).map(Code::from_i32);
    let code = codes.find(|code| format!("{code:?}") == name);
    // Go has one "l" less.
    let code = code.or((name == "Canceled").then_some(Code::Cancelled));
    Status::new(code.unwrap_or(Code::Unknown), words)
}

impl Change for pb::CreateEntryRequest {
    type Answer = pb::CreateEntryResponse;
    const SAYS_WHY: bool = true;

    fn question(self) -> Request {
        Request::CreateRequest(self)
    }

    async fn alone(self, mut client: RawClient) -> Result<tonic::Response<Self::Answer>, Status> {
        client.create_entry(self).await
    }

    fn answer(response: Response) -> Option<Self::Answer> {
        match response {
            Response::CreateResponse(answer) => Some(answer),
            _ => None,
        }
    }
}

impl Change for pb::UpdateEntryRequest {
    type Answer = pb::UpdateEntryResponse;
    const SAYS_WHY: bool = false;

    fn question(self) -> Request {
        Request::UpdateRequest(self)
    }

    async fn alone(self, mut client: RawClient) -> Result<tonic::Response<Self::Answer>, Status> {
        client.update_entry(self).await
    }

    fn answer(response: Response) -> Option<Self::Answer> {
        match response {
            Response::UpdateResponse(answer) => Some(answer),
            _ => None,
        }
    }
}

impl Change for pb::DeleteEntryRequest {
    type Answer = pb::DeleteEntryResponse;
    const SAYS_WHY: bool = true;

    fn question(self) -> Request {
        Request::DeleteRequest(self)
    }

    async fn alone(self, mut client: RawClient) -> Result<tonic::Response<Self::Answer>, Status> {
        client.delete_entry(self).await
    }

    fn answer(response: Response) -> Option<Self::Answer> {
        match response {
            Response::DeleteResponse(answer) => Some(answer),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_the_status_that_they_were() {
        let conflict =
            status("rpc error: code = FailedPrecondition desc = precondition failed: /a");
        assert_eq!(conflict.code(), Code::FailedPrecondition);
        assert_eq!(conflict.message(), "precondition failed: /a");
        let cases = [
            ("rpc error: code = Canceled desc = x", Code::Cancelled),
            ("rpc error: code = Unavailable desc = x", Code::Unavailable),
            ("rpc error: code = Never desc = x", Code::Unknown),
            ("rpc error: code = Internal", Code::Unknown),
            ("not found /a", Code::Unknown),
        ];
        for (text, code) in cases {
            assert_eq!(status(text).code(), code, "{text}");
        }
    }

    #[test]
    fn an_answer_is_read_as_that_of_the_call() {
        let answer = |response, error: &str| pb::StreamMutateEntryResponse {
            request_id: 1,
            is_last: true,
            response,
            error: error.to_owned(),
        };
        let created = |error: &str| {
            let response = pb::CreateEntryResponse {
                error: error.to_owned(),
                ..Default::default()
            };
            answer(Some(Response::CreateResponse(response)), error)
        };
        let updated = |error| answer(Some(Response::UpdateResponse(Default::default())), error);
        assert!(read::<pb::CreateEntryRequest>(created("")).is_ok());
        let exists = read::<pb::CreateEntryRequest>(created("it exists"));
        assert_eq!(exists.unwrap_or_default().error, "it exists");
        assert!(
            read::<pb::CreateEntryRequest>(created("rpc error: code = Internal desc = x")).is_err()
        );
        assert!(read::<pb::UpdateEntryRequest>(updated("")).is_ok());
        assert!(read::<pb::UpdateEntryRequest>(updated("not found")).is_err());
        for other in [created(""), answer(None, "unknown request type")] {
            let refused = read::<pb::UpdateEntryRequest>(other);
            assert!(refused.is_err_and(|status| crate::error::is_transport(&status)));
        }
    }
}
