//! Whatever flags are given: the shares fit, or the error names the flags.

use std::ffi::OsStr;

use super::*;
use crate::flags::Values;
use crate::flags::mount::ALL;

/// A machine with `mib` of memory.
fn machine(mib: u64) -> (tempfile::TempDir, Machine) {
    let dir = tempfile::tempdir().unwrap();
    let proc = dir.path().join("proc");
    std::fs::create_dir(&proc).unwrap();
    std::fs::write(
        proc.join("meminfo"),
        format!("MemTotal: {} kB\n", mib << 10),
    )
    .unwrap();
    let machine = Machine::below(dir.path());
    (dir, machine)
}

fn options(given: &[(&str, &str)]) -> MountOptions {
    let given = given.iter().map(|(name, text)| (*name, OsStr::new(*text)));
    MountOptions::from_values(&Values::new(&ALL, given).unwrap()).unwrap()
}

/// What everything may take together, by the options that come out.
fn sum(options: &MountOptions, ledger: &Ledger) -> u64 {
    let holders = Holder::ALL.iter();
    let shares: usize = holders.map(|who| ledger.account(*who).limit()).sum();
    let threads = options.kernel.max_threads as u64 * (2 * MIB);
    let copies = options.data.concurrent_writers as u64 * options.data.chunk_bytes;
    shares as u64 + threads + copies + BASE
}

#[test]
fn defaults_stay_on_a_large_machine_and_shrink_on_a_small_one() {
    let plain = options(&[("rdma.enabled", "true")]);
    let (_dir, large) = machine(64 << 10);
    let (fitted, ledger) = divide(&plain, &large).unwrap();
    assert_eq!(ledger.ceiling() as u64, (32 << 10) * MIB);
    assert_eq!(fitted.data.memory_bytes, 256 * MIB);
    assert_eq!(fitted.kernel.max_threads, 256);
    assert_eq!(
        fitted.fabric.as_ref().unwrap().short_circuit,
        Some(256 * MIB)
    );
    assert!(sum(&fitted, &ledger) <= ledger.ceiling() as u64);

    for mib in [1024, 1500, 2048, 4096] {
        let (_dir, small) = machine(mib);
        let (fitted, ledger) = divide(&plain, &small).unwrap();
        assert_eq!(ledger.ceiling() as u64, mib / 2 * MIB);
        assert!(fitted.data.memory_bytes < 256 * MIB, "{mib}");
        assert!(fitted.kernel.max_threads < 256 && fitted.kernel.max_threads >= 16);
        assert!(sum(&fitted, &ledger) <= ledger.ceiling() as u64, "{mib}");
    }
}

#[test]
fn flags_that_are_given_stay_and_the_rest_gives_way() {
    let (_dir, machine) = machine(64 << 10);
    let wanted = options(&[("memoryLimitMB", "768"), ("readerCacheSizeMB", "300")]);
    let (fitted, ledger) = divide(&wanted, &machine).unwrap();
    assert_eq!(ledger.ceiling() as u64, 768 * MIB);
    assert_eq!(fitted.data.memory_bytes, 300 * MIB);
    assert!(fitted.memory.write_bytes < 256 * MIB);
    assert!(sum(&fitted, &ledger) <= 768 * MIB);
    assert_eq!(ledger.account(Holder::Reads).limit() as u64, 300 * MIB);
}

#[test]
fn flags_that_do_not_fit_are_an_error_that_names_them() {
    let (_dir, machine) = machine(64 << 10);
    for (flag, text) in [
        ("readerCacheSizeMB", "600"),
        ("fuse.maxThreads", "256"),
        ("concurrentWriters", "300"),
        ("chunkSizeLimitMB", "128"),
    ] {
        let wanted = options(&[("memoryLimitMB", "512"), (flag, text)]);
        let error = format!("{:#}", divide(&wanted, &machine).unwrap_err());
        assert!(error.contains("-memoryLimitMB=512"), "{error}");
        assert!(error.contains(&format!("-{flag} (")), "{error}");
        // Said by nobody, the machine's half is no reason to refuse.
        let wanted = options(&[(flag, text)]);
        let (_dir, small) = self::machine(512);
        let (fitted, ledger) = divide(&wanted, &small).unwrap();
        assert!(sum(&fitted, &ledger) <= ledger.ceiling() as u64);
    }
}

#[test]
fn the_least_ceiling_does() {
    let (_dir, machine) = machine(64 << 10);
    let error = divide(&options(&[("memoryLimitMB", "100")]), &machine).unwrap_err();
    let text = format!("{error:#}");
    let needed = text
        .split(": ")
        .last()
        .and_then(|text| text.split(' ').next());
    let needed = needed.unwrap().to_owned();
    assert!(needed.parse::<u64>().unwrap() <= 224, "{text}");
    divide(&options(&[("memoryLimitMB", &needed)]), &machine).unwrap();
}
