//! The fabric first, HTTP after, for writes.
//!
//! What the fabric does not bring to the volume server is sent over HTTP at once, and counted by the
//! reason. What the volume server itself says, by whichever way, is final, unless it may be because of
//! who asks: HTTP would hear the same.
//! Without fallback nothing that belongs to a file goes over HTTP; a write that the fabric does not
//! deliver fails, and the caller tries it again for a while.

use std::sync::Arc;
use std::time::Duration;

use context::Context;
use stats::{Counter, Export, Exporter};

use super::{FabricStore, Taken, Unwritten, needle, words};
use crate::client::Reason;
use crate::http::{Form, HttpStore, Place, StoreError, compare};
use crate::{FabricRoute, Location};

/// Without fallback: pause before a sidecar that has too much to do, or of which too much is wanted,
/// is asked again. Neither is a failure.
const PAUSE: Duration = Duration::from_millis(5);

/// Stores needles over the fabric, or else over HTTP.
#[derive(Debug)]
pub struct TieredStore {
    fabric: Option<FabricStore>,
    http: HttpStore,
    fallback: bool,
    over_http: Counter,
}

impl TieredStore {
    /// Over HTTP alone.
    pub fn new(http: HttpStore) -> Self {
        Self {
            fabric: None,
            http,
            fallback: true,
            over_http: Counter::default(),
        }
    }

    /// By way of the sidecars that `route` knows, and over HTTP if that does not help and `fallback`
    /// allows.
    #[must_use]
    pub fn over(self, route: Arc<FabricRoute>, fallback: bool) -> Self {
        Self {
            fabric: Some(FabricStore::new(route)),
            fallback,
            ..self
        }
    }

    /// The fabric, where it is used.
    pub fn fabric(&self) -> Option<&FabricStore> {
        self.fabric.as_ref()
    }

    /// HTTP, for what does not go over the fabric.
    pub fn http(&self) -> &HttpStore {
        &self.http
    }

    /// Stores `body` at the volume server at `location`; over HTTP, at `place`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put(
        &self,
        ctx: &Context<'_>,
        location: &Location,
        place: &Place<'_>,
        form: Form,
        body: &[u8],
    ) -> Result<(), StoreError> {
        if let Some(fabric) = &self.fabric {
            let server: Arc<str> = location.url.as_str().into();
            let reason = match self.over_fabric(fabric, ctx, location, place, form, body) {
                Ok(Taken { stored, sent }) => return compare(&server, stored, sent),
                Err(Unwritten::Stopped(why)) => return Err(StoreError::Stopped(why)),
                Err(Unwritten::Refused { status, text }) => {
                    return Err(StoreError::Refused {
                        server,
                        status,
                        text,
                    });
                }
                Err(Unwritten::Fallback(reason)) => reason,
            };
            fabric.stats().count(reason);
            if !self.fallback {
                let why = words(reason);
                return Err(StoreError::Fabric { server, why });
            }
            tracing::debug!(needle = %needle(place), reason = reason.name(), "over HTTP instead");
        }
        self.over_http.inc();
        self.http.put(ctx, place, form, &[body])
    }

    /// One write over the fabric; without fallback again and again while it is merely busy.
    fn over_fabric(
        &self,
        fabric: &FabricStore,
        ctx: &Context<'_>,
        location: &Location,
        place: &Place<'_>,
        form: Form,
        body: &[u8],
    ) -> Result<Taken, Unwritten> {
        let until = ctx.at_most(fabric.route.timeout());
        loop {
            let outcome = fabric.put(ctx, location, place, form, body);
            let Err(Unwritten::Fallback(Reason::Busy | Reason::NoPermit)) = outcome else {
                return outcome;
            };
            if self.fallback || until.remaining() < PAUSE {
                return outcome;
            }
            ctx.sleep(PAUSE).map_err(Unwritten::Stopped)?;
        }
    }
}

impl Export for TieredStore {
    fn export(&self, to: &mut dyn Exporter) {
        let help = "Needles sent to volume servers over HTTP.";
        to.counter("http_writes", help, &[], self.over_http.get());
        if let Some(fabric) = &self.fabric {
            fabric.export(to);
        }
    }
}
