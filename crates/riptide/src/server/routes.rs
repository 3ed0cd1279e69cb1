//! The pages.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use stats::Registry;

/// What Prometheus expects of text in the OpenMetrics format.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const JSON: &str = "application/json";

pub(super) fn router(registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/stats", get(stats))
        .route("/health", get(health))
        .with_state(registry)
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    (
        [(header::CONTENT_TYPE, OPENMETRICS)],
        registry.render_prometheus(),
    )
        .into_response()
}

async fn stats(State(registry): State<Arc<Registry>>) -> Response {
    json(StatusCode::OK, &registry.render_json())
}

async fn health(State(registry): State<Arc<Registry>>) -> Response {
    let health = registry.health();
    let status = match health.is_healthy() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    json(
        status,
        &serde_json::json!({"status": health.status, "reasons": health.reasons}),
    )
}

pub(super) fn json(status: StatusCode, value: &serde_json::Value) -> Response {
    (status, [(header::CONTENT_TYPE, JSON)], value.to_string()).into_response()
}
