//! Servers that die, freeze, come back, or send us elsewhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::Cluster;
use fabric::{HttpConfig, Location, RouteError, Stored};

use crate::master::Master;
use crate::{fetch, noise, once, read, route_to};

#[test]
fn a_replica_stands_in_for_a_frozen_and_for_a_dead_server() {
    let cluster = Cluster::builder().volume_servers(2).replication("001");
    let mut cluster = cluster.start().unwrap();
    let master = Master::of(&cluster, 2);
    let data = noise(300_000, 3);
    let needle = master.upload(&data);
    let config = HttpConfig {
        switch_after: Duration::from_millis(300),
        ..HttpConfig::default()
    };
    let places = master.ask(needle.volume).unwrap();
    assert_eq!(places.len(), 2);
    let index = |url: &str| (0..2).find(|i| cluster.volume_http(*i) == url).unwrap();
    let nearest = index(&places[0].url);

    let route = route_to(&master, config);
    master.pretend(needle.volume, places.clone());
    assert!(fetch(&route, needle, Stored::Plain).unwrap() == data);
    cluster.stop_volume(nearest).unwrap();
    for round in 0..5 {
        let began = Instant::now();
        assert!(read(&route, needle, 1_000, 4096).unwrap() == data[1_000..5_096]);
        println!("nearest server frozen, read {round}: {:?}", began.elapsed());
    }
    assert!(route.stats().errors("silent") >= 1);
    assert!(route.stats().switches.get() >= 1);
    cluster.cont_volume(nearest).unwrap();

    // Later its suspicion has passed and it is asked first again, but it is dead by then.
    std::thread::sleep(Duration::from_secs(3));
    cluster.kill_volume(nearest).unwrap();
    master.pretend(needle.volume, places);
    for _ in 0..5 {
        assert!(fetch(&route, needle, Stored::Plain).unwrap() == data);
    }
    assert!(route.stats().errors("unreachable") >= 1);
}

#[test]
fn readers_outlast_the_restart_of_the_only_server() {
    let mut cluster = Cluster::builder().start().unwrap();
    let master = Master::of(&cluster, 1);
    let data = noise(100_000, 4);
    let needle = master.upload(&data);
    let config = HttpConfig {
        retry: Duration::from_secs(40),
        ..HttpConfig::default()
    };
    let route = route_to(&master, config);
    assert!(fetch(&route, needle, Stored::Plain).unwrap() == data);
    // The kept connection is dead after this, and nobody said so.
    cluster.restart_volume(0).unwrap();
    assert!(fetch(&route, needle, Stored::Plain).unwrap() == data);

    cluster.kill_volume(0).unwrap();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| read(&route, needle, 7, 50_000));
        std::thread::sleep(Duration::from_millis(700));
        cluster.restart_volume(0).unwrap();
        assert!(reader.join().unwrap().unwrap() == data[7..50_007]);
    });
    assert!(route.stats().retries.get() >= 1);

    cluster.kill_volume(0).unwrap();
    let route = route_to(&master, once());
    let failure = read(&route, needle, 0, 1).unwrap_err();
    let expected = matches!(
        failure,
        RouteError::Unreachable { .. } | RouteError::Unlocated { .. }
    );
    assert!(expected, "{failure}");
}

#[test]
fn a_server_without_the_volume_knows_the_way() {
    for mode in ["redirect", "proxy"] {
        let cluster = Cluster::builder().volume_servers(2);
        let cluster = cluster.volume_arg(&format!("-readMode={mode}"));
        let cluster = cluster.start().unwrap();
        let master = Master::of(&cluster, 2);
        let data = noise(30_000, 5);
        let needle = master.upload(&data);
        let home = master.ask(needle.volume).unwrap()[0].url.clone();
        let mut servers = (0..2).map(|i| cluster.volume_http(i));
        let away = servers.find(|url| *url != home).unwrap();
        let elsewhere: Arc<[Location]> = Arc::new([Location {
            url: away,
            public_url: String::new(),
            data_center: String::new(),
        }]);
        master.pretend(needle.volume, elsewhere);
        let route = route_to(&master, once());
        assert!(fetch(&route, needle, Stored::Plain).unwrap() == data);
        assert!(read(&route, needle, 100, 200).unwrap() == data[100..300]);
        let redirects = if mode == "redirect" { 2 } else { 0 };
        assert_eq!(route.stats().redirects.get(), redirects, "{mode}");
    }
}
