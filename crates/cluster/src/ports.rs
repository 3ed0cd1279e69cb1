//! Free loopback ports, in the pairs that SeaweedFS wants: HTTP on `p`, gRPC on `p + 10000`.
//!
//! Several test processes look for ports at the same time, and a server that a
//! test restarts must find its port still free. So a pair is owned through a
//! lock that all of them see and that dies with its owner: an abstract unix
//! socket named after the port. Pairs lie below the kernel's ephemeral range
//! (32768 and up), where an outgoing connection could otherwise sit on one.

use std::io;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};

/// A reserved pair of ports: [`http`](Self::http) and ten thousand above it.
/// Free for other users again once dropped.
#[derive(Debug)]
pub struct PortPair {
    http: u16,
    _lock: UnixListener,
}

impl PortPair {
    /// The lower port, for HTTP.
    #[must_use]
    pub fn http(&self) -> u16 {
        self.http
    }

    /// The upper port, for gRPC.
    #[must_use]
    pub fn grpc(&self) -> u16 {
        self.http + GRPC_OFFSET
    }
}

/// Reserves a pair of which nobody uses either port.
///
/// # Errors
/// When none is found after many tries.
pub fn free_port_pair() -> Result<PortPair> {
    let span = u32::from(LAST - FIRST);
    for _ in 0..TRIES {
        let http = FIRST + u16::try_from(next_random() % span)?;
        let Ok(lock) = lock(http) else { continue };
        if is_free(http) && is_free(http + GRPC_OFFSET) {
            return Ok(PortPair { http, _lock: lock });
        }
    }
    bail!("no free pair of ports p and p+{GRPC_OFFSET} with p in {FIRST}..{LAST} on 127.0.0.1")
}

fn lock(port: u16) -> io::Result<UnixListener> {
    let name = format!("riptide-test-port-{port}");
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// Scatters the start of the search, so that parallel searches rarely meet.
/// Not random in any stronger sense: a collision costs one more try.
fn next_random() -> u32 {
    static STEP: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.subsec_nanos());
    let step = STEP.fetch_add(1, Ordering::Relaxed);
    (now ^ process::id().rotate_left(16))
        .wrapping_add(step)
        .wrapping_mul(0x9e37_79b1)
        >> 8
}

const GRPC_OFFSET: u16 = 10_000;
const FIRST: u16 = 12_000;
/// The upper port of a pair stays below 32768.
const LAST: u16 = 22_700;
const TRIES: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn pairs_held_at_the_same_time_never_overlap() {
        let pairs: Vec<_> = (0..64).map(|_| free_port_pair().unwrap()).collect();
        let ports: HashSet<u16> = pairs.iter().flat_map(|p| [p.http(), p.grpc()]).collect();
        assert_eq!(ports.len(), 128);
    }

    #[test]
    fn a_port_in_use_is_not_given_out() {
        let pair = free_port_pair().unwrap();
        let _user = TcpListener::bind(("127.0.0.1", pair.grpc())).unwrap();
        assert!(!is_free(pair.grpc()));
        assert!(lock(pair.http()).is_err());
    }
}
