//! How the cluster calls a volume server.
//!
//! An administrator tells the sidecar of `localhost:8080`; mounts hear from the filer that a
//! volume is on `10.0.0.5:8080`, and look that up among the sidecars' volume servers. So the
//! sidecar asks the filer where one of the server's volumes is, and takes the location that has
//! the server's port and an address of this machine.

use std::net::{IpAddr, SocketAddr};

use filer::{Filer, VolumeMap};
use seaweed::ServerAddress;
use tokio::net::{UdpSocket, lookup_host};

/// Volumes asked about before giving up: a volume that was just made is unknown to the master
/// for some seconds.
const MAX_ASKED: usize = 8;

/// What the cluster knows of a volume server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spelling {
    /// `host:port`.
    pub server: String,
    /// Where it stands; may be empty.
    pub data_center: String,
}

/// Looks for `server`, which holds `volumes`, in the filer's words; nothing when the filer knows
/// none of the volumes at an address of this machine.
pub async fn spelling(filer: &Filer, server: &ServerAddress, volumes: &[u32]) -> Option<Spelling> {
    let map = VolumeMap::new(filer.clone());
    for volume in volumes.iter().take(MAX_ASKED) {
        let found = map.locate(*volume).await.ok()?;
        for location in found.iter() {
            let Ok(address) = location.url.parse::<ServerAddress>() else {
                continue;
            };
            let same_name = address.host() == server.host();
            if address.port() == server.port() && (same_name || is_here(address.host()).await) {
                return Some(Spelling {
                    server: address.http(),
                    data_center: location.data_center.clone(),
                });
            }
        }
    }
    None
}

/// Whether a name leads to this machine. Only an address that is this machine's can be bound.
async fn is_here(host: &str) -> bool {
    let Ok(found) = lookup_host((host, 0)).await else {
        return false;
    };
    for address in found {
        if binds(address.ip()).await {
            return true;
        }
    }
    false
}

async fn binds(ip: IpAddr) -> bool {
    !ip.is_unspecified() && UdpSocket::bind(SocketAddr::new(ip, 0)).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_of_this_machine_is_known() {
        assert!(is_here("127.0.0.1").await);
        assert!(is_here("localhost").await);
        // For documentation only, by RFC 5737: nobody has it.
        assert!(!is_here("192.0.2.1").await);
        assert!(!is_here("0.0.0.0").await);
        assert!(!is_here("no such host").await);
    }
}
