//! End-to-end tests: the real `riptide`, mounted on a real SeaweedFS.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod accelerated;
mod applications;
mod attributes;
mod configure;
mod conformance;
mod copying;
mod directories;
mod disk_cache;
mod exercise;
mod fabric;
mod fail_over;
mod faults;
mod filer_restart;
mod freshness;
mod fstab;
mod kinds;
mod later;
mod lifecycle;
mod locks;
mod operations;
mod options;
mod protected;
mod read_only;
mod reference;
mod remote;
mod semantics;
mod short_circuit;
mod sidecar;
mod statistics;
mod stock;
mod tools;
mod two_mounts;
mod uring;
mod volume_restart;
mod writing;
