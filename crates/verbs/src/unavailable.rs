//! Why there is no RDMA on a machine, in words that say what to do.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use crate::device::{self, DeviceInfo};
use crate::raw;

/// What RDMA lacks here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// A library of rdma-core is not installed, or cannot be loaded.
    #[error(
        "{name} cannot be loaded ({reason}); install rdma-core's libraries (Debian, Ubuntu: \
             libibverbs1 librdmacm1 ibverbs-providers)"
    )]
    Library {
        /// Its file name.
        name: &'static str,
        /// What the dynamic linker said.
        reason: String,
    },
    /// The kernel knows no RDMA device.
    #[error("no RDMA device (/sys/class/infiniband is empty)")]
    NoDevice,
    /// The kernel has devices that the library does not see.
    #[error(
        "the kernel has RDMA devices ({names}), but libibverbs drives none of them; load the \
             module ib_uverbs and install the device's provider (Debian, Ubuntu: ibverbs-providers)"
    )]
    NoProvider {
        /// Their names.
        names: String,
    },
    /// The connection manager cannot be used.
    #[error(
        "the RDMA connection manager cannot be opened ({reason}); its device node comes with the \
             module rdma_ucm and must be accessible"
    )]
    ConnectionManager {
        /// What the library said.
        reason: String,
    },
    /// There are devices, and none can carry a connection.
    #[error("no RDMA device is usable: {reasons}")]
    NoUsableDevice {
        /// Each with its reason.
        reasons: String,
    },
}

/// The devices that can carry connections now.
///
/// # Errors
/// The first thing that is missing, in the order library, device, connection manager, port.
pub fn available() -> Result<Vec<DeviceInfo>, Unavailable> {
    let devices = device::devices()?;
    connection_manager()?;
    usable(devices)
}

/// Both libraries are loaded.
pub(crate) fn libraries() -> Result<(), Unavailable> {
    for name in ["libibverbs.so.1", "librdmacm.so.1"] {
        raw::library(name).map_err(|reason| Unavailable::Library { name, reason })?;
    }
    Ok(())
}

/// What the failure to open a connection manager channel means.
pub(crate) fn no_channel(error: &io::Error) -> Unavailable {
    if error.raw_os_error() == Some(libc::ENODEV) {
        return Unavailable::NoDevice;
    }
    // The library looks for the node by other means then, and reports their failure.
    let reason = cannot_open(Path::new("/dev/infiniband/rdma_cm")).unwrap_or(error.to_string());
    Unavailable::ConnectionManager { reason }
}

/// Why a device node cannot be opened, with its path; `None` when it can.
pub(crate) fn cannot_open(node: &Path) -> Option<String> {
    let opened = OpenOptions::new().read(true).write(true).open(node);
    Some(format!("{}: {}", node.display(), opened.err()?))
}

fn connection_manager() -> Result<(), Unavailable> {
    raw::Channel::open()
        .map(drop)
        .map_err(|error| no_channel(&error))
}

fn usable(devices: Vec<DeviceInfo>) -> Result<Vec<DeviceInfo>, Unavailable> {
    let (good, bad): (Vec<_>, Vec<_>) = devices.into_iter().partition(|d| d.unusable.is_none());
    if !good.is_empty() {
        return Ok(good);
    }
    let reasons: Vec<String> = bad
        .iter()
        .filter_map(|d| Some(format!("{}: {}", d.name, d.unusable.as_deref()?)))
        .collect();
    let reasons = reasons.join("; ");
    Err(Unavailable::NoUsableDevice { reasons })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_without_a_port_that_is_up_are_not_available() {
        let down = |name: &str| DeviceInfo {
            name: name.to_owned(),
            unusable: Some("port 1 is DOWN".to_owned()),
            ..DeviceInfo::default()
        };
        let error = usable(vec![down("mlx5_0"), down("mlx5_1")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no RDMA device is usable: mlx5_0: port 1 is DOWN; mlx5_1: port 1 is DOWN"
        );
        let up = DeviceInfo {
            name: "rxe0".to_owned(),
            ..DeviceInfo::default()
        };
        assert_eq!(usable(vec![down("mlx5_0"), up]).unwrap().len(), 1);
    }

    #[test]
    fn a_library_that_is_missing_is_named_with_its_package() {
        let reason = raw::library("libno-such-thing.so.1").unwrap_err();
        let name = "libibverbs.so.1";
        let text = Unavailable::Library { name, reason }.to_string();
        assert!(text.contains("libibverbs.so.1 cannot be loaded"), "{text}");
        assert!(text.contains("libno-such-thing"), "{text}");
        assert!(text.contains("libibverbs1"), "{text}");
    }

    #[test]
    fn a_channel_that_fails_says_what_to_check() {
        let gone = io::Error::from_raw_os_error(libc::ENODEV);
        assert_eq!(no_channel(&gone), Unavailable::NoDevice);
        let denied = io::Error::from_raw_os_error(libc::EACCES);
        let text = no_channel(&denied).to_string();
        assert!(text.contains("cannot be opened ("), "{text}");
        assert!(text.contains("rdma_ucm"), "{text}");
        let node = cannot_open(Path::new("/no/such/node")).unwrap();
        assert!(node.starts_with("/no/such/node: No such file"), "{node}");
        assert_eq!(cannot_open(Path::new("/dev/null")), None);
    }
}
