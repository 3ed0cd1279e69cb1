//! What there is to know of the sidecar.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::{App, json};
use crate::shelves::Stock;

/// What Prometheus expects of text in the OpenMetrics format.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// 200 as long as any needle is served, so that a load balancer does not take away what works.
pub(super) async fn health<S: Stock>(State(app): State<Arc<App<S>>>) -> Response {
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let document = app.view.health(&app.shelf.volumes(), now);
    let status = match app.view.is_serving() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    json(status, &document)
}

pub(super) async fn stats<S: Stock>(State(app): State<Arc<App<S>>>) -> Response {
    let mut numbers = app.registry.render_json();
    // Scripts of the prototype look for these.
    numbers["rdma_enabled"] = app.view.is_serving().into();
    numbers["rdma_connected"] = app.view.is_rdma_connected().into();
    json(StatusCode::OK, &numbers)
}

pub(super) async fn metrics<S: Stock>(State(app): State<Arc<App<S>>>) -> Response {
    let typed = [(header::CONTENT_TYPE, OPENMETRICS)];
    (typed, app.registry.render_prometheus()).into_response()
}
