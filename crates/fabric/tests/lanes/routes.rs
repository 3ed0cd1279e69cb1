//! Whole routes over real servers: what a reader notices when a sidecar is busy, or its disk is slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use context::Context;
use fabric::announce::{Announcement, Endpoints, this_host};
use fabric::carrier::{Dialer, DialerConfig};
use fabric::client::{Config, Policy};
use fabric::memory::{Arena, ArenaConfig};
use fabric::peers::{Here, Peers};
use fabric::{
    Destination, FabricConfig, FabricRoute, Locate, LocateError, Location, Route, RouteError,
    Stored, TieredRoute, Way, Whole,
};
use seaweed::FileId;

use crate::shelf::{bytes, id};
use crate::support::{BUDGET, MIB, Served, eventually};

/// The volume server: always there, with the same needles.
#[derive(Default)]
struct Http(AtomicUsize);

/// What the needle of a key holds, wherever it is read.
fn contents(needle: FileId) -> Vec<u8> {
    bytes(needle.key as usize * 1000, needle.key)
}

impl Route for Http {
    fn name(&self) -> &'static str {
        "http"
    }

    fn read_at(
        &self,
        _: &Context<'_>,
        needle: FileId,
        offset: u64,
        dst: &mut [u8],
    ) -> Result<Way, RouteError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        dst.copy_from_slice(&contents(needle)[offset as usize..][..dst.len()]);
        Ok(Way::Http)
    }

    fn read_whole(
        &self,
        _: &Context<'_>,
        _: FileId,
        _: Stored,
        _: &mut dyn Destination,
    ) -> Result<Whole, RouteError> {
        unreachable!("only ranges are read here")
    }
}

/// Every volume is beside the one sidecar.
struct There;

impl Locate for There {
    fn locate(&self, _: &Context<'_>, _: u32) -> Result<Arc<[Location]>, LocateError> {
        Ok(Arc::new([Location {
            url: "volume:8080".into(),
            public_url: String::new(),
            data_center: String::new(),
        }]))
    }

    fn forget(&self, _: u32) {}
}

/// A mount's way to `served`, and to HTTP.
struct Mount {
    fabric: Arc<FabricRoute>,
    tiered: TieredRoute<Http>,
}

impl Mount {
    fn new(served: &Served, timeout: Duration) -> Self {
        Self::to(served.endpoints.clone(), timeout)
    }

    fn to(endpoints: Endpoints, timeout: Duration) -> Self {
        let config = Config {
            timeout,
            ..Config::default()
        };
        let policy = Arc::new(Policy::new(config, 1));
        let peers = Peers::new(policy.clone(), Here::default()).unwrap();
        peers.update(vec![Announcement {
            http: "sidecar:8081".into(),
            fabric: endpoints,
            volume_servers: vec!["volume:8080".into()],
            volumes: vec![1],
            generation: 1,
            data_center: String::new(),
            rack: String::new(),
        }]);
        let arena = Arena::new(ArenaConfig {
            size: 256 * MIB,
            keep: 0,
            quarantine: 128 * MIB,
            reserved_pages: false,
        });
        let arena = arena.unwrap();
        let dialer = Dialer::new(DialerConfig {
            name: "test".into(),
            host: this_host().unwrap(),
            read_key: None,
            tls: None,
            arena: Some(arena.clone()),
            remote_reads: true,
            trusted: Vec::new(),
            patience: Duration::from_secs(5),
        });
        let fabric = Arc::new(FabricRoute::new(FabricConfig {
            policy,
            peers: Arc::new(peers),
            locate: Arc::new(There),
            dial: Arc::new(dialer),
            arena: Some(arena),
        }));
        Self {
            tiered: TieredRoute::new(fabric.clone(), Http::default(), true),
            fabric,
        }
    }

    /// Reads all of a needle as a range; how it came, and how long it took. The bytes are right.
    fn read(&self, needle: FileId) -> (Way, Duration) {
        let expected = contents(needle);
        let mut got = vec![0; expected.len()];
        let began = Instant::now();
        let way = self
            .tiered
            .read_at(&Context::background(BUDGET), needle, 0, &mut got)
            .unwrap();
        assert!(got == expected, "{needle}");
        (way, began.elapsed())
    }
}

fn planted(served: &Served, keys: impl IntoIterator<Item = u64>) {
    for key in keys {
        let needle = id(1, key);
        served.shelf.put(needle, contents(needle), false);
    }
}

#[test]
fn a_read_that_a_busy_sidecar_turns_away_goes_over_http_without_an_error() {
    let served = Served::with(|config| config.busy_bytes = 3 * MIB as u64);
    planted(&served, [2000, 1500]);
    served.shelf.cool();
    // Long enough that no read is given up for its slowness.
    let mount = Mount::new(&served, BUDGET);
    served.shelf.hold(true);
    let before = served.shelf.reads();
    std::thread::scope(|scope| {
        let held = scope.spawn(|| mount.read(id(1, 2000)));
        assert!(eventually(|| served.shelf.reads() > before));
        assert_eq!(mount.read(id(1, 1500)).0, Way::Http);
        assert_eq!(mount.fabric.stats().missed_for("busy"), 1);
        assert!(served.server().stats().busy.get() >= 1);
        served.shelf.hold(false);
        // What was taken in is answered, also while others are turned away.
        assert_eq!(held.join().unwrap().0, Way::Fabric);
    });
    // And it is asked again by itself.
    assert!(eventually(|| mount.read(id(1, 1500)).0 == Way::Fabric));
    assert_eq!(mount.fabric.stats().missed_for("open_breaker"), 0);
}

#[test]
fn a_needle_that_the_disk_takes_long_for_holds_up_no_other() {
    let threads = 4;
    let served = Served::with(|config| {
        config.workers = 1;
        config.disk_threads = threads;
    });
    let (stuck, warm, cold) = (id(1, 700), [10, 11, 12], [20, 21, 22]);
    planted(&served, [700]);
    planted(&served, warm);
    planted(&served, cold);
    for key in cold {
        served.shelf.cool_one(id(1, key));
    }
    served.shelf.stick(stuck);
    let mount = Mount::new(&served, BUDGET);
    let before = served.shelf.reads();
    std::thread::scope(|scope| {
        // One thread of the disk is left.
        let held: Vec<_> = (1..threads)
            .map(|_| scope.spawn(|| mount.read(stuck)))
            .collect();
        assert!(eventually(|| served.shelf.reads() >= before + threads - 1));
        for key in warm.into_iter().chain(cold) {
            let (way, took) = mount.read(id(1, key));
            println!("{key} by {way:?} in {took:?}");
            assert_eq!(way, Way::Fabric, "{key}");
        }
        assert!(held.iter().all(|read| !read.is_finished()));
        served.shelf.unstick();
        for read in held {
            assert_eq!(read.join().unwrap().0, Way::Fabric);
        }
    });
    assert_eq!(mount.fabric.stats().missed(), 0);
}

#[test]
fn when_the_whole_disk_hangs_what_is_in_memory_comes_and_the_rest_goes_over_http() {
    let threads = 2;
    let timeout = Duration::from_millis(500);
    let served = Served::with(|config| {
        config.workers = 1;
        config.disk_threads = threads;
    });
    planted(&served, [30, 31, 32, 33, 700]);
    for key in [31, 32, 33] {
        served.shelf.cool_one(id(1, key));
    }
    served.shelf.stick(id(1, 700));
    let (hung, mount) = (Mount::new(&served, BUDGET), Mount::new(&served, timeout));
    let before = served.shelf.reads();
    std::thread::scope(|scope| {
        let held: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| hung.read(id(1, 700))))
            .collect();
        assert!(eventually(|| served.shelf.reads() >= before + threads));
        assert_eq!(mount.read(id(1, 30)).0, Way::Fabric, "it is in memory");
        for key in [31, 32, 33] {
            // The first waits for its time, the others find the sidecar left alone, or the same.
            let (way, took) = mount.read(id(1, key));
            println!("{key} by {way:?} in {took:?}");
            assert_eq!(way, Way::Http, "{key}");
        }
        served.shelf.unstick();
        for read in held {
            assert_eq!(read.join().unwrap().0, Way::Fabric);
        }
    });
    assert!(mount.fabric.stats().missed_for("timeout") >= 1);
    assert!(eventually(|| mount.read(id(1, 31)).0 == Way::Fabric));
}

#[test]
fn a_mount_that_never_pauses_takes_the_better_way_again_when_it_works() {
    // Alone, a reader uses the lane that it has, and opens none that would show that the way works again.
    takes_the_better_way_again(0);
    // Others are in the middle of reads when the way works again.
    takes_the_better_way_again(3);
}

fn takes_the_better_way_again(others: usize) {
    let served = Served::new();
    let socket = served.endpoints.unix.clone().unwrap();
    let away = format!("{socket}.moved");
    planted(&served, [5]);
    let endpoints = Endpoints {
        unix: Some(away.clone()),
        ..served.endpoints.clone()
    };
    let mount = Mount::to(endpoints, BUDGET);
    let read = || assert_eq!(mount.read(id(1, 5)).0, Way::Fabric);
    let stats = served.server().stats();
    let (shm, tcp) = (&stats.shm.exchanges, &stats.tcp.exchanges);
    read();
    assert!(eventually(|| tcp.get() == 1), "there is no other way");
    std::os::unix::fs::symlink(&socket, &away).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..others {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    read();
                }
            });
        }
        let is_taken = eventually(|| {
            read();
            mount.fabric.tidy();
            shm.get() > 100
        });
        is_over.store(true, Ordering::Relaxed);
        assert!(is_taken);
    });
    let is_left = eventually(|| stats.tcp.lanes.get() == 0);
    assert!(is_left, "lanes of the worse way are kept");
    let before = tcp.get();
    for _ in 0..10 {
        read();
    }
    assert_eq!(tcp.get(), before);
    assert_eq!(mount.fabric.stats().missed(), 0);
    std::fs::remove_file(&away).unwrap();
}
