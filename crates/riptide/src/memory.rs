//! How the memory of a mount is divided, and who looks after it.
//!
//! [`divide`] makes the ceiling of `-memoryLimitMB` into a ledger with shares, and the options into such
//! that keep to them; [`Watch`] tells the ledger what the kernel says for as long as the mount is there.
//! docs/OPERATIONS.md tells what each share is for.

mod shares;
mod trim;
mod watch;

use anyhow::Context as _;
use ledger::{Holder, Ledger, Machine, Share};

use crate::options::MountOptions;

pub(crate) use shares::{ARENA_MIN, SUMS};
use shares::{METADATA_LEAST, READS_LEAST, Shares, wants};
pub use watch::{Parts, Watch};

const MIB: u64 = 1 << 20;

/// For what no part counts: the program, its threads, the runtime, connections.
const BASE: u64 = 64 * MIB;
/// Without `-memoryLimitMB`, this share of what the machine or the control group has.
const OF_MACHINE: u64 = 2;
/// Where not even that can be read.
const UNKNOWN_MACHINE: u64 = 4096 * MIB;

/// Makes options that fit the ceiling, and the ledger that holds them to it.
///
/// # Errors
/// When flags that were given ask for more than `-memoryLimitMB` allows; they are named.
pub fn divide(options: &MountOptions, machine: &Machine) -> anyhow::Result<(MountOptions, Ledger)> {
    let given = options.memory.limit_bytes;
    let wish = match given {
        0 => machine.memory().unwrap_or(UNKNOWN_MACHINE) / OF_MACHINE,
        given => given,
    };
    let wants = wants(options, ledger::room(wish, BASE));
    let (ceiling, parts) = match ledger::plan(wish, BASE, &wants) {
        // A small machine still gets a mount.
        Err(error) if given == 0 => {
            let needed = error.needed / MIB;
            tracing::warn!("memory: {needed} MiB, as less would not do for these flags");
            (error.needed, ledger::plan(error.needed, BASE, &wants))
        }
        planned => (wish, planned),
    };
    let parts = parts.context("dividing the memory of the mount")?;
    let spare = ledger::room(ceiling, BASE).saturating_sub(parts.iter().sum());
    let shares = Shares::new(&parts, spare, options);
    let fitted = shares.apply(options);
    say(ceiling, &shares, options, &fitted);
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let share = |most: u64, least: u64| Share {
        most: bytes(most),
        least: bytes(least),
    };
    let ledger = Ledger::new(bytes(ceiling), bytes(BASE), |holder| match holder {
        Holder::Reads => share(shares.reads, READS_LEAST / 2),
        Holder::Writes => share(shares.writes, shares.writes_least),
        Holder::Metadata => share(shares.metadata, METADATA_LEAST / 2),
        Holder::Fabric => share(shares.fabric, shares.fabric),
        Holder::Indexes => share(shares.indexes, shares.indexes),
    });
    Ok((fitted, ledger))
}

/// Logs what became of the ceiling, and which defaults had to give way.
fn say(ceiling: u64, shares: &Shares, before: &MountOptions, after: &MountOptions) {
    let mib = |bytes: u64| bytes / MIB;
    tracing::info!(
        ceiling_mib = mib(ceiling),
        reads = mib(shares.reads),
        writes = mib(shares.writes),
        metadata = mib(shares.metadata),
        fabric = mib(shares.fabric),
        indexes = mib(shares.indexes),
        threads = after.kernel.max_threads,
        "memory"
    );
    let numbers = |options: &MountOptions| {
        let fabric = options.fabric.as_ref();
        [
            ("readerCacheSizeMB", mib(options.data.memory_bytes)),
            ("concurrentWriters", options.data.concurrent_writers as u64),
            ("fuse.maxThreads", options.kernel.max_threads as u64),
            (
                "rdma.shortCircuitIndexMB",
                mib(fabric.and_then(|it| it.short_circuit).unwrap_or(0)),
            ),
        ]
    };
    for ((flag, before), (_, after)) in numbers(before).into_iter().zip(numbers(after)) {
        if before != after {
            tracing::info!("memory: -{flag} is {after} and not {before}, to fit -memoryLimitMB");
        }
    }
}

#[cfg(test)]
mod tests;
