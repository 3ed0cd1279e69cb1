//! The kernel's description of RDMA devices.

use std::fs;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use super::{DeviceInfo, Gid, GidKind, LinkLayer, PortInfo};

/// Ports of a device that are looked at; the field is 8 bits wide and devices have up to 4.
const MAX_PORTS: u8 = 64;
/// Entries of a GID table that are looked at; tables have up to a few hundred.
const MAX_GIDS: u32 = 1024;

/// The devices listed in `class`, by name; empty when there is none.
pub(super) fn devices(class: &Path) -> Vec<DeviceInfo> {
    let Ok(entries) = fs::read_dir(class) else {
        return Vec::new();
    };
    let mut devices: Vec<DeviceInfo> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .map(|name| device(class, name))
        .collect();
    devices.sort_by(|a, b| a.name.cmp(&b.name));
    devices
}

/// The node through which programs use device `name`, by the kernel's list of nodes.
pub(super) fn node(list: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(list).ok()?.find_map(|entry| {
        let entry = entry.ok()?;
        let is_it = text(&entry.path().join("ibdev"))? == name;
        is_it.then(|| Path::new("/dev/infiniband").join(entry.file_name()))
    })
}

fn device(class: &Path, name: String) -> DeviceInfo {
    let home = class.join(&name);
    // A software device has no `device` behind it, or a virtual one.
    let pci = fs::canonicalize(home.join("device"))
        .ok()
        .filter(|path| !path.components().any(|part| part.as_os_str() == "virtual"));
    // The kernel writes -1 where there is only one node.
    let numa_node = text(&home.join("device/numa_node")).and_then(|node| node.parse().ok());
    let ports = (1..=MAX_PORTS)
        .map_while(|number| port(&home.join(format!("ports/{number}")), number))
        .collect();
    DeviceInfo {
        name,
        ports,
        numa_node,
        pci,
        unusable: None,
    }
}

fn port(home: &Path, number: u8) -> Option<PortInfo> {
    // Such as `4: ACTIVE`.
    let state = text(&home.join("state"))?;
    let state = state
        .split_once(": ")
        .map_or(state.as_str(), |(_, word)| word)
        .to_owned();
    let link_layer = match text(&home.join("link_layer")).as_deref() {
        Some("InfiniBand") => LinkLayer::InfiniBand,
        Some("Ethernet") => LinkLayer::Ethernet,
        _ => LinkLayer::Unknown,
    };
    let rate = text(&home.join("rate")).unwrap_or_default();
    let gids = (0..MAX_GIDS)
        .map_while(|index| Some((index, text(&home.join(format!("gids/{index}")))?)))
        .filter_map(|(index, value)| gid(home, index, &value))
        .collect();
    Some(PortInfo {
        number,
        state,
        link_layer,
        active_mtu: None,
        rate,
        gids,
    })
}

fn gid(home: &Path, index: u32, value: &str) -> Option<Gid> {
    let value: Ipv6Addr = value.parse().ok()?;
    // An unused entry is zero, or has no type.
    if value.is_unspecified() {
        return None;
    }
    let kind = match text(&home.join(format!("gid_attrs/types/{index}")))?.as_str() {
        "RoCE v2" => GidKind::RoceV2,
        _ => GidKind::InfiniBandOrRoceV1,
    };
    Some(Gid { index, value, kind })
}

fn text(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_described_as_the_kernel_does() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("mlx5_0/device/numa_node", "1\n");
        put("mlx5_0/ports/1/state", "4: ACTIVE\n");
        put("mlx5_0/ports/1/link_layer", "Ethernet\n");
        put("mlx5_0/ports/1/rate", "100 Gb/sec (4X EDR)\n");
        put(
            "mlx5_0/ports/1/gids/0",
            "fe80:0000:0000:0000:5054:00ff:fe77:0001\n",
        );
        put(
            "mlx5_0/ports/1/gids/1",
            "0000:0000:0000:0000:0000:ffff:0a4d:0001\n",
        );
        put(
            "mlx5_0/ports/1/gids/2",
            "0000:0000:0000:0000:0000:0000:0000:0000\n",
        );
        put("mlx5_0/ports/1/gid_attrs/types/0", "IB/RoCE v1\n");
        put("mlx5_0/ports/1/gid_attrs/types/1", "RoCE v2\n");
        put("nodes/abi_version", "6\n");
        put("nodes/uverbs0/ibdev", "mlx5_1\n");
        put("nodes/uverbs1/ibdev", "mlx5_0\n");
        let uverbs1 = node(&root.path().join("nodes"), "mlx5_0").unwrap();
        assert_eq!(uverbs1, Path::new("/dev/infiniband/uverbs1"));
        fs::remove_dir_all(root.path().join("nodes")).unwrap();
        put("mlx5_1/device/numa_node", "-1\n");
        put("mlx5_1/ports/1/state", "1: DOWN\n");

        let devices = devices(root.path());
        assert_eq!(devices.len(), 2);
        let first = &devices[0];
        assert_eq!((first.name.as_str(), first.numa_node), ("mlx5_0", Some(1)));
        let port = &first.ports[0];
        assert!(port.is_active());
        assert_eq!(port.link_layer, LinkLayer::Ethernet);
        assert_eq!(port.rate, "100 Gb/sec (4X EDR)");
        assert_eq!(port.gids.len(), 2);
        assert_eq!(port.gids[0].kind, GidKind::InfiniBandOrRoceV1);
        assert!(!port.gids[0].is_ipv4());
        assert_eq!(port.gids[1].kind, GidKind::RoceV2);
        assert!(port.gids[1].is_ipv4());
        assert_eq!(devices[1].numa_node, None);
        assert_eq!(devices[1].ports[0].state, "DOWN");
        assert!(super::super::no_active_port(&first.ports).is_none());
        let why = super::super::no_active_port(&devices[1].ports).unwrap();
        assert_eq!(why, "port 1 is DOWN");
    }

    #[test]
    fn a_machine_without_rdma_has_no_devices() {
        assert!(devices(Path::new("/no/such/folder")).is_empty());
    }
}
