//! `/read`: clear bytes of a needle.
//!
//! The work is done on tokio's threads for blocking work, piece by piece: the next piece is read
//! when the client has taken the one before, so a slow client holds a megabyte of memory and no
//! thread. The first piece is read before the answer begins, so that most of what can
//! go wrong still becomes a status; what goes wrong later breaks the connection off, which
//! no client takes for an end.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fabric::serve::{Held, Miss, ReadFault};
use futures::stream;
use stats::Counter;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::App;
use crate::counters::Counters;
use crate::peers::FORWARDED;
use crate::query::ReadQuery;
use crate::reading::{Denied, Reading};
use crate::shelves::Stock;

/// How long a read may wait for its turn at the disks: the volume server's own answer takes less.
const PATIENCE: Duration = Duration::from_secs(2);
/// Tells a stock mount, and people, that the bytes are from the volume's files.
const SOURCE: &str = "riptide-rdma-sidecar";
/// One word for programs.
pub(crate) const REASON: &str = "x-riptide-reason";

pub(super) async fn get<S: Stock>(
    State(app): State<Arc<App<S>>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    answer(&app, query.as_deref().unwrap_or(""), &headers, true).await
}

pub(super) async fn head<S: Stock>(
    State(app): State<Arc<App<S>>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    answer(&app, query.as_deref().unwrap_or(""), &headers, false).await
}

async fn answer<S: Stock>(
    app: &Arc<App<S>>,
    raw: &str,
    headers: &HeaderMap,
    with_body: bool,
) -> Response {
    let start = Instant::now();
    let denied = &app.counters.denied;
    let query = match ReadQuery::parse(raw) {
        Ok(query) => query,
        Err(error) => {
            denied.bad_request.inc();
            return refusal(StatusCode::BAD_REQUEST, "bad-request", &error.to_string());
        }
    };
    if let Err(refused) = app.gate.check(&query, headers, SystemTime::now()) {
        denied.unauthorized.inc();
        return refusal(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            &refused.to_string(),
        );
    }
    match open(app, &query, with_body).await {
        Ok(opened) => {
            let len = opened.reading.len();
            if with_body {
                app.counters.served(len, start.elapsed());
            }
            success(len, body(opened, Arc::clone(&app.counters)))
        }
        Err(Denied::Miss(Miss::NotHere)) if !headers.contains_key(FORWARDED) => {
            if let Some(peers) = &app.peers
                && let Some(answer) = peers.forward(&query, headers, with_body).await
            {
                return answer;
            }
            denial(&app.counters, Denied::Miss(Miss::NotHere))
        }
        Err(why) => denial(&app.counters, why),
    }
}

/// A read that is on its way, and its first piece.
struct Opened<N> {
    reading: Reading<N>,
    first: Option<Bytes>,
}

async fn open<S: Stock>(
    app: &Arc<App<S>>,
    query: &ReadQuery,
    with_body: bool,
) -> Result<Opened<S::Needle>, Denied> {
    let turn = timeout(PATIENCE, app.readers.acquire()).await;
    let (Ok(Ok(_turn)), shelf, budget) = (turn, Arc::clone(&app.shelf), app.budget.clone()) else {
        return Err(Denied::Busy);
    };
    let (needle, offset, size) = (query.needle, query.offset, query.size);
    let opening = spawn_blocking(move || {
        let mut reading = Reading::open(&*shelf, &budget, needle, offset, size)?;
        let first = if with_body { reading.advance()? } else { None };
        Ok(Opened { reading, first })
    });
    opening.await.unwrap_or_else(|error| {
        tracing::error!(%error, %needle, "a read ended unexpectedly");
        Err(Denied::Miss(Miss::Failed))
    })
}

fn body<N: Held + 'static>(opened: Opened<N>, counters: Arc<Counters>) -> Body {
    let Opened { reading, first } = opened;
    let Some(first) = first else {
        return Body::empty();
    };
    if first.len() as u64 == reading.len() {
        return Body::from(first);
    }
    let pieces = stream::unfold((Some(reading), Some(first)), move |(reading, first)| {
        let counters = Arc::clone(&counters);
        async move {
            let mut reading = reading?;
            if let Some(first) = first {
                return Some((Ok(first), (Some(reading), None)));
            }
            let next = spawn_blocking(move || (reading.advance(), reading)).await;
            match next {
                Ok((Ok(Some(piece)), reading)) => Some((Ok(piece), (Some(reading), None))),
                Ok((Ok(None), _)) => None,
                Ok((Err(fault), _)) => Some((Err(broken_off(&counters, fault)), (None, None))),
                Err(_) => Some((Err(broken_off(&counters, ReadFault::Failed)), (None, None))),
            }
        }
    });
    Body::from_stream(pieces)
}

fn broken_off(counters: &Counters, fault: ReadFault) -> io::Error {
    counters.broken_off.inc();
    tracing::warn!(reason = %fault, "an answer breaks off");
    io::Error::other(fault)
}

/// Bytes of a needle.
pub(crate) fn success(len: u64, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
    headers.insert("x-rdma-used", HeaderValue::from_static("true"));
    headers.insert("x-source", HeaderValue::from_static(SOURCE));
    response
}

fn denial(counters: &Counters, why: Denied) -> Response {
    let (status, reason, counter) = status_of(&counters.denied, why);
    counter.inc();
    let mut response = refusal(status, reason, &why.to_string());
    if let Denied::PastEnd { length } = why
        && let Ok(range) = HeaderValue::from_str(&format!("bytes */{length}"))
    {
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    response
}

fn status_of(
    denied: &crate::counters::DeniedCounters,
    why: Denied,
) -> (StatusCode, &'static str, &Counter) {
    use StatusCode as Code;
    match why {
        Denied::Miss(Miss::Absent) => (Code::NOT_FOUND, "absent", &denied.absent),
        Denied::Miss(Miss::NotHere) => (Code::NOT_FOUND, "not-here", &denied.not_here),
        Denied::Miss(Miss::Declined) => (Code::SERVICE_UNAVAILABLE, "declined", &denied.declined),
        Denied::Miss(Miss::Loading) => (Code::SERVICE_UNAVAILABLE, "loading", &denied.loading),
        Denied::Miss(Miss::Corrupt) => (Code::INTERNAL_SERVER_ERROR, "corrupt", &denied.corrupt),
        Denied::Miss(Miss::Failed) => (Code::INTERNAL_SERVER_ERROR, "failed", &denied.failed),
        Denied::PastEnd { .. } => (Code::RANGE_NOT_SATISFIABLE, "past-end", &denied.past_end),
        Denied::Busy => (Code::SERVICE_UNAVAILABLE, "busy", &denied.busy),
    }
}

fn refusal(status: StatusCode, reason: &'static str, text: &str) -> Response {
    (status, [(REASON, reason)], format!("{text}\n")).into_response()
}
