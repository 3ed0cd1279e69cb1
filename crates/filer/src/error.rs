//! What can go wrong between a mount and its filers.
//!
//! A filer reports most failures as gRPC code `Unknown` with a text, so the
//! texts that mean something to a file system are recognised here, once. The
//! other distinction that matters is who speaks: a status made by the filer is
//! an answer and is passed on; a status made on our side of the wire (refused,
//! reset, timed out) says nothing about the request and sends it elsewhere.

use std::error::Error as _;

use seaweed::ServerAddress;
use tonic::{Code, Status};

/// The text by which a filer says that an entry does not exist.
const NOT_FOUND: &str = "no entry is found in filer store";

/// Why a call to the filers failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FilerError {
    /// The entry does not exist.
    #[error("{directory}/{name}: no such entry")]
    NotFound {
        /// Directory that was searched, without a trailing slash.
        directory: String,
        /// Name that was not there.
        name: String,
    },
    /// A filer understood the request and refused it.
    #[error("filer {filer}: {what}: {message} ({code})")]
    Refused {
        /// Who answered.
        filer: ServerAddress,
        /// The method that was called.
        what: &'static str,
        /// The gRPC code, mostly `Unknown`.
        code: Code,
        /// The filer's words.
        message: String,
    },
    /// A filer's answer lacks what it must contain.
    #[error("filer {filer}: {what}: {problem}")]
    Malformed {
        /// Who answered.
        filer: ServerAddress,
        /// The method that was called.
        what: &'static str,
        /// What is wrong with the answer.
        problem: &'static str,
    },
    /// No filer answered in time.
    #[error("{what}: no filer answered: {}", join(.attempts))]
    Unavailable {
        /// The method that was called.
        what: &'static str,
        /// Each address with the reason of its latest failure.
        attempts: Vec<(ServerAddress, String)>,
    },
    /// There is nobody to ask.
    #[error("no filer address given")]
    NoAddress,
    /// The TLS settings cannot be used.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
}

impl FilerError {
    /// Whether the same call may succeed later without anybody's help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// Whether a filer says in `status` that an entry does not exist.
pub(crate) fn is_not_found(status: &Status) -> bool {
    status.code() == Code::NotFound || status.message().contains(NOT_FOUND)
}

/// Whether another filer should be asked: the status tells of the way to the
/// filer, or of a filer that is going away, not of the request.
pub(crate) fn is_transport(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => true,
        // Statuses that tonic makes of its own errors have a source (the
        // connection's error); statuses from the wire never have one.
        _ => status.source().is_some(),
    }
}

/// One line for people: the causes, where tonic's own text says little.
pub(crate) fn describe(status: &Status) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut add = |part: String| {
        let known = part.is_empty() || part == VAGUE || parts.iter().any(|p| p.contains(&part));
        if !known {
            parts.push(part);
        }
    };
    add(status.message().to_owned());
    let mut cause = status.source();
    while let Some(error) = cause {
        add(error.to_string());
        cause = error.source();
    }
    if parts.is_empty() {
        return status.code().to_string();
    }
    parts.join(": ")
}

/// What tonic calls every failure of a connection.
const VAGUE: &str = "transport error";

fn join(attempts: &[(ServerAddress, String)]) -> String {
    let parts: Vec<String> = attempts
        .iter()
        .map(|(address, reason)| format!("{address}: {reason}"))
        .collect();
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_the_filer_is_not_a_broken_connection() {
        let answer = Status::unknown("fail to fetch volume");
        assert!(!is_transport(&answer));
        assert!(is_transport(&Status::unavailable("shutting down")));
        let broken = Status::from_error(Box::new(std::io::Error::other("reset")));
        assert!(is_transport(&broken));
        assert!(describe(&broken).contains("reset"));
    }

    #[test]
    fn a_missing_entry_is_known_by_its_text() {
        let status = Status::unknown("filer: no entry is found in filer store");
        assert!(is_not_found(&status));
        assert!(!is_not_found(&Status::unknown("something else")));
    }
}
