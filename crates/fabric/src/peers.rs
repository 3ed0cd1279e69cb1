//! The sidecars that a mount knows of, by the volume servers they stand beside.
//!
//! Somebody else finds them ([`announce`](crate::announce) says how) and calls [`Peers::update`]
//! with what there is; readers look up without a lock. A sidecar that is announced again with the
//! same endpoints stays the same to them, with its open lanes and what is held against it. Whoever
//! is disappointed calls [`Peers::look_again`], and the finder, who waits for
//! [`Peers::asked`], looks at once.

mod ahead;
mod lanes;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use context::Interrupt;
use parking_lot::Mutex;

use crate::Location;
use crate::announce::Announcement;
use crate::client::{self, Candidate, Nearness, Policy};
use crate::eager::Credit;
pub(crate) use ahead::{Ahead, Turn};
use lanes::Lanes;

/// All sidecars known at a time.
#[derive(Debug)]
pub struct Peers {
    table: ArcSwap<Table>,
    asked: Interrupt,
    policy: Arc<Policy>,
    here: Here,
    random: RandomState,
}

/// Where the mount is.
#[derive(Debug, Clone, Default)]
pub struct Here {
    /// What tells our kernel from others ([`this_host`](crate::announce::this_host)); empty if
    /// that is not known.
    pub host: String,
    /// The data center; may be empty.
    pub data_center: String,
    /// The rack; may be empty.
    pub rack: String,
}

/// A sidecar, and what readers keep about it.
#[derive(Debug)]
pub struct Peer {
    /// What it says of itself.
    pub announced: Announcement,
    /// How far away it is.
    pub nearness: Nearness,
    /// How it does; lasts for as long as it listens where it does, as do the lanes.
    pub(crate) health: Arc<client::Peer>,
    /// How it does with writes. What goes wrong with them may be the volume server's fault, and is
    /// no reason to read elsewhere.
    pub(crate) writing: Arc<client::Peer>,
    pub(crate) kept: Arc<Kept>,
}

/// What readers keep about a sidecar.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) lanes: Lanes,
    /// Whether it answers soon.
    pub(crate) credit: Credit,
    /// A lane that nobody waits for.
    pub(crate) ahead: Ahead,
    /// A lane over a better way than that of the lanes there are.
    pub(crate) mending: Ahead,
    /// Why no lane could be opened lately, to say so once.
    trouble: Mutex<Option<String>>,
}

#[derive(Debug, Default)]
struct Table {
    peers: Vec<Arc<Peer>>,
    /// By the address of a volume server, those that stand beside it.
    beside: HashMap<String, Vec<Arc<Peer>>>,
}

impl Peers {
    /// Knows nobody yet.
    ///
    /// # Errors
    /// The system's, when no descriptor is left.
    pub fn new(policy: Arc<Policy>, here: Here) -> io::Result<Self> {
        Ok(Self {
            table: ArcSwap::default(),
            asked: Interrupt::new()?,
            policy,
            here,
            random: RandomState::new(),
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
            peers.push(match same {
                Some(same) if same.announced == announced => Arc::clone(same),
                Some(same) => Arc::new(Peer {
                    nearness: self.here.nearness(&announced),
                    announced,
                    health: Arc::clone(&same.health),
                    writing: Arc::clone(&same.writing),
                    kept: Arc::clone(&same.kept),
                }),
                None => Arc::new(self.stranger(announced)),
            });
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

    /// Those that stand beside one of `locations`.
    pub fn beside(&self, locations: &[Location]) -> Vec<Arc<Peer>> {
        let table = self.table.load();
        let mut found: Vec<Arc<Peer>> = Vec::with_capacity(locations.len());
        for location in locations {
            let by_url = table.beside.get(&location.url);
            let by_public = || table.beside.get(&location.public_url);
            for peer in by_url.or_else(by_public).into_iter().flatten() {
                if !found.iter().any(|one| Arc::ptr_eq(one, peer)) {
                    found.push(Arc::clone(peer));
                }
            }
        }
        found
    }

    /// Those that announced `volume`, for when nobody can say where it is.
    pub fn with_volume(&self, volume: u32) -> Vec<Arc<Peer>> {
        let table = self.table.load();
        let has = |peer: &&Arc<Peer>| peer.announced.volumes.contains(&volume);
        table.peers.iter().filter(has).cloned().collect()
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

impl Peers {
    fn stranger(&self, announced: Announcement) -> Peer {
        let seed = self.random.hash_one(&announced.http);
        let name = announced.http.clone();
        let writing = format!("{name} (writes)");
        let writing = client::Peer::new(writing, self.policy.config(), !seed);
        let health = client::Peer::new(name, self.policy.config(), seed);
        Peer {
            nearness: self.here.nearness(&announced),
            announced,
            health: Arc::new(health),
            writing: Arc::new(writing),
            kept: Arc::default(),
        }
    }
}

impl Here {
    fn nearness(&self, announced: &Announcement) -> Nearness {
        if !self.host.is_empty() && announced.fabric.host == self.host {
            return Nearness::Local;
        }
        Nearness::between(
            (&self.data_center, &self.rack),
            (&announced.data_center, &announced.rack),
        )
    }
}

impl Peer {
    /// Its name in logs and statistics: the address of its HTTP server.
    pub fn name(&self) -> &str {
        &self.announced.http
    }

    pub(crate) fn candidate(&self) -> Candidate {
        Candidate {
            peer: Arc::clone(&self.health),
            nearness: self.nearness,
        }
    }

    pub(crate) fn candidate_for_writes(&self) -> Candidate {
        Candidate {
            peer: Arc::clone(&self.writing),
            nearness: self.nearness,
        }
    }

    /// Says why no lane can be opened, unless that was said last.
    pub(crate) fn tell_trouble(&self, trouble: String) {
        let mut told = self.kept.trouble.lock();
        if told.as_ref() != Some(&trouble) {
            tracing::warn!(sidecar = self.name(), trouble, "no lane can be opened");
            *told = Some(trouble);
        }
    }

    /// A lane was opened: the next trouble is news.
    pub(crate) fn forget_trouble(&self) {
        *self.kept.trouble.lock() = None;
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
                version: crate::wire::VERSION,
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

    fn names(peers: &[Arc<Peer>]) -> Vec<String> {
        peers.iter().map(|peer| peer.name().to_owned()).collect()
    }

    fn peers() -> Peers {
        let policy = Policy::new(client::Config::default(), 1);
        let here = Here {
            host: "here".to_owned(),
            ..Here::default()
        };
        Peers::new(Arc::new(policy), here).unwrap()
    }

    #[test]
    fn those_beside_a_replica_are_found_each_once() {
        let peers = peers();
        assert!(peers.is_empty() && peers.beside(&locations(&["v1"])).is_empty());
        peers.update(vec![
            announced("s1", "far", &["v1", "v3"], &[1]),
            announced("s2", "here", &["v2"], &[1, 2]),
            announced("s3", "", &["public-v4"], &[]),
        ]);
        let beside = |urls: &[&str]| names(&peers.beside(&locations(urls))).join(" ");
        assert_eq!(beside(&["v1", "v2"]), "s1 s2");
        assert_eq!(beside(&["v3", "v1"]), "s1");
        assert_eq!(beside(&["v4"]), "s3", "its public address will do");
        assert_eq!(beside(&["v5"]), "");
        assert_eq!(names(&peers.with_volume(1)), ["s1", "s2"]);
        assert_eq!(names(&peers.with_volume(2)), ["s2"]);
        let near = |peer: &Arc<Peer>| peer.nearness;
        let all: Vec<_> = peers.all().iter().map(near).collect();
        assert_eq!(all, [Nearness::Other, Nearness::Local, Nearness::Other]);
    }

    #[test]
    fn what_is_kept_about_a_sidecar_lasts_as_long_as_it_listens_where_it_does() {
        let peers = peers();
        peers.update(vec![announced("s", "x", &["v"], &[1])]);
        let first = peers.all()[0].clone();
        peers.update(vec![announced("s", "x", &["v"], &[1])]);
        assert!(Arc::ptr_eq(&peers.all()[0], &first), "nothing is new");
        peers.update(vec![announced("s", "x", &["v"], &[1, 7])]);
        let second = peers.all()[0].clone();
        assert!(Arc::ptr_eq(&second.kept, &first.kept));
        assert!(Arc::ptr_eq(&second.health, &first.health));
        assert_eq!(names(&peers.with_volume(7)), ["s"]);
        peers.update(vec![announced("s", "restarted", &["v"], &[1])]);
        assert!(!Arc::ptr_eq(&peers.all()[0].kept, &first.kept));
        peers.update(vec![]);
        assert!(peers.is_empty());
    }

    #[test]
    fn asking_wakes_the_finder_once() {
        let peers = peers();
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
