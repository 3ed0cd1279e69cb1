//! What the tests share: a real cluster, and changes made behind the
//! client's back.

#![allow(dead_code)] // each test file uses its part

use std::time::{Duration, Instant};

use cluster::Cluster;
use filer::{Event, Filer, FilerConfig, Notice, Notices, Subscription};

pub mod entries;
pub mod proxy;

/// Long enough for a loaded machine; only a failing test waits so long.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// A cluster with this many filers.
pub fn start(filers: usize) -> Cluster {
    Cluster::builder().filers(filers).start().unwrap()
}

/// A client of the given filers, in this order.
pub fn config(addresses: &[String]) -> FilerConfig {
    FilerConfig {
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        client_name: "test".into(),
        tls: None,
        retry: PATIENCE,
        data_center: String::new(),
    }
}

pub async fn connect(cluster: &Cluster, filers: &[usize]) -> Filer {
    let addresses: Vec<String> = filers.iter().map(|i| cluster.filer_http_of(*i)).collect();
    Filer::connect(config(&addresses)).await.unwrap()
}

/// Subscribes to everything from now on, and waits until it is live.
pub async fn subscribe(filer: &Filer) -> Notices {
    let since_ns = filer.lookup("/", "").await.unwrap().log_ts_ns;
    let mut notices = filer.subscribe(Subscription {
        path_prefix: "/".into(),
        since_ns,
    });
    let first = until(&mut notices, |n| matches!(n, Notice::Resumed { .. })).await;
    assert!(matches!(
        first,
        Notice::Resumed {
            continuous: false,
            ..
        }
    ));
    notices
}

/// The next notice of the wanted kind; others are dropped.
pub async fn until(notices: &mut Notices, wanted: impl Fn(&Notice) -> bool) -> Notice {
    let limit = Instant::now() + PATIENCE;
    loop {
        let left = limit.saturating_duration_since(Instant::now());
        let notice = tokio::time::timeout(left, notices.next()).await;
        let notice = notice
            .expect("a notice in time")
            .expect("the subscription lives");
        if wanted(&notice) {
            return notice;
        }
    }
}

/// The next event about an entry with this name, old or new.
pub async fn event(notices: &mut Notices, name: &str) -> Event {
    let named = |e: &Event| {
        let names = [&e.old, &e.new].map(|e| e.as_ref().is_some_and(|e| e.name == name));
        names.contains(&true)
    };
    match until(notices, |n| matches!(n, Notice::Event(e) if named(e))).await {
        Notice::Event(event) => *event,
        _ => unreachable!(),
    }
}

/// The loss, and how long it took to notice.
pub async fn lost(notices: &mut Notices) -> (String, Duration) {
    let start = Instant::now();
    match until(notices, |n| matches!(n, Notice::Lost { .. })).await {
        Notice::Lost { reason } => (reason, start.elapsed()),
        _ => unreachable!(),
    }
}

/// Whether it went on without a gap, and whether with another filer.
pub async fn resumed(notices: &mut Notices) -> (bool, bool) {
    match until(notices, |n| matches!(n, Notice::Resumed { .. })).await {
        Notice::Resumed {
            continuous,
            filer_changed,
            ..
        } => (continuous, filer_changed),
        _ => unreachable!(),
    }
}
