//! Measures what the transport itself costs: a file system that has nothing to
//! do, read in the ways that matter, several rounds of each, best and median.
//!
//! ```sh
//! sudo cargo run --release -p fuse --example null [auto|uring|device]
//! ```
#![allow(clippy::unwrap_used)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fuse::{SessionConfig, Transport};
use parking_lot::RwLock;
use rustix::fs::{Advice, AtFlags, StatxFlags};
use support::{Kind, MemFs, Mounted, Piece, Random};

const SIZE: usize = 256 << 20;
const ROUNDS: usize = 7;

fn main() {
    if !support::can_mount() {
        return;
    }
    let config = SessionConfig {
        transport: match std::env::args().nth(1).as_deref() {
            Some("uring") => Transport::Uring,
            Some("device") => Transport::Device,
            _ => Transport::Auto,
        },
        ..SessionConfig::default()
    };
    for delay in [0, 500] {
        read_ahead(&config, Duration::from_micros(delay));
    }
    let mounted = Mounted::with(tree(), config);
    match &mounted.session.negotiated().uring {
        Ok(()) => println!("over io_uring"),
        Err(reason) => println!("over /dev/fuse: {reason}"),
    }
    for name in ["shared", "filled"] {
        let file = open(&mounted, name, libc::O_DIRECT);
        let rates = (0..ROUNDS).map(|_| sequential(&file)).collect();
        report(&format!("O_DIRECT 1 MiB reads, {name}, GB/s"), rates, true);
    }
    let file = open(&mounted, "shared", libc::O_DIRECT);
    let rates = (0..ROUNDS).map(|_| median_latency(&file)).collect();
    report("O_DIRECT 4 KiB reads, one at a time, p50 us", rates, false);
    for jobs in [8, 16] {
        let rates = (0..ROUNDS).map(|_| parallel(&mounted, jobs)).collect();
        report(
            &format!("O_DIRECT 4 KiB reads, {jobs} threads, K/s"),
            rates,
            true,
        );
    }
    let rates = (0..ROUNDS).map(|_| getattr(&file)).collect();
    report("GETATTR, p50 us", rates, false);
    println!("threads at the end: {}", mounted.session.threads());
}

/// Sequential reads with windows of several sizes, in turn, of a source that takes `delay`.
fn read_ahead(config: &SessionConfig, delay: Duration) {
    const SIZES: [u32; 5] = [128, 1024, 2048, 4096, 8192];
    let mut rates = SIZES.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (rates, read_ahead_kb) in rates.iter_mut().zip(SIZES) {
            let config = SessionConfig {
                read_ahead_kb: Some(read_ahead_kb),
                ..config.clone()
            };
            let mut fs = tree();
            fs.delay = delay;
            let mounted = Mounted::with(fs, config);
            rates.push(sequential(&open(&mounted, "shared", 0)));
        }
    }
    for (rates, size) in rates.into_iter().zip(SIZES) {
        let what = format!("buffered, read-ahead {size} KiB, source {delay:?}, GB/s");
        report(&what, rates, true);
    }
}

fn tree() -> MemFs {
    let mut fs = MemFs::new();
    let shared = vec![Piece::Share(Bytes::from(vec![7; 1 << 20])); SIZE >> 20];
    fs.add("shared", Kind::File(RwLock::new(shared)));
    let filled = (0..SIZE >> 20).map(|_| Piece::Fill(vec![7; 1 << 20]));
    fs.add("filled", Kind::File(RwLock::new(filled.collect())));
    fs.ttl = Duration::ZERO;
    fs
}

fn open(mounted: &Mounted, name: &str, flags: i32) -> File {
    File::options()
        .read(true)
        .custom_flags(flags)
        .open(mounted.path(name))
        .unwrap()
}

/// Memory aligned as O_DIRECT wants it.
struct Aligned(Vec<u8>, usize);

impl Aligned {
    fn new(len: usize) -> Self {
        let memory = vec![1; len + 4096];
        let offset = memory.as_ptr().align_offset(4096);
        Self(memory, offset)
    }

    fn slice(&mut self, len: usize) -> &mut [u8] {
        &mut self.0[self.1..self.1 + len]
    }
}

fn sequential(file: &File) -> f64 {
    rustix::fs::fadvise(file, 0, None, Advice::DontNeed).unwrap();
    let mut memory = Aligned::new(1 << 20);
    let start = Instant::now();
    let mut offset = 0;
    while offset < SIZE {
        offset += file.read_at(memory.slice(1 << 20), offset as u64).unwrap();
    }
    SIZE as f64 / start.elapsed().as_secs_f64() / 1e9
}

fn median_latency(file: &File) -> f64 {
    let mut memory = Aligned::new(4096);
    let mut random = Random(9);
    median((0..5000).map(|_| {
        let offset = random.below(SIZE / 4096) * 4096;
        let start = Instant::now();
        file.read_exact_at(memory.slice(4096), offset as u64)
            .unwrap();
        start.elapsed().as_secs_f64() * 1e6
    }))
}

fn parallel(mounted: &Mounted, jobs: u64) -> f64 {
    const TIME: Duration = Duration::from_millis(500);
    let done = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for job in 1..=jobs {
            let done = &done;
            scope.spawn(move || {
                let file = open(mounted, "shared", libc::O_DIRECT);
                let mut memory = Aligned::new(4096);
                let mut random = Random(job);
                let start = Instant::now();
                while start.elapsed() < TIME {
                    let offset = random.below(SIZE / 4096) * 4096;
                    file.read_exact_at(memory.slice(4096), offset as u64)
                        .unwrap();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    done.into_inner() as f64 / TIME.as_secs_f64() / 1e3
}

fn getattr(file: &File) -> f64 {
    median((0..5000).map(|_| {
        let start = Instant::now();
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
        rustix::fs::statx(file.as_fd(), "", flags, StatxFlags::BASIC_STATS).unwrap();
        start.elapsed().as_secs_f64() * 1e6
    }))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn report(what: &str, values: Vec<f64>, more_is_better: bool) {
    let best = if more_is_better { f64::max } else { f64::min };
    let best = values.iter().copied().reduce(best).unwrap();
    println!(
        "{what:58} {:8.2} (best {best:.2})",
        median(values.into_iter())
    );
}
