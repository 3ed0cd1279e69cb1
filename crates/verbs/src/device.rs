//! The RDMA devices of this machine, for people and for choosing one.
//!
//! The kernel tells nearly everything in sysfs (Documentation/ABI/stable/sysfs-class-infiniband),
//! which needs no permission. Only the MTU in use, and whether the device can be opened at all,
//! are asked of the library.

mod query;
mod sysfs;

use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use crate::{Unavailable, unavailable};

/// One device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its name, such as `mlx5_0`.
    pub name: String,
    /// Its ports, from 1 on.
    pub ports: Vec<PortInfo>,
    /// NUMA node; `None` where the kernel knows none.
    pub numa_node: Option<u32>,
    /// Place in `/sys/devices`; `None` for a software device.
    pub pci: Option<PathBuf>,
    /// Why it cannot carry a connection; `None` when it can.
    pub unusable: Option<String>,
}

/// One port of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortInfo {
    /// Number, from 1 on.
    pub number: u8,
    /// State as the kernel spells it: `ACTIVE`, `DOWN`, `INIT`, ...
    pub state: String,
    /// What the cable is.
    pub link_layer: LinkLayer,
    /// Bytes in a packet; `None` when the device could not be opened.
    pub active_mtu: Option<u32>,
    /// Speed and width as the kernel spells them, such as `100 Gb/sec (4X EDR)`.
    pub rate: String,
    /// Its addresses.
    pub gids: Vec<Gid>,
}

impl PortInfo {
    /// Whether it carries traffic.
    pub fn is_active(&self) -> bool {
        self.state == "ACTIVE"
    }
}

/// What a port is plugged into.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LinkLayer {
    /// InfiniBand.
    InfiniBand,
    /// Ethernet: RoCE or iWARP.
    Ethernet,
    /// Something else.
    #[default]
    Unknown,
}

/// An address of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gid {
    /// Its place in the port's table, as perftest's `-x` takes it.
    pub index: u32,
    /// The 128 bits.
    pub value: Ipv6Addr,
    /// The protocol it stands for.
    pub kind: GidKind,
}

impl Gid {
    /// Whether it is an IPv4 address, which RoCE v2 writes as `::ffff:a.b.c.d`.
    pub fn is_ipv4(&self) -> bool {
        self.value.to_ipv4_mapped().is_some()
    }
}

/// Which packets a GID is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GidKind {
    /// InfiniBand, or RoCE v1, which is not routed (the kernel calls both so).
    InfiniBandOrRoceV1,
    /// RoCE v2: over UDP.
    RoceV2,
}

/// All devices, also those that cannot be used.
///
/// # Errors
/// [`Unavailable`] when a library is missing or there is no device.
pub fn devices() -> Result<Vec<DeviceInfo>, Unavailable> {
    unavailable::libraries()?;
    let mut devices = sysfs::devices(Path::new("/sys/class/infiniband"));
    if devices.is_empty() {
        return Err(Unavailable::NoDevice);
    }
    let answers = query::all();
    if answers.is_empty() {
        let names: Vec<&str> = devices.iter().map(|d| d.name.as_str()).collect();
        let names = names.join(", ");
        return Err(Unavailable::NoProvider { names });
    }
    for device in &mut devices {
        let answer = answers.iter().find(|(name, _)| *name == device.name);
        device.unusable = match answer {
            None => Some("libibverbs has no provider for it".to_owned()),
            Some((_, Err(error))) => Some(unopened(&device.name, error)),
            Some((_, Ok(mtus))) => {
                for (port, mtu) in device.ports.iter_mut().zip(mtus) {
                    port.active_mtu = *mtu;
                }
                no_active_port(&device.ports)
            }
        };
    }
    Ok(devices)
}

fn unopened(name: &str, error: &std::io::Error) -> String {
    let node = sysfs::node(Path::new("/sys/class/infiniband_verbs"), name);
    // The library tries other ways after the node and reports the failure of the last.
    let why = node.and_then(|node| unavailable::cannot_open(&node));
    format!("it cannot be opened ({})", why.unwrap_or(error.to_string()))
}

fn no_active_port(ports: &[PortInfo]) -> Option<String> {
    if ports.iter().any(PortInfo::is_active) {
        return None;
    }
    let states: Vec<String> = ports
        .iter()
        .map(|port| format!("port {} is {}", port.number, port.state))
        .collect();
    match states.len() {
        0 => Some("it has no port".to_owned()),
        _ => Some(states.join(", ")),
    }
}
