//! What there is of RDMA on this machine, and why it is not used.
//!
//! The kernel lists its RDMA devices under `/sys/class/infiniband`, with the state of each port
//! and its addresses (GIDs); that needs no library. Whether they can be used is another question,
//! which the owner of the verbs answers through an [`RdmaProvider`].

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

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

/// What a build without verbs says: RDMA is off, and for which reason.
pub fn without_verbs(wanted: bool, device: Option<&str>, sysfs: &Path) -> RdmaReport {
    let devices = ports(sysfs);
    let active = |port: &RdmaPort| {
        port.state == "ACTIVE" && device.is_none_or(|device| device == port.device)
    };
    let reason = if !wanted {
        "it is not asked for; -enable-rdma does".to_owned()
    } else if devices.is_empty() {
        format!(
            "there is no RDMA device on this machine: {} is empty",
            sysfs.display()
        )
    } else if let Some(device) = device
        && !devices.iter().any(|port| port.device == device)
    {
        let known: Vec<_> = devices.iter().map(|port| port.device.as_str()).collect();
        format!("there is no device {device:?}, only {}", known.join(", "))
    } else if !devices.iter().any(active) {
        "no port of the device is active".to_owned()
    } else {
        "this build has no RDMA carrier".to_owned()
    };
    RdmaReport {
        connected: false,
        reason: Some(reason),
        devices,
    }
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
    fn each_reason_for_no_rdma_is_told() {
        let (active, down) = (machine("4: ACTIVE"), machine("1: DOWN"));
        let none = tempfile::tempdir().unwrap();
        for (wanted, device, machine, reason) in [
            (false, None, &active, "not asked for"),
            (true, None, &none, "no RDMA device on this machine"),
            (
                true,
                Some("mlx5_0"),
                &active,
                "no device \"mlx5_0\", only rxe0",
            ),
            (true, None, &down, "no port of the device is active"),
            (true, Some("rxe0"), &active, "no RDMA carrier"),
        ] {
            let report = without_verbs(wanted, device, machine.path());
            let told = report.reason.unwrap();
            assert!(told.contains(reason), "{told}");
            assert!(!report.connected);
        }
    }
}
