//! Where volumes are, remembered.
//!
//! A read needs the address of its chunk's volume, and a mount reads the same
//! few volumes again and again, so answers are kept. A volume moves rarely, and
//! who reads notices: the server says 404 or does not answer, and the reader
//! says [`VolumeMap::forget`]. The time limit only spreads the news of added
//! replicas. However many readers miss at once, one asks (single flight); the
//! asking runs on a task of its own, so a reader that gives up takes nobody
//! along.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use seaweed::pb;
use tokio::time::Instant;

use crate::random::Random;
use crate::{Filer, FilerError};

/// How long an answer is believed.
const LIFETIME: Duration = Duration::from_secs(600);

/// How long "nobody has it" is believed: long enough that a thousand readers
/// of a lost volume ask once, short enough that a server that registers late
/// after a restart is not missed.
const ABSENCE: Duration = Duration::from_secs(1);

/// Most volumes in one question: its answer stays far below a megabyte.
const BATCH: usize = 256;

/// Most volumes remembered; at 30 GB each, 65,536 volumes hold 2 PB.
const CAPACITY: usize = 65_536;

/// A server that has a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// `host:port` for servers and clients inside.
    pub url: String,
    /// `host:port` for clients outside.
    pub public_url: String,
    /// Where the server is.
    pub data_center: String,
    /// Its gRPC port; 0 when it has not said.
    pub grpc_port: u16,
}

/// Why a volume could not be located.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LocateError {
    /// No server has it.
    #[error("volume {0}: no server has it")]
    Nowhere(u32),
    /// No filer could be asked.
    #[error("volume {volume}: {error}")]
    Filer {
        /// The volume.
        volume: u32,
        /// What went wrong.
        error: Arc<FilerError>,
    },
}

/// Locations by volume. Cheap to clone; all clones share one memory.
#[derive(Clone)]
pub struct VolumeMap {
    inner: Arc<Inner>,
}

struct Inner {
    filer: Filer,
    table: Mutex<HashMap<u32, Slot>>,
}

type Found = HashMap<u32, Vec<pb::Location>>;
type Answer = Result<Arc<[Location]>, LocateError>;

enum Slot {
    Known(Arc<[Location]>, Instant),
    Nowhere(Instant),
    /// Being asked; what was known before answers if no filer does.
    Asking(Shared<BoxFuture<'static, Answer>>, Option<Arc<[Location]>>),
}

impl VolumeMap {
    /// An empty map that asks `filer`.
    pub fn new(filer: Filer) -> Self {
        let table = Mutex::new(HashMap::new());
        Self {
            inner: Arc::new(Inner { filer, table }),
        }
    }

    /// The locations, if they are known already. Never waits for a filer.
    pub fn cached(&self, volume: u32) -> Option<Arc<[Location]>> {
        match self.inner.table().get(&volume)? {
            Slot::Known(locations, until) if *until > Instant::now() => Some(Arc::clone(locations)),
            _ => None,
        }
    }

    /// The servers that have `volume`, never none: first those in our data
    /// center, in random order, then the others.
    ///
    /// # Errors
    /// [`LocateError`] when nobody has it or nobody knows.
    pub async fn locate(&self, volume: u32) -> Result<Arc<[Location]>, LocateError> {
        let asking = {
            let mut table = self.inner.table();
            let now = Instant::now();
            let before = match table.get(&volume) {
                Some(Slot::Known(locations, until)) if *until > now => {
                    return Ok(Arc::clone(locations));
                }
                Some(Slot::Nowhere(until)) if *until > now => {
                    return Err(LocateError::Nowhere(volume));
                }
                Some(Slot::Asking(asking, _)) => Err(asking.clone()),
                Some(Slot::Known(locations, _)) => Ok(Some(Arc::clone(locations))),
                Some(Slot::Nowhere(_)) | None => Ok(None),
            };
            match before {
                Err(asking) => asking,
                Ok(before) => {
                    make_room(&mut table, now);
                    let asking = self.ask(volume);
                    table.insert(volume, Slot::Asking(asking.clone(), before));
                    asking
                }
            }
        };
        asking.await
    }

    /// Drops what is known of `volume`: its servers did not have it, or did
    /// not answer. The next [`VolumeMap::locate`] asks again.
    pub fn forget(&self, volume: u32) {
        let mut table = self.inner.table();
        if let Some(slot) = table.get_mut(&volume) {
            match slot {
                // Somebody asks already; only the fallback must go.
                Slot::Asking(_, before) => *before = None,
                Slot::Known(..) | Slot::Nowhere(_) => {
                    table.remove(&volume);
                }
            }
        }
    }

    /// Asks for those of `volumes` that are not known, together, because they
    /// will be needed soon. Returns at once; [`VolumeMap::locate`] waits for
    /// the answer like for any other. To be called inside a runtime.
    pub fn expect(&self, volumes: &[u32]) {
        let mut table = self.inner.table();
        let now = Instant::now();
        let unknown = |volume: &u32| match table.get(volume) {
            Some(Slot::Known(_, until) | Slot::Nowhere(until)) => *until <= now,
            Some(Slot::Asking(..)) => false,
            None => true,
        };
        let mut unknown: Vec<u32> = volumes.iter().copied().filter(unknown).collect();
        unknown.truncate(CAPACITY);
        for batch in unknown.chunks(BATCH) {
            let answer = self.ask_all(batch.into());
            for &volume in batch {
                make_room(&mut table, now);
                let before = match table.remove(&volume) {
                    Some(Slot::Known(locations, _)) => Some(locations),
                    _ => None,
                };
                let asking = self.ask_after(volume, answer.clone());
                table.insert(volume, Slot::Asking(asking, before));
            }
        }
    }

    /// One question about all of `volumes`; what it does not answer is absent.
    fn ask_all(&self, volumes: Arc<[u32]>) -> Shared<BoxFuture<'static, Arc<Found>>> {
        let filer = self.inner.filer.clone();
        let asked = async move {
            let found = filer.locations_of(&volumes).await;
            Arc::new(found.unwrap_or_else(|error| {
                tracing::debug!(%error, "volumes could not be looked up together");
                Found::new()
            }))
        };
        asked.boxed().shared()
    }

    /// Takes `volume` from the answer about many, or asks for it alone.
    fn ask_after(
        &self,
        volume: u32,
        answer: Shared<BoxFuture<'static, Arc<Found>>>,
    ) -> Shared<BoxFuture<'static, Answer>> {
        let inner = Arc::clone(&self.inner);
        Self::spawn(volume, async move {
            let found = match answer.await.get(&volume) {
                Some(locations) => Ok(locations.clone()),
                None => inner.filer.locations(volume).await,
            };
            inner.store(volume, found)
        })
    }

    fn ask(&self, volume: u32) -> Shared<BoxFuture<'static, Answer>> {
        let inner = Arc::clone(&self.inner);
        Self::spawn(volume, async move {
            let found = inner.filer.locations(volume).await;
            inner.store(volume, found)
        })
    }

    fn spawn(
        volume: u32,
        asking: impl Future<Output = Answer> + Send + 'static,
    ) -> Shared<BoxFuture<'static, Answer>> {
        let task = tokio::spawn(asking);
        let answer = async move {
            task.await.unwrap_or_else(|error| {
                // Only when the runtime is being shut down.
                let what = "LookupVolume";
                let attempts = Vec::new();
                tracing::debug!(%error, volume, "asking was cut short");
                let error = Arc::new(FilerError::Unavailable { what, attempts });
                Err(LocateError::Filer { volume, error })
            })
        };
        answer.boxed().shared()
    }
}

impl Inner {
    fn table(&self) -> MutexGuard<'_, HashMap<u32, Slot>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self, volume: u32, found: Result<Vec<pb::Location>, FilerError>) -> Answer {
        let mut table = self.table();
        let now = Instant::now();
        let before = match table.remove(&volume) {
            Some(Slot::Asking(_, before)) => before,
            _ => None,
        };
        match found {
            Ok(locations) if locations.is_empty() => {
                table.insert(volume, Slot::Nowhere(now + ABSENCE));
                Err(LocateError::Nowhere(volume))
            }
            Ok(locations) => {
                let locations = nearest_first(locations, &self.filer.config().data_center);
                table.insert(volume, Slot::Known(Arc::clone(&locations), now + LIFETIME));
                Ok(locations)
            }
            Err(error) => match before {
                // Old news are better than none: the servers may well be there.
                Some(locations) => {
                    table.insert(volume, Slot::Known(Arc::clone(&locations), now + ABSENCE));
                    Ok(locations)
                }
                None => {
                    let error = Arc::new(error);
                    Err(LocateError::Filer { volume, error })
                }
            },
        }
    }
}

impl std::fmt::Debug for VolumeMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = self.inner.table().len();
        f.debug_struct("VolumeMap")
            .field("known", &known)
            .finish_non_exhaustive()
    }
}

/// Keeps the table below its capacity: first what has expired goes, then what
/// happens to come first.
fn make_room(table: &mut HashMap<u32, Slot>, now: Instant) {
    if table.len() < CAPACITY {
        return;
    }
    table.retain(|_, slot| match slot {
        Slot::Known(_, until) | Slot::Nowhere(until) => *until > now,
        Slot::Asking(..) => true,
    });
    if table.len() < CAPACITY {
        return;
    }
    let settled = |slot: &Slot| !matches!(slot, Slot::Asking(..));
    let victim = table
        .iter()
        .find_map(|(id, slot)| settled(slot).then_some(*id));
    if let Some(id) = victim {
        table.remove(&id);
    }
}

fn nearest_first(found: Vec<pb::Location>, data_center: &str) -> Arc<[Location]> {
    let mut locations: Vec<Location> = found.into_iter().map(location).collect();
    Random::new().shuffle(&mut locations);
    // Stable: the shuffle stays within the two groups.
    locations.sort_by_key(|l| data_center.is_empty() || l.data_center != data_center);
    locations.into()
}

fn location(found: pb::Location) -> Location {
    Location {
        public_url: if found.public_url.is_empty() {
            found.url.clone()
        } else {
            found.public_url
        },
        url: found.url,
        data_center: found.data_center,
        grpc_port: u16::try_from(found.grpc_port).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(url: &str, data_center: &str) -> pb::Location {
        pb::Location {
            url: url.into(),
            data_center: data_center.into(),
            ..Default::default()
        }
    }

    #[test]
    fn our_data_center_comes_first_and_the_rest_is_shuffled() {
        let all = || vec![at("a", "x"), at("b", "y"), at("c", "x"), at("d", "y")];
        let mut firsts = std::collections::HashSet::new();
        for _ in 0..200 {
            let sorted = nearest_first(all(), "y");
            assert!(sorted[..2].iter().all(|l| l.data_center == "y"));
            firsts.insert(sorted[0].url.clone());
        }
        assert_eq!(firsts.len(), 2);
        let anywhere: std::collections::HashSet<_> = (0..200)
            .map(|_| nearest_first(all(), "")[0].url.clone())
            .collect();
        assert_eq!(anywhere.len(), 4);
    }

    #[test]
    fn a_server_without_a_public_url_is_reached_by_its_url() {
        assert_eq!(location(at("a:8080", "")).public_url, "a:8080");
    }
}
