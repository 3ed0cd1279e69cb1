//! The sidecar's entry at the filer, by which mounts find it.
//!
//! The entry lives for [`LEASE_SECONDS`] and is renewed every third of that, and soon after the
//! volumes changed. A filer counts an entry's time to live from its creation and keeps
//! the creation time of an entry that is overwritten (seen with 4.44 and 4.48). So the entry is
//! made anew when the sidecar starts, and each renewal gives it a longer time to live: its age
//! and one lease. A reader never sees it missing in between.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use fabric::announce::{FOLDER, LEASE_SECONDS};
use filer::Filer;
use seaweed::pb;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::counters::Counters;
use crate::ending::Ending;
use crate::view::View;

/// Several changes shortly after each other are told at once.
const DEBOUNCE: Duration = Duration::from_millis(500);
/// After a failure it is tried again this soon.
const RETRY: Duration = Duration::from_secs(5);
/// Time for the farewell: nobody waits long for a daemon that ends.
const FAREWELL: Duration = Duration::from_secs(2);
/// A file that everybody may read.
const MODE: u32 = 0o644;

/// Keeps the entry.
pub struct Registration {
    /// The cluster's filers.
    pub filer: Filer,
    /// What is announced.
    pub view: Arc<View>,
    /// Woken when that changed.
    pub changed: Arc<Notify>,
    /// What is counted.
    pub counters: Arc<Counters>,
}

impl Registration {
    /// Keeps the entry until `ending` says true, then removes it.
    pub async fn run(self, mut ending: Ending) {
        let mut born = None;
        let mut name = String::new();
        let mut told = None;
        loop {
            let now = self.view.announcement().http.clone();
            if now != name {
                // The name others know us by has only now been learnt.
                self.remove(&name).await;
                (name, born) = (now, None);
            }
            let renewed = self.renew(&name, &mut born).await;
            let pause = match &renewed {
                Ok(()) => {
                    self.counters.registrations.inc();
                    if told.take().is_some() || self.counters.registrations.get() == 1 {
                        tracing::info!(entry = format!("{FOLDER}/{name}"), "registered");
                    }
                    Duration::from_secs(u64::from(LEASE_SECONDS / 3))
                }
                Err(error) => {
                    self.counters.registration_failures.inc();
                    let text = format!("{error:#}");
                    // Once for each reason, not every few seconds.
                    if told.as_ref() != Some(&text) {
                        tracing::warn!(error = text, "cannot register with the filer");
                        told = Some(text);
                    }
                    RETRY
                }
            };
            let warning = renewed
                .err()
                .map(|error| format!("not registered: {error:#}"));
            self.view.warn("registration", warning);
            tokio::select! {
                () = sleep(pause) => {}
                () = self.changed.notified() => sleep(DEBOUNCE).await,
                () = ending.wait() => break,
            }
        }
        if timeout(FAREWELL, self.remove(&name)).await.is_err() {
            tracing::warn!("the filer did not take the entry away; it ends by itself");
        }
    }

    async fn renew(&self, name: &str, born: &mut Option<SystemTime>) -> anyhow::Result<()> {
        let content = serde_json::to_vec(&*self.view.announcement())?;
        let first = born.is_none();
        let birth = *born.get_or_insert_with(SystemTime::now);
        if first {
            // One of an earlier run has an earlier creation time.
            let gone = self.filer.delete_entry(FOLDER, name).await;
            gone.inspect_err(|_| *born = None)
                .context("removing an old entry")?;
        }
        let entry = entry(name, content, birth, SystemTime::now());
        self.filer.create_entry(FOLDER, entry).await?;
        Ok(())
    }

    async fn remove(&self, name: &str) {
        if name.is_empty() {
            return;
        }
        if let Err(error) = self.filer.delete_entry(FOLDER, name).await {
            tracing::warn!(%error, "cannot remove the entry at the filer; it ends by itself");
        }
    }
}

/// The entry of a sidecar that registered first at `birth`.
fn entry(name: &str, content: Vec<u8>, birth: SystemTime, now: SystemTime) -> pb::Entry {
    let age = now.duration_since(birth).unwrap_or_default().as_secs();
    let life = i32::try_from(age + u64::from(LEASE_SECONDS)).unwrap_or(i32::MAX);
    pb::Entry {
        name: name.to_owned(),
        attributes: Some(pb::FuseAttributes {
            file_size: content.len() as u64,
            file_mode: MODE,
            mime: "application/json".to_owned(),
            crtime: seconds(birth),
            mtime: seconds(now),
            ttl_sec: life,
            ..Default::default()
        }),
        content: content.into(),
        ..Default::default()
    }
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_renewal_leaves_one_lease_from_now() {
        let birth = UNIX_EPOCH + Duration::from_secs(1_000);
        for age in [0, 20, 86_400] {
            let now = birth + Duration::from_secs(age);
            let attributes = entry("a:1", b"{}".to_vec(), birth, now).attributes.unwrap();
            let end = attributes.crtime + i64::from(attributes.ttl_sec);
            assert_eq!(end, seconds(now) + i64::from(LEASE_SECONDS));
        }
    }
}
