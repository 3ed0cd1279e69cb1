//! What comes or changes while somebody follows.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context as _;

use super::Warming;

/// Between two questions. The mount sees changes within 100 ms.
const LOOK: Duration = Duration::from_millis(200);

/// Where following starts: with what changes from now on.
pub(super) fn start(warming: &Warming) -> anyhow::Result<u64> {
    let answer = warming.below.get("/cache/changes", &[])?;
    answer["next"]
        .as_u64()
        .context("the mount does not tell what changes")
}

/// Warms what changes until the mount is gone, or the user has enough.
pub(super) fn follow(all: &[(Warming, Option<u64>)]) -> anyhow::Result<()> {
    let mut next: Vec<u64> = all.iter().map(|(_, start)| start.unwrap_or(0)).collect();
    loop {
        for ((warming, _), next) in all.iter().zip(&mut next) {
            let since = next.to_string();
            let answer = warming.below.get("/cache/changes", &[("since", &since)])?;
            *next = answer["next"]
                .as_u64()
                .context("the mount does not tell what changes")?;
            let changed: Vec<PathBuf> = match answer["missed"] == true {
                true => warming.paths.clone(),
                false => changed(warming, &answer["paths"]),
            };
            if !changed.is_empty() {
                warming.bar.reset();
                warming.bar.set_length(0);
                warming.warm(&changed)?;
                warming.report()?;
            }
        }
        sleep(LOOK);
    }
}

/// The paths that are to be warm, each once.
fn changed(warming: &Warming, paths: &serde_json::Value) -> Vec<PathBuf> {
    let mut changed: Vec<PathBuf> = Vec::new();
    let names = paths.as_array().into_iter().flatten();
    for name in names.filter_map(serde_json::Value::as_str) {
        let path = warming.below.dir.join(name.trim_start_matches('/'));
        if is_wanted(&warming.paths, &path) && !changed.iter().any(|known| path.starts_with(known))
        {
            changed.push(path);
        }
    }
    changed
}

fn is_wanted(wanted: &[PathBuf], path: &Path) -> bool {
    wanted.iter().any(|wanted| path.starts_with(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_below_is_wanted() {
        let wanted = [PathBuf::from("/m/a"), PathBuf::from("/m/b/c")];
        for (path, is) in [
            ("/m/a", true),
            ("/m/a/x", true),
            ("/m/ab", false),
            ("/m/b", false),
        ] {
            assert_eq!(is_wanted(&wanted, Path::new(path)), is, "{path}");
        }
    }
}
