//! The stream of changes of a real filer, undisturbed and disturbed.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::entries::{create, delete, file, rename, update};
use common::proxy::Proxy;
use common::{config, connect, event, lost, resumed, start, subscribe, until};
use filer::Notice;

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_change_is_told_within_milliseconds() {
    let cluster = start(1);
    let filer = connect(&cluster, &[0]).await;
    let mut notices = subscribe(&filer).await;
    let client = filer.client();

    create(&client, "/a", file("f", "1")).await;
    let made = event(&mut notices, "f").await;
    assert_eq!((made.directory.as_str(), made.old.is_none()), ("/a", true));
    assert_eq!(&made.new.as_ref().unwrap().content[..], b"1");
    let answer = filer.lookup("/a", "f").await.unwrap();
    assert!(made.is_contained_in(&answer));

    update(&client, "/a", file("f", "22")).await;
    let changed = event(&mut notices, "f").await;
    assert_eq!(&changed.old.as_ref().unwrap().content[..], b"1");
    assert_eq!(&changed.new.as_ref().unwrap().content[..], b"22");
    assert!(
        !changed.is_contained_in(&answer),
        "it came after the answer"
    );

    rename(&client, ("/a", "f"), ("/b", "g")).await;
    let moved = event(&mut notices, "g").await;
    assert_eq!(moved.directory, "/a");
    assert_eq!(moved.new_parent_path, "/b");
    assert_eq!(moved.old.unwrap().name, "f");

    delete(&client, "/b", "g").await;
    let gone = event(&mut notices, "g").await;
    assert!(gone.new.is_none());

    let mut times = Vec::new();
    for i in 0..200 {
        let name = format!("t{i}");
        let start = Instant::now();
        create(&client, "/a", file(&name, "x")).await;
        let answered = start.elapsed();
        event(&mut notices, &name).await;
        times.push((start.elapsed(), answered));
    }
    times.sort();
    let (event, answer) = times[times.len() / 2];
    println!(
        "median: answered after {answer:?}, event after {event:?}; worst {:?}",
        times[199].0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_filer_is_known_to_be_alive() {
    let cluster = start(1);
    let filer = connect(&cluster, &[0]).await;
    let mut notices = subscribe(&filer).await;
    let start = Instant::now();
    let mut last = 0;
    while start.elapsed() < Duration::from_secs(16) {
        let notice = until(&mut notices, |_| true).await;
        let Notice::Alive {
            server_ts_ns,
            flushed_ts_ns,
        } = notice
        else {
            let changed = matches!(notice, Notice::Event(_));
            assert!(changed, "an idle filer must not be lost: {notice:?}");
            continue;
        };
        println!("alive after {:?}, flushed {flushed_ts_ns}", start.elapsed());
        assert!(server_ts_ns > last);
        last = server_ts_ns;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_hides_the_rest_of_the_tree() {
    let cluster = start(1);
    let filer = connect(&cluster, &[0]).await;
    let since_ns = filer.lookup("/", "").await.unwrap().log_ts_ns;
    let path_prefix = "/seen".into();
    let mut notices = filer.subscribe(filer::Subscription {
        path_prefix,
        since_ns,
    });
    let client = filer.client();
    create(&client, "/hidden", file("f", "1")).await;
    create(&client, "/seen", file("f", "2")).await;
    let first = event(&mut notices, "f").await;
    assert_eq!(first.directory, "/seen");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_filer_is_lost_and_its_return_is_not_continuous() {
    let mut cluster = start(1);
    let filer = connect(&cluster, &[0]).await;
    let mut notices = subscribe(&filer).await;
    create(&filer.client(), "/a", file("before", "1")).await;
    event(&mut notices, "before").await;

    cluster.kill_filer(0).unwrap();
    let (reason, after) = lost(&mut notices).await;
    println!("kill noticed after {after:?}: {reason}");
    cluster.restart_filer(0).unwrap();
    let start = Instant::now();
    assert_eq!(resumed(&mut notices).await, (false, false));
    println!("back {:?} after the filer was ready", start.elapsed());

    // The calls recover by themselves, and new events are told.
    filer.lookup("/a", "before").await.unwrap();
    create(&filer.client(), "/a", file("after", "1")).await;
    event(&mut notices, "after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_filer_is_noticed_and_resumes_without_a_gap() {
    let mut cluster = start(1);
    let filer = connect(&cluster, &[0]).await;
    let mut notices = subscribe(&filer).await;
    create(&filer.client(), "/a", file("before", "1")).await;
    event(&mut notices, "before").await;

    cluster.stop_filer(0).unwrap();
    let (reason, after) = lost(&mut notices).await;
    println!("stop noticed after {after:?}: {reason}");
    assert!(after < Duration::from_secs(6), "{after:?}");
    cluster.cont_filer(0).unwrap();
    assert_eq!(resumed(&mut notices).await, (true, false));
    create(&filer.client(), "/a", file("after", "1")).await;
    event(&mut notices, "after").await;
}

/// A client that reaches the filer's gRPC port through `proxy` only.
async fn connect_through(cluster: &cluster::Cluster, proxy: &Proxy) -> filer::Filer {
    let address = format!("{}.{}", cluster.filer_http(), proxy.port);
    filer::Filer::connect(config(&[address])).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_is_lost_at_once_and_what_happened_meanwhile_is_told() {
    let cluster = start(1);
    let proxy = Proxy::start(cluster.filer_grpc()).await;
    let filer = connect_through(&cluster, &proxy).await;
    let direct = connect(&cluster, &[0]).await;
    let mut notices = subscribe(&filer).await;

    proxy.cut();
    let (reason, after) = lost(&mut notices).await;
    println!("cut noticed after {after:?}: {reason}");
    assert!(after < Duration::from_secs(1), "{after:?}");
    create(&direct.client(), "/a", file("meanwhile", "1")).await;
    proxy.restore();
    // It may be another process for all we know, although the log goes on.
    let start = Instant::now();
    let (mut resumed, mut told) = (false, false);
    while !(resumed && told) {
        match until(&mut notices, |_| true).await {
            Notice::Resumed { continuous, .. } => {
                assert!(!continuous);
                resumed = true;
            }
            Notice::Event(e) => told |= e.new.is_some_and(|new| new.name == "meanwhile"),
            _ => {}
        }
    }
    println!("resumed and told after {:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_network_is_noticed_within_seconds() {
    let cluster = start(1);
    let proxy = Proxy::start(cluster.filer_grpc()).await;
    let filer = connect_through(&cluster, &proxy).await;
    let mut notices = subscribe(&filer).await;
    for _ in 0..2 {
        proxy.silence();
        let (reason, after) = lost(&mut notices).await;
        println!("silence noticed after {after:?}: {reason}");
        assert!(after < Duration::from_secs(6), "{after:?}");
        proxy.restore();
        // The connection itself was never broken.
        assert_eq!(resumed(&mut notices).await, (true, false));
    }
}
