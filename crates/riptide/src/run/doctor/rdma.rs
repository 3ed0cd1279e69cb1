//! The RDMA devices of this machine, as far as they carry lanes, and why there is no RDMA.
//!
//! Asked of the layer that opens them, so what is `ok` here can be opened by a mount or sidecar that
//! is started in the same way. A machine without a device is in order: there are other carriers.

use std::fs;
use std::path::Path;

use verbs::{DeviceInfo, Gid, GidKind, LinkLayer, PortInfo, Unavailable};

use super::Finding;

/// Where the kernel lists RDMA devices.
const SYSFS: &str = "/sys/class/infiniband";
/// Bytes of a full RDMA packet.
const FULL_PACKET: u32 = 4096;
/// GIDs of a port that are shown: tables have up to a few hundred.
const MAX_SHOWN: usize = 8;

pub(super) fn findings() -> Vec<Finding> {
    let mut kernel: Vec<String> = fs::read_dir(SYSFS)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    kernel.sort();
    judge(&kernel, verbs::devices(), verbs::available())
}

/// What to say of the devices that the kernel has, those that the verbs layer sees, and those that it
/// can use.
fn judge(
    kernel: &[String],
    seen: Result<Vec<DeviceInfo>, Unavailable>,
    usable: Result<Vec<DeviceInfo>, Unavailable>,
) -> Vec<Finding> {
    if kernel.is_empty() {
        let told = "no device: shared memory and TCP are used";
        return vec![Finding::ok("RDMA", told)];
    }
    let mut all = vec![match &usable {
        Ok(devices) => {
            let names: Vec<_> = devices.iter().map(|device| device.name.as_str()).collect();
            Finding::ok("RDMA", format!("usable: {}", names.join(", ")))
        }
        Err(why) => off(why),
    }];
    for device in seen.into_iter().flatten() {
        all.push(self::device(&device));
        all.extend(device.ports.iter().map(|one| port(&device.name, one)));
    }
    all
}

/// Nothing goes over RDMA. That is no failure, for there are other carriers.
fn off(why: &Unavailable) -> Finding {
    let text = why.to_string();
    let (seen, todo) = match why {
        // The message has its advice behind the last semicolon.
        Unavailable::Library { .. }
        | Unavailable::NoProvider { .. }
        | Unavailable::ConnectionManager { .. } => text
            .rsplit_once("; ")
            .unwrap_or((&text, "install rdma-core's libraries")),
        Unavailable::NoDevice | Unavailable::NoUsableDevice { .. } => {
            (text.as_str(), "see the lines of the devices below")
        }
    };
    Finding::warn("RDMA", format!("off: {seen}"), todo)
}

fn device(device: &DeviceInfo) -> Finding {
    let about = format!("RDMA {}", device.name);
    let place = match (&device.pci, device.numa_node) {
        (None, _) => "a software device".to_owned(),
        (Some(pci), None) => pci.display().to_string(),
        (Some(pci), Some(node)) => format!("{}, NUMA node {node}", pci.display()),
    };
    match &device.unusable {
        None => Finding::ok(about, place),
        Some(why) if why.starts_with("port ") => {
            let todo = "bring a port up: ip link set INTERFACE up, check the cable";
            Finding::warn(about, format!("{place}: {why}"), todo)
        }
        Some(why) => {
            let todo = "install ibverbs-providers; give access to /dev/infiniband";
            Finding::warn(about, format!("{place}: {why}"), todo)
        }
    }
}

fn port(device: &str, port: &PortInfo) -> Finding {
    let about = format!("RDMA {device}/{}", port.number);
    let layer = match port.link_layer {
        LinkLayer::InfiniBand => "InfiniBand",
        LinkLayer::Ethernet => "Ethernet",
        LinkLayer::Unknown => "unknown link layer",
    };
    let mtu = port
        .active_mtu
        .map_or("unknown".to_owned(), |mtu| mtu.to_string());
    let seen = format!(
        "{}, {layer}, {}, packets of {mtu}, GIDs {}",
        port.state,
        port.rate,
        gids(&port.gids)
    );
    if !port.is_active() {
        let todo = "bring the link up: ip link set INTERFACE up, check the cable";
        return Finding::warn(about, seen, todo);
    }
    if port.gids.is_empty() {
        return Finding::warn(about, seen, "give its interface an address");
    }
    let is_ethernet = port.link_layer == LinkLayer::Ethernet;
    let has_ip = |gid: &Gid| gid.kind == GidKind::RoceV2 && !gid.value.is_unicast_link_local();
    if is_ethernet && !port.gids.iter().any(has_ip) {
        let todo = "give its interface an IP address: a sidecar listens at those of RoCE v2 GIDs";
        return Finding::warn(about, seen, todo);
    }
    match port.active_mtu {
        Some(mtu) if mtu < FULL_PACKET => {
            let todo = match is_ethernet {
                true => "ip link set INTERFACE mtu 9000, and the switch: full packets have 4096",
                false => "raise the MTU of the partition in the subnet manager to 4096",
            };
            Finding::warn(about, seen, todo)
        }
        _ => Finding::ok(about, seen),
    }
}

/// Each as `INDEX:ADDRESS`, with what it stands for.
fn gids(all: &[Gid]) -> String {
    if all.is_empty() {
        return "none".to_owned();
    }
    let mut shown: Vec<String> = all.iter().take(MAX_SHOWN).map(gid).collect();
    if all.len() > MAX_SHOWN {
        shown.push(format!("and {} more", all.len() - MAX_SHOWN));
    }
    shown.join(", ")
}

fn gid(gid: &Gid) -> String {
    let kind = match gid.kind {
        GidKind::RoceV2 => "RoCE v2",
        GidKind::InfiniBandOrRoceV1 => "IB/RoCE v1",
    };
    match gid.value.to_ipv4_mapped() {
        Some(ip) => format!("{} {ip} ({kind})", gid.index),
        None => format!("{} {} ({kind})", gid.index, gid.value),
    }
}

/// Whether the kernel has a device.
pub(super) fn has_device() -> bool {
    fs::read_dir(Path::new(SYSFS)).is_ok_and(|mut entries| entries.next().is_some())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::Level;
    use super::*;

    fn rxe() -> DeviceInfo {
        DeviceInfo {
            name: "rxe0".to_owned(),
            ports: vec![PortInfo {
                number: 1,
                state: "ACTIVE".to_owned(),
                link_layer: LinkLayer::Ethernet,
                active_mtu: Some(4096),
                rate: "2.5 Gb/sec (1X SDR)".to_owned(),
                gids: vec![Gid {
                    index: 1,
                    value: "::ffff:10.77.0.1".parse().unwrap(),
                    kind: GidKind::RoceV2,
                }],
            }],
            ..DeviceInfo::default()
        }
    }

    fn told(device: DeviceInfo) -> Vec<(Level, String)> {
        let kernel = [device.name.clone()];
        let usable = match &device.unusable {
            None => Ok(vec![device.clone()]),
            Some(why) => Err(Unavailable::NoUsableDevice {
                reasons: format!("{}: {why}", device.name),
            }),
        };
        let all = judge(&kernel, Ok(vec![device]), usable);
        for finding in &all {
            assert_eq!(
                finding.todo.is_none(),
                finding.level == Level::Ok,
                "{finding}"
            );
        }
        all.iter().map(|one| (one.level, one.to_string())).collect()
    }

    #[test]
    fn a_good_device_is_described() {
        let all = told(rxe());
        assert!(all.iter().all(|(level, _)| *level == Level::Ok), "{all:?}");
        assert!(all[0].1.contains("usable: rxe0"), "{all:?}");
        assert!(all[1].1.contains("a software device"), "{all:?}");
        let port =
            "ACTIVE, Ethernet, 2.5 Gb/sec (1X SDR), packets of 4096, GIDs 1 10.77.0.1 (RoCE v2)";
        assert!(all[2].1.contains(port), "{all:?}");
        let mut real = rxe();
        real.pci = Some(PathBuf::from("/sys/devices/pci0000:00/0000:01:00.0"));
        real.numa_node = Some(1);
        let all = told(real);
        assert!(all[1].1.contains("0000:01:00.0, NUMA node 1"), "{all:?}");
    }

    #[test]
    fn what_is_wrong_with_a_port_is_told_with_what_to_do() {
        let mut down = rxe();
        down.ports[0].state = "DOWN".to_owned();
        down.unusable = Some("port 1 is DOWN".to_owned());
        let mut bare = rxe();
        bare.ports[0].gids.clear();
        let mut local = rxe();
        local.ports[0].gids[0].value = "fe80::1".parse().unwrap();
        let mut small = rxe();
        small.ports[0].active_mtu = Some(1024);
        for (device, todo) in [
            (down, "ip link set INTERFACE up"),
            (bare, "give its interface an address"),
            (local, "give its interface an IP address"),
            (small, "mtu 9000"),
        ] {
            let all = told(device);
            let (level, last) = all.last().unwrap();
            assert_eq!(*level, Level::Warn, "{last}");
            assert!(last.contains(todo), "{last}");
        }
    }

    #[test]
    fn why_there_is_no_rdma_is_told_with_what_to_do() {
        let kernel = ["mlx5_0".to_owned()];
        let library = Unavailable::Library {
            name: "libibverbs.so.1",
            reason: "no such file; really".to_owned(),
        };
        let all = judge(&kernel, Err(library.clone()), Err(library));
        let [only] = &all[..] else { panic!("{all:?}") };
        assert_eq!(only.level, Level::Warn);
        assert!(
            only.seen.starts_with("off: libibverbs.so.1 cannot"),
            "{only}"
        );
        assert!(
            only.todo.as_deref().unwrap().starts_with("install"),
            "{only}"
        );
        let none = judge(&[], Err(Unavailable::NoDevice), Err(Unavailable::NoDevice));
        assert_eq!((none.len(), none[0].level), (1, Level::Ok));
    }
}
