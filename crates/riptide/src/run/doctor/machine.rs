//! What is right and wrong with this machine.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, getrlimit};
use sidecar::rdma::{RdmaPort, SYSFS, ports};

use super::Finding;
use crate::lifecycle::check_fuse;

/// The oldest kernel whose FUSE has what the mount uses without doing without.
const KERNEL: (u32, u32) = (5, 10);
/// Registered memory of a mount and a sidecar, at their defaults.
const MEMLOCK: u64 = 1 << 30;
/// Descriptors for a thousand connections and as many volumes.
const DESCRIPTORS: u64 = 16_384;
/// An Ethernet frame that carries an RDMA packet of 4096 bytes.
const JUMBO: u32 = 4200;
/// Libraries that are loaded for RDMA.
const LIBRARIES: [&str; 2] = ["libibverbs.so.1", "librdmacm.so.1"];
/// Where they may be.
const LIBRARY_FOLDERS: [&str; 6] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
];

pub(super) fn findings() -> Vec<Finding> {
    let mut all = vec![
        kernel(),
        fuse(),
        uring(),
        memlock(),
        descriptors(),
        huge_pages(),
    ];
    all.extend(rdma());
    all
}

fn kernel() -> Finding {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let version = parse_release(&release);
    match version {
        Some(version) if version >= KERNEL => Finding::ok("kernel", release),
        Some(_) => Finding::warn(
            "kernel",
            release,
            format!("{}.{} or newer has a faster FUSE", KERNEL.0, KERNEL.1),
        ),
        None => Finding::warn("kernel", release, "its version cannot be told"),
    }
}

/// The first two numbers of `6.18.0-rc1-amd64`.
fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn fuse() -> Finding {
    match check_fuse() {
        Ok(()) => Finding::ok("FUSE", "/dev/fuse can be opened"),
        Err(error) => {
            let text = error.to_string();
            let (seen, todo) = text.split_once(": ").unwrap_or((&text, "see the message"));
            Finding::fail("FUSE", seen, todo)
        }
    }
}

fn uring() -> Finding {
    let seen = match word("/sys/module/fuse/parameters/enable_uring").as_deref() {
        Some("Y" | "1") => "on",
        Some(_) => "off",
        None => "not in this kernel",
    };
    Finding::ok("FUSE io_uring", format!("{seen}; not used by this version"))
}

fn memlock() -> Finding {
    match getrlimit(Resource::Memlock).current {
        None => Finding::ok("locked memory", "unlimited"),
        Some(limit) if limit >= MEMLOCK => Finding::ok("locked memory", mebibytes(limit)),
        Some(limit) => Finding::warn(
            "locked memory",
            mebibytes(limit),
            "RDMA needs more: LimitMEMLOCK=infinity in the unit, or ulimit -l unlimited",
        ),
    }
}

fn descriptors() -> Finding {
    match getrlimit(Resource::Nofile).current {
        None => Finding::ok("descriptors", "unlimited"),
        Some(limit) if limit >= DESCRIPTORS => Finding::ok("descriptors", limit.to_string()),
        Some(limit) => Finding::warn(
            "descriptors",
            limit.to_string(),
            "a sidecar takes two a volume and one a connection: LimitNOFILE=1048576",
        ),
    }
}

fn huge_pages() -> Finding {
    let transparent = word("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    let reserved = reserved_huge_pages();
    let mode = transparent
        .split(['[', ']'])
        .nth(1)
        .unwrap_or("unknown")
        .to_owned();
    let seen = format!("transparent ones: {mode}; {reserved} reserved");
    match (mode.as_str(), reserved) {
        ("never", 0) => Finding::warn(
            "huge pages",
            seen,
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
        ),
        _ => Finding::ok("huge pages", seen),
    }
}

fn reserved_huge_pages() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("HugePages_Total:"));
    line.and_then(|rest| rest.trim().parse().ok()).unwrap_or(0)
}

fn rdma() -> Vec<Finding> {
    let missing: Vec<_> = LIBRARIES
        .iter()
        .filter(|name| !is_installed(name))
        .collect();
    let mut all = Vec::new();
    let found = ports(Path::new(SYSFS));
    if found.is_empty() {
        all.push(Finding::ok(
            "RDMA",
            "no device: shared memory and TCP are used",
        ));
        return all;
    }
    if missing.is_empty() {
        all.push(Finding::ok("RDMA libraries", LIBRARIES.join(", ")));
    } else {
        let names: Vec<_> = missing.iter().map(|name| **name).collect();
        all.push(Finding::warn(
            "RDMA libraries",
            format!("{} missing", names.join(", ")),
            "install rdma-core (libibverbs1, librdmacm1, ibverbs-providers)",
        ));
    }
    all.extend(found.iter().map(port));
    all
}

fn port(port: &RdmaPort) -> Finding {
    let about = format!("RDMA {}/{}", port.device, port.port);
    let mtu = interface_mtu(port);
    let seen = format!(
        "{}, {}, {}, MTU of the interface {}, GIDs {}",
        port.state,
        port.link_layer,
        port.rate,
        mtu.map_or("unknown".to_owned(), |mtu| mtu.to_string()),
        port.gids.join(" "),
    );
    if port.state != "ACTIVE" {
        return Finding::warn(
            about,
            seen,
            "bring the link up: ip link set DEVICE up, check the cable",
        );
    }
    if port.gids.is_empty() {
        return Finding::warn(about, seen, "give its interface an address");
    }
    match mtu {
        Some(mtu) if port.link_layer == "Ethernet" && mtu < JUMBO => Finding::warn(
            about,
            seen,
            format!(
                "frames of {JUMBO} bytes and more carry full RDMA packets: ip link set DEVICE mtu 9000, and the switch"
            ),
        ),
        _ => Finding::ok(about, seen),
    }
}

/// The MTU of the network interface behind a port's first GID.
fn interface_mtu(port: &RdmaPort) -> Option<u32> {
    let name = word(&format!(
        "{SYSFS}/{}/ports/{}/gid_attrs/ndevs/0",
        port.device, port.port
    ))?;
    word(&format!("/sys/class/net/{name}/mtu"))?.parse().ok()
}

fn is_installed(library: &str) -> bool {
    let given = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let given: Vec<_> = std::env::split_paths(&given).collect();
    let usual = LIBRARY_FOLDERS.iter().map(Path::new);
    given
        .iter()
        .map(AsRef::as_ref)
        .chain(usual)
        .any(|folder: &Path| folder.join(library).exists())
}

fn word(file: &str) -> Option<String> {
    Some(fs::read_to_string(file).ok()?.trim().to_owned())
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_as_distributions_write_them() {
        assert_eq!(parse_release("6.18.0-rc1-amd64"), Some((6, 18)));
        assert_eq!(parse_release("5.4"), Some((5, 4)));
        assert_eq!(parse_release("unknown"), None);
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        let all = findings();
        assert!(all.len() >= 7);
        for finding in all {
            let is_ok = finding.level == super::super::Level::Ok;
            assert_eq!(finding.todo.is_none(), is_ok, "{finding}");
        }
    }
}
