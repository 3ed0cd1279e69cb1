//! Whether the kernel offers io_uring, which by default it does not.
//!
//! FUSE's module parameter `enable_uring` is off on most systems, and only counts while a
//! connection says INIT. Where io_uring is insisted on, root sets it for that moment and then puts
//! it back: other file systems of the machine find it as their administrator left it. A lock on
//! the parameter's file keeps two mounts from putting it back under each other's hands.

use std::fmt::Display;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{FlockOperation, flock};

use super::ring;

const PARAMETER: &str = "/sys/module/fuse/parameters/enable_uring";

/// The offer stands as long as this is held.
#[derive(Debug)]
pub(crate) struct Offer {
    /// Locked.
    _parameter: File,
    changed: bool,
}

/// Whether the kernel offers io_uring to the connection that is made next; with `insist`, it is
/// made to.
///
/// # Errors
/// Why it will not.
pub(crate) fn ask(insist: bool) -> Result<Offer, String> {
    // Rather than to find out when the kernel relies on it.
    ring::probe().map_err(|error| format!("io_uring is not available to this process: {error}"))?;
    let parameter = File::open(PARAMETER)
        .map_err(|error| format!("this kernel has no FUSE over io_uring ({PARAMETER}: {error})"))?;
    let off = |reason: &dyn Display| format!("it is turned off in {PARAMETER}{reason}");
    let is_on = lock(&parameter).map_err(|error| format!("{PARAMETER}: {error}"))?;
    if !is_on && !insist {
        return Err(off(&""));
    }
    if !is_on {
        fs::write(PARAMETER, "Y").map_err(|error| off(&format_args!(", and stays so: {error}")))?;
    }
    Ok(Offer {
        _parameter: parameter,
        changed: !is_on,
    })
}

/// Keeps other mounts from changing the parameter; whether it is on.
fn lock(parameter: &File) -> io::Result<bool> {
    flock(parameter.as_fd(), FlockOperation::LockExclusive)?;
    Ok(is_on(&fs::read_to_string(PARAMETER)?))
}

fn is_on(value: &str) -> bool {
    matches!(value.trim(), "Y" | "y" | "1")
}

impl Drop for Offer {
    fn drop(&mut self) {
        if self.changed
            && let Err(error) = fs::write(PARAMETER, "N")
        {
            tracing::warn!(%error, "{PARAMETER} stays on");
        }
    }
}
