//! The sidecars that a mount knows of, by the volume servers they stand beside.
//!
//! Somebody else finds them ([`announce`](crate::announce) says how) and calls [`Peers::update`]
//! with what there is; readers look up without a lock. A sidecar that is announced again with the
//! same endpoints stays the same to them, with its open lanes and what is held against it. Whoever
//! is disappointed calls [`Peers::look_again`], and the finder, who waits for
//! [`Peers::asked`], looks at once.

mod lanes;
mod shunned;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use context::Interrupt;

use crate::Location;
use crate::announce::Announcement;

pub(crate) use lanes::{Lanes, Permit};
pub(crate) use shunned::Shunned;

/// All sidecars known at a time.
#[derive(Debug)]
pub struct Peers {
    table: ArcSwap<Table>,
    asked: Interrupt,
    /// What tells our own kernel from others.
    host: String,
}

/// A sidecar, and what readers keep about it.
#[derive(Debug)]
pub struct Peer {
    /// What it says of itself.
    pub announced: Announcement,
    /// Whether it runs on this host.
    pub is_local: bool,
    /// What is kept for as long as it listens where it does.
    pub(crate) kept: Arc<Kept>,
}

/// What readers keep about a sidecar.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) lanes: Lanes,
    /// Volumes that it does not serve, though it stands beside their server.
    pub(crate) shunned: Shunned,
}

#[derive(Debug, Default)]
struct Table {
    peers: Vec<Arc<Peer>>,
    /// By the address of a volume server, those that stand beside it.
    beside: HashMap<String, Vec<Arc<Peer>>>,
}

impl Peers {
    /// Knows nobody yet. `host` is what [`Endpoints::host`](crate::announce::Endpoints::host)
    /// of a sidecar on this host would be.
    ///
    /// # Errors
    /// The system's, when no descriptor is left.
    pub fn new(host: String) -> io::Result<Self> {
        Ok(Self {
            table: ArcSwap::default(),
            asked: Interrupt::new()?,
            host,
        })
    }

    /// From now on there are these sidecars and no others. Of two that have the same HTTP
    /// address the later counts.
    pub fn update(&self, found: Vec<Announcement>) {
        let old = self.table.load();
        let mut peers: Vec<Arc<Peer>> = Vec::with_capacity(found.len());
        for announced in found {
            peers.retain(|peer| peer.announced.http != announced.http);
            let same = old.peers.iter().find(|peer| {
                peer.announced.http == announced.http && peer.announced.fabric == announced.fabric
            });
            if let Some(same) = same.filter(|same| same.announced == announced) {
                peers.push(Arc::clone(same));
                continue;
            }
            let kept = same.map(|same| Arc::clone(&same.kept)).unwrap_or_default();
            // What it did not serve it may serve now.
            kept.shunned.clear();
            peers.push(Arc::new(Peer {
                is_local: !self.host.is_empty() && announced.fabric.host == self.host,
                announced,
                kept,
            }));
        }
        let mut beside: HashMap<String, Vec<Arc<Peer>>> = HashMap::new();
        for peer in &peers {
            for server in &peer.announced.volume_servers {
                let known = beside.entry(server.clone()).or_default();
                if !known.iter().any(|one| Arc::ptr_eq(one, peer)) {
                    known.push(Arc::clone(peer));
                }
            }
        }
        self.table.store(Arc::new(Table { peers, beside }));
    }

    /// Those that stand beside one of `locations` and may have `volume`, the nearest first: those
    /// on this host, then in the order of the locations.
    pub fn near(&self, volume: u32, locations: &[Location]) -> Vec<Arc<Peer>> {
        let table = self.table.load();
        let mut near: Vec<Arc<Peer>> = Vec::with_capacity(locations.len());
        for location in locations {
            let by_url = table.beside.get(&location.url);
            let by_public = || table.beside.get(&location.public_url);
            for peer in by_url.or_else(by_public).into_iter().flatten() {
                if !near.iter().any(|one| Arc::ptr_eq(one, peer)) && !peer.shuns(volume) {
                    near.push(Arc::clone(peer));
                }
            }
        }
        near.sort_by_key(|peer| !peer.is_local);
        near
    }

    /// Those that announced `volume`, for when nobody can say where it is.
    pub fn with_volume(&self, volume: u32) -> Vec<Arc<Peer>> {
        let table = self.table.load();
        let has = |peer: &&Arc<Peer>| peer.announced.volumes.contains(&volume);
        let mut with: Vec<_> = table.peers.iter().filter(has).cloned().collect();
        with.sort_by_key(|peer| !peer.is_local);
        with
    }

    /// All there are.
    pub fn all(&self) -> Vec<Arc<Peer>> {
        self.table.load().peers.clone()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.table.load().peers.is_empty()
    }

    /// Asks for an [`update`](Peers::update): what is known was no help.
    pub fn look_again(&self) {
        self.asked.raise();
    }

    /// Completes when somebody asks to look again, or has asked since the last time.
    pub async fn asked(&self) {
        self.asked.raised().await;
        self.asked.clear();
    }
}

impl Peer {
    /// Its name in logs and statistics: the address of its HTTP server.
    pub fn name(&self) -> &str {
        &self.announced.http
    }

    fn shuns(&self, volume: u32) -> bool {
        self.kept.shunned.contains(volume)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::announce::Endpoints;

    fn announced(http: &str, host: &str, beside: &[&str], volumes: &[u32]) -> Announcement {
        Announcement {
            http: http.to_owned(),
            fabric: Endpoints {
                version: 1,
                host: host.to_owned(),
                tcp: Some(http.to_owned()),
                ..Endpoints::default()
            },
            volume_servers: beside.iter().map(|it| (*it).to_owned()).collect(),
            volumes: volumes.to_vec(),
            generation: 0,
            data_center: String::new(),
            rack: String::new(),
        }
    }

    fn locations(urls: &[&str]) -> Vec<Location> {
        urls.iter()
            .map(|url| Location {
                url: (*url).to_owned(),
                public_url: format!("public-{url}"),
                data_center: String::new(),
            })
            .collect()
    }

    fn names(peers: &[Arc<Peer>]) -> Vec<&str> {
        peers.iter().map(|peer| peer.name()).collect()
    }

    #[test]
    fn those_beside_a_replica_are_found_and_those_on_this_host_come_first() {
        let peers = Peers::new("here".to_owned()).unwrap();
        assert!(peers.is_empty() && peers.near(1, &locations(&["v1"])).is_empty());
        peers.update(vec![
            announced("s1", "far", &["v1", "v3"], &[1]),
            announced("s2", "here", &["v2"], &[1, 2]),
            announced("s3", "", &["public-v3"], &[]),
        ]);
        assert_eq!(
            names(&peers.near(1, &locations(&["v1", "v2"]))),
            ["s2", "s1"]
        );
        assert_eq!(names(&peers.near(1, &locations(&["v3", "v1"]))), ["s1"]);
        assert!(peers.near(1, &locations(&["v4"])).is_empty());
        assert_eq!(names(&peers.with_volume(1)), ["s2", "s1"]);
        assert_eq!(names(&peers.with_volume(2)), ["s2"]);
    }

    #[test]
    fn a_public_address_will_do() {
        let peers = Peers::new(String::new()).unwrap();
        peers.update(vec![announced("s", "", &["public-v"], &[])]);
        assert_eq!(names(&peers.near(1, &locations(&["v"]))), ["s"]);
        assert!(!peers.all()[0].is_local, "no name is nobody's name");
    }

    #[test]
    fn what_is_kept_about_a_sidecar_lasts_as_long_as_it_listens_where_it_does() {
        let peers = Peers::new("here".to_owned()).unwrap();
        peers.update(vec![announced("s", "x", &["v"], &[1])]);
        let first = peers.all()[0].clone();
        first.kept.shunned.add(7, Duration::from_secs(60));
        assert!(peers.near(7, &locations(&["v"])).is_empty());
        peers.update(vec![announced("s", "x", &["v"], &[1])]);
        assert!(Arc::ptr_eq(&peers.all()[0], &first), "nothing is new");
        peers.update(vec![announced("s", "x", &["v"], &[1, 7])]);
        let second = peers.all()[0].clone();
        assert!(Arc::ptr_eq(&second.kept, &first.kept));
        assert_eq!(names(&peers.near(7, &locations(&["v"]))), ["s"]);
        peers.update(vec![announced("s", "restarted", &["v"], &[1])]);
        assert!(!Arc::ptr_eq(&peers.all()[0].kept, &first.kept));
        peers.update(vec![]);
        assert!(peers.is_empty());
    }

    #[test]
    fn asking_wakes_the_finder_once() {
        let peers = Peers::new(String::new()).unwrap();
        peers.look_again();
        peers.look_again();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            peers.asked().await;
            let again = tokio::time::timeout(Duration::from_millis(20), peers.asked());
            assert!(again.await.is_err());
        });
    }
}
