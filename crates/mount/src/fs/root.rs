//! The directory at the filer that becomes the root of the mount.

use std::time::SystemTime;

use filer::{Filer, FilerError};
use rustix::process::{getgid, getuid};
use seaweed::{Entry, Kind};

use super::OpenError;
use crate::config::MountConfig;
use crate::entry::Birth;
use crate::tree::split_path;

/// What a root that is made may be used for, as with `weed mount`.
const PERM: u32 = 0o755;

/// The filer's entry of the root, which has to be a directory, and the filer's clock. A mount that
/// writes makes the directory, with those above it, when it is missing.
pub(super) async fn root_entry(
    filer: &Filer,
    config: &MountConfig,
) -> Result<(Entry, i64), OpenError> {
    let path = &config.filer_path;
    let fail = |reason: &str| OpenError::Root {
        path: path.clone(),
        reason: reason.to_owned(),
    };
    let (directory, name) = split_path(path);
    let mut found = filer.lookup(directory, name).await;
    if let Err(FilerError::NotFound { .. }) = found {
        if config.read_only {
            let reason = "no such directory at the filer, and a read-only mount makes none";
            return Err(fail(reason));
        }
        let birth = Birth {
            kind: Kind::Directory,
            perm: PERM,
            uid: getuid().as_raw(),
            gid: getgid().as_raw(),
            rdev: 0,
            target: "",
        };
        let entry = birth.entry(directory, name, SystemTime::now(), config);
        filer.create_entry(directory, entry).await?;
        tracing::info!(path, "the directory to mount was not at the filer: made");
        found = filer.lookup(directory, name).await;
    }
    let found = found?;
    let entry = Entry::root_from_pb(found.value).map_err(|error| fail(&error.to_string()))?;
    if !entry.is_directory() {
        return Err(fail("is not a directory at the filer"));
    }
    Ok((entry, found.log_ts_ns))
}
