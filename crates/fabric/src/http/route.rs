//! The route: which servers, in which order, how often.

use std::sync::Arc;
use std::time::Instant;

use context::{Context, Stopped};
use seaweed::FileId;

use super::answer::Job;
use super::config::{Access, HttpConfig};
use super::exchange::Client;
use super::pool::Servers;
use super::retry::{Backoff, Turns};
use super::stats::HttpStats;
use super::wait::Watch;
use crate::eager::Eager;
use crate::{Destination, Locate, LocateError, Location, Route, RouteError, Stored, Way, Whole};

/// Needles over HTTP.
pub struct HttpRoute {
    config: HttpConfig,
    locate: Arc<dyn Locate>,
    client: Client,
}

impl HttpRoute {
    /// A route without connections; they are opened as they are needed.
    pub fn new(config: HttpConfig, locate: Arc<dyn Locate>, stats: Arc<HttpStats>) -> Self {
        let through_filer = matches!(config.access, Access::FilerProxy(_));
        let key = match through_filer {
            true => &config.filer_read_key,
            false => &config.read_key,
        };
        let client = Client {
            key: key.clone(),
            through_filer,
            eager: Eager::default(),
            servers: Servers::new(config.idle_connections, config.idle_time),
            stats,
            tls: config.tls.clone(),
        };
        Self {
            config,
            locate,
            client,
        }
    }

    /// Its numbers.
    pub fn stats(&self) -> &Arc<HttpStats> {
        &self.client.stats
    }

    /// Connections kept for later, over all servers.
    pub fn idle_connections(&self) -> usize {
        self.client.servers.idle()
    }

    /// Rounds over all servers until one delivers, nothing can be hoped for or time is over.
    fn fetch(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        job: &mut Job<'_>,
    ) -> Result<Whole, RouteError> {
        let began = Instant::now();
        let mut backoff = Backoff::new();
        loop {
            ctx.check()
                .map_err(|why| RouteError::stopped(needle, why))?;
            let failure = match self.round(ctx, needle, job) {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            let pause = backoff.pause();
            if !failure.is_transient() || began.elapsed() + pause > self.config.retry {
                return Err(failure);
            }
            tracing::debug!(%failure, ?pause, "asking again");
            if let Err(why) = ctx.sleep(pause) {
                // What kept us from an answer says more than that time ran out.
                return Err(match why {
                    Stopped::Interrupted => RouteError::Interrupted { needle },
                    Stopped::TimedOut => failure,
                });
            }
            self.client.stats.retries.inc();
        }
    }

    /// Asks every server there is once, and once more for what was deleted under our feet.
    fn round(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        job: &mut Job<'_>,
    ) -> Result<Whole, RouteError> {
        let places = self.places(ctx, needle)?;
        match self.ask_all(ctx, &places, needle, false, job) {
            Err(RouteError::NotFound { .. }) => {}
            other => return other,
        }
        // The volume may have moved away.
        self.forget(needle);
        let current = self.places(ctx, needle)?;
        if current != places {
            match self.ask_all(ctx, &current, needle, false, job) {
                Err(RouteError::NotFound { .. }) => {}
                other => return other,
            }
        }
        // A chunk may be deleted between the look at its entry and the read. The bytes are
        // still those the entry meant, so they are the right answer until vacuum takes them.
        let done = self.ask_all(ctx, &current, needle, true, job)?;
        self.client.stats.deleted.inc();
        Ok(done)
    }

    fn ask_all(
        &self,
        ctx: &Context<'_>,
        places: &Places<'_>,
        needle: FileId,
        deleted: bool,
        job: &mut Job<'_>,
    ) -> Result<Whole, RouteError> {
        let Client { servers, stats, .. } = &self.client;
        let mut worst = RouteError::NotFound { needle };
        let mut forgotten = false;
        let mut turns = Turns::new(places.len());
        // With one server there is nothing to choose.
        let suspect = |index| places.len() > 1 && servers.is_suspect(&servers.at(places.at(index)));
        while let Some(index) = turns.next(suspect) {
            let server = servers.at(places.at(index));
            let watch = Watch {
                ctx: *ctx,
                patience: match turns.others_left() {
                    true => self.config.switch_after,
                    false => self.config.give_up_after,
                },
            };
            let failure = match self.client.get(&watch, &server, needle, deleted, job) {
                Ok(done) => {
                    servers.trust(&server);
                    return Ok(done);
                }
                Err(failure) => failure,
            };
            stats.failed(&failure);
            if failure.is_final() {
                return Err(failure);
            }
            if failure.is_transient() {
                tracing::debug!(%failure, "volume server failed");
                servers.suspect(&server);
                if !forgotten {
                    forgotten = true;
                    self.forget(needle);
                }
            }
            if turns.others_left() {
                stats.switches.inc();
            }
            if weight(&failure) > weight(&worst) {
                worst = failure;
            }
        }
        Err(worst)
    }

    fn places(&self, ctx: &Context<'_>, needle: FileId) -> Result<Places<'_>, RouteError> {
        if let Access::FilerProxy(filers) = &self.config.access {
            return Ok(Places::Filers(filers));
        }
        let public = self.config.access == Access::PublicUrl;
        let failure = match self.locate.locate(ctx, needle.volume) {
            Ok(locations) if !locations.is_empty() => {
                return Ok(Places::Located { locations, public });
            }
            Ok(_) => LocateError::Unknown {
                volume: needle.volume,
            },
            Err(LocateError::Stopped(why)) => return Err(RouteError::stopped(needle, why)),
            Err(failure) => failure,
        };
        let failure = RouteError::Unlocated {
            needle,
            source: failure,
        };
        self.client.stats.failed(&failure);
        Err(failure)
    }

    fn forget(&self, needle: FileId) {
        if !matches!(self.config.access, Access::FilerProxy(_)) {
            self.locate.forget(needle.volume);
        }
    }
}

impl Route for HttpRoute {
    fn name(&self) -> &'static str {
        "http"
    }

    fn expect(&self, volumes: &[u32]) {
        if !matches!(self.config.access, Access::FilerProxy(_)) {
            self.locate.expect(volumes);
        }
    }

    fn read_at(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        offset: u64,
        dst: &mut [u8],
    ) -> Result<Way, RouteError> {
        if dst.is_empty() {
            return Ok(Way::Http);
        }
        let began = Instant::now();
        let done = self.fetch(ctx, needle, &mut Job::Range { offset, dst })?;
        let stats = &self.client.stats;
        stats.delivered(&stats.range_time, done.len, began.elapsed());
        Ok(Way::Http)
    }

    fn read_whole(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        form: Stored,
        to: &mut dyn Destination,
    ) -> Result<Whole, RouteError> {
        let began = Instant::now();
        let done = self.fetch(ctx, needle, &mut Job::Whole { form, to })?;
        let stats = &self.client.stats;
        stats.delivered(&stats.whole_time, done.len, began.elapsed());
        Ok(done)
    }
}

impl std::fmt::Debug for HttpRoute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpRoute")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// The servers that can answer for a needle.
#[derive(PartialEq, Eq)]
enum Places<'r> {
    Located {
        locations: Arc<[Location]>,
        public: bool,
    },
    Filers(&'r [String]),
}

impl Places<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Located { locations, .. } => locations.len(),
            Self::Filers(filers) => filers.len(),
        }
    }

    fn at(&self, index: usize) -> &str {
        match self {
            Self::Located { locations, public } => {
                let location = &locations[index];
                match *public && !location.public_url.is_empty() {
                    true => &location.public_url,
                    false => &location.url,
                }
            }
            Self::Filers(filers) => &filers[index],
        }
    }
}

/// Which of several servers' failures is told: first those that may pass, then the alarming.
/// That a needle does not exist is believed only when everybody says so.
fn weight(failure: &RouteError) -> u8 {
    match failure {
        RouteError::NotFound { .. } => 0,
        RouteError::PastEnd { .. } => 1,
        RouteError::Denied { .. } | RouteError::Status { .. } => 2,
        RouteError::Corrupt { .. } => 3,
        _ => 4,
    }
}
