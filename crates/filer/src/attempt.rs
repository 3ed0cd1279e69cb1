//! One attempt at one filer, and its time limit.
//!
//! It runs as a task of the runtime, not on the thread that waits for it. That thread would be woken
//! for each step of a call (a place in the connection's queue, then the answer), and the runtime as
//! often by it; a task hands over to the connection's own without any thread being woken.

use std::future::Future;
use std::panic::resume_unwind;
use std::time::Duration;

use tokio::task::JoinSet;
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

    /// Asks, and waits for an answer.
    pub(crate) async fn unary<T, F>(&self, ask: impl FnOnce(RawClient) -> F) -> Result<T, Status>
    where
        T: Send + 'static,
        F: Future<Output = Result<Response<T>, Status>> + Send + 'static,
    {
        let (asked, patience) = (ask(self.client()), self.patience);
        as_task(async move { within(patience, asked).await.map(Response::into_inner) }).await
    }

    /// Asks for a stream, and has each of its messages added to `all`; the limit is for each
    /// message, since a long list may take its time as long as it moves.
    pub(crate) async fn fold<T, M, F>(
        &self,
        ask: impl FnOnce(RawClient) -> F,
        mut all: T,
        add: fn(&mut T, M),
    ) -> Result<T, Status>
    where
        T: Send + 'static,
        M: Send + 'static,
        F: Future<Output = Result<Response<Streaming<M>>, Status>> + Send + 'static,
    {
        let (asked, patience) = (ask(self.client()), self.patience);
        as_task(async move {
            let mut stream = within(patience, asked).await?.into_inner();
            while let Some(message) = within(patience, stream.message()).await? {
                add(&mut all, message);
            }
            Ok(all)
        })
        .await
    }
}

/// The status of a filer that did not answer in time.
pub(crate) fn silence(limit: Duration) -> Status {
    Status::deadline_exceeded(format!("no answer within {limit:?}"))
}

async fn within<T>(
    patience: Duration,
    work: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    match timeout(patience, work).await {
        Ok(done) => done,
        Err(_) => Err(silence(patience)),
    }
}

/// Does the work in a task, which ends with whoever waits for it.
async fn as_task<T: Send + 'static>(
    work: impl Future<Output = Result<T, Status>> + Send + 'static,
) -> Result<T, Status> {
    // A set of one: tokio's handle alone would leave the task running when it is dropped.
    let mut tasks = JoinSet::new();
    tasks.spawn(work);
    match tasks.join_next().await {
        Some(Ok(done)) => done,
        Some(Err(ended)) => match ended.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(ended) => Err(Status::cancelled(format!("the runtime ends: {ended}"))),
        },
        None => Err(Status::internal("a set of one task was empty")),
    }
}
