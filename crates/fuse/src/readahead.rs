//! The kernel's read-ahead window.
//!
//! The kernel offers 128 KiB in INIT and the reply can only lower that. A larger
//! window is set in sysfs, on the bdi of the mount's device number, after the
//! INIT reply: INIT itself sets it back. Needs root and a writable /sys, which
//! many containers lack; without it sequential reads come in 128 KiB requests.

use std::fs;

/// Sets the window of the mount with device number `device` (`major:minor`).
///
/// # Errors
/// What went wrong, for a warning: the mount works without.
pub(crate) fn set(device: &str, kib: u32) -> Result<u32, String> {
    let path = format!("/sys/class/bdi/{device}/read_ahead_kb");
    fs::write(&path, kib.to_string()).map_err(|error| format!("{path}: {error}"))?;
    let set = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    match set.trim().parse::<u32>() {
        Ok(now) if now == kib => Ok(kib),
        _ => Err(format!("{path}: is {} after writing {kib}", set.trim())),
    }
}
