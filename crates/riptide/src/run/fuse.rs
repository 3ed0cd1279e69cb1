//! `riptide fuse`, and what mount(8) calls: a mount that goes on in the background.

use crate::lifecycle::background;
use crate::options::BackgroundOptions;

/// Returns when it is ready.
pub(super) fn run(options: &BackgroundOptions) -> anyhow::Result<()> {
    for name in &options.unknown {
        eprintln!("riptide: the mount option {name} does not exist: ignored, as -s wants it");
    }
    if !options.fake {
        background::start(&options.words, options.search_path.clone())?;
    }
    Ok(())
}
