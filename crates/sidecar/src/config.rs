//! What the daemon is told: the flags and the file of `riptide sidecar`, read and checked.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use seaweed::ServerAddress;
use volume::VerifyRanges;

/// The HTTP port of the first prototype, which scripts know.
pub const DEFAULT_PORT: u16 = 8081;
/// By how much the fabric's port is higher than the HTTP port, unless told otherwise.
pub const FABRIC_OFFSET: u16 = 10_000;

/// Everything about one sidecar.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address to listen on; none for all.
    pub bind: Option<IpAddr>,
    /// HTTP port.
    pub port: u16,
    /// Port of the fabric's TCP carrier, and of RDMA's connection manager.
    pub fabric_port: u16,
    /// Path of the unix socket for shared memory; none for the usual place.
    pub socket: Option<PathBuf>,
    /// Which carriers to offer.
    pub transports: Transports,
    /// Whether mounts of this host get the files of volumes, by the unix socket.
    pub short_circuit: bool,
    /// The RDMA device to use; none for all.
    pub device: Option<String>,
    /// Most connections at a time, for HTTP and for the fabric each.
    pub max_clients: usize,
    /// Most bytes of needles in memory at a time.
    pub memory_limit: u64,
    /// Volume servers whose needles are served.
    pub volume_servers: Vec<ServerAddress>,
    /// Data folders; when empty, the volume servers are asked.
    pub dirs: Vec<PathBuf>,
    /// The folder of index files, where it is not the data folder.
    pub idx_dir: Option<PathBuf>,
    /// Where indexes of volumes are saved for the next start; none for nowhere.
    pub index_dir: Option<PathBuf>,
    /// Most bytes in it.
    pub index_dir_limit: u64,
    /// Filers to register with; without any, mounts have to be told of this sidecar.
    pub filers: Vec<ServerAddress>,
    /// When parts of needles are checked against the checksum of the whole.
    pub verify_ranges: VerifyRanges,
    /// `host` or `host:port` under which others reach the HTTP port.
    pub advertise: Option<Advertise>,
    /// Where the volume servers stand; may be empty.
    pub data_center: String,
    /// Where the volume servers stand; may be empty.
    pub rack: String,
    /// Folder with security.toml.
    pub config_dir: Option<PathBuf>,
}

/// Which carriers to offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transports {
    /// RDMA verbs.
    pub rdma: bool,
    /// Shared memory.
    pub shm: bool,
    /// TCP.
    pub tcp: bool,
}

impl Transports {
    /// What `--transports` and `--enable-rdma` say together: `auto` is shared memory and TCP,
    /// and RDMA where it is enabled; a list is exactly what it says.
    ///
    /// # Errors
    /// Says what is expected.
    pub fn parse(text: &str, enable_rdma: bool) -> Result<Self, &'static str> {
        if text == "auto" {
            return Ok(Self {
                rdma: enable_rdma,
                shm: true,
                tcp: true,
            });
        }
        let mut named = Self {
            rdma: false,
            shm: false,
            tcp: false,
        };
        for word in text.split(',').map(str::trim) {
            let carrier = match word {
                "rdma" => &mut named.rdma,
                "shm" => &mut named.shm,
                "tcp" => &mut named.tcp,
                _ => return Err("auto, or some of rdma, shm and tcp, separated by commas"),
            };
            if std::mem::replace(carrier, true) {
                return Err("each of rdma, shm and tcp only once");
            }
        }
        if enable_rdma && !named.rdma {
            return Err("rdma among them, since -enable-rdma is given");
        }
        Ok(named)
    }
}

impl fmt::Display for Transports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [(self.rdma, "rdma"), (self.shm, "shm"), (self.tcp, "tcp")];
        let named: Vec<_> = all.iter().filter(|(on, _)| *on).map(|(_, n)| *n).collect();
        f.write_str(&named.join(","))
    }
}

/// Under which name others reach the HTTP port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertise {
    /// A name or an address, an IPv6 address without brackets.
    pub host: String,
    /// Where it differs from the port listened on.
    pub port: Option<u16>,
}

impl Advertise {
    /// Reads `host` or `host:port`.
    ///
    /// # Errors
    /// Says what is expected.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "a host name or address, with or without a port";
        if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(Self {
                host: ip.to_string(),
                port: None,
            });
        }
        let (full, port) = match text.rsplit_once(':') {
            Some(_) => (text.to_owned(), true),
            // The reader of addresses wants a port; this one is not kept.
            None => (format!("{text}:1"), false),
        };
        let address: ServerAddress = full.parse().map_err(|_| EXPECTED)?;
        Ok(Self {
            host: address.host().to_owned(),
            port: port.then(|| address.port()),
        })
    }
}

/// A number of bytes: `512MiB`, `1G`, `1073741824`. All units are powers of 1024.
///
/// # Errors
/// Says what is expected.
pub fn parse_bytes(text: &str) -> Result<u64, &'static str> {
    const EXPECTED: &str = "a number of bytes, such as 512MiB or 1G";
    let at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(at);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(EXPECTED),
    };
    let number: u64 = digits.parse().map_err(|_| EXPECTED)?;
    number.checked_mul(1 << shift).ok_or(EXPECTED)
}

/// `host:port`, an IPv6 address in brackets.
pub(crate) fn host_port(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

#[cfg(test)]
impl Config {
    /// On free ports of this machine, without a carrier and without a volume server.
    pub(crate) fn for_tests() -> Self {
        Self {
            bind: Some([127, 0, 0, 1].into()),
            port: 0,
            fabric_port: 0,
            socket: None,
            transports: Transports {
                rdma: true,
                shm: false,
                tcp: false,
            },
            short_circuit: true,
            device: None,
            max_clients: 64,
            memory_limit: 64 << 20,
            volume_servers: Vec::new(),
            dirs: Vec::new(),
            idx_dir: None,
            index_dir: None,
            index_dir_limit: 16 << 30,
            filers: Vec::new(),
            verify_ranges: VerifyRanges::Cached,
            advertise: None,
            data_center: "dc".to_owned(),
            rack: "r".to_owned(),
            config_dir: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports_are_what_both_flags_say() {
        let shown = |text, rdma| Transports::parse(text, rdma).map(|all| all.to_string());
        assert_eq!(shown("auto", false).as_deref(), Ok("shm,tcp"));
        assert_eq!(shown("auto", true).as_deref(), Ok("rdma,shm,tcp"));
        assert_eq!(shown("tcp", false).as_deref(), Ok("tcp"));
        assert_eq!(shown("tcp, rdma", true).as_deref(), Ok("rdma,tcp"));
        for (text, rdma) in [
            ("", false),
            ("udp", false),
            ("tcp,tcp", false),
            ("tcp", true),
        ] {
            assert!(shown(text, rdma).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("64k", 64 << 10),
            ("512MiB", 512 << 20),
            ("1 G", 1 << 30),
            ("2TB", 2 << 40),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "G",
            "-1",
            "1.5G",
            "1X",
            "99999999999999999999",
            "18446744073709551615k",
        ] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_advertised_name_may_have_a_port() {
        let parse = |text: &str| Advertise::parse(text).map(|a| (a.host, a.port));
        assert_eq!(parse("host"), Ok(("host".into(), None)));
        assert_eq!(parse("10.0.0.1:81"), Ok(("10.0.0.1".into(), Some(81))));
        assert_eq!(parse("fd00::1"), Ok(("fd00::1".into(), None)));
        assert_eq!(parse("[fd00::1]:81"), Ok(("fd00::1".into(), Some(81))));
        assert!(parse("").is_err() && parse("a b").is_err() && parse("h:x").is_err());
    }
}
