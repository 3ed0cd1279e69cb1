//! How fast, for people to look at: nothing is asserted about time.

use std::time::{Duration, Instant};

use cluster::Cluster;
use fabric::{Route, Stored, UpTo};
use rustix::time::{ClockId, clock_gettime};

use crate::master::Master;
use crate::{ctx, noise, once, route_to};

#[test]
fn small_and_large_reads_are_timed() {
    let cluster = Cluster::builder().start().unwrap();
    let master = Master::of(&cluster, 1);
    let data = noise(4 << 20, 6);
    let needle = master.upload(&data);
    let route = route_to(&master, once());
    let mut dst = vec![0; data.len()];
    for (len, count) in [
        (4 << 10, 3_000),
        (128 << 10, 500),
        (1 << 20, 200),
        (4 << 20, 50),
    ] {
        let dst = &mut dst[..len];
        measure(&format!("range {:>4} KiB", len >> 10), len, count, |i| {
            let at = (i * 7_919 * 4_096) % (data.len() - len + 1);
            route.read_at(&ctx(), needle, at as u64, dst).unwrap();
            assert_eq!(dst[0], data[at]);
        });
    }
    let mut to = UpTo::new(data.len());
    measure("whole 4096 KiB", data.len(), 50, |_| {
        let whole = route
            .read_whole(&ctx(), needle, Stored::Plain, &mut to)
            .unwrap();
        assert!(whole.verified);
    });
    assert_eq!(route.stats().opened.get(), 1);
}

fn measure(what: &str, len: usize, count: usize, mut read: impl FnMut(usize)) {
    let (cpu, began) = (cpu_time(), Instant::now());
    let mut times: Vec<Duration> = (0..count)
        .map(|i| {
            let began = Instant::now();
            read(i);
            began.elapsed()
        })
        .collect();
    let (cpu, wall) = (cpu_time() - cpu, began.elapsed());
    times.sort_unstable();
    let volume = (len * count) as f64;
    println!(
        "{what}: p50 {:?}, p99 {:?}, {:.0} MB/s, our CPU {:?} a read, {:.2} s a GiB",
        times[count / 2],
        times[count * 99 / 100],
        volume / wall.as_secs_f64() / 1e6,
        cpu / count as u32,
        cpu.as_secs_f64() / volume * (1u64 << 30) as f64,
    );
}

fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
