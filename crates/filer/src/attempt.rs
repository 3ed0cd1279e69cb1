//! One attempt at one filer, and its time limit.

use std::future::Future;
use std::time::Duration;

use tokio::time::timeout;
use tonic::{Response, Status, Streaming};

use crate::RawClient;

/// The client to ask and how long to wait for each answer.
pub(crate) struct Attempt {
    client: RawClient,
    patience: Duration,
}

impl Attempt {
    pub(crate) fn new(client: RawClient, patience: Duration) -> Self {
        Self { client, patience }
    }

    /// The client; a clone, because each method of it needs it mutable.
    pub(crate) fn client(&self) -> RawClient {
        self.client.clone()
    }

    /// Waits for an answer.
    pub(crate) async fn unary<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Status> {
        self.within(call).await.map(Response::into_inner)
    }

    /// Waits for the next message of a stream; the limit is for each message,
    /// since a long list may take its time as long as it moves.
    pub(crate) async fn next<T>(&self, stream: &mut Streaming<T>) -> Result<Option<T>, Status> {
        self.within(stream.message()).await
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        match timeout(self.patience, work).await {
            Ok(done) => done,
            Err(_) => Err(silence(self.patience)),
        }
    }
}

/// The status of a filer that did not answer in time.
pub(crate) fn silence(limit: Duration) -> Status {
    Status::deadline_exceeded(format!("no answer within {limit:?}"))
}
