//! The questions of a mount, put to a real filer.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::{config, connect, entries, start};
use filer::{Filer, FilerError, LocateError, VolumeMap};
use tokio::time::sleep;

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_found_with_the_position_of_the_log() {
    let cluster = start(1);
    let filer = connect(&cluster, &[0]).await;
    let configuration = filer.configuration();
    assert_eq!(configuration.version_number, (4, 48));
    assert_eq!(configuration.dir_buckets, "/buckets");
    assert!(!configuration.cipher);

    let root = filer.lookup("/", "").await.unwrap();
    assert!(root.value.is_directory);
    assert_eq!(root.log_signature, configuration.signature);

    entries::create(&filer.client(), "/a", entries::file("f", "hello")).await;
    let found = filer.lookup("/a", "f").await.unwrap();
    assert_eq!(found.value.name, "f");
    assert_eq!(&found.value.content[..], b"hello");
    assert!(found.log_ts_ns > root.log_ts_ns);

    let missing = filer.lookup("/a", "g").await.unwrap_err();
    let FilerError::NotFound { directory, name } = missing else {
        panic!("{missing}");
    };
    assert_eq!((&*directory, &*name), ("/a", "g"));
    let missing = filer.cache_remote("/a", "g").await.unwrap_err();
    assert!(matches!(missing, FilerError::NotFound { .. }), "{missing}");

    let stats = filer.stats();
    assert_eq!((stats.fail_overs, stats.peers[0].failures), (0, 0));
    assert!(stats.peers[0].calls >= 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_entries_come_in_pages_in_order_and_once() {
    let cluster = start(1);
    let filer = connect(&cluster, &[0]).await;
    let names: Vec<String> = (0..10_000).map(|i| format!("entry-{i:05}")).collect();
    let before = Instant::now();
    entries::create_many(&filer, "/big", names.iter().cloned()).await;
    println!("created in {:?}", before.elapsed());

    let before = Instant::now();
    let (mut seen, mut from) = (Vec::new(), String::new());
    loop {
        let page = filer
            .list_page("/big", &from, false, "", 1024)
            .await
            .unwrap();
        let Some(last) = page.entries.last() else {
            break;
        };
        from.clone_from(&last.name);
        seen.extend(page.entries.into_iter().map(|e| e.name));
    }
    println!("listed in pages of 1024 in {:?}", before.elapsed());
    assert_eq!(seen, names);

    let before = Instant::now();
    let all = filer.list_page("/big", "", true, "", 20_000).await.unwrap();
    println!("listed at once in {:?}", before.elapsed());
    assert_eq!(all.entries.len(), names.len());
    assert!(all.snapshot_ts_ns > 0);

    let some = filer
        .list_page("/big", "entry-00120", true, "entry-0012", 100)
        .await
        .unwrap();
    let some: Vec<String> = some.entries.into_iter().map(|e| e.name).collect();
    assert_eq!(some, names[120..130]);
    let none = filer.list_page("/nowhere", "", true, "", 10).await.unwrap();
    assert!(none.entries.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_are_located_and_remembered() {
    let cluster = start(1);
    let filer = connect(&cluster, &[0]).await;
    cluster.put("/f", &[7; 100_000]).unwrap();
    let chunks = filer.lookup("/", "f").await.unwrap().value.chunks;
    let volume = chunks[0].fid.as_ref().unwrap().volume_id;
    let map = VolumeMap::new(filer.clone());
    assert!(map.cached(volume).is_none());

    let calls = filer.stats().peers[0].calls;
    let readers = (0..50).map(|_| map.locate(volume));
    let answers = futures::future::join_all(readers).await;
    assert_eq!(filer.stats().peers[0].calls, calls + 1, "one asks for all");
    let locations = answers[0].clone().unwrap();
    assert_eq!(
        locations[0].url,
        cluster.volume_http(0).trim_start_matches("http://")
    );
    assert!(locations[0].grpc_port > 0);
    assert_eq!(map.cached(volume).unwrap(), locations);

    map.forget(volume);
    assert!(map.cached(volume).is_none());
    assert_eq!(map.locate(volume).await.unwrap(), locations);

    let nowhere = map.locate(9999).await.unwrap_err();
    assert!(matches!(nowhere, LocateError::Nowhere(9999)), "{nowhere}");
    let calls = filer.stats().peers[0].calls;
    map.locate(9999).await.unwrap_err();
    assert_eq!(
        filer.stats().peers[0].calls,
        calls,
        "absence is remembered a moment"
    );

    // Together, one of them lost: the filer's answer is an error then, so each is asked for.
    let map = VolumeMap::new(filer.clone());
    map.expect(&[volume, 9998]);
    assert_eq!(map.locate(volume).await.unwrap(), locations);
    assert!(matches!(
        map.locate(9998).await,
        Err(LocateError::Nowhere(9998))
    ));

    let sizes = filer.statistics("", "", "", "").await.unwrap();
    assert!(sizes.total_size > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_error_of_a_failed_start_names_every_address_and_its_reason() {
    let mut config = config(&["127.0.0.1:1".into(), "no-such-host.invalid:8888".into()]);
    config.retry = std::time::Duration::from_millis(200);
    let text = Filer::connect(config).await.unwrap_err().to_string();
    println!("{text}");
    assert!(text.contains("127.0.0.1:1"), "{text}");
    assert!(text.contains("refused"), "{text}");
    assert!(text.contains("no-such-host.invalid:8888"), "{text}");
}

/// The filer keeps the creation time of an entry that is overwritten, and counts the time to
/// live from there; so a lease is renewed by a longer time to live.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_lives_until_its_time_and_goes_when_deleted() {
    const LEASE: u64 = 3;
    let cluster = start(1);
    let filer = connect(&cluster, &[0]).await;
    let born = SystemTime::now();
    let since_epoch = born.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let entry = |text: &str| {
        let mut entry = entries::file("lease", text);
        let attributes = entry.attributes.get_or_insert_default();
        attributes.crtime = i64::try_from(since_epoch).unwrap();
        let age = born.elapsed().unwrap().as_secs();
        attributes.ttl_sec = i32::try_from(age + LEASE).unwrap();
        entry
    };
    for i in 0..6 {
        let text = i.to_string();
        filer.create_entry("/l/m", entry(&text)).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        let found = filer.lookup("/l/m", "lease").await.unwrap().value;
        assert_eq!(&found.content[..], text.as_bytes());
    }
    sleep(Duration::from_secs(LEASE)).await;
    let ended = filer.lookup("/l/m", "lease").await;
    assert!(
        matches!(ended, Err(FilerError::NotFound { .. })),
        "{ended:?}"
    );

    filer.create_entry("/l/m", entry("again")).await.unwrap();
    filer.delete_entry("/l/m", "lease").await.unwrap();
    let gone = filer.lookup("/l/m", "lease").await;
    assert!(matches!(gone, Err(FilerError::NotFound { .. })), "{gone:?}");
    filer.delete_entry("/l/m", "lease").await.unwrap();

    let mut over_a_folder = entry("x");
    over_a_folder.name = "m".to_owned();
    let refused = filer.create_entry("/l", over_a_folder).await.unwrap_err();
    assert!(matches!(refused, FilerError::Refused { .. }), "{refused}");
}
