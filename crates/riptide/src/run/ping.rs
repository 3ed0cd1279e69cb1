//! `riptide ping HOST:PORT [FILEID]`: how long a sidecar takes, over each way there is to it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::context::Context;
use anyhow::{Context as _, bail};
use fabric::announce::{Announcement, Endpoints, this_host};
use fabric::carrier::{Borrowed, Dial, Dialer, DialerConfig};
use fabric::client::{Config, Policy};
use fabric::lane::Lane;
use fabric::memory::{Arena, ArenaConfig};
use fabric::peers::{Here, Peers};
use fabric::wire::{Borrow, Status};
use fabric::{FabricConfig, FabricRoute, Locate, LocateError, Location, ask};
use seaweed::{FileId, Security};
use stats::{Histogram, Snapshot};
use volume::lent;

use crate::options::PingOptions;
use crate::run::print;
use crate::sidecars::listed;

/// Nothing here takes longer unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(5);
/// Memory for the answers.
const ARENA: usize = 128 << 20;
/// A volume that no cluster has: they are counted from 1.
const NOWHERE: FileId = FileId {
    volume: 0,
    key: 1,
    cookie: 0,
};
/// The transports, the best first.
const TRANSPORTS: [&str; 3] = ["shm", "rdma", "tcp"];

/// Prints a table of latencies.
pub(super) fn run(options: &PingOptions) -> anyhow::Result<()> {
    let security = Security::load(options.config_dir.as_deref())?;
    let tls = security.https.as_ref().map(fabric::http::client_config);
    let tls = tls.transpose().context("https.client in security.toml")?;
    let announced = listed::ask(&within(PATIENCE), &options.sidecar, tls.as_ref())
        .map_err(|error| anyhow::anyhow!("{}: {error}", options.sidecar))?;
    let arena = Arena::new(ArenaConfig {
        size: ARENA,
        keep: ARENA,
        quarantine: ARENA,
        reserved_pages: false,
    })
    .context("memory for the answers")?;
    let dialer = Dialer::new(DialerConfig {
        name: "riptide ping".to_owned(),
        host: this_host().unwrap_or_default(),
        read_key: security.read_key,
        tls,
        arena: Some(arena.clone()),
        remote_reads: false,
        trusted: options.sidecar_users.clone(),
        patience: PATIENCE,
    });
    let lending = Arc::new(dialer);
    let dialer = Arc::clone(&lending) as Arc<dyn Dial>;
    print(head(&announced).as_bytes())?;
    let mut worked = false;
    if let Some(needle) = options.needle {
        worked = files(options, needle, &announced, &lending)?;
    }
    for transport in TRANSPORTS {
        let Some(endpoints) = only(&announced.fabric, transport) else {
            continue;
        };
        let began = Instant::now();
        let mut lane = match dialer.dial(&within(PATIENCE), &endpoints) {
            Ok(lane) => lane,
            Err(error) => {
                print(format!("{transport:<6} {error}\n").as_bytes())?;
                continue;
            }
        };
        worked = true;
        let opened = Histogram::new();
        opened.record(began.elapsed());
        print(line(transport, "open a lane", &opened.snapshot(), 0).as_bytes())?;
        let trips = round_trips(lane.as_mut(), options.count)?;
        print(line(transport, "round trip", &trips, 0).as_bytes())?;
        let Some(needle) = options.needle else {
            continue;
        };
        let stored = length(lane.as_mut(), needle)?;
        let announced = Announcement {
            fabric: endpoints,
            ..announced.clone()
        };
        let route = route(announced, Arc::clone(&dialer), arena.clone())?;
        for size in &options.sizes {
            if *size as u64 > stored {
                continue;
            }
            let reads = reads(&route, needle, *size, options.count)?;
            let what = format!("read {size}");
            print(line(transport, &what, &reads, *size).as_bytes())?;
        }
    }
    if !worked {
        bail!("no lane to {} can be opened", options.sidecar);
    }
    Ok(())
}

/// Measures reads of lent files; whether there were any. Nothing is said of a sidecar that does not lend.
fn files(
    options: &PingOptions,
    needle: FileId,
    to: &Announcement,
    dialer: &Dialer,
) -> anyhow::Result<bool> {
    if !to.fabric.lends || to.fabric.host != this_host().unwrap_or_default() {
        return Ok(false);
    }
    let began = Instant::now();
    let borrowed = match borrow(needle.volume, to, dialer) {
        Ok(borrowed) => borrowed,
        Err(error) => {
            print(format!("{FILE:<6} {error:#}\n").as_bytes())?;
            return Ok(false);
        }
    };
    let opened = Histogram::new();
    opened.record(began.elapsed());
    print(line(FILE, "borrow", &opened.snapshot(), 0).as_bytes())?;
    for size in &options.sizes {
        let mut bytes = vec![0; *size];
        let times = Histogram::new();
        for _ in 0..options.count {
            let began = Instant::now();
            let found = borrowed.find(needle);
            let found = found.map_err(|why| anyhow::anyhow!("needle {needle}: {why:?}"))?;
            if *size as u64 > found.len() {
                break;
            }
            found.read_at(0, &mut bytes)?;
            times.record(began.elapsed());
        }
        if times.snapshot().count() > 0 {
            let what = format!("read {size}");
            print(line(FILE, &what, &times.snapshot(), *size).as_bytes())?;
        }
    }
    Ok(true)
}

/// The way of lent files, in the table.
const FILE: &str = "file";

fn borrow(volume: u32, to: &Announcement, dialer: &Dialer) -> anyhow::Result<lent::Borrowed> {
    let mut lender = dialer.lender(&within(PATIENCE), &to.fabric)?;
    let asked = Borrow { volume, held: None };
    let files = match lender.borrow(&within(PATIENCE), asked)? {
        Borrowed::Files(files, terms) => direct::files(files, terms),
        Borrowed::Otherwise(lent) => bail!("volume {volume} is not lent: {}", lent.name()),
    };
    let files = files.context("volume files of an unknown form")?;
    // One volume, for which somebody waits.
    let borrower = lent::Borrower::new(1, u64::MAX, 16 << 20)?;
    let borrowed = borrower.borrow(files)?;
    while borrowed.is_loading() && borrowed.keep_up() {
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(borrowed)
}

fn within(patience: Duration) -> Context<'static> {
    Context::background(patience)
}

/// The endpoints with one transport alone; nothing if the sidecar does not offer it.
fn only(all: &Endpoints, transport: &str) -> Option<Endpoints> {
    let bare = Endpoints {
        unix: None,
        tcp: None,
        rdma: Vec::new(),
        ..all.clone()
    };
    match transport {
        "shm" => all.unix.clone().map(|unix| Endpoints {
            unix: Some(unix),
            ..bare
        }),
        "tcp" => all.tcp.clone().map(|tcp| Endpoints {
            tcp: Some(tcp),
            ..bare
        }),
        _ => (!all.rdma.is_empty()).then(|| Endpoints {
            rdma: all.rdma.clone(),
            ..bare
        }),
    }
}

fn round_trips(lane: &mut dyn Lane, count: u64) -> anyhow::Result<Snapshot> {
    let times = Histogram::new();
    for id in 0..count {
        let began = Instant::now();
        ask(&within(PATIENCE), lane, id + 1, NOWHERE)?;
        times.record(began.elapsed());
    }
    Ok(times.snapshot())
}

/// Bytes stored in `needle`.
fn length(lane: &mut dyn Lane, needle: FileId) -> anyhow::Result<u64> {
    let answer = ask(&within(PATIENCE), lane, u64::MAX, needle)?;
    match answer.status {
        Status::Done | Status::TooLarge if answer.is_gzip => {
            bail!("needle {needle} is stored compressed and not read in parts")
        }
        Status::Done | Status::TooLarge => Ok(answer.stored),
        status => bail!("the sidecar says of needle {needle}: {status:?}"),
    }
}

fn reads(route: &FabricRoute, needle: FileId, size: usize, count: u64) -> anyhow::Result<Snapshot> {
    let times = Histogram::new();
    let mut bytes = vec![0; size];
    for _ in 0..count {
        let began = Instant::now();
        let read = route.read_at(&within(PATIENCE), needle, 0, &mut bytes);
        if let Err(missed) = read {
            bail!("needle {needle}: {missed}");
        }
        times.record(began.elapsed());
    }
    Ok(times.snapshot())
}

/// A route to the one sidecar, as a mount has it.
fn route(
    announced: Announcement,
    dial: Arc<dyn Dial>,
    arena: Arena,
) -> anyhow::Result<FabricRoute> {
    let policy = Arc::new(Policy::new(Config::default(), 0));
    let here = Here {
        host: this_host().unwrap_or_default(),
        ..Here::default()
    };
    let peers = Peers::new(Arc::clone(&policy), here)?;
    let url = announced.volume_servers.first().cloned();
    let url = url.context("the sidecar stands beside no volume server")?;
    peers.update(vec![announced]);
    Ok(FabricRoute::new(FabricConfig {
        policy,
        peers: Arc::new(peers),
        locate: Arc::new(Beside(url)),
        dial,
        arena: Some(arena),
    }))
}

/// Every volume is where the sidecar is.
struct Beside(String);

impl Locate for Beside {
    fn locate(&self, _: &Context<'_>, _: u32) -> Result<Arc<[Location]>, LocateError> {
        Ok(Arc::new([Location {
            url: self.0.clone(),
            public_url: String::new(),
            data_center: String::new(),
        }]))
    }

    fn forget(&self, _: u32) {}
}

fn head(announced: &Announcement) -> String {
    let beside = announced.volume_servers.join(", ");
    let volumes = announced.volumes.len();
    format!(
        "{} beside {beside}, {volumes} volumes\n\n{:<6} {:<14} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10}\n",
        announced.http, "way", "what", "count", "mean", "p50", "p90", "p99", "max", "MiB/s"
    )
}

fn line(transport: &str, what: &str, times: &Snapshot, bytes: usize) -> String {
    let mut line = format!("{transport:<6} {what:<14} {:>9}", times.count());
    let quantiles = [0.5, 0.9, 0.99].map(|q| times.quantile_ns(q));
    for ns in [times.mean_ns()]
        .into_iter()
        .chain(quantiles)
        .chain([times.max_ns()])
    {
        let _ = write!(line, " {:>9}", micros(ns));
    }
    if bytes > 0 {
        let seconds = times.sum_ns() as f64 / 1e9;
        let moved = (bytes as u64 * times.count()) as f64 / f64::from(1 << 20);
        let _ = write!(line, " {:>10.1}", moved / seconds.max(f64::MIN_POSITIVE));
    }
    line.push('\n');
    line
}

/// Microseconds with three digits that count.
fn micros(ns: u64) -> String {
    match ns {
        0..100_000 => format!("{:.1} us", ns as f64 / 1e3),
        100_000..10_000_000 => format!("{:.0} us", ns as f64 / 1e3),
        _ => format!("{:.0} ms", ns as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_transport_is_measured_alone() {
        let all = Endpoints {
            version: fabric::wire::VERSION,
            host: "h".to_owned(),
            unix: Some("/s".to_owned()),
            tcp: Some("a:1".to_owned()),
            ..Endpoints::default()
        };
        let shm = only(&all, "shm").unwrap();
        assert_eq!((shm.unix.as_deref(), shm.tcp), (Some("/s"), None));
        let tcp = only(&all, "tcp").unwrap();
        assert_eq!((tcp.unix, tcp.tcp.as_deref()), (None, Some("a:1")));
        assert_eq!(only(&all, "rdma"), None);
    }

    #[test]
    fn a_line_has_the_quantiles_and_the_throughput() {
        let times = Histogram::new();
        (0..4).for_each(|_| times.record(Duration::from_micros(500)));
        let line = line("shm", "read 1048576", &times.snapshot(), 1 << 20);
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(words[..4], ["shm", "read", "1048576", "4"]);
        assert_eq!(words.last(), Some(&"2000.0"));
        assert_eq!(micros(12_345), "12.3 us");
        assert_eq!(micros(123_456), "123 us");
        assert_eq!(micros(123_456_789), "123 ms");
    }
}
