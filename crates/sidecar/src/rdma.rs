//! What there is of RDMA on this machine, and why it is not used.
//!
//! The kernel lists its RDMA devices under `/sys/class/infiniband`, with the state of each port
//! and its addresses (GIDs); that needs no library. Whether they can be used is another question,
//! which the verbs layer answers: [`rails`].

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use fabric::server::MAX_RAILS;
use serde::Serialize;
use verbs::{DeviceInfo, GidKind};

use crate::config::Config;

/// Where the kernel lists RDMA devices.
pub const SYSFS: &str = "/sys/class/infiniband";
/// More GIDs than this are not looked at: tables have a few hundred slots, mostly empty.
const MAX_GIDS: usize = 256;

/// What RDMA does in this sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RdmaReport {
    /// Whether RDMA is offered.
    pub connected: bool,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The ports of this machine.
    pub devices: Vec<RdmaPort>,
}

/// A port of an RDMA device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RdmaPort {
    /// Name of the device, such as `mlx5_0` or `rxe0`.
    pub device: String,
    /// Number of the port.
    pub port: u32,
    /// Such as `ACTIVE`.
    pub state: String,
    /// `InfiniBand` or `Ethernet`.
    pub link_layer: String,
    /// Such as `100 Gb/sec (4X EDR)`.
    pub rate: String,
    /// Its addresses that are set.
    pub gids: Vec<String>,
}

/// Says what RDMA does. Asked for each look at `/health`, so it must be cheap.
pub type RdmaProvider = Arc<dyn Fn() -> RdmaReport + Send + Sync>;

/// Looks for ports on this machine.
pub fn ports(sysfs: &Path) -> Vec<RdmaPort> {
    let mut found = Vec::new();
    for device in names(sysfs) {
        let ports = sysfs.join(&device).join("ports");
        for port in names(&ports) {
            let Ok(number) = port.parse() else { continue };
            let at = ports.join(&port);
            let text = |name: &str| word(&at.join(name));
            found.push(RdmaPort {
                device: device.clone(),
                port: number,
                // The kernel writes a number before it: "4: ACTIVE".
                state: text("state").rsplit(": ").next().unwrap_or("").to_owned(),
                link_layer: text("link_layer"),
                rate: text("rate"),
                gids: gids(&at.join("gids")),
            });
        }
    }
    found
}

/// The addresses to listen on: those of every usable device's active ports, or of the one that
/// `-device` names; with `-bind`, that address alone, which has to be one of the device's.
///
/// # Errors
/// Why there is no RDMA, in words.
pub fn rails(config: &Config) -> Result<Vec<SocketAddr>, String> {
    if !config.transports.rdma {
        return Err("it is not asked for; -enable-rdma does".to_owned());
    }
    let devices = verbs::available().map_err(|error| error.to_string())?;
    let mut ips = wanted(&devices, config.device.as_deref(), config.bind)?;
    ips.truncate(MAX_RAILS);
    let rails = ips.into_iter();
    Ok(rails
        .map(|ip| SocketAddr::new(ip, config.fabric_port))
        .collect())
}

fn wanted(
    devices: &[DeviceInfo],
    only: Option<&str>,
    bind: Option<IpAddr>,
) -> Result<Vec<IpAddr>, String> {
    let ips = addresses(devices, only)?;
    // All addresses of this machine are those of its devices; no client could connect to "all".
    match bind.filter(|ip| !ip.is_unspecified()) {
        Some(ip) if only.is_some() && !ips.is_empty() && !ips.contains(&ip) => {
            let known: Vec<_> = ips.iter().map(IpAddr::to_string).collect();
            Err(format!(
                "the address of -bind, {ip}, is none of the device that -device names, which has {}",
                known.join(", ")
            ))
        }
        // An InfiniBand port has no IP address among its GIDs; the one of its network interface works.
        Some(ip) => Ok(vec![ip]),
        None if ips.is_empty() => {
            let words = "no port of the device has an IP address among its GIDs; name the address \
                         of its network interface with -bind";
            Err(words.to_owned())
        }
        None => Ok(ips),
    }
}

/// The IP addresses of active ports: a RoCE v2 GID is one.
fn addresses(devices: &[DeviceInfo], only: Option<&str>) -> Result<Vec<IpAddr>, String> {
    if let Some(only) = only
        && !devices.iter().any(|device| device.name == only)
    {
        let known: Vec<_> = devices.iter().map(|device| device.name.as_str()).collect();
        return Err(format!(
            "there is no usable device {only:?}, only {}",
            known.join(", ")
        ));
    }
    let wanted = devices
        .iter()
        .filter(|device| only.is_none_or(|only| device.name == only));
    let ports = wanted.flat_map(|device| &device.ports);
    let gids = ports.filter(|port| port.is_active()).flat_map(|p| &p.gids);
    let mut found = Vec::new();
    for gid in gids.filter(|gid| gid.kind == GidKind::RoceV2) {
        let ip = match gid.value.to_ipv4_mapped() {
            Some(ip) => IpAddr::V4(ip),
            // Without its interface a link-local address leads nowhere.
            None if gid.value.is_unicast_link_local() => continue,
            None => IpAddr::V6(gid.value),
        };
        if !found.contains(&ip) {
            found.push(ip);
        }
    }
    Ok(found)
}

/// What `/health` tells: whether there are rails, or else why not, and the ports as they are now.
pub(crate) fn provider(no_rdma: Option<&str>) -> RdmaProvider {
    let reason = no_rdma.map(str::to_owned);
    Arc::new(move || RdmaReport {
        connected: reason.is_none(),
        reason: reason.clone(),
        devices: ports(Path::new(SYSFS)),
    })
}

fn gids(folder: &Path) -> Vec<String> {
    let mut slots: Vec<u32> = names(folder)
        .iter()
        .filter_map(|n| n.parse().ok())
        .collect();
    slots.sort_unstable();
    slots
        .iter()
        .take(MAX_GIDS)
        .map(|slot| word(&folder.join(slot.to_string())))
        .filter(|gid| gid.contains(|c: char| !matches!(c, '0' | ':')))
        .collect()
}

/// The names in a folder, sorted; none when there is no folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    names
}

fn word(file: &Path) -> String {
    fs::read_to_string(file)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with one device of one port, as the kernel shows it.
    fn machine(state: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let port = dir.path().join("rxe0/ports/1");
        fs::create_dir_all(port.join("gids")).unwrap();
        for (name, text) in [
            ("state", state),
            ("link_layer", "Ethernet"),
            ("rate", "100 Gb/sec (4X EDR)"),
            ("gids/0", "fe80:0000:0000:0000:0000:00ff:fe00:0001"),
            ("gids/1", "0000:0000:0000:0000:0000:0000:0000:0000"),
        ] {
            fs::write(port.join(name), format!("{text}\n")).unwrap();
        }
        dir
    }

    #[test]
    fn ports_are_read_as_the_kernel_shows_them() {
        let machine = machine("4: ACTIVE");
        let found = ports(machine.path());
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].device.as_str(), found[0].port), ("rxe0", 1));
        assert_eq!(found[0].state, "ACTIVE");
        assert_eq!(found[0].gids, ["fe80:0000:0000:0000:0000:00ff:fe00:0001"]);
    }

    #[test]
    fn every_address_of_an_active_port_is_a_rail() {
        let gid = |value: &str, kind| verbs::Gid {
            index: 0,
            value: value.parse().unwrap(),
            kind,
        };
        let device = |name: &str, state: &str, ip: &str| DeviceInfo {
            name: name.to_owned(),
            ports: vec![verbs::PortInfo {
                number: 1,
                state: state.to_owned(),
                gids: vec![
                    gid("fe80::1", GidKind::RoceV2),
                    gid(ip, GidKind::InfiniBandOrRoceV1),
                    gid(ip, GidKind::RoceV2),
                ],
                ..verbs::PortInfo::default()
            }],
            ..DeviceInfo::default()
        };
        let devices = [
            device("a", "ACTIVE", "::ffff:10.0.0.1"),
            device("b", "ACTIVE", "2001:db8::1"),
            device("c", "DOWN", "::ffff:10.0.0.3"),
        ];
        let all = addresses(&devices, None).unwrap();
        let expected: [IpAddr; 2] = ["10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        assert_eq!(all, expected);
        assert_eq!(addresses(&devices, Some("b")).unwrap(), expected[1..]);
        assert!(addresses(&devices, Some("c")).unwrap().is_empty());
        // With -bind as well.
        let [first, second] = expected;
        let bound = |only, ip: &str| wanted(&devices, only, Some(ip.parse().unwrap()));
        assert_eq!(bound(None, "10.0.0.1"), Ok(vec![first]));
        assert_eq!(bound(Some("b"), "2001:db8::1"), Ok(vec![second]));
        for all in ["0.0.0.0", "::"] {
            assert_eq!(bound(Some("b"), all), Ok(vec![second]));
        }
        let words = "the address of -bind, 10.0.0.1, is none of the device that -device names, which has 2001:db8::1";
        assert_eq!(bound(Some("b"), "10.0.0.1"), Err(words.to_owned()));
        // Its port has no address, as those of InfiniBand.
        assert_eq!(bound(Some("c"), "10.0.0.3").unwrap().len(), 1);
        assert!(wanted(&devices, Some("c"), None).is_err());
        let error = addresses(&devices, Some("x")).unwrap_err();
        assert_eq!(error, "there is no usable device \"x\", only a, b, c");
    }
}
