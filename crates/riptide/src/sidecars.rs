//! Finding sidecars, and noticing when they come and go.
//!
//! A task looks every few seconds, and at once when a reader was disappointed, at the `/health` of
//! each sidecar that was named, or at the folder of the filer where they register. Whoever answers
//! sensibly is told to the [`Peers`] that readers go by. A sidecar that was there and does not answer
//! stays for a few rounds: readers find out themselves whether it works, sooner than anybody
//! who asks every few seconds. What is wrong with a sidecar is logged when it changes, not each time.

pub(crate) mod listed;
mod registered;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fabric::announce::Announcement;
use fabric::http::ClientConfig;
use fabric::peers::Peers;
use filer::Filer;

use crate::options::Sidecars;

/// How often to look.
const EVERY: Duration = Duration::from_secs(3);
/// How soon after a look the next one may follow, however disappointed readers are.
const AT_LEAST: Duration = Duration::from_millis(250);
/// A sidecar that fails this many looks in a row is gone until it answers again.
const FAILURES: u32 = 3;

/// Where to look.
#[derive(Debug, Clone)]
pub struct Place {
    /// Which sidecars.
    pub sidecars: Sidecars,
    /// Where they register.
    pub filer: Filer,
    /// For those that speak HTTPS.
    pub tls: Option<Arc<ClientConfig>>,
}

/// Looks once, and from then on in the background of the current runtime for as long as that runs.
pub async fn watch(place: Place, peers: Arc<Peers>) {
    let mut finder = Finder {
        place,
        peers,
        known: HashMap::new(),
    };
    finder.look().await;
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(AT_LEAST).await;
            let _ = tokio::time::timeout(EVERY, finder.peers.asked()).await;
            finder.look().await;
        }
    });
}

struct Finder {
    place: Place,
    peers: Arc<Peers>,
    known: HashMap<String, Known>,
}

/// What became of one sidecar.
#[derive(Debug, Default)]
struct Known {
    announced: Option<Announcement>,
    failures: u32,
    trouble: Option<String>,
}

/// What one look at one sidecar gave.
type Seen = (String, Result<Announcement, String>);

impl Finder {
    async fn look(&mut self) {
        let looked = match &self.place.sidecars {
            Sidecars::Listed(addresses) => {
                Ok(listed::ask_all(addresses, self.place.tls.as_ref()).await)
            }
            Sidecars::Registered => registered::list(&self.place.filer).await,
        };
        match looked {
            Ok(seen) => note(&mut self.known, seen),
            // Nothing is known about any of them, so nothing changes.
            Err(error) => tracing::debug!(error, "cannot look for sidecars"),
        }
        self.peers.update(there(&self.known));
    }
}

/// Takes over what was seen. Who was not seen at all is gone.
fn note(known: &mut HashMap<String, Known>, seen: Vec<Seen>) {
    known.retain(|name, known| {
        let there = seen.iter().any(|(seen, _)| seen == name);
        if !there && known.announced.is_some() {
            tracing::info!(sidecar = name, "is no longer registered");
        }
        there
    });
    for (name, result) in seen {
        let known = known.entry(name.clone()).or_default();
        match result {
            Ok(announced) => known.is_there(&name, announced),
            Err(trouble) => known.failed(&name, trouble),
        }
    }
}

/// Those that can be used, in an order that does not change from look to look.
fn there(known: &HashMap<String, Known>) -> Vec<Announcement> {
    let there = known.values().filter_map(|known| known.announced.clone());
    let mut there: Vec<_> = there.collect();
    there.sort_by(|one, other| one.http.cmp(&other.http));
    there
}

impl Known {
    fn is_there(&mut self, name: &str, announced: Announcement) {
        if self.announced.is_none() || self.trouble.is_some() {
            tracing::info!(
                sidecar = name,
                beside = announced.volume_servers.join(","),
                volumes = announced.volumes.len(),
                "found"
            );
        }
        *self = Self {
            announced: Some(announced),
            failures: 0,
            trouble: None,
        };
    }

    fn failed(&mut self, name: &str, trouble: String) {
        if self.trouble.as_ref() != Some(&trouble) {
            tracing::warn!(sidecar = name, reason = trouble, "cannot be used");
        }
        self.trouble = Some(trouble);
        self.failures = self.failures.saturating_add(1);
        if self.failures == FAILURES && self.announced.take().is_some() {
            tracing::info!(sidecar = name, "is given up until it answers");
        }
    }
}

#[cfg(test)]
mod tests;
