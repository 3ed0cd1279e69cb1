//! A small document of a server, on a connection of its own.

use std::sync::Arc;

use context::{Context, Stopped};
use rustls::ClientConfig;

use super::body::Body;
use super::connection::Connection;
use super::exchange::connect;
use super::resolve::Resolver;
use super::wait::{Halt, Watch};

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It refuses, or knows nothing of it.
    #[error("it answers with status {0}")]
    Status(u16),
    /// More than anybody would want to read.
    #[error("its answer has more than {0} bytes")]
    TooLong(usize),
    /// It answers, but not with HTTP.
    #[error("it answers with nonsense: {0}")]
    Malformed(&'static str),
    /// There is no connection to it.
    #[error("{0}")]
    Unreachable(std::io::Error),
    /// It did not answer in time.
    #[error("it does not answer")]
    Silent,
    /// Whoever asked gave up.
    #[error("interrupted")]
    Interrupted,
}

/// The document that the server at `address` (`host:port`) has at `path`, at most `limit` bytes.
///
/// # Errors
/// See [`FetchError`].
pub fn fetch(
    ctx: &Context<'_>,
    address: &str,
    path: &str,
    tls: Option<&Arc<ClientConfig>>,
    limit: usize,
) -> Result<Vec<u8>, FetchError> {
    let watch = Watch {
        ctx: *ctx,
        patience: ctx.remaining(),
    };
    let resolver = Resolver::new(address.into());
    let wire = connect(&watch, &resolver, address, tls)?;
    let mut connection = Connection::new(wire);
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    let head = connection.exchange(&[request.as_bytes()], limit as u64, &watch, None)?;
    if head.status != 200 {
        return Err(FetchError::Status(head.status));
    }
    let mut body = Body::new(&mut connection, head.framing, watch);
    body.read_to_end(limit)?.ok_or(FetchError::TooLong(limit))
}

impl From<Halt> for FetchError {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Stopped(Stopped::Interrupted) => Self::Interrupted,
            Halt::Stopped(Stopped::TimedOut) | Halt::Silent => Self::Silent,
            Halt::Broken(error) => Self::Unreachable(error),
            Halt::Malformed(what) => Self::Malformed(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;

    fn ask(answer: &str, limit: usize) -> Result<Vec<u8>, FetchError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    request.push(byte[0]);
                }
                assert!(request.starts_with(b"GET /health HTTP/1.1\r\n"));
                stream.write_all(answer.as_bytes()).unwrap();
            });
            let ctx = Context::background(Duration::from_secs(5));
            fetch(&ctx, &address, "/health", None, limit)
        })
    }

    #[test]
    fn a_document_comes_whole_or_not_at_all() {
        let good = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(ask(good, 2).unwrap(), b"{}");
        assert!(matches!(ask(good, 1), Err(FetchError::TooLong(1))));
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
        assert_eq!(ask(chunked, 2).unwrap(), b"{}");
        let huge = "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n";
        assert!(matches!(ask(huge, 2), Err(FetchError::TooLong(2))));
        let absent = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        assert!(matches!(ask(absent, 2), Err(FetchError::Status(404))));
        let cut = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{";
        assert!(matches!(ask(cut, 2), Err(FetchError::Unreachable(_))));
        assert!(matches!(
            ask("SSH-2.0-x\r\n\r\n", 2),
            Err(FetchError::Malformed(_))
        ));
    }

    #[test]
    fn a_server_that_is_not_there_or_says_nothing_is_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let get = |ms| {
            let ctx = Context::background(Duration::from_millis(ms));
            fetch(&ctx, &address, "/health", None, 9)
        };
        assert!(matches!(get(50), Err(FetchError::Silent)));
        drop(listener);
        assert!(matches!(get(5000), Err(FetchError::Unreachable(_))));
    }
}
