//! The hot paths: what is done for each request, needle or name.
//!
//! A path is prepared once and then repeated. What it works on is the same in every run, and it is
//! checked that it does what it should: a path that fails early would be a cheap one.

mod bytes;
mod formats;
mod kernel;
mod needles;

use std::hint::black_box;

use anyhow::{Context, Result};

/// One of them.
pub(crate) struct Path {
    /// Its name in the file of counts.
    pub(crate) name: &'static str,
    /// So often that what one run differs by from another is nothing.
    pub(crate) times: u64,
    /// Makes what is repeated; it answers a number that must not be 0.
    prepare: fn() -> Box<dyn FnMut() -> usize>,
}

/// All of them.
pub(crate) static ALL: &[Path] = &[
    Path {
        name: "file-id-parse",
        times: 20_000,
        prepare: formats::file_id,
    },
    Path {
        name: "entry-decode",
        times: 2000,
        prepare: formats::entry,
    },
    Path {
        name: "chunk-views",
        times: 1000,
        prepare: formats::views,
    },
    Path {
        name: "chunk-lookup",
        times: 10_000,
        prepare: formats::pieces,
    },
    Path {
        name: "needle-header",
        times: 20_000,
        prepare: needles::header,
    },
    Path {
        name: "needle-crc-4k",
        times: 5000,
        prepare: needles::checksum,
    },
    Path {
        name: "needle-find",
        times: 5000,
        prepare: needles::find,
    },
    Path {
        name: "needle-read-4k",
        times: 2000,
        prepare: needles::read,
    },
    Path {
        name: "frame-encode",
        times: 10_000,
        prepare: bytes::encode_frame,
    },
    Path {
        name: "frame-decode",
        times: 10_000,
        prepare: bytes::decode_frame,
    },
    Path {
        name: "memory-cache-hit-4k",
        times: 5000,
        prepare: bytes::cache_hit,
    },
    Path {
        name: "fuse-parse",
        times: 20_000,
        prepare: kernel::parse,
    },
    Path {
        name: "fuse-reply-read",
        times: 10_000,
        prepare: kernel::reply_read,
    },
    Path {
        name: "fuse-reply-names",
        times: 2000,
        prepare: kernel::reply_names,
    },
];

/// The one called `name`.
pub(crate) fn named(name: &str) -> Result<&'static Path> {
    let found = ALL.iter().find(|path| path.name == name);
    let names = || {
        ALL.iter()
            .map(|path| path.name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    found.with_context(|| format!("no path is called {name}: there are {}", names()))
}

impl Path {
    /// Does it so many times.
    pub(crate) fn run(&self, times: u64) {
        let mut once = (self.prepare)();
        for _ in 0..times {
            assert_ne!(black_box(once()), 0, "{} does nothing", self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_does_what_it_should() {
        for path in ALL {
            path.run(3);
            assert!(named(path.name).is_ok());
        }
        assert!(named("none").is_err());
    }
}
