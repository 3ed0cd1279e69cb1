//! Where the `weed` binary is: named by hand, installed by `make`, or on the PATH.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// The `weed` binary: `$RIPTIDE_WEED`, else the one that `make` installs into
/// `.tools` of the project, else the first on the PATH.
///
/// # Errors
/// When there is none; the text says how to get it.
pub fn weed() -> Result<PathBuf> {
    if let Some(named) = env::var_os(OVERRIDE) {
        let path = PathBuf::from(named);
        if !is_file(&path) {
            bail!("{OVERRIDE} names {}, which is not a file", path.display());
        }
        return Ok(path);
    }
    let installed = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(INSTALLED);
    if is_file(&installed) {
        return Ok(installed.canonicalize()?);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    if let Some(found) = env::split_paths(&path)
        .map(|dir| dir.join("weed"))
        .find(|p| is_file(p))
    {
        return Ok(found);
    }
    bail!(
        "no `weed` binary: run `make setup` (it installs SeaweedFS {VERSION} into {INSTALLED}), \
         put `weed` on the PATH, or name it in {OVERRIDE}"
    )
}

/// The last `weed` whose `mount` has `-rdma.enabled` (4.44): `$RIPTIDE_WEED_RDMA`, else the one that
/// `make test` installs into `.tools`; nothing when there is none.
pub fn weed_with_rdma() -> Option<PathBuf> {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let installed = installed.join(INSTALLED_WITH_RDMA);
    let path = env::var_os(OVERRIDE_WITH_RDMA).map_or(installed, PathBuf::from);
    is_file(&path).then(|| path.canonicalize().ok())?
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|m| m.is_file())
}

const OVERRIDE: &str = "RIPTIDE_WEED";
/// Where `scripts/setup.sh` puts it, from the root of the project.
const INSTALLED: &str = ".tools/weed/bin/weed";
const OVERRIDE_WITH_RDMA: &str = "RIPTIDE_WEED_RDMA";
/// The same for the older one.
const INSTALLED_WITH_RDMA: &str = ".tools/weed-4.44/bin/weed";
/// The version that `scripts/setup.sh` installs and everything is tested against.
const VERSION: &str = "4.48";
