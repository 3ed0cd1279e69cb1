//! Two filers that follow each other, and the loss of one.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::entries::{create, file};
use common::{connect, event, lost, resumed, start, subscribe};
use filer::Filer;

/// Looks the same entry up until told to stop; the slowest answer.
async fn keep_asking(filer: Filer, until: Instant) -> (u32, Duration) {
    let (mut count, mut worst) = (0, Duration::ZERO);
    while Instant::now() < until {
        let start = Instant::now();
        filer.lookup("/a", "f").await.unwrap();
        worst = worst.max(start.elapsed());
        count += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (count, worst)
}

/// Both filers know `/a/f`.
async fn seed(cluster: &cluster::Cluster) {
    let first = connect(cluster, &[0]).await;
    create(&first.client(), "/a", file("f", "1")).await;
    let second = connect(cluster, &[1]).await;
    while second.lookup("/a", "f").await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_survive_a_killed_filer_without_an_error() {
    let mut cluster = start(2);
    seed(&cluster).await;
    let filer = connect(&cluster, &[0, 1]).await;
    let first = filer.current();
    let until = Instant::now() + Duration::from_secs(4);
    let asking: Vec<_> = (0..8)
        .map(|_| tokio::spawn(keep_asking(filer.clone(), until)))
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.kill_filer(0).unwrap();
    for task in asking {
        let (count, worst) = task.await.unwrap();
        println!("{count} answers, the slowest after {worst:?}");
    }
    assert_ne!(filer.current(), first);
    assert_eq!(filer.configuration().filer, filer.current());
    let stats = filer.stats();
    assert_eq!(stats.fail_overs, 1, "{stats:?}");

    // The one that came back takes over when the other goes.
    cluster.restart_filer(0).unwrap();
    cluster.kill_filer(1).unwrap();
    filer.lookup("/a", "f").await.unwrap();
    assert_eq!(filer.current(), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_survive_a_filer_that_is_shut_down() {
    let mut cluster = start(2);
    seed(&cluster).await;
    let filer = connect(&cluster, &[0, 1]).await;
    let until = Instant::now() + Duration::from_secs(4);
    let asking: Vec<_> = (0..8)
        .map(|_| tokio::spawn(keep_asking(filer.clone(), until)))
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster
        .filer_process(0)
        .terminate(Duration::from_secs(20))
        .unwrap();
    for task in asking {
        let (count, worst) = task.await.unwrap();
        println!("{count} answers, the slowest after {worst:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_filer_is_left_after_the_time_limit() {
    let mut cluster = start(2);
    seed(&cluster).await;
    let filer = connect(&cluster, &[0, 1]).await;
    cluster.stop_filer(0).unwrap();
    let start = Instant::now();
    filer.lookup("/a", "f").await.unwrap();
    println!("answered after {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(5));
    let start = Instant::now();
    filer.lookup("/a", "f").await.unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "the choice sticks"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_filer_is_waited_for() {
    let mut cluster = start(1);
    let filer = connect(&cluster, &[0]).await;
    cluster.kill_filer(0).unwrap();
    let asking = tokio::spawn({
        let filer = filer.clone();
        async move { filer.lookup("/", "").await }
    });
    tokio::time::sleep(Duration::from_millis(700)).await;
    cluster.restart_filer(0).unwrap();
    asking.await.unwrap().unwrap();
}

/// The merged log of several filers holds changes back for longer than this.
const MERGED: Duration = Duration::from_millis(150);

#[tokio::test(flavor = "multi_thread")]
async fn the_subscription_follows_the_filer_that_answers() {
    let mut cluster = start(2);
    let filer = connect(&cluster, &[0, 1]).await;
    let other = connect(&cluster, &[1]).await;
    let mut notices = subscribe(&filer).await;

    let start = Instant::now();
    create(&filer.client(), "/a", file("own", "1")).await;
    let own = event(&mut notices, "own").await;
    println!("own change told after {:?}", start.elapsed());
    assert!(own.own);
    // The other filer's log is followed soon, but nobody says when: its changes are told once
    // before that, and twice from then on.
    for attempt in 0.. {
        let name = format!("foreign{attempt}");
        let start = Instant::now();
        create(&other.client(), "/a", file(&name, "1")).await;
        let foreign = event(&mut notices, &name).await;
        let told = start.elapsed();
        println!("the other filer's change told after {told:?}");
        assert!(!foreign.own);
        if told > MERGED {
            assert!(attempt < 10, "told only by the merged log, again and again");
            continue;
        }
        let again = event(&mut notices, &name).await;
        println!("and again, when ours had it, after {:?}", start.elapsed());
        assert_eq!(again.ts_ns, foreign.ts_ns);
        filer.lookup("/a", &name).await.unwrap();
        break;
    }

    cluster.kill_filer(0).unwrap();
    let (reason, after) = lost(&mut notices).await;
    println!("noticed after {after:?}: {reason}");
    let start = Instant::now();
    assert_eq!(resumed(&mut notices).await, (false, true));
    println!("resumed after {:?}", start.elapsed());
    assert_eq!(filer.current(), other.current());
    // The merged log of a filer that is alone is as fast as its own, and may be first.
    let mut own = false;
    for n in 0..20 {
        let name = format!("after{n}");
        create(&filer.client(), "/a", file(&name, "1")).await;
        own |= event(&mut notices, &name).await.own;
    }
    assert!(own, "its own log is never heard");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_peer_does_not_delay_what_our_filer_does() {
    let mut cluster = start(2);
    let filer = connect(&cluster, &[0]).await;
    let mut notices = subscribe(&filer).await;
    cluster.stop_filer(1).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    create(&filer.client(), "/a", file("f", "1")).await;
    event(&mut notices, "f").await;
    println!("told after {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(1));

    // What a third filer does would go unnoticed meanwhile, and that is said.
    let (reason, after) = lost(&mut notices).await;
    println!("the merged log is held back, noticed after {after:?}: {reason}");
    cluster.cont_filer(1).unwrap();
    assert_eq!(resumed(&mut notices).await, (true, false));
}
