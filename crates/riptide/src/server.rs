//! What others can ask a running mount: `/metrics`, `/stats` and `/health`.
//!
//! The same small HTTP server listens in two places: on a unix socket that
//! only the mount's owner may open, where `riptide stats DIR` finds it by a
//! hash of the mount point, and on `-metricsPort` if that is set. Both are
//! beside the data path: they only read counters.

mod authority;
mod cache;
mod client;
mod control;
mod routes;
mod socket;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use mount::Mount;
use stats::Registry;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

pub use authority::Rewriter;
pub use client::{ClientError, Connection};
pub use control::{ControlServer, SetQuota};
pub use socket::{mount_hash, socket_candidates, socket_path};

/// A running server. Dropping it stops it and removes its socket.
#[derive(Debug)]
pub struct StatsServer {
    socket: socket::Bound,
    address: Option<SocketAddr>,
    tasks: Vec<JoinHandle<()>>,
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The port is taken or the address is not this machine's.
    #[error("cannot listen on {address} for -metricsPort: {source}")]
    Port {
        /// What was asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The socket for `weed shell` could not be made.
    #[error("cannot listen on {} for -localSocket: {source}", path.display())]
    LocalSocket {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The local socket could not be made.
    #[error("cannot listen on the local socket {}: {source}", path.display())]
    Socket {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl StatsServer {
    /// Shows `registry` on the local socket of the mount at `dir` (absolute, without symbolic
    /// links), and on `metrics` if given. What `mount` keeps on disk is shown and changed on the local
    /// socket alone.
    pub fn start(
        runtime: &Handle,
        registry: Arc<Registry>,
        dir: &Path,
        metrics: Option<SocketAddr>,
        mount: Option<Arc<Mount>>,
    ) -> Result<Self, ServerError> {
        Self::start_at(runtime, registry, &socket_path(dir), metrics, mount)
    }

    /// The same with a socket of the caller's choice.
    pub fn start_at(
        runtime: &Handle,
        registry: Arc<Registry>,
        path: &Path,
        metrics: Option<SocketAddr>,
        mount: Option<Arc<Mount>>,
    ) -> Result<Self, ServerError> {
        let _guard = runtime.enter();
        let routes = routes::router(registry);
        let mut tasks = Vec::new();
        let mut address = None;
        if let Some(wanted) = metrics {
            let failed = |source| ServerError::Port {
                address: wanted,
                source,
            };
            let listener = std::net::TcpListener::bind(wanted).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            address = Some(listener.local_addr().map_err(failed)?);
            let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
            tasks.push(serve(runtime, listener, routes.clone()));
        }
        let failed = |source| ServerError::Socket {
            path: path.to_owned(),
            source,
        };
        let (socket, listener) = socket::Bound::bind(path).map_err(failed)?;
        let listener = tokio::net::UnixListener::from_std(listener).map_err(failed)?;
        let routes = match mount {
            Some(mount) => routes.merge(cache::router(mount)),
            None => routes,
        };
        tasks.push(serve(runtime, listener, routes));
        Ok(Self {
            socket,
            address,
            tasks,
        })
    }

    /// The path of the local socket.
    pub fn socket(&self) -> &Path {
        self.socket.path()
    }

    /// Where it listens for `-metricsPort`.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }
}

impl Drop for StatsServer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn serve<L>(runtime: &Handle, listener: L, routes: Router) -> JoinHandle<()>
where
    L: axum::serve::Listener,
    L::Addr: std::fmt::Debug,
{
    runtime.spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!(%error, "the statistics server ended");
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use serde_json::json;
    use stats::{Health, Summary};

    use super::*;

    fn registry(reasons: &[&str]) -> Arc<Registry> {
        let reasons: Vec<String> = reasons.iter().map(|reason| (*reason).to_owned()).collect();
        let summary = || Summary {
            total_reads: 7,
            ..Summary::default()
        };
        let health = move || Health::from_reasons(reasons.clone());
        Arc::new(Registry::new(json!({"dir": "/mnt"}), summary, health))
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    }

    fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn the_three_pages_are_served_on_the_port_and_on_the_socket() {
        let runtime = runtime();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let any = "127.0.0.1:0".parse().unwrap();
        let server =
            StatsServer::start_at(runtime.handle(), registry(&[]), &path, Some(any), None).unwrap();
        let address = server.address().unwrap();

        let metrics = get(address, "/metrics");
        assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
        assert!(
            metrics.contains("content-type: application/openmetrics-text"),
            "{metrics}"
        );
        assert!(metrics.ends_with("# EOF\n"), "{metrics}");
        assert!(get(address, "/stats").contains("\"total_reads\":7"));
        assert!(get(address, "/health").contains("\"status\":\"healthy\""));
        assert!(get(address, "/other").starts_with("HTTP/1.1 404"));

        let stats = Connection::open(&path).unwrap().stats().unwrap();
        assert_eq!(stats["total_reads"], 7);
        assert_eq!(stats["info"]["dir"], "/mnt");
        drop(server);
        assert!(!path.exists(), "the socket is removed");
    }

    #[test]
    fn a_degraded_mount_says_so_with_a_status_that_probes_understand() {
        let runtime = runtime();
        let dir = tempfile::tempdir().unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let registry = registry(&["the filer is away"]);
        let path = dir.path().join("s.sock");
        let server =
            StatsServer::start_at(runtime.handle(), registry, &path, Some(any), None).unwrap();
        let health = get(server.address().unwrap(), "/health");
        assert!(health.starts_with("HTTP/1.1 503"), "{health}");
        assert!(health.contains("the filer is away"), "{health}");
    }

    #[test]
    fn a_port_that_is_taken_is_named() {
        let runtime = runtime();
        let dir = tempfile::tempdir().unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let path = dir.path().join("s.sock");
        let error =
            StatsServer::start_at(runtime.handle(), registry(&[]), &path, Some(address), None)
                .unwrap_err()
                .to_string();
        assert!(error.contains(&address.to_string()), "{error}");
        assert!(error.contains("-metricsPort"), "{error}");
        assert!(!path.exists());
    }
}
