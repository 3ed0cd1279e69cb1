//! Connections: how many, for how long, with TLS or without.
//!
//! A client that connects and says nothing, that sends its request a byte at a time, or that stops
//! taking its answer, must not keep others out: heads have to arrive in time, the
//! kernel gives up peers that take nothing, and there is a limit to connections at a time, above
//! which new ones are closed at once.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::counters::Counters;
use crate::ending::Ending;

/// Time for a request's head, and for the next one on a kept connection.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// Time for a TLS handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// After this long without the peer taking anything, the kernel ends the connection.
const STALL_MS: u32 = 60_000;
/// Largest head, in bytes: the longest query, and as much again for headers.
const HEAD_BYTES: usize = 32 << 10;
/// How long answers under way may take when the daemon ends.
const DRAIN_TIME: Duration = Duration::from_secs(5);
/// Pause after the system could not give a connection, such as for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What connections may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time.
    pub max_clients: usize,
}

/// An HTTP server that is about to run.
pub struct Server {
    /// Where it listens.
    pub listener: TcpListener,
    /// TLS, where the cluster wants it.
    pub tls: Option<TlsAcceptor>,
    /// The pages.
    pub router: Router,
    /// What connections may take.
    pub limits: Limits,
    /// What is counted.
    pub counters: Arc<Counters>,
}

impl Server {
    /// Serves until `ending` says true, then answers what is under way.
    pub async fn run(self, mut ending: Ending) {
        let room = Arc::new(Semaphore::new(self.limits.max_clients));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = ending.wait() => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Finished ones are forgotten, so that the set does not grow.
            while connections.try_join_next().is_some() {}
            let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
                self.counters.turned_away.inc();
                continue;
            };
            let (tls, router) = (self.tls.clone(), self.router.clone());
            let (counters, ending) = (Arc::clone(&self.counters), ending.clone());
            connections.spawn(async move {
                counters.connections.add(1);
                connection(stream, peer, tls, router, &counters, ending).await;
                counters.connections.add(-1);
                drop(place);
            });
        }
        drop(self.listener);
        let drained = async { while connections.join_next().await.is_some() {} };
        if timeout(DRAIN_TIME, drained).await.is_err() {
            tracing::warn!("some answers did not end in time");
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    counters: &Counters,
    ending: Ending,
) {
    if let Err(error) = prepare(&stream) {
        tracing::debug!(%peer, %error, "cannot prepare a connection");
        return;
    }
    let Some(tls) = tls else {
        return requests(stream, peer, router, ending).await;
    };
    match timeout(HANDSHAKE_TIME, tls.accept(stream)).await {
        Ok(Ok(stream)) => requests(stream, peer, router, ending).await,
        Ok(Err(error)) => {
            counters.handshake_failures.inc();
            tracing::debug!(%peer, %error, "TLS handshake failed");
        }
        Err(_) => counters.handshake_failures.inc(),
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_tcp_user_timeout(stream, STALL_MS)?;
    Ok(())
}

async fn requests(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    peer: SocketAddr,
    router: Router,
    mut ending: Ending,
) {
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = ending.wait() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}
