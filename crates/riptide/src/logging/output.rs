//! Where lines of the log go: to standard error, or, from a mount in the background, to syslog.
//!
//! A datagram to `/dev/log` is all it takes, for rsyslog as for journald. A line that cannot be sent is
//! dropped: a log must not stop a file system.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::OnceLock;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Where syslog listens.
const SOCKET: &str = "/dev/log";
/// The facility "daemon", times eight.
const DAEMON: u8 = 3 << 3;

/// The way to syslog, once standard error is left.
static SYSLOG: OnceLock<UnixDatagram> = OnceLock::new();

/// Sends all further lines to the syslog at `socket`.
pub(super) fn to_syslog() -> io::Result<()> {
    let socket = connect(Path::new(SOCKET))?;
    let _ = SYSLOG.set(socket);
    Ok(())
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Makes the writer of each line.
#[derive(Debug)]
pub(super) struct Output;

impl<'a> MakeWriter<'a> for Output {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { severity: 6 }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line {
        Line {
            severity: severity(*meta.level()),
        }
    }
}

/// Writes one line.
#[derive(Debug)]
pub(super) struct Line {
    severity: u8,
}

impl Write for Line {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        match SYSLOG.get() {
            None => io::stderr().write(text),
            Some(socket) => {
                let _ = socket.send(&message(self.severity, text));
                Ok(text.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// As RFC 3164 has it on local sockets, where the time is the receiver's.
fn message(severity: u8, text: &[u8]) -> Vec<u8> {
    let priority = DAEMON | severity;
    let head = format!("<{priority}>riptide[{}]: ", std::process::id());
    [head.as_bytes(), text.trim_ascii_end()].concat()
}

fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_datagram_that_says_who_and_how_bad() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let receiver = UnixDatagram::bind(&path).unwrap();
        let sender = connect(&path).unwrap();
        sender
            .send(&message(severity(Level::WARN), b"  WARN mount: x\n"))
            .unwrap();
        let mut datagram = [0; 200];
        let length = receiver.recv(&mut datagram).unwrap();
        let pid = std::process::id();
        let expected = format!("<28>riptide[{pid}]:   WARN mount: x");
        assert_eq!(datagram[..length], *expected.as_bytes());
    }

    #[test]
    fn a_syslog_that_is_not_there_is_an_error() {
        assert!(connect(Path::new("/nonexistent/log")).is_err());
    }
}
