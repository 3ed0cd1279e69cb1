//! Opening one connection to one filer.
//!
//! tonic brings HTTP/2; this brings the socket under it: TCP with the options
//! that notice a dead peer, TLS when configured, and a count of connections.
//! The count is how the subscription knows that it still talks to the same
//! process: a connection does not outlive the process at its other end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use seaweed::ServerAddress;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};

/// Longest wait for TCP and TLS to be established. A filer in another data
/// center needs a few hundred milliseconds; one that needs more is as good as
/// dead while there are others.
const CONNECT: Duration = Duration::from_secs(3);

/// How long to wait for the server's first byte after a TLS handshake.
const FIRST_BYTE: Duration = Duration::from_secs(1);

/// What a server means that closes without a word where it could have one.
const CLOSED: &str =
    "closed after the TLS handshake: the filer refused our grpc.client certificate";

/// A reply that waits in our kernel without being acknowledged for so long
/// means that the path is cut.
const USER_TIMEOUT: Duration = Duration::from_secs(10);

/// TCP probes on an idle connection, so that a path that was cut silently
/// (a NAT that forgot us) is found before the next call needs it.
const TCP_IDLE: Duration = Duration::from_secs(15);
const TCP_INTERVAL: Duration = Duration::from_secs(5);

/// HTTP/2 pings. A Go server closes a connection that pings more often than it
/// likes, or while nothing is asked ("too_many_pings"), so these only clean up;
/// faster detection comes from time limits on calls and from the subscription's
/// probes and heartbeats.
const PING_INTERVAL: Duration = Duration::from_secs(61);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Flow control windows. HTTP/2 starts with 64 KiB, which would stop a listing
/// of a large directory (some 200 bytes an entry, far more with chunks) every
/// few hundred entries for a round trip.
pub(crate) const STREAM_WINDOW: u32 = 4 << 20;
pub(crate) const CONNECTION_WINDOW: u32 = 16 << 20;

/// Dials one filer.
#[derive(Clone)]
pub(crate) struct Dialer {
    endpoint: Endpoint,
    origin: Uri,
    host: Arc<str>,
    port: u16,
    tls: Option<TlsConnector>,
    dialled: Arc<AtomicU64>,
}

impl Dialer {
    /// A dialer for the gRPC port of `address`.
    pub(crate) fn new(address: &ServerAddress, tls: Option<&Arc<ClientConfig>>) -> Self {
        let host: Arc<str> = address.host().into();
        let port = address.grpc_port();
        // Only the path of a request's URI reaches the wire, beside an
        // authority that no filer looks at; the dialer has the address.
        let origin = match tls {
            Some(_) => Uri::from_static("https://filer"),
            None => Uri::from_static("http://filer"),
        };
        let endpoint = Endpoint::from_static("http://filer")
            .origin(origin.clone())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(false);
        Self {
            endpoint,
            origin,
            host,
            port,
            tls: tls.map(|config| TlsConnector::from(Arc::clone(config))),
            dialled: Arc::new(AtomicU64::new(0)),
        }
    }

    /// What requests name as scheme and authority.
    pub(crate) fn origin(&self) -> Uri {
        self.origin.clone()
    }

    /// A channel that connects when it is first used, and again when its
    /// connection was lost, together with the count of its connections.
    pub(crate) fn channel(&self) -> (Channel, Arc<AtomicU64>) {
        let mut dialer = self.clone();
        dialer.dialled = Arc::new(AtomicU64::new(0));
        let dialled = Arc::clone(&dialer.dialled);
        let connector = tower::service_fn(move |_: Uri| {
            let dialer = dialer.clone();
            async move { dialer.dial().await }
        });
        (
            self.endpoint.connect_with_connector_lazy(connector),
            dialled,
        )
    }

    pub(crate) async fn dial(&self) -> io::Result<TokioIo<Box<dyn Wire>>> {
        let dialling = async {
            let stream = TcpStream::connect((&*self.host, self.port)).await?;
            configure(&stream)?;
            match &self.tls {
                None => Ok(Box::new(stream) as Box<dyn Wire>),
                Some(tls) => self.handshake(tls, stream).await,
            }
        };
        let wire = match timeout(CONNECT, dialling).await {
            Ok(wire) => wire?,
            Err(_) => {
                let text = format!("not connected within {CONNECT:?}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
        };
        self.dialled.fetch_add(1, Ordering::AcqRel);
        Ok(TokioIo::new(wire))
    }

    async fn handshake(&self, tls: &TlsConnector, stream: TcpStream) -> io::Result<Box<dyn Wire>> {
        let name = ServerName::try_from(self.host.to_string()).map_err(io::Error::other)?;
        let mut stream = tls.connect(name, stream).await.map_err(explain)?;
        // To a TLS 1.3 client the handshake is over before the server has
        // looked at its certificate; the first byte tells that it was liked.
        // HTTP/2 servers in Go speak first; one that waits for us is let be.
        match timeout(FIRST_BYTE, stream.fill_buf()).await {
            Ok(Ok([])) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, CLOSED)),
            Ok(Err(error)) => Err(explain(error)),
            Ok(Ok(_)) | Err(_) => Ok(Box::new(stream)),
        }
    }
}

/// A connection, encrypted or not.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

fn configure(stream: &TcpStream) -> io::Result<()> {
    // Requests are small and wait for an answer; Nagle would hold them back.
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let probes = TcpKeepalive::new()
        .with_time(TCP_IDLE)
        .with_interval(TCP_INTERVAL)
        .with_retries(3);
    socket.set_tcp_keepalive(&probes)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
}

/// Adds to a TLS error what it means in a SeaweedFS cluster.
fn explain(error: io::Error) -> io::Error {
    let cause = error
        .get_ref()
        .and_then(|e| e.downcast_ref::<rustls::Error>());
    match cause.and_then(crate::tls::hint) {
        Some(hint) => io::Error::new(error.kind(), format!("{error}: {hint}")),
        None => error,
    }
}
