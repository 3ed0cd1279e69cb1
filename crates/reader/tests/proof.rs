//! A sidecar that has other bytes than the volume server, with checksums that fit them.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use common::{Kind, Shelf, chunk, config, noise, read};
use context::Context;
use fabric::{Destination, Route, RouteError, Stored, Way, Whole};
use md5::{Digest as _, Md5};
use parking_lot::Mutex;
use reader::{Reader, Stream};
use seaweed::{Chunk, FileId, FileView};

const LEN: usize = 100_000;

/// A volume server, and a sidecar beside it that lies or not until it is found out.
struct Beside {
    server: Arc<Shelf>,
    lies: AtomicBool,
    disbelieved: Mutex<Vec<FileId>>,
    /// Without fallback.
    is_strict: bool,
}

impl Route for Beside {
    fn name(&self) -> &'static str {
        "beside"
    }

    fn read_at(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        offset: u64,
        dst: &mut [u8],
    ) -> Result<Way, RouteError> {
        self.server.read_at(ctx, needle, offset, dst)
    }

    fn read_whole(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        form: Stored,
        to: &mut dyn Destination,
    ) -> Result<Whole, RouteError> {
        let whole = self.server.read_whole(ctx, needle, form, to)?;
        if self.lies.load(Ordering::Relaxed) {
            to.memory(whole.len as u64).unwrap()[0] ^= 1;
        }
        let way = Way::Fabric;
        Ok(Whole { way, ..whole })
    }

    fn read_whole_from_server(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        form: Stored,
        to: &mut dyn Destination,
    ) -> Result<Whole, RouteError> {
        self.server.read_whole(ctx, needle, form, to)
    }

    fn disbelieve(&self, needle: FileId) -> Result<(), RouteError> {
        self.disbelieved.lock().push(needle);
        self.lies.store(false, Ordering::Relaxed);
        match self.is_strict {
            true => Err(RouteError::Fabric { needle, why: LIAR }),
            false => Ok(()),
        }
    }
}

const LIAR: &str = "a liar";

fn beside(server: &Arc<Shelf>, lies: bool, is_strict: bool) -> Arc<Beside> {
    Arc::new(Beside {
        server: Arc::clone(server),
        lies: lies.into(),
        disbelieved: Mutex::default(),
        is_strict,
    })
}

/// Reads a hundred chunks with these sums; gives the route, and proofs and disproofs.
fn read_all(lies: bool, e_tag: impl Fn(&[u8]) -> String) -> (Arc<Beside>, u64, u64) {
    let server = Shelf::new();
    let route = beside(&server, lies, false);
    let reader = Reader::open(config(64 << 20), Arc::clone(&route) as Arc<dyn Route>).unwrap();
    for seed in 0..100 {
        let clear = noise(seed, LEN);
        let plain = chunk(&server, Kind::Plain, 0, &clear, LEN as u64, 1);
        let e_tag = e_tag(&clear).into();
        let view = FileView::resolve(vec![Chunk { e_tag, ..plain }], LEN as u64);
        let found = read(&reader, &Arc::new(view), &Stream::new(), 0, LEN).unwrap();
        assert!(found == clear, "chunk {seed}");
    }
    let stats = reader.stats();
    (route, stats.proofs.get(), stats.disproofs.get())
}

fn sum(clear: &[u8]) -> String {
    base64::prelude::BASE64_STANDARD.encode(Md5::digest(clear))
}

#[test]
fn a_sidecar_that_lies_is_found_out_and_what_it_says_is_not_believed() {
    let (route, proofs, disproofs) = read_all(true, sum);
    assert_eq!((proofs, disproofs), (2, 1), "one chunk in 64");
    assert_eq!(route.disbelieved.lock().len(), 1);
}

#[test]
fn a_sidecar_that_is_right_stays_believed_whatever_the_sums_are() {
    let (route, proofs, disproofs) = read_all(false, sum);
    assert_eq!((proofs, disproofs), (2, 0));
    let asked = route.server.requests();
    assert_eq!(asked, 100, "nothing is fetched twice");
    let (route, proofs, disproofs) = read_all(false, |_| sum(b"something else"));
    assert_eq!((proofs, disproofs), (2, 0));
    assert_eq!(route.server.requests(), 102);
    assert!(route.disbelieved.lock().is_empty());
    let (_, proofs, _) = read_all(false, |_| "d41d8cd98f00b204e9800998ecf8427e-3".into());
    assert_eq!(proofs, 0, "that is no MD5 of a chunk");
}

#[test]
fn without_fallback_a_lie_fails_the_read_and_a_sum_of_something_else_does_not() {
    for (lies, of) in [(true, None), (false, Some("something else"))] {
        let server = Shelf::new();
        let route = beside(&server, lies, true);
        let reader = Reader::open(config(64 << 20), Arc::clone(&route) as Arc<dyn Route>).unwrap();
        let clear = noise(1, LEN);
        let plain = chunk(&server, Kind::Plain, 0, &clear, LEN as u64, 1);
        let e_tag = sum(of.map_or(&clear, str::as_bytes)).into();
        let view = FileView::resolve(vec![Chunk { e_tag, ..plain }], LEN as u64);
        let found = read(&reader, &Arc::new(view), &Stream::new(), 0, LEN);
        match lies {
            true => assert!(found.unwrap_err().to_string().contains(LIAR)),
            false => assert!(found.unwrap() == clear),
        }
        assert_eq!(route.disbelieved.lock().len(), usize::from(lies));
        assert_eq!(reader.stats().proofs.get(), 1);
    }
}
