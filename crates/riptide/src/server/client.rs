//! Asking a mount over its local socket.

use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::server::socket_candidates;

/// A mount that does not answer within this is stuck.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Far more than any answer.
const MAX_ANSWER: u64 = 16 << 20;

/// Why a mount could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no socket for it.
    #[error("no riptide is mounted at {}: there is no socket {}", dir.display(), shown(tried))]
    NotFound {
        /// The mount point.
        dir: PathBuf,
        /// Where a socket could have been.
        tried: Vec<PathBuf>,
    },
    /// There is one that somebody else made.
    #[error("{} belongs to user {owner}, who is neither root nor you", path.display())]
    Foreign {
        /// The socket.
        path: PathBuf,
        /// Who made it.
        owner: u32,
    },
    /// There is one, but it does not work.
    #[error("cannot ask the mount over {}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It answers something else.
    #[error("{} answers nonsense: {what}", path.display())]
    Nonsense {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

/// The way to a mount that listens.
#[derive(Debug)]
pub struct Connection {
    path: PathBuf,
}

impl Connection {
    /// Finds the socket of the mount at `dir`, a path without symbolic links.
    pub fn find(dir: &Path) -> Result<Self, ClientError> {
        let tried = socket_candidates(dir);
        match tried.iter().find(|path| path.symlink_metadata().is_ok()) {
            Some(path) => Self::open(path),
            None => Err(ClientError::NotFound {
                dir: dir.to_owned(),
                tried,
            }),
        }
    }

    /// Uses the socket at `path`.
    pub fn open(path: &Path) -> Result<Self, ClientError> {
        let path = path.to_owned();
        let owner = match path.symlink_metadata() {
            Ok(metadata) => metadata.uid(),
            Err(source) => return Err(ClientError::Io { path, source }),
        };
        // In /tmp anybody could have put a socket under this name.
        if owner != 0 && owner != rustix::process::geteuid().as_raw() {
            return Err(ClientError::Foreign { path, owner });
        }
        Ok(Self { path })
    }

    /// What `/stats` says.
    pub fn stats(&self) -> Result<Value, ClientError> {
        self.ask("GET", "/stats", Some(TIMEOUT))
    }

    /// What a page says; waits for it as long as `patience`, or for ever.
    pub fn ask(
        &self,
        method: &str,
        page: &str,
        patience: Option<Duration>,
    ) -> Result<Value, ClientError> {
        let answer = self.call(method, page, patience);
        let answer = answer.map_err(|source| ClientError::Io {
            path: self.path.clone(),
            source,
        })?;
        body(&answer)
            .and_then(|body| serde_json::from_slice(body).map_err(|error| error.to_string()))
            .map_err(|what| ClientError::Nonsense {
                path: self.path.clone(),
                what,
            })
    }

    fn call(&self, method: &str, page: &str, patience: Option<Duration>) -> io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(&self.path)?;
        stream.set_read_timeout(patience)?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        write!(
            stream,
            "{method} {page} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
        Ok(answer)
    }
}

/// The body of an answer that has come whole, since the server closes after it.
fn body(answer: &[u8]) -> Result<&[u8], String> {
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .ok_or("no end of the head")?;
    let (head, body) = (String::from_utf8_lossy(&answer[..end]), &answer[end + 4..]);
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(format!("{status:?}"));
    }
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok());
    match length {
        Some(length) if length != body.len() => Err(format!("{} of {length} bytes", body.len())),
        _ => Ok(body),
    }
}

fn shown(paths: &[PathBuf]) -> String {
    let shown: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    shown.join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_good_answer_has_a_body() {
        let good = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(body(good), Ok(&b"{}"[..]));
        assert_eq!(body(b"HTTP/1.1 200 OK\r\n\r\n{}"), Ok(&b"{}"[..]));
        assert!(
            body(&good[..good.len() - 1])
                .unwrap_err()
                .contains("1 of 2")
        );
        assert!(
            body(b"HTTP/1.1 404 Not Found\r\n\r\n")
                .unwrap_err()
                .contains("404")
        );
        assert!(body(b"").is_err());
    }

    #[test]
    fn a_mount_that_is_not_there_is_named_with_its_sockets() {
        let error = Connection::find(Path::new("/nonexistent/riptide"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("no riptide is mounted at /nonexistent/riptide"),
            "{error}"
        );
        assert!(error.contains("/tmp/riptide-"), "{error}");
    }
}
