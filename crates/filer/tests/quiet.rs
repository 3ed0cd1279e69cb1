//! What we do ourselves is not told, as long as it is answered.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::entries::file;
use common::{connect, event, resumed, start, subscribe, until};
use filer::{Condition, Created, Echo, Filer, Notice, Updated};

/// Of the mount.
const SIGNATURE: i32 = 7;

async fn create(filer: &Filer, name: &str, echo: Echo) {
    let made = filer.create("/q", &file(name, "1"), SIGNATURE, echo).await;
    assert!(matches!(made, Ok(Created::Done(_))), "{made:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answered_changes_are_left_out_and_one_in_doubt_ends_that() {
    let cluster = start(1);
    let filer = connect(&cluster, &[0]).await;
    let mut notices = subscribe(&filer).await;

    create(&filer, "spared", Echo::Spared).await;
    let (changed, none) = (file("spared", "22"), Condition::None);
    let updated = filer
        .update("/q", &changed, none, SIGNATURE, Echo::Spared)
        .await;
    assert!(matches!(updated, Ok(Updated::Done(_))), "{updated:?}");
    // An answer all the same.
    let again = filer
        .create("/q", &file("spared", "1"), SIGNATURE, Echo::Spared)
        .await;
    assert!(matches!(again, Ok(Created::Exists)), "{again:?}");
    create(&filer, "wanted", Echo::Wanted).await;
    let told = |notice: &Notice| matches!(notice, Notice::Event(event) if event.directory == "/q");
    let Notice::Event(first) = until(&mut notices, told).await else {
        unreachable!()
    };
    assert_eq!(first.new.unwrap().name, "wanted");
    assert_eq!(first.signatures[0], SIGNATURE);

    // Nobody waits for the answer: the filer may make it now or later.
    let late = file("late", "1");
    let given_up = filer.create("/q", &late, SIGNATURE, Echo::Spared);
    tokio::select! {
        biased;
        answer = given_up => panic!("it was to be given up: {answer:?}"),
        () = std::future::ready(()) => {}
    }
    let (continuous, changed) = resumed(&mut notices).await;
    assert!(!continuous && !changed);
    create(&filer, "after", Echo::Spared).await;
    let after = event(&mut notices, "after").await;
    assert_eq!(after.signatures[0], SIGNATURE, "known as ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_anything_to_tell_stays_alive() {
    let cluster = start(1);
    let filer = connect(&cluster, &[0]).await;
    let mut notices = subscribe(&filer).await;
    // Longer than the silence that counts as a loss.
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    let mut made = 0;
    while tokio::time::Instant::now() < until {
        create(&filer, &format!("f{made}"), Echo::Spared).await;
        made += 1;
        while let Ok(notice) = tokio::time::timeout(Duration::ZERO, notices.next()).await {
            let alive = matches!(notice, Some(Notice::Alive { .. }));
            let other = matches!(&notice, Some(Notice::Event(event)) if event.directory != "/q");
            assert!(alive || other, "after {made}: {notice:?}");
        }
    }
    println!("{made} made");
    assert!(
        made > 1000,
        "a filer leaves a sign after a thousand: {made}"
    );
}
