//! Whole stores over real servers: what a writer notices when a sidecar is away, busy, or of no use.

use std::io::{Read, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use context::Context;
use fabric::announce::{Announcement, Endpoints, this_host};
use fabric::carrier::{Dialer, DialerConfig};
use fabric::client::{Config, Policy, Reason};
use fabric::http::{Form, HttpStore, Place, StoreConfig, StoreError};
use fabric::memory::{Arena, ArenaConfig};
use fabric::peers::{Here, Peers};
use fabric::{FabricConfig, FabricRoute, Locate, LocateError, Location, TieredStore, WriteStats};
use seaweed::FileId;

use crate::shelf::{bytes, id};
use crate::support::{BUDGET, MIB, Served, eventually};
use crate::writes::served;

/// A volume server's HTTP, which takes everything.
struct Http {
    address: String,
    puts: Arc<AtomicUsize>,
}

impl Http {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let puts: Arc<AtomicUsize> = Arc::default();
        let counted = puts.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let (mut socket, counted) = (socket.unwrap(), counted.clone());
                std::thread::spawn(move || {
                    let mut all = Vec::new();
                    let mut some = vec![0; 64 << 10];
                    while let Ok(got @ 1..) = socket.read(&mut some) {
                        all.extend(&some[..got]);
                        let Some(end) = all.windows(4).position(|four| four == b"\r\n\r\n") else {
                            continue;
                        };
                        let head = String::from_utf8_lossy(&all[..end]).into_owned();
                        let len = head
                            .lines()
                            .find_map(|line| line.strip_prefix("Content-Length: "));
                        if all.len() == end + 4 + len.unwrap().parse::<usize>().unwrap() {
                            counted.fetch_add(1, Ordering::SeqCst);
                            all.clear();
                            let answer = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
                            socket.write_all(answer).unwrap();
                        }
                    }
                });
            }
        });
        Self { address, puts }
    }

    fn puts(&self) -> usize {
        self.puts.load(Ordering::SeqCst)
    }
}

/// Nothing is read here.
struct Nowhere;

impl Locate for Nowhere {
    fn locate(&self, _: &Context<'_>, volume: u32) -> Result<Arc<[Location]>, LocateError> {
        Err(LocateError::Unknown { volume })
    }

    fn forget(&self, _: u32) {}
}

/// A mount's way to a sidecar at `endpoints`, and to HTTP.
struct Mount {
    http: Http,
    store: TieredStore,
}

impl Mount {
    fn new(endpoints: Endpoints, fallback: bool, adjust: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            timeout: Duration::from_secs(2),
            ..Config::default()
        };
        adjust(&mut config);
        let policy = Arc::new(Policy::new(config, 1));
        let arena = Arena::new(ArenaConfig {
            size: 64 * MIB,
            keep: 64 * MIB,
            quarantine: 32 * MIB,
            reserved_pages: false,
        })
        .unwrap();
        let host = this_host().unwrap();
        let peers = Arc::new(Peers::new(policy.clone(), Here::default()).unwrap());
        peers.update(vec![Announcement {
            http: "sidecar:8081".into(),
            fabric: endpoints,
            volume_servers: vec!["volume:8080".into()],
            volumes: Vec::new(),
            generation: 0,
            data_center: String::new(),
            rack: String::new(),
        }]);
        let dialer = Dialer::new(DialerConfig {
            name: "test".into(),
            host,
            read_key: None,
            tls: None,
            arena: Some(arena.clone()),
            remote_reads: true,
            trusted: Vec::new(),
            patience: Duration::from_secs(1),
        });
        let route = Arc::new(FabricRoute::new(FabricConfig {
            policy,
            peers,
            locate: Arc::new(Nowhere),
            dial: Arc::new(dialer),
            arena: Some(arena),
        }));
        let store = TieredStore::new(HttpStore::new(StoreConfig::default()));
        Self {
            http: Http::start(),
            store: store.over(route, fallback),
        }
    }

    fn to(served: &Served) -> Self {
        Self::new(served.endpoints.clone(), true, |_| {})
    }

    fn put(&self, server: &str, needle: FileId, body: &[u8]) -> Result<(), StoreError> {
        let location = Location {
            url: server.into(),
            public_url: String::new(),
            data_center: String::new(),
        };
        let place = Place {
            server: &self.http.address,
            through_filer: false,
            base: needle,
            delta: 0,
            token: "",
        };
        let ctx = Context::background(BUDGET);
        self.store
            .put(&ctx, &location, &place, Form::default(), body)
    }

    fn stats(&self) -> &WriteStats {
        self.store.fabric().unwrap().stats()
    }

    /// Writes over the fabric and over HTTP so far, and why over HTTP.
    fn counts(&self, reason: Reason) -> (u64, usize, u64) {
        assert_eq!(self.stats().missed(), self.stats().missed_for(reason));
        (
            self.stats().writes(),
            self.http.puts(),
            self.stats().missed(),
        )
    }
}

const BESIDE: &str = "volume:8080";

#[test]
fn needles_of_all_sizes_go_by_way_of_the_sidecar() {
    let (served, depot) = served(|_| {});
    for endpoints in [served.endpoints.clone(), served.over_tcp()] {
        let mount = Mount::new(endpoints, true, |_| {});
        for (at, len) in [1, 5000, 65_536, 3 * MIB].into_iter().enumerate() {
            let (needle, body) = (id(3, at as u64), bytes(len, at as u64));
            mount.put(BESIDE, needle, &body).unwrap();
            assert!(depot.kept.lock().unwrap().remove(&needle).unwrap() == body);
        }
        assert_eq!(mount.counts(Reason::Busy), (4, 0, 0));
        assert_eq!(mount.stats().bytes(), 1 + 5000 + 65_536 + 3 * MIB as u64);
    }
    let stats = served.server().stats();
    assert_eq!((stats.shm.writes.get(), stats.tcp.writes.get()), (4, 4));
}

#[test]
fn a_server_without_a_sidecar_and_a_sidecar_without_writes_are_written_to_over_http() {
    let (served, depot) = served(|_| {});
    let mount = Mount::to(&served);
    mount.put("elsewhere:8080", id(3, 1), b"bytes").unwrap();
    assert_eq!(mount.counts(Reason::NoSidecar), (0, 1, 1));
    let older = Endpoints {
        writes: false,
        ..served.endpoints.clone()
    };
    let mount = Mount::new(older, true, |_| {});
    mount.put(BESIDE, id(3, 1), b"bytes").unwrap();
    assert_eq!(mount.counts(Reason::NoSidecar), (0, 1, 1));
    assert_eq!(depot.begun(), 0);
    assert_eq!(served.server().stats().shm.connections.get(), 0);
}

#[test]
fn where_rdma_does_not_work_tcp_does() {
    let (served, _) = served(|_| {});
    // Nobody is there.
    let endpoints = Endpoints {
        rdma: vec!["127.0.0.1:1".into()],
        ..served.over_tcp()
    };
    let mount = Mount::new(endpoints, true, |_| {});
    mount.put(BESIDE, id(3, 1), b"bytes").unwrap();
    assert_eq!(mount.counts(Reason::Busy), (1, 0, 0));
}

#[test]
fn what_the_volume_server_says_is_final_unless_it_may_be_because_of_who_asks() {
    let (served, _) = served(|_| {});
    let mount = Mount::to(&served);
    let refused = mount.put(BESIDE, id(507, 1), b"bytes").unwrap_err();
    let expected = "volume:8080 answers 507: no space";
    assert_eq!(refused.to_string(), expected);
    assert_eq!(mount.counts(Reason::Busy), (0, 0, 0));
    let corrupt = mount.put(BESIDE, id(409, 1), b"bytes").unwrap_err();
    assert!(matches!(corrupt, StoreError::Corrupt { .. }), "{corrupt}");
    assert_eq!(mount.http.puts(), 0);
    mount.put(BESIDE, id(401, 1), b"bytes").unwrap();
    assert_eq!(mount.http.puts(), 1);
    assert_eq!(mount.stats().missed_for(Reason::Declined), 1);
}

#[test]
fn a_volume_server_that_does_not_answer_the_sidecar_is_asked_over_http_and_nobody_is_left_alone() {
    let (served, depot) = served(|_| {});
    depot.hold(true);
    let mount = Mount::new(served.endpoints.clone(), true, |config| {
        config.timeout = Duration::from_millis(400);
    });
    let since = Instant::now();
    mount.put(BESIDE, id(3, 1), b"bytes").unwrap();
    assert!(since.elapsed() < Duration::from_secs(2));
    assert_eq!(mount.counts(Reason::Failed), (0, 1, 1));
    // Not at once again for this volume, and still for another.
    mount.put(BESIDE, id(3, 2), b"bytes").unwrap();
    assert_eq!(mount.counts(Reason::Failed), (0, 2, 2));
    assert_eq!(depot.begun(), 1);
    depot.hold(false);
    mount.put(BESIDE, id(4, 2), b"bytes").unwrap();
    assert_eq!(mount.counts(Reason::Failed), (1, 2, 2));
}

#[test]
fn a_sidecar_that_is_away_is_tried_again_by_itself() {
    let (mut served, _) = served(|_| {});
    let mount = Mount::to(&served);
    mount.put(BESIDE, id(3, 1), b"bytes").unwrap();
    served.server.take().unwrap().stop(Duration::ZERO);
    for n in 0..3 {
        mount.put(BESIDE, id(3, n), b"bytes").unwrap();
    }
    assert_eq!((mount.stats().writes(), mount.http.puts()), (1, 3));
    let unreachable = mount.stats().missed_for(Reason::Unreachable);
    assert!(unreachable > 0 && mount.stats().missed_for(Reason::OpenBreaker) > 0);
}

#[test]
fn a_sidecar_that_is_silent_costs_the_timeout_once() {
    // It accepts, as the kernel does for a process that is stopped, and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = Endpoints {
        version: fabric::wire::VERSION,
        tcp: Some(listener.local_addr().unwrap().to_string()),
        writes: true,
        ..Endpoints::default()
    };
    let mount = Mount::new(silent, true, |config| {
        config.timeout = Duration::from_millis(300);
    });
    let since = Instant::now();
    for n in 0..4 {
        mount.put(BESIDE, id(3, n), &bytes(MIB, n)).unwrap();
    }
    assert!(since.elapsed() < Duration::from_secs(2));
    assert_eq!((mount.stats().writes(), mount.http.puts()), (0, 4));
}

#[test]
fn without_fallback_nothing_goes_over_http_and_busy_is_waited_for() {
    let (mut served, depot) = served(|config| config.courier_threads = 2);
    let mount = Mount::new(served.endpoints.clone(), false, |config| {
        config.max_concurrent = 1;
    });
    depot.hold(true);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|n| scope.spawn(move || (n, bytes(MIB, n))))
            .map(|body| body.join().unwrap())
            .map(|(n, body)| {
                let mount = &mount;
                scope.spawn(move || mount.put(BESIDE, id(3, n), &body))
            })
            .collect();
        assert!(eventually(|| depot.begun() == 1));
        std::thread::sleep(Duration::from_millis(50));
        depot.hold(false);
        for writer in writers {
            writer.join().unwrap().unwrap();
        }
    });
    assert_eq!(mount.counts(Reason::Busy), (4, 0, 0));
    served.server.take().unwrap().stop(Duration::ZERO);
    let failed = mount.put(BESIDE, id(3, 9), b"bytes").unwrap_err();
    let expected = "over the fabric to volume:8080: the sidecar cannot be reached";
    assert_eq!(failed.to_string(), expected);
    assert_eq!(mount.http.puts(), 0);
}
