//! The sidecars of other servers, as the filer lists them, and reads passed on to them.
//!
//! A client that knows one sidecar may ask it for any needle. Which sidecar has the volume is
//! read off the announcements below [`FOLDER`], which are fetched anew when they are older
//! than five seconds. A read that was passed on carries a mark and is not passed on again, so two
//! sidecars that each believe in the other end after one step. Only registered sidecars are
//! asked: an address that a client names selects among them and is never contacted by itself.
//!
//! Bytes come over the fabric (`over_fabric`), or else over the other sidecar's HTTP.
//!
//! Nothing is proxied from a volume server: where no sidecar is known, the client is told that
//! the volume is not here, and goes there itself.

mod over_fabric;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use fabric::announce::{Announcement, FOLDER, MAX_BYTES};
use filer::Filer;
use hyper::body::Incoming;
use seaweed::Security;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::timeout;

use self::over_fabric::OverFabric;
use crate::budget::Budget;
use crate::client::Client;
use crate::counters::Counters;
use crate::gate;
use crate::http::success;
use crate::query::ReadQuery;
use crate::view::View;

/// Marks a read that was passed on.
pub const FORWARDED: &str = "x-riptide-forwarded";
/// Over what an answer came that was passed on.
const SERVED_OVER: HeaderName = HeaderName::from_static("x-riptide-served-over");
/// Announcements older than this are fetched anew when they are needed.
const MAX_AGE: Duration = Duration::from_secs(5);
/// More sidecars than a cluster has servers.
const MAX_SIDECARS: u32 = 10_000;
/// Time for another sidecar to begin its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time to list them: reads wait for it.
const LIST_TIME: Duration = Duration::from_secs(2);
/// Sidecars that are asked for one read; more would take longer than the volume server.
const MAX_ATTEMPTS: usize = 2;

/// The sidecars of other servers.
#[derive(Debug)]
pub struct Peers {
    filer: Arc<OnceCell<Filer>>,
    client: Client,
    fabric: OverFabric,
    counters: Arc<Counters>,
    /// Tells our own address, which is not asked.
    own: Arc<View>,
    seen: Mutex<Option<Seen>>,
}

#[derive(Debug, Clone)]
struct Seen {
    at: Instant,
    sidecars: Arc<Vec<Announcement>>,
}

impl Peers {
    /// Finds them through `filer`, once there is one. Bytes on their way are lent by `budget`.
    ///
    /// # Errors
    /// When the fabric's client cannot be set up.
    pub fn new(
        filer: Arc<OnceCell<Filer>>,
        client: Client,
        security: &Security,
        budget: Budget,
        counters: Arc<Counters>,
        own: Arc<View>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            filer,
            client,
            fabric: OverFabric::new(security, budget)?,
            counters,
            own,
            seen: Mutex::default(),
        })
    }

    /// Gives back what nobody needs, for ever.
    pub fn tidying(&self) -> impl Future<Output = ()> + Send + 'static {
        self.fabric.tidying()
    }

    /// Passes a read on to a sidecar that has its volume; nothing when none is known, or none has
    /// the needle.
    pub async fn forward(
        &self,
        query: &ReadQuery,
        headers: &HeaderMap,
        with_body: bool,
    ) -> Option<Response> {
        let sidecars = self.sidecars().await?;
        if with_body && let Some(bytes) = self.fabric.read(query).await {
            self.counters.forwarded.inc();
            self.counters.forwarded_over_fabric.inc();
            let mut response = success(bytes.len() as u64, Body::from(bytes));
            let over = HeaderValue::from_static("fabric");
            response.headers_mut().insert(SERVED_OVER, over);
            return Some(response);
        }
        let own = self.own.announcement();
        let path = path_of(query);
        let token = gate::token(query, headers).map(|token| format!("Bearer {token}"));
        let mut sent = vec![(FORWARDED, "1")];
        sent.extend(token.as_deref().map(|token| ("authorization", token)));
        let method = if with_body { Method::GET } else { Method::HEAD };
        for sidecar in candidates(&sidecars, query, &own.http) {
            let asked = self
                .client
                .send(method.clone(), sidecar, &path, &sent, PATIENCE);
            match asked.await {
                Ok(answer) if answer.status() == StatusCode::OK => {
                    self.counters.forwarded.inc();
                    return Some(pass_on(answer, sidecar));
                }
                // What the owner of the volume says of a needle is final.
                Ok(answer) if is_final(answer.status()) => {
                    return Some(pass_on(answer, sidecar));
                }
                Ok(answer) => {
                    self.counters.forward_failures.inc();
                    tracing::debug!(sidecar, status = %answer.status(), "a sidecar gave nothing");
                }
                Err(error) => {
                    self.counters.forward_failures.inc();
                    tracing::debug!(sidecar, error = format!("{error:#}"), "a sidecar is away");
                }
            }
        }
        None
    }

    async fn sidecars(&self) -> Option<Arc<Vec<Announcement>>> {
        let filer = self.filer.get()?;
        // Held while asking, so that many reads ask the filer once.
        let mut seen = self.seen.lock().await;
        if let Some(seen) = &*seen
            && seen.at.elapsed() < MAX_AGE
        {
            return Some(Arc::clone(&seen.sidecars));
        }
        let sidecars = match timeout(LIST_TIME, registered(filer)).await {
            Ok(Ok(sidecars)) => Arc::new(sidecars),
            failed => {
                tracing::debug!(?failed, "cannot list the sidecars");
                // What was true a while ago is better than nothing; it is asked again later.
                seen.as_ref()
                    .map(|seen| Arc::clone(&seen.sidecars))
                    .unwrap_or_default()
            }
        };
        self.fabric.update(&sidecars, &self.own.announcement().http);
        *seen = Some(Seen {
            at: Instant::now(),
            sidecars: Arc::clone(&sidecars),
        });
        Some(sidecars)
    }
}

/// All sidecars that are registered with a filer. Entries that make no sense are left out.
///
/// # Errors
/// When the filer does not answer.
pub async fn registered(filer: &Filer) -> Result<Vec<Announcement>, filer::FilerError> {
    let page = filer.list_page(FOLDER, "", true, "", MAX_SIDECARS).await?;
    let read = page.entries.iter().filter_map(|entry| {
        let sane = entry.content.len() <= MAX_BYTES;
        let announcement: Announcement = sane
            .then(|| serde_json::from_slice(&entry.content).ok())
            .flatten()?;
        // The name of the entry is what was agreed on; the content must not say otherwise.
        (announcement.http == entry.name).then_some(announcement)
    });
    Ok(read.collect())
}

/// Whom to ask, the one beside the server that the client named first.
fn candidates<'s>(
    sidecars: &'s [Announcement],
    query: &ReadQuery,
    own: &str,
) -> impl Iterator<Item = &'s str> {
    let named = query.volume_server.as_ref().map(|server| server.http());
    let is_named = |sidecar: &Announcement| {
        named
            .as_ref()
            .is_some_and(|named| sidecar.volume_servers.contains(named))
    };
    let mut able: Vec<_> = sidecars
        .iter()
        .filter(|sidecar| sidecar.http != own)
        .filter(|sidecar| is_named(sidecar) || sidecar.volumes.contains(&query.needle.volume))
        .collect();
    able.sort_by_key(|sidecar| !is_named(sidecar));
    able.truncate(MAX_ATTEMPTS);
    able.into_iter().map(|sidecar| sidecar.http.as_str())
}

/// The same read, written anew: what a client wrote is not passed on as it is.
fn path_of(query: &ReadQuery) -> String {
    let mut path = format!("/read?file_id={}&offset={}", query.needle, query.offset);
    if let Some(size) = query.size {
        path += &format!("&size={size}");
    }
    path
}

fn is_final(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::UNAUTHORIZED
    )
}

fn pass_on(answer: Response<Incoming>, sidecar: &str) -> Response {
    let (head, body) = answer.into_parts();
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = head.status;
    let kept = [
        header::CONTENT_TYPE,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        HeaderName::from_static("x-rdma-used"),
        HeaderName::from_static("x-source"),
        HeaderName::from_static(crate::http::REASON),
    ];
    for name in kept {
        if let Some(value) = head.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    let over = HeaderValue::from_static("http");
    response.headers_mut().insert(SERVED_OVER, over);
    if let Ok(value) = HeaderValue::from_str(sidecar) {
        response.headers_mut().insert("x-riptide-served-by", value);
    }
    response
}

#[cfg(test)]
mod tests {
    use fabric::announce::Endpoints;

    use super::*;

    fn sidecar(http: &str, server: &str, volumes: &[u32]) -> Announcement {
        Announcement {
            http: http.to_owned(),
            fabric: Endpoints::default(),
            volume_servers: vec![server.to_owned()],
            volumes: volumes.to_vec(),
            generation: 1,
            data_center: String::new(),
            rack: String::new(),
        }
    }

    #[test]
    fn the_named_server_is_asked_first_and_we_ourselves_never() {
        let sidecars = [
            sidecar("a:1", "a:8080", &[3]),
            sidecar("b:1", "b:8080", &[3]),
            sidecar("c:1", "c:8080", &[]),
            sidecar("d:1", "d:8080", &[4]),
        ];
        let asked = |text: &str, own: &str| {
            let query = ReadQuery::parse(text).unwrap();
            candidates(&sidecars, &query, own).collect::<Vec<_>>()
        };
        let plain = "file_id=3,01637037d6";
        assert_eq!(asked(plain, "a:1"), ["b:1"]);
        assert_eq!(asked(plain, "x:1"), ["a:1", "b:1"]);
        let named = format!("{plain}&volume_server=http://c:8080");
        assert_eq!(asked(&named, "a:1"), ["c:1", "b:1"]);
        let stranger = format!("{plain}&volume_server=169.254.169.254:80");
        assert_eq!(asked(&stranger, "a:1"), ["b:1"]);
        assert!(asked("file_id=9,01637037d6", "a:1").is_empty());
    }

    #[test]
    fn a_read_is_passed_on_by_its_meaning() {
        let query = "file_id=3%2C01637037d6_1&offset=5&size=7&volume_server=c:8080&jwt=x.y.z";
        let query = ReadQuery::parse(query).unwrap();
        assert_eq!(
            path_of(&query),
            "/read?file_id=3,02637037d6&offset=5&size=7"
        );
    }
}
