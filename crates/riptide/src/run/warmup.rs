//! `riptide warmup`: files on the local disk before they are needed.
//!
//! The files of a mount that keeps them whole are brought in by the mount itself: it is told of each and
//! asked how far it is. Those of another mount are read through, as any program would, by several
//! threads.

mod follow;
mod read;
mod tell;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::bail;
use indicatif::{HumanCount, ProgressBar};

use super::below::{Below, files};
use super::cache::style;
use super::print;

/// What is asked for.
#[derive(Debug)]
pub struct WarmupOptions {
    /// Files and folders below mounts.
    pub paths: Vec<PathBuf>,
    /// `-follow`.
    pub follow: bool,
    /// `-parallel`: files that are read at a time.
    pub parallel: usize,
}

/// What has come of it.
#[derive(Debug, Default)]
struct Tally {
    files: AtomicU64,
    bytes: AtomicU64,
    failed: AtomicU64,
}

/// One mount, what of it is warmed, and how.
struct Warming {
    below: Arc<Below>,
    paths: Vec<PathBuf>,
    keeps_whole: bool,
    parallel: usize,
    bar: ProgressBar,
    tally: Tally,
}

/// Does it.
pub(super) fn run(options: &WarmupOptions) -> anyhow::Result<()> {
    let mut mounts: BTreeMap<PathBuf, (Arc<Below>, Vec<PathBuf>)> = BTreeMap::new();
    for path in &options.paths {
        let below = Below::find(path)?;
        let (dir, path) = (below.dir.clone(), below.path.clone());
        let (_, paths) = mounts
            .entry(dir)
            .or_insert_with(|| (Arc::new(below), Vec::new()));
        paths.push(path);
    }
    let mut all = Vec::new();
    for (below, paths) in mounts.into_values() {
        let about = below.get("/cache", &[("path", "/.")])?;
        let warming = Warming {
            keeps_whole: about["whole"]["kept"] == true,
            below,
            paths,
            parallel: options.parallel,
            // Hidden by itself where standard error is no terminal.
            bar: ProgressBar::new(0).with_style(style()?),
            tally: Tally::default(),
        };
        // From before the first look, so that nothing is missed between the two.
        let start = match options.follow {
            true => Some(follow::start(&warming)?),
            false => None,
        };
        let paths = warming.paths.clone();
        warming.warm(&paths)?;
        warming.report()?;
        all.push((warming, start));
    }
    if options.follow {
        return follow::follow(&all);
    }
    let failed = |(warming, _): &(Warming, _)| warming.tally.failed.load(Ordering::Relaxed);
    match all.iter().map(failed).sum::<u64>() {
        0 => Ok(()),
        failed => bail!("{failed} files are not warm"),
    }
}

impl Warming {
    /// Warms what is at or below these paths.
    fn warm(&self, paths: &[PathBuf]) -> anyhow::Result<()> {
        match self.keeps_whole {
            true => tell::warm(self, paths),
            false => read::warm(self, paths),
        }
    }

    fn each_file(
        &self,
        paths: &[PathBuf],
        with: &mut dyn FnMut(PathBuf, u64) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for path in paths {
            files(path, &mut |file, size| {
                self.bar.inc_length(size);
                with(file, size)
            })?;
        }
        Ok(())
    }

    fn is_warm(&self, bytes: u64) {
        self.tally.files.fetch_add(1, Ordering::Relaxed);
        self.tally.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn is_not_warm(&self, path: &std::path::Path, reason: &str) {
        self.tally.failed.fetch_add(1, Ordering::Relaxed);
        self.bar
            .suspend(|| eprintln!("riptide: {}: {reason}", path.display()));
    }

    /// Says what is warm by now.
    fn report(&self) -> anyhow::Result<()> {
        self.bar.finish_and_clear();
        let Tally { files, bytes, .. } = &self.tally;
        let line = format!(
            "{}: {} files of {} are {}\n",
            self.below.dir.display(),
            HumanCount(files.load(Ordering::Relaxed)),
            indicatif::BinaryBytes(bytes.load(Ordering::Relaxed)),
            match self.keeps_whole {
                true => "whole on the local disk",
                false => "read into the caches",
            }
        );
        print(line.as_bytes())
    }
}
