//! On a machine with RDMA and on one without: the answer is devices, or words.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use verbs::{Config, Connection, Error, Listener, Unavailable};

#[test]
fn a_machine_says_what_it_has_or_what_is_missing() {
    match verbs::available() {
        Ok(devices) => assert!(!devices.is_empty() && devices.iter().all(|d| d.unusable.is_none())),
        Err(missing) => {
            let text = missing.to_string();
            let about = match missing {
                Unavailable::Library { name, .. } => name,
                Unavailable::NoDevice => "/sys/class/infiniband",
                Unavailable::NoProvider { .. } => "ibverbs-providers",
                Unavailable::ConnectionManager { .. } => "module rdma_ucm",
                Unavailable::NoUsableDevice { .. } => "no RDMA device is usable",
            };
            assert!(text.contains(about), "{text}");
            println!("here: {text}");
        }
    }
}

#[test]
fn without_rdma_nothing_is_connected_and_nothing_waits() {
    if verbs::available().is_ok() {
        println!("this machine has RDMA: left out");
        return;
    }
    let start = Instant::now();
    let peer = "127.0.0.1:18600".parse().unwrap();
    let timeout = Duration::from_secs(60);
    let connected = Connection::connect(peer, &Config::default(), timeout, b"")
        .err()
        .unwrap();
    let bound = Listener::bind(peer).err().unwrap();
    let domains = verbs::Domain::all().unwrap_err();
    for error in [connected, bound, domains] {
        assert!(
            matches!(
                error,
                Error::Unavailable(_) | Error::Connect { .. } | Error::Call { .. }
            ),
            "{error}"
        );
    }
    assert!(start.elapsed() < timeout, "it waited for nothing");
}

#[test]
fn ends_of_connections_may_be_used_from_any_thread() {
    fn any_thread<T: Send + Sync>() {}
    any_thread::<Connection>();
    any_thread::<Listener>();
    any_thread::<verbs::MemoryRegion>();
    any_thread::<verbs::MemorySlice>();
    any_thread::<verbs::Domain>();
    fn any_owner<T: Send>() {}
    any_owner::<verbs::Connecting>();
    any_owner::<verbs::Request>();
}
