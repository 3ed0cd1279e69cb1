//! How both ends prove that they hold the cluster's read key without showing it.

use std::net::{IpAddr, SocketAddr};

use seaweed::jwt::SigningKey;

/// HMAC-SHA256 under the cluster's read key of the 16 bytes `riptide client 2` or `riptide server 2`, the
/// client's nonce, the server's, and 19 bytes for the [`Way`]; zeros where there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// The code.
    pub mac: [u8; 32],
}

/// Whose proof it is: that of one end is none of the other's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Of a mount, say.
    Client,
    /// Of a sidecar.
    Server,
}

/// How the lane came to be, as both ends know it. It is signed, so that nobody between them can have one
/// server prove what another client asks for elsewhere: whoever has the client connect to itself over RDMA
/// gets no proof that is good there from a server of another address, or over another carrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Over TCP, where names and proxies may lie between, and no memory is told.
    Tcp,
    /// Over a unix socket.
    Shm,
    /// Over verbs, to this address of the server's.
    Rdma(SocketAddr),
}

/// What is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed {
    /// The client's nonce.
    pub client: [u8; 16],
    /// The server's.
    pub server: [u8; 16],
    /// How they are connected.
    pub way: Way,
}

impl Proof {
    /// Nothing is proved without a key.
    pub const EMPTY: Self = Self { mac: [0; 32] };

    /// The proof of `role`.
    pub fn new(key: Option<&SigningKey>, role: Role, signed: &Signed) -> Self {
        match key {
            Some(key) => Self {
                mac: key.mac(&signed.bytes(role)),
            },
            None => Self::EMPTY,
        }
    }

    /// Whether it was made with this key, in a time that does not tell how nearly; without a key, whether it
    /// is empty.
    pub fn is_good(&self, key: Option<&SigningKey>, role: Role, signed: &Signed) -> bool {
        match key {
            Some(key) => key.is_mac(&signed.bytes(role), &self.mac),
            None => *self == Self::EMPTY,
        }
    }
}

impl Signed {
    fn bytes(&self, role: Role) -> [u8; 67] {
        // They keep these codes apart from those of tokens, which the same key signs, too.
        let purpose = match role {
            Role::Client => b"riptide client 2",
            Role::Server => b"riptide server 2",
        };
        let mut bytes = [0; 67];
        bytes[..16].copy_from_slice(purpose);
        bytes[16..32].copy_from_slice(&self.client);
        bytes[32..48].copy_from_slice(&self.server);
        bytes[48..].copy_from_slice(&self.way.bytes());
        bytes
    }
}

impl Way {
    /// Carrier, address as one of IPv6, and port.
    fn bytes(self) -> [u8; 19] {
        let mut bytes = [0; 19];
        match self {
            Self::Tcp => bytes[0] = 1,
            Self::Shm => bytes[0] = 2,
            Self::Rdma(address) => {
                bytes[0] = 3;
                let ip = match address.ip() {
                    IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                    IpAddr::V6(ip) => ip,
                };
                bytes[1..17].copy_from_slice(&ip.octets());
                bytes[17..].copy_from_slice(&address.port().to_le_bytes());
            }
        }
        bytes
    }
}
