//! Sidecars that were named: each is asked what it is.

use std::sync::Arc;
use std::time::Duration;

use context::Context;
use fabric::announce::{Announcement, MAX_BYTES};
use fabric::http::{ClientConfig, fetch};

use super::Seen;

/// A sidecar that takes longer to say how it is, is not well.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks all of them at a time.
pub(super) async fn ask_all(addresses: &[String], tls: Option<&Arc<ClientConfig>>) -> Vec<Seen> {
    let asked = addresses.iter().map(|address| {
        let (address, tls) = (address.clone(), tls.cloned());
        tokio::task::spawn_blocking(move || {
            let said = ask(&Context::background(PATIENCE), &address, tls.as_ref());
            (address, said)
        })
    });
    let asked: Vec<_> = asked.collect();
    let mut seen = Vec::with_capacity(asked.len());
    for one in asked {
        // A runtime that shuts down cancels it.
        seen.extend(one.await);
    }
    seen
}

/// What the sidecar at `address` says of itself.
pub(crate) fn ask(
    ctx: &Context<'_>,
    address: &str,
    tls: Option<&Arc<ClientConfig>>,
) -> Result<Announcement, String> {
    let document =
        fetch(ctx, address, "/health", tls, MAX_BYTES).map_err(|error| error.to_string())?;
    Announcement::parse(&document).map_err(|error| error.to_string())
}
