//! What the other filers did, from their own logs.
//!
//! The merged log tells it too, certainly but late (see the parent module).
//! A follower reads the log of one other filer of our list directly, so that
//! a change made there is told within a millisecond or two. Our filer may not
//! have applied it by then, which is why the merged log tells it again when it
//! has. Nothing depends on a follower: while it is cut off, changes of that
//! filer are merely told later.

use seaweed::pb::SubscribeMetadataRequest;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tonic::Status;

use super::connection::clock;
use super::feed::{Feed, Said, Source, open, relay};

use crate::Filer;
use crate::attempt::silence;
use crate::backoff::Backoff;
use crate::peer::client;

/// Follows the filer with this index until the feed is dropped.
pub(super) fn follow(
    filer: Filer,
    index: usize,
    mut request: SubscribeMetadataRequest,
    sink: mpsc::Sender<(Source, Said)>,
) -> Feed {
    Feed::of(tokio::spawn(async move {
        let mut backoff = Backoff::new();
        loop {
            request.client_epoch += 1;
            let status = match connect(&filer, index, &request).await {
                Ok(stream) => {
                    backoff.reset();
                    relay(stream, Source::Other, &sink).await
                }
                Err(status) => status,
            };
            if sink.is_closed() {
                return;
            }
            tracing::debug!(filer = %filer.peer(index).address, %status, "not following");
            sleep(backoff.pause()).await;
        }
    }))
}

async fn connect(
    filer: &Filer,
    index: usize,
    request: &SubscribeMetadataRequest,
) -> Result<super::feed::Stream, Status> {
    let (channel, _) = filer.peer(index).private_channel();
    let client = client(channel.clone());
    let patience = filer.patience();
    let connecting = async {
        let since_ns = clock(client.clone()).await?;
        let request = SubscribeMetadataRequest {
            since_ns,
            ..request.clone()
        };
        open(channel, client, Source::Other, request).await
    };
    match timeout(patience, connecting).await {
        Ok(stream) => stream,
        Err(_) => Err(silence(patience)),
    }
}
