//! Where files are borrowed: the sidecars of this host.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use context::Context;
use fabric::FabricRoute;
use fabric::announce::Endpoints;
use fabric::carrier::{Borrowed, Dialer, Lender};
use fabric::client::Nearness;
use fabric::peers::Peer;
use fabric::wire::{Borrow, FileTerms, Lent, Verify};
use seaweed::volume::OffsetWidth;
use volume::VerifyRanges;
use volume::lent::{Files, Inodes};

use crate::Decline;

/// Lends files of volumes. Asked by one thread, which waits for the answer.
pub trait Library: Send {
    /// Asks for the files of `volume`, unless those that are held are the ones.
    fn borrow(&mut self, volume: u32, held: Option<Inodes>) -> Offer;
}

/// What a library answers.
#[derive(Debug)]
pub enum Offer {
    /// These are the files.
    Files(Files),
    /// Those that are held are the ones.
    Same,
    /// Nobody lends them.
    Nothing(Decline),
    /// Nobody can be asked at the moment, which says nothing of what is held.
    Silence,
}

/// The sidecars of this host that a mount knows.
pub struct Sidecars {
    route: Arc<FabricRoute>,
    dialer: Arc<Dialer>,
    /// By where they listen.
    known: HashMap<String, Known>,
}

/// What is kept of a sidecar.
#[derive(Default)]
struct Known {
    lender: Option<Lender>,
    /// It failed so often in a row, and is left alone until then.
    failures: u32,
    rests_until: Option<Instant>,
    told: Option<String>,
}

/// How long a sidecar may take to answer. Longer, and the leases of others would run out.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long one that failed is left alone, the first time and at most.
const REST: Duration = Duration::from_millis(250);
const LONGEST_REST: Duration = Duration::from_secs(2);

impl Sidecars {
    /// Those that `route` knows, reached by `dialer`.
    pub fn new(route: Arc<FabricRoute>, dialer: Arc<Dialer>) -> Self {
        Self {
            route,
            dialer,
            known: HashMap::new(),
        }
    }

    /// Asks one of them.
    fn ask(&mut self, peer: &Peer, borrow: Borrow) -> Option<Borrowed> {
        let to = &peer.announced.fabric;
        let known = self.known.entry(to.unix.clone()?).or_default();
        if known
            .rests_until
            .is_some_and(|until| Instant::now() < until)
        {
            return None;
        }
        // One that was restarted is noticed by the connection that breaks.
        let was_open = known.lender.is_some();
        let mut asked = known.ask(&self.dialer, to, borrow);
        if asked.is_err() && was_open {
            asked = known.ask(&self.dialer, to, borrow);
        }
        match asked {
            Ok(borrowed) => {
                *known = Known {
                    lender: known.lender.take(),
                    ..Known::default()
                };
                Some(borrowed)
            }
            Err(trouble) => {
                known.failed(peer.name(), trouble);
                None
            }
        }
    }
}

impl Library for Sidecars {
    fn borrow(&mut self, volume: u32, held: Option<Inodes>) -> Offer {
        let ctx = Context::background(PATIENCE);
        let Ok(peers) = self.route.candidates(&ctx, volume) else {
            return Offer::Silence;
        };
        let lends =
            |peer: &&Arc<Peer>| peer.nearness == Nearness::Local && peer.announced.fabric.lends;
        let borrow = Borrow {
            volume,
            held: held.map(|Inodes(held)| held),
        };
        let mut best = Offer::Nothing(Decline::NoSidecar);
        for peer in peers.iter().filter(lends) {
            match self.ask(peer, borrow) {
                None => best = Offer::Silence,
                Some(Borrowed::Files(lent, terms)) => match files(lent, terms) {
                    Some(files) => return Offer::Files(files),
                    None => best = Offer::Nothing(Decline::Failed),
                },
                Some(Borrowed::Otherwise(Lent::Same)) => return Offer::Same,
                Some(Borrowed::Otherwise(lent)) => {
                    if !matches!(best, Offer::Silence) {
                        best = Offer::Nothing(decline(lent));
                    }
                }
            }
        }
        best
    }
}

impl Known {
    fn ask(&mut self, dialer: &Dialer, to: &Endpoints, borrow: Borrow) -> Result<Borrowed, String> {
        let ctx = Context::background(PATIENCE);
        let mut lender = match self.lender.take() {
            Some(lender) => lender,
            None => dialer.lender(&ctx, to).map_err(|error| error.to_string())?,
        };
        let asked = lender.borrow(&ctx, borrow);
        let borrowed = asked.map_err(|error| error.to_string())?;
        self.lender = Some(lender);
        Ok(borrowed)
    }

    fn failed(&mut self, name: &str, trouble: String) {
        let rest = REST * 2u32.saturating_pow(self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.rests_until = Some(Instant::now() + rest.min(LONGEST_REST));
        if self.told.as_ref() != Some(&trouble) {
            tracing::warn!(sidecar = name, trouble, "cannot borrow volume files");
            self.told = Some(trouble);
        }
    }
}

impl std::fmt::Debug for Sidecars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sidecars").finish_non_exhaustive()
    }
}

/// What the protocol says of files, in the words of those who read them; nothing if offsets have an
/// unknown width.
pub fn files([dat, idx]: [OwnedFd; 2], terms: FileTerms) -> Option<Files> {
    Some(Files {
        dat,
        idx,
        width: OffsetWidth::from_bytes_offset(terms.width.into())?,
        revision: terms.revision,
        verify: match terms.verify {
            Verify::Always => VerifyRanges::Always,
            Verify::Cached => VerifyRanges::Cached,
            Verify::Never => VerifyRanges::Never,
        },
    })
}

fn decline(lent: Lent) -> Decline {
    match lent {
        Lent::NotHere => Decline::NotHere,
        Lent::Declined => Decline::Declined,
        Lent::Refused => Decline::Refused,
        // Neither is ever said here.
        Lent::Failed | Lent::Files(_) | Lent::Same => Decline::Failed,
    }
}
