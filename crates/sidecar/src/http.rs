//! The sidecar's HTTP: needles for those who do not speak the fabric's protocol, and what there
//! is to know of the sidecar.
//!
//! `/read` gives clear bytes; a stock `weed mount -rdma.enabled` (up to 4.44) reads by it.
//! `/health` is what mounts and probes look at, `/stats` and `/metrics` are the
//! numbers. `/cleanup` was for the prototype's temporary files; there are none, so it agrees
//! to everything and does nothing.

mod health;
mod read;
mod serve;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use serde_json::{Value, json};
use stats::Registry;
use tokio::sync::Semaphore;

use crate::budget::Budget;
use crate::counters::Counters;
use crate::gate::Gate;
use crate::peers::Peers;
use crate::shelves::Stock;
use crate::view::View;

pub(crate) use read::{REASON, success};
pub use serve::{Limits, Server};

/// Reads that may be at the disks at a time. More would not make a disk faster; whoever waits
/// longer than two seconds is sent to the volume server.
pub const MAX_READERS: usize = 64;

/// What the handlers work with.
pub struct App<S> {
    /// The needles.
    pub shelf: Arc<S>,
    /// Who may read them.
    pub gate: Gate,
    /// Memory for them.
    pub budget: Budget,
    /// Reads at the disks.
    pub readers: Semaphore,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// All numbers.
    pub registry: Registry,
    /// What the sidecar says about itself.
    pub view: Arc<View>,
    /// The sidecars of other servers, where they can be found.
    pub peers: Option<Peers>,
}

/// All pages.
pub fn router<S: Stock>(app: Arc<App<S>>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/read", get(read::get::<S>).head(read::head::<S>))
        .route("/health", get(health::health::<S>))
        .route("/stats", get(health::stats::<S>))
        .route("/metrics", get(health::metrics::<S>))
        .route("/cleanup", any(cleanup))
        .with_state(app)
}

async fn index() -> Response {
    let pages = ["/read", "/health", "/stats", "/metrics", "/cleanup"];
    let about = json!({
        "service": "riptide sidecar",
        "version": env!("CARGO_PKG_VERSION"),
        "pages": pages,
    });
    json(StatusCode::OK, &about)
}

async fn cleanup() -> Response {
    json(StatusCode::OK, &json!({"status": "nothing to clean up"}))
}

fn json(status: StatusCode, value: &Value) -> Response {
    let typed = [(header::CONTENT_TYPE, "application/json")];
    (status, typed, value.to_string()).into_response()
}
