//! Addresses of servers.
//!
//! Every server has an HTTP port and a gRPC port, the latter 10,000 higher
//! unless the address says otherwise: `host:8888`, `host:8888.18889`,
//! `[::1]:8888`.

use std::fmt;
use std::str::FromStr;

/// Host and ports of a master, volume server or filer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerAddress {
    /// A name, or an IP address without brackets.
    host: Box<str>,
    port: u16,
    grpc_port: u16,
}

impl ServerAddress {
    /// Reads a comma-separated list, such as the flag `-filer` takes. Empty members are skipped.
    ///
    /// # Errors
    /// When a member is no address, or when there is none.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, AddressError> {
        let members = text.split(',').map(str::trim).filter(|m| !m.is_empty());
        let list = members.map(str::parse).collect::<Result<Vec<_>, _>>()?;
        if list.is_empty() {
            return Err(AddressError::new(text, "no address in it"));
        }
        Ok(list)
    }

    /// The host's name or IP address, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The HTTP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The gRPC port.
    pub fn grpc_port(&self) -> u16 {
        self.grpc_port
    }

    /// `host:port` for HTTP, an IPv6 address in brackets.
    pub fn http(&self) -> String {
        Socket(&self.host, self.port).to_string()
    }

    /// `host:port` for gRPC, an IPv6 address in brackets.
    pub fn grpc(&self) -> String {
        Socket(&self.host, self.grpc_port).to_string()
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Socket(&self.host, self.port).fmt(f)?;
        if Some(self.grpc_port) != self.port.checked_add(GRPC_OFFSET) {
            write!(f, ".{}", self.grpc_port)?;
        }
        Ok(())
    }
}

impl FromStr for ServerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        parse(text).map_err(|reason| AddressError::new(text, reason))
    }
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("address {text:?}: {reason}; expected host:port or host:port.grpcPort")]
pub struct AddressError {
    text: String,
    reason: &'static str,
}

impl AddressError {
    fn new(text: &str, reason: &'static str) -> Self {
        Self {
            text: text.chars().take(EXCERPT).collect(),
            reason,
        }
    }
}

/// By how much the gRPC port is higher when nothing else is said.
const GRPC_OFFSET: u16 = 10_000;
/// Longest name of a host (RFC 1035).
const HOST_MAX: usize = 255;
/// Longest piece of bad input that an error repeats.
const EXCERPT: usize = 300;

/// Formats a host and a port.
struct Socket<'a>(&'a str, u16);

impl fmt::Display for Socket<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(host, port) = self;
        match host.contains(':') {
            true => write!(f, "[{host}]:{port}"),
            false => write!(f, "{host}:{port}"),
        }
    }
}

/// The host (an IPv6 address without its brackets) and the port of `host:port`, for servers
/// that have no second port; nothing if `text` is something else.
pub fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = split(text).ok()?;
    Some((host, number(port).ok()?))
}

fn parse(text: &str) -> Result<ServerAddress, &'static str> {
    let (host, ports) = split(text)?;
    let (port, grpc_port) = match ports.split_once('.') {
        Some((http, grpc)) => (number(http)?, number(grpc)?),
        None => {
            let port = number(ports)?;
            let grpc = port.checked_add(GRPC_OFFSET);
            (port, grpc.ok_or("no gRPC port is 10000 above this one")?)
        }
    };
    Ok(ServerAddress {
        host: host.into(),
        port,
        grpc_port,
    })
}

/// The host without brackets, and what follows the colon behind it.
fn split(text: &str) -> Result<(&str, &str), &'static str> {
    let (host, ports) = text.rsplit_once(':').ok_or("no port in it")?;
    let host = match host.strip_prefix('[') {
        Some(inner) => {
            let inner = inner.strip_suffix(']').ok_or("a bracket is not closed")?;
            let v6 = inner.split('%').next().unwrap_or(inner);
            if v6.parse::<std::net::Ipv6Addr>().is_err() || inner.contains(is_strange) {
                return Err("no IPv6 address is between the brackets");
            }
            inner
        }
        None if host.contains(':') => return Err("an IPv6 address needs brackets"),
        None => host,
    };
    if host.is_empty() {
        return Err("no host in it");
    }
    if host.len() > HOST_MAX || host.contains(is_strange) {
        return Err("the host is no name");
    }
    Ok((host, ports))
}

/// Has no place in a host, and would break the URL it is put into.
fn is_strange(c: char) -> bool {
    c.is_whitespace() || c.is_control() || "/?#@[],\\\"<>".contains(c)
}

fn number(text: &str) -> Result<u16, &'static str> {
    let wrong = "a port is a number from 1 to 65535";
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong);
    }
    match text.parse() {
        Ok(0) | Err(_) => Err(wrong),
        Ok(port) => Ok(port),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn servers_with_one_port_may_have_any() {
        assert_eq!(host_and_port("a:65535"), Some(("a", 65535)));
        assert_eq!(host_and_port("[::1]:8081"), Some(("::1", 8081)));
        for bad in ["a", ":1", "a:0", "a:1.2", "::1:1", "a b:1", "http://a:1"] {
            assert_eq!(host_and_port(bad), None, "{bad}");
        }
    }

    fn read(text: &str) -> ServerAddress {
        text.parse().unwrap()
    }

    #[test]
    fn the_grpc_port_follows_or_is_given() {
        let plain = read("localhost:8888");
        assert_eq!(
            (plain.host(), plain.port(), plain.grpc_port()),
            ("localhost", 8888, 18888)
        );
        assert_eq!(plain.to_string(), "localhost:8888");
        let given = read("filer-1:8888.19000");
        assert_eq!(
            (given.http(), given.grpc()),
            ("filer-1:8888".into(), "filer-1:19000".into())
        );
        assert_eq!(given.to_string(), "filer-1:8888.19000");
        assert_eq!(read("h:60000.1").to_string(), "h:60000.1");
    }

    #[test]
    fn ipv6_is_in_brackets() {
        let address = read("[::1]:8888");
        assert_eq!(
            (address.host(), address.grpc().as_str()),
            ("::1", "[::1]:18888")
        );
        assert_eq!(address.to_string(), "[::1]:8888");
        assert_eq!(read("[fe80::1%eth0]:1.2").host(), "fe80::1%eth0");
    }

    #[test]
    fn lists_are_split_at_commas() {
        let list = ServerAddress::parse_list("a:1, b:2,,").unwrap();
        assert_eq!(list, [read("a:1"), read("b:2")]);
        for empty in ["", ",", " "] {
            assert!(ServerAddress::parse_list(empty).is_err());
        }
        let error = ServerAddress::parse_list("a:1,b").unwrap_err();
        assert!(error.to_string().contains("\"b\""), "{error}");
    }

    #[test]
    fn nonsense_is_refused_and_repeated() {
        for text in [
            "",
            "host",
            "host:",
            ":1",
            "host:0",
            "host:65536",
            "host:x",
            "host:1.",
            "host:1.0",
            "host:+1",
            "::1:8888",
            "[::1]",
            "[::1:8888",
            "[host]:1",
            "host:60000",
            "a b:1",
            "http://host:1",
            "u@h:1",
            "h:1.2.3",
        ] {
            let error = text.parse::<ServerAddress>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_is_written(text in "(\\[?[a-z0-9:.%]{0,8}\\]?)(:[0-9]{1,5})?(\\.[0-9]{1,5})?") {
            if let Ok(address) = text.parse::<ServerAddress>() {
                prop_assert_eq!(address.to_string().parse(), Ok(address));
            }
        }
    }
}
