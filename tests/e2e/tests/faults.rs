//! Faults under readers that check every byte, and under writers: each test makes one happen, shows that it did, and
//! prints what the readers saw of it. A wrong byte fails the test, wherever it comes from.

mod damage;
mod disks;
mod flips;
mod moves;
pub(crate) mod servers;
mod sidecars;
mod writers;

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::{Mount, Sample, Scene, Tally, noise};
use rustix::io::Errno;

/// Nothing is kept, so that every read needs a server.
const NO_CACHE: [&str; 2] = ["-readerCacheSizeMB=1", "-cacheCapacityMB=0"];
/// What follows a fault comes within this, however busy the machine is.
const SOON: Duration = Duration::from_secs(60);
/// What the fabric gets of a read's time unless a flag says otherwise.
const TIMEOUT: Duration = Duration::from_secs(5);
/// What a read may take besides: to go over HTTP, and on a machine that has a lot else to do.
const SLACK: Duration = Duration::from_secs(5);
/// Only what the fabric gives is an answer.
const STRICT: &str = "-rdma.fallback=false";
/// The mount reads the volume files itself.
const SHORT: &str = "-rdma.shortCircuit=true";

/// Mounts with the fabric; `more` flags win.
fn mount(scene: &Scene, name: &str, sidecar: &str, more: &[&str]) -> Mount {
    let sidecar = format!("-rdma.sidecar={sidecar}");
    // Everything here is on one host.
    let mut flags = vec!["-rdma.enabled", &sidecar, "-rdma.shortCircuit=false"];
    flags.extend(NO_CACHE);
    flags.extend(more);
    scene.mount_at(name, &flags)
}

/// Files of one chunk each, which do not compress, and so lie in `.dat` as they are.
fn samples(scene: &Scene) -> Vec<Sample> {
    let plant = |n: u64| {
        let sample = Sample {
            path: format!("/d/{n}"),
            bytes: noise(n, (n * 60_001) as usize),
        };
        scene.put(&sample.path, &sample.bytes);
        sample
    };
    (1..16).map(plant).collect()
}

/// Reads that the fabric did not deliver by their reason, without those that never happened.
fn fallbacks(mount: &Mount) -> BTreeMap<String, u64> {
    let stats = mount.stats();
    let series = stats["metrics"]["fabric_fallbacks"].as_array().unwrap();
    let counted = series.iter().filter_map(|one| {
        let reason = one["labels"]["reason"].as_str()?.to_owned();
        Some((reason, one["value"].as_u64()?))
    });
    counted.filter(|(_, count)| *count > 0).collect()
}

/// How often the fabric did not deliver for one of these reasons.
fn missed(mount: &Mount, reasons: &[&str]) -> u64 {
    let all = fallbacks(mount);
    reasons.iter().filter_map(|reason| all.get(*reason)).sum()
}

/// All series of a metric added up; 0 where there is none yet.
pub(crate) fn metric(mount: &Mount, name: &str) -> u64 {
    let stats = mount.stats();
    let series = stats["metrics"][name].as_array();
    let values = series.into_iter().flatten();
    values.filter_map(|one| one["value"].as_u64()).sum()
}

/// Prints the line of a test, and sees to it that no read hung: it has the fabric's time (`-rdma.timeoutMs`), and then
/// that of the way over HTTP (docs/SEMANTICS.md, section 4).
fn tell(what: &str, mount: &Mount, tally: &Tally, timeout: Duration) {
    println!(
        "{what}: {tally}; not over the fabric: {:?}",
        fallbacks(mount)
    );
    tally.assert_within(timeout + SLACK);
}

/// An error that a program may see: no other than EIO.
fn is_eio(tally: &Tally) -> bool {
    let errno = tally.last.as_ref().and_then(std::io::Error::raw_os_error);
    errno == Some(Errno::IO.raw_os_error())
}
