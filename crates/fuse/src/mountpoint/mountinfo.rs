//! `/proc/self/mountinfo`: what is mounted in this process's view.
//!
//! One mount a line (proc_pid_mountinfo(5)); blanks, newlines, backslashes and
//! `#` in paths and names are written as three octal digits after a backslash.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::{fs, io};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountInfo {
    /// Its number, which another mount may get after it is unmounted.
    pub id: u64,
    /// `major:minor` of the file system's device.
    pub device: String,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// Type of the file system, as `fuse.seaweedfs`.
    pub kind: String,
    /// What is mounted.
    pub source: OsString,
}

impl MountInfo {
    /// Whether the file system is a FUSE one.
    pub fn is_fuse(&self) -> bool {
        self.kind == "fuse" || self.kind == "fuseblk" || self.kind.starts_with("fuse.")
    }

    /// Reads one line; `None` if it is not one.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let _parent = fields.next()?;
        let device = String::from_utf8(fields.next()?.to_vec()).ok()?;
        let _root = fields.next()?;
        let mount_point = PathBuf::from(OsString::from_vec(unescape(fields.next()?)));
        // The mount's options, then any number of optional fields up to a dash.
        fields.find(|field| *field == b"-")?;
        let kind = String::from_utf8(unescape(fields.next()?)).ok()?;
        let source = OsString::from_vec(unescape(fields.next()?));
        Some(Self {
            id,
            device,
            mount_point,
            kind,
            source,
        })
    }
}

/// All mounts, a later one on the same point on top of an earlier one.
///
/// # Errors
/// If /proc cannot be read.
pub fn mounts() -> io::Result<Vec<MountInfo>> {
    let text = fs::read("/proc/self/mountinfo")?;
    Ok(text
        .split(|byte| *byte == b'\n')
        .filter_map(MountInfo::parse)
        .collect())
}

/// Undoes the octal escapes; what is not one stays as it is.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        match (first, after) {
            (
                b'\\',
                [
                    a @ b'0'..=b'3',
                    b @ b'0'..=b'7',
                    c @ b'0'..=b'7',
                    after @ ..,
                ],
            ) => {
                plain.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_with_optional_fields_and_escapes_is_read() {
        let line = b"36 35 98:0 /mnt1 /mnt\\0402\\134x rw,noatime master:1 shared:7 - fuse.seaweedfs a\\011b rw,errors=continue";
        let mount = MountInfo::parse(line).unwrap();
        assert_eq!(mount.id, 36);
        assert_eq!(mount.device, "98:0");
        assert_eq!(mount.mount_point, PathBuf::from("/mnt 2\\x"));
        assert_eq!(mount.kind, "fuse.seaweedfs");
        assert_eq!(mount.source, OsString::from("a\tb"));
        assert!(mount.is_fuse());
    }

    #[test]
    fn this_machine_has_a_root() {
        let mounts = mounts().unwrap();
        assert!(mounts.iter().any(|mount| mount.mount_point == *"/"));
    }

    proptest! {
        #[test]
        fn any_line_is_a_mount_or_none(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = MountInfo::parse(&line);
        }

        /// Escaped as the kernel does it, every path comes back.
        #[test]
        fn any_path_survives_the_escapes(path in proptest::collection::vec(1u8..=255, 1..100)) {
            let mut escaped = Vec::new();
            for byte in &path {
                match byte {
                    b' ' | b'\t' | b'\n' | b'\\' | b'#' => {
                        escaped.extend_from_slice(format!("\\{byte:03o}").as_bytes());
                    }
                    _ => escaped.push(*byte),
                }
            }
            prop_assert_eq!(unescape(&escaped), path);
        }
    }
}
