//! One attempt at one filer, and its time limit.
//!
//! It runs as a task of the runtime that has the connection: that of a lane, which the asking thread drives, or
//! the shared one. There the thread would else be woken for each step of a call (a place in the connection's
//! queue, then the answer), and the runtime as often by it; a task hands over to the connection's own without any
//! thread being woken.
//!
//! A question goes on when whoever asked it gives up. To cancel it would be worse than to have an answer
//! for nobody: a filer (4.48) whose caller goes away while it makes an entry ends with a nil
//! pointer, and all its clients with it.

use std::future::Future;
use std::panic::resume_unwind;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tonic::{Response, Status, Streaming};

use crate::changes::Change;
use crate::peer::by;
use crate::{RawClient, Transport};

/// Whom to ask and how long to wait for each answer.
pub(crate) struct Attempt {
    transport: Transport,
    patience: Duration,
}

impl Attempt {
    pub(crate) fn new(transport: Transport, patience: Duration) -> Self {
        Self {
            transport,
            patience,
        }
    }

    /// A client.
    pub(crate) fn client(&self) -> RawClient {
        by(self.transport.clone())
    }

    /// Asks for a change of one entry; as [`unary`](Self::unary) otherwise.
    pub(crate) async fn change<C: Change>(&self, change: C) -> Result<C::Answer, Status> {
        let transport = self.transport.clone();
        self.run(async move { transport.change(change).await })
            .await
    }

    /// Asks, and waits for an answer; when the wait is given up, the question is not.
    pub(crate) async fn unary<T, F>(&self, ask: impl FnOnce(RawClient) -> F) -> Result<T, Status>
    where
        T: Send + 'static,
        F: Future<Output = Result<Response<T>, Status>> + Send + 'static,
    {
        let asked = ask(self.client());
        self.run(async move { asked.await.map(Response::into_inner) })
            .await
    }

    /// As a task, for as long as an answer may take.
    async fn run<T: Send + 'static>(
        &self,
        asked: impl Future<Output = Result<T, Status>> + Send + 'static,
    ) -> Result<T, Status> {
        let patience = self.patience;
        // Thousands of bytes, which would be moved with the task.
        let asked = Box::pin(asked);
        let asked = async move { within(patience, asked).await };
        tokio::spawn(asked).await.unwrap_or_else(ended)
    }

    /// Asks for a stream, and has each of its messages added to `all`; the limit is for each
    /// message, since a long list may take its time as long as it moves. It ends when the wait
    /// is given up.
    pub(crate) async fn fold<T, M, F>(
        &self,
        ask: impl FnOnce(RawClient) -> F,
        all: T,
        add: fn(&mut T, M),
    ) -> Result<T, Status>
    where
        T: Send + 'static,
        M: Send + 'static,
        F: Future<Output = Result<Response<Streaming<M>>, Status>> + Send + 'static,
    {
        // A set of one: tokio's handle alone would leave the task running when it is dropped.
        let mut tasks = JoinSet::new();
        tasks.spawn(drain(self.patience, ask(self.client()), all, add));
        let done = tasks.join_next().await;
        done.map_or_else(no_task, |done| done.unwrap_or_else(ended))
    }

    /// Asks for a change that is answered in many messages, and waits for the last. Like
    /// [`unary`](Self::unary) it goes on when the wait is given up: broken off, it would be half made.
    pub(crate) async fn to_the_end<M, F>(
        &self,
        ask: impl FnOnce(RawClient) -> F,
    ) -> Result<(), Status>
    where
        M: Send + 'static,
        F: Future<Output = Result<Response<Streaming<M>>, Status>> + Send + 'static,
    {
        let asked = drain(self.patience, ask(self.client()), (), |(), _| {});
        tokio::spawn(asked).await.unwrap_or_else(ended)
    }
}

/// Adds all messages of a stream to `all`.
async fn drain<T, M>(
    patience: Duration,
    asked: impl Future<Output = Result<Response<Streaming<M>>, Status>>,
    mut all: T,
    add: fn(&mut T, M),
) -> Result<T, Status> {
    let mut stream = within(patience, asked).await?.into_inner();
    while let Some(message) = within(patience, stream.message()).await? {
        add(&mut all, message);
    }
    Ok(all)
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

/// What a task that did not come to its end leaves.
fn ended<T>(how: JoinError) -> Result<T, Status> {
    match how.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        Err(how) => Err(Status::cancelled(format!("the runtime ends: {how}"))),
    }
}

fn no_task<T>() -> Result<T, Status> {
    Err(Status::internal("a set of one task was empty"))
}
