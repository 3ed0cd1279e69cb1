//! What is right and wrong with this machine.

use std::fs;

use rustix::process::{Resource, getrlimit};

use super::{Finding, rdma};
use crate::lifecycle::check_fuse;

/// The oldest kernel whose FUSE has what the mount uses without doing without.
const KERNEL: (u32, u32) = (5, 10);
/// The oldest kernel that reads files of ours by itself.
const PASSTHROUGH: (u32, u32) = (6, 9);
/// Registered memory of a mount and a sidecar, at their defaults.
const MEMLOCK: u64 = 1 << 30;
/// Descriptors for a thousand connections and as many volumes.
const DESCRIPTORS: u64 = 16_384;

pub(super) fn findings() -> Vec<Finding> {
    let mut all = vec![
        kernel(),
        fuse(),
        uring(),
        passthrough(),
        memlock(),
        descriptors(),
        huge_pages(),
    ];
    all.extend(rdma::findings());
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
    const ABOUT: &str = "FUSE io_uring";
    match word("/sys/module/fuse/parameters/enable_uring").as_deref() {
        Some("Y" | "1") => Finding::ok(ABOUT, "offered: mounts with -readOnly take it"),
        Some(_) => Finding::ok(
            ABOUT,
            "possible, but turned off: /dev/fuse is used. -readOnly -fuse.transport=uring turns it on for its own mount",
        ),
        None => Finding::ok(ABOUT, "not there (Linux 6.14 has it): /dev/fuse is used"),
    }
}

fn passthrough() -> Finding {
    const ABOUT: &str = "FUSE passthrough";
    let release = rustix::system::uname();
    let version = parse_release(&release.release().to_string_lossy());
    if version.is_none_or(|version| version < PASSTHROUGH) {
        return Finding::warn(
            ABOUT,
            "not there",
            "Linux 6.9 has it: until then mount-fast reads whole files by itself",
        );
    }
    match rustix::process::geteuid().is_root() {
        true => Finding::ok(
            ABOUT,
            "for mount-fast as root; if the kernel was built without it, passthrough in the statistics says so",
        ),
        false => Finding::warn(
            ABOUT,
            "not for this user",
            "mount-fast as root has it: otherwise it reads whole files by itself",
        ),
    }
}

fn memlock() -> Finding {
    match getrlimit(Resource::Memlock).current {
        None => Finding::ok("locked memory", "unlimited"),
        Some(limit) if limit >= MEMLOCK => Finding::ok("locked memory", mebibytes(limit)),
        Some(limit) if !rdma::has_device() => {
            let seen = format!("{}; only RDMA needs more", mebibytes(limit));
            Finding::ok("locked memory", seen)
        }
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
