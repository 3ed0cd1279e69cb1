//! What a mount keeps on the local disk, shown and changed: pages for `riptide cache` and
//! `riptide warmup`.
//!
//! They are on the local socket alone, which only the mount's owner can open. Paths are those
//! below the mount point. What may ask the filer or read the disk runs on threads that may block.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use mount::{Cached, Changes, Mount, Warmed};
use reader::DiskUse;
use serde_json::{Value, json};
use whole::{Listed, Verdict};

use super::routes;

pub(super) fn router(mount: Arc<Mount>) -> Router {
    Router::new()
        .route("/cache", get(|state, query| answer(state, query, list)))
        .route(
            "/cache/file",
            get(|state, query| answer(state, query, file)),
        )
        .route(
            "/cache/changes",
            get(|state, query| answer(state, query, changes)),
        )
        .route(
            "/cache/warm",
            post(|state, query| answer(state, query, warm)),
        )
        .route(
            "/cache/evict",
            post(|state, query| answer(state, query, evict)),
        )
        .route(
            "/cache/verify",
            post(|state, query| answer(state, query, verify)),
        )
        .with_state(mount)
}

/// What is asked for: the parts of a query.
struct Asked(Vec<(String, String)>);

impl Asked {
    fn part(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    fn path(&self) -> Result<&str, String> {
        self.part("path")
            .ok_or_else(|| "no path is given".to_owned())
    }
}

async fn answer(
    State(mount): State<Arc<Mount>>,
    RawQuery(query): RawQuery,
    page: fn(&Mount, &Asked) -> Result<Value, String>,
) -> Response {
    let query = query.unwrap_or_default();
    let parts = form_urlencoded::parse(query.as_bytes()).into_owned();
    let asked = Asked(parts.collect());
    let done = tokio::task::spawn_blocking(move || page(&mount, &asked)).await;
    match done {
        // What cannot be done is an answer too: the client shows the reason.
        Ok(Ok(value)) => routes::json(StatusCode::OK, &value),
        Ok(Err(reason)) => routes::json(StatusCode::OK, &json!({ "error": reason })),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn list(mount: &Mount, asked: &Asked) -> Result<Value, String> {
    let files: Vec<Value> = mount
        .whole_files(asked.path()?)
        .iter()
        .map(listed)
        .collect();
    let whole = match mount.passthrough() {
        Ok(None) => json!({ "kept": true, "passthrough": true }),
        Ok(Some(reason)) => json!({ "kept": true, "passthrough": false, "reason": reason }),
        Err(reason) => json!({ "kept": false, "reason": reason }),
    };
    Ok(json!({ "files": files, "whole": whole, "chunks": disk(mount.chunks_held()) }))
}

fn file(mount: &Mount, asked: &Asked) -> Result<Value, String> {
    let Cached {
        size,
        whole,
        chunk_bytes,
    } = mount.cached(asked.path()?)?;
    let (state, done, reason) = match whole {
        whole::State::Absent => ("absent", 0, None),
        whole::State::Waiting => ("waiting", 0, None),
        whole::State::Partial { done, .. } => ("partial", done, None),
        whole::State::Complete => ("complete", size, None),
        whole::State::Failed(reason) => ("failed", 0, Some(reason)),
    };
    Ok(json!({
        "size": size, "state": state, "here": done, "reason": reason, "chunk_bytes": chunk_bytes,
    }))
}

fn changes(mount: &Mount, asked: &Asked) -> Result<Value, String> {
    let since = asked.part("since").map(str::parse).transpose();
    let since = since.map_err(|error| format!("since: {error}"))?;
    let Changes {
        next,
        missed,
        paths,
    } = mount.changes(since);
    Ok(json!({ "next": next, "missed": missed, "paths": paths }))
}

fn warm(mount: &Mount, asked: &Asked) -> Result<Value, String> {
    Ok(match mount.warm(asked.path()?)? {
        Warmed::Here => json!({ "state": "complete" }),
        Warmed::Coming => json!({ "state": "waiting" }),
        Warmed::Busy => json!({ "state": "busy" }),
        Warmed::Unfit(reason) => json!({ "state": "unfit", "reason": reason }),
    })
}

/// With `chunks=false` whole files alone, below a path; with `whole=false` the chunks of one file.
fn evict(mount: &Mount, asked: &Asked) -> Result<Value, String> {
    let path = asked.path()?;
    let wants = |what| asked.part(what) != Some("false");
    let whole = match wants("whole") {
        true => mount.evict_whole(path),
        false => whole::Evicted::default(),
    };
    let chunks = match wants("chunks") {
        true => mount.evict_chunks(Some(path).filter(|path| *path != "/"))?,
        false => DiskUse::default(),
    };
    Ok(json!({
        "files": whole.files, "bytes": whole.bytes, "kept": whole.kept, "chunks": disk(chunks),
    }))
}

/// A whole file by its `key`, or all chunks.
fn verify(mount: &Mount, asked: &Asked) -> Result<Value, String> {
    let Some(key) = asked.part("key") else {
        let (good, damaged) = mount.verify_chunks();
        return Ok(json!({ "chunks": disk(good), "damaged": damaged }));
    };
    let (verdict, reason) = match mount.verify_whole(key)? {
        Verdict::Good => ("good", None),
        Verdict::Damaged => ("damaged", None),
        Verdict::Absent => ("absent", None),
        Verdict::Unreadable(reason) => ("unreadable", Some(reason)),
    };
    Ok(json!({ "verdict": verdict, "reason": reason }))
}

fn listed(file: &Listed) -> Value {
    json!({
        "name": *file.name, "size": file.size, "here": file.here, "data": file.data,
        "complete": file.key.is_some(), "used_ms": file.used_ms, "open": file.open,
        "key": file.key.map(|key| key.to_string()),
    })
}

fn disk(held: DiskUse) -> Value {
    json!({ "chunks": held.chunks, "bytes": held.bytes })
}
