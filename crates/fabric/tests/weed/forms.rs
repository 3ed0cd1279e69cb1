//! Sizes, ranges, compression, deletion; direct and through a filer.

use cluster::Cluster;
use fabric::{Access, HttpConfig, HttpRoute, RouteError, Stored};
use seaweed::FileId;

use crate::master::Master;
use crate::{fetch, noise, once, read, route_to};

#[test]
fn every_needle_is_read_as_it_was_written() {
    let cluster = Cluster::builder().volume_servers(2).start().unwrap();
    let master = Master::of(&cluster, 2);
    let direct = route_to(&master, once());
    let public = HttpConfig {
        access: Access::PublicUrl,
        ..once()
    };
    let proxied = HttpConfig {
        access: Access::FilerProxy(vec![cluster.filer_http()]),
        ..once()
    };
    let routes = [
        direct,
        route_to(&master, public),
        route_to(&master, proxied),
    ];
    for len in [1, 4095, 4096, 100_000, 4 << 20] {
        let data = noise(len, len as u64);
        let needle = master.upload(&data);
        for route in &routes {
            plain(route, needle, &data);
        }
    }
    compressed(&master, &routes);
    missing(&master, &routes);
    for route in &routes {
        let stats = route.stats();
        let (requests, opened) = (stats.requests.get(), stats.opened.get());
        println!("{requests} requests on {opened} connections");
        // One for each server; and one for each range that the server clipped to a body too
        // long to be read only for the sake of the connection (100,000 bytes and 4 MiB).
        assert!(opened <= 4, "{opened}");
        assert_eq!(stats.stale.get(), 0);
    }
}

#[test]
fn a_needle_of_64_mib_is_read_whole_and_in_parts() {
    let cluster = Cluster::builder().start().unwrap();
    let master = Master::of(&cluster, 1);
    let data = noise(64 << 20, 64);
    let needle = master.upload(&data);
    let route = route_to(&master, once());
    assert!(fetch(&route, needle, Stored::Plain).unwrap() == data);
    for (at, len) in [(0, 1 << 20), (12_345_678, 8 << 20), (data.len() - 3, 3)] {
        assert!(read(&route, needle, at as u64, len).unwrap() == data[at..at + len]);
    }
}

#[test]
fn many_threads_share_a_route_and_never_each_others_bytes() {
    let cluster = Cluster::builder().start().unwrap();
    let master = Master::of(&cluster, 1);
    let needles: Vec<_> = (0..8)
        .map(|seed| {
            let data = noise(200_000, 100 + seed);
            (master.upload(&data), data)
        })
        .collect();
    let route = route_to(&master, once());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (route, needles) = (&route, &needles);
            scope.spawn(move || {
                for i in 0..150 {
                    let (needle, data) = &needles[(thread + i) % needles.len()];
                    let len = 1 + i * 577 % 60_000;
                    let at = (i * 7_919 + thread * 13) % (data.len() - len);
                    let got = read(route, *needle, at as u64, len).unwrap();
                    assert!(got == data[at..at + len], "{thread}: {len} at {at}");
                }
            });
        }
    });
    assert!(route.stats().opened.get() <= 8);
    assert_eq!(route.stats().requests.get(), 8 * 150);
}

fn plain(route: &HttpRoute, needle: FileId, data: &[u8]) {
    let len = data.len();
    assert!(
        fetch(route, needle, Stored::Plain).unwrap() == data,
        "{len}"
    );
    for (from, to) in [(0, 1), (0, len), (len - 1, len), (len / 3, len / 2 + 1)] {
        let got = read(route, needle, from as u64, to - from).unwrap();
        assert!(got == data[from..to], "{len}: {from}..{to}");
    }
    for (at, count) in [(len, 1), (len - 1, 2), (0, len + 1), (len * 2, 10)] {
        let failure = read(route, needle, at as u64, count).unwrap_err();
        let expected = matches!(failure, RouteError::PastEnd { .. });
        assert!(expected, "{len}: {count} at {at}: {failure}");
    }
}

fn compressed(master: &Master, routes: &[HttpRoute]) {
    let clear = "All the bytes of a text that compresses well. ".repeat(20_000);
    let clear = clear.as_bytes();
    // The server compresses it by itself, as it can see that this is text.
    let needle = master.upload_as(clear, "text/plain", &[]);
    for route in routes {
        let stored = fetch(route, needle, Stored::Gzip).unwrap();
        assert!(stored.len() < clear.len() / 10, "{} bytes", stored.len());
        assert_eq!(stored[..2], [0x1f, 0x8b]);
        assert!(fetch(route, needle, Stored::Plain).unwrap() == clear);
        for (at, len) in [
            (0, 1),
            (500_000, 4096),
            (clear.len() - 1, 1),
            (0, clear.len()),
        ] {
            assert!(read(route, needle, at as u64, len).unwrap() == clear[at..at + len]);
        }
    }
}

fn missing(master: &Master, routes: &[HttpRoute]) {
    let data = noise(10_000, 7);
    let kept = master.upload(&data);
    let gone = master.upload(&data);
    master.delete(gone);
    for route in routes {
        // Deleted, but not yet vacuumed away: whoever still refers to it gets it.
        assert!(fetch(route, gone, Stored::Plain).unwrap() == data);
        assert!(read(route, gone, 5_000, 100).unwrap() == data[5_000..5_100]);
        assert_eq!(route.stats().deleted.get(), 2);

        let cookie = FileId {
            cookie: kept.cookie ^ 1,
            ..kept
        };
        let never = FileId {
            key: kept.key + 1_000,
            ..kept
        };
        for needle in [cookie, never] {
            let failure = read(route, needle, 0, 1).unwrap_err();
            assert!(matches!(failure, RouteError::NotFound { .. }), "{failure}");
            let failure = fetch(route, needle, Stored::Plain).unwrap_err();
            assert!(matches!(failure, RouteError::NotFound { .. }), "{failure}");
        }
        let nowhere = FileId {
            volume: 999,
            ..kept
        };
        let failure = read(route, nowhere, 0, 1).unwrap_err();
        // A filer answers 500 for a volume that nobody has.
        let expected = matches!(
            failure,
            RouteError::Unlocated { .. } | RouteError::Status { status: 500, .. }
        );
        assert!(expected, "{failure}");
    }
}
