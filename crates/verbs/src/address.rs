//! Socket addresses as the C libraries lay them out.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// A `sockaddr` of either family, large enough for both.
pub(crate) enum Sockaddr {
    V4(libc::sockaddr_in),
    V6(libc::sockaddr_in6),
}

impl Sockaddr {
    pub(crate) fn new(addr: SocketAddr) -> Self {
        match addr {
            SocketAddr::V4(v4) => Self::V4(libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(v4.ip().octets()),
                },
                sin_zero: [0; 8],
            }),
            SocketAddr::V6(v6) => Self::V6(libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.ip().octets(),
                },
                sin6_scope_id: v6.scope_id(),
            }),
        }
    }

    /// Where the C side finds it.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut libc::sockaddr {
        match self {
            Self::V4(v4) => std::ptr::from_mut(v4).cast(),
            Self::V6(v6) => std::ptr::from_mut(v6).cast(),
        }
    }
}

/// The address in an IPv4 `sockaddr_in`.
pub(crate) fn from_v4(sin: &libc::sockaddr_in) -> SocketAddr {
    let ip = Ipv4Addr::from(sin.sin_addr.s_addr.to_ne_bytes());
    SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(sin.sin_port)))
}

/// The address in an IPv6 `sockaddr_in6`.
pub(crate) fn from_v6(sin6: &libc::sockaddr_in6) -> SocketAddr {
    let ip = Ipv6Addr::from(sin6.sin6_addr.s6_addr);
    SocketAddr::V6(SocketAddrV6::new(
        ip,
        u16::from_be(sin6.sin6_port),
        sin6.sin6_flowinfo,
        sin6.sin6_scope_id,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_survive_the_round_trip() {
        for text in ["10.77.0.1:18600", "[fe80::1%3]:7", "[2001:db8::2]:65535"] {
            let addr: SocketAddr = text.parse().unwrap();
            let back = match Sockaddr::new(addr) {
                Sockaddr::V4(sin) => from_v4(&sin),
                Sockaddr::V6(sin6) => from_v6(&sin6),
            };
            assert_eq!(back, addr);
        }
    }
}
