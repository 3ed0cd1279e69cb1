//! Whom to ask next, and for how long.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use context::Context;
use fabric::{HttpRoute, HttpStats, RouteError, Stored};

use crate::puppet::*;
use crate::{fetch, read};

#[test]
fn a_missing_needle_is_looked_for_among_the_deleted_once() {
    let puppet = Puppet::repeating(answer("404 Not Found", "", b""));
    let mut config = quick();
    config.retry = Duration::from_secs(5);
    let route = route_to(config, &[&puppet]);
    assert!(matches!(
        read(&route, 0, 1),
        Err(RouteError::NotFound { .. })
    ));
    let heads = puppet.heads();
    assert_eq!(heads.len(), 2);
    assert!(!heads[0].contains("readDeleted"));
    assert!(
        heads[1].starts_with("GET /3,1637037d6037?readDeleted=true HTTP"),
        "{}",
        heads[1]
    );
    assert_eq!(route.stats().opened.get(), 1);
}

#[test]
fn a_needle_deleted_under_a_reader_is_still_read() {
    let data = pattern(100);
    let bytes = all(&data);
    let puppet = Puppet::new(move |request| {
        vec![Step::Send(
            match request.head.contains("readDeleted=true") {
                true => bytes.clone(),
                false => answer("404 Not Found", "", b""),
            },
        )]
    });
    let route = route_to(quick(), &[&puppet]);
    assert_eq!(fetch(&route, Stored::Plain).unwrap(), (data, true));
    assert_eq!(route.stats().deleted.get(), 1);
}

#[test]
fn a_moved_volume_is_found_at_its_new_place() {
    let old = Puppet::repeating(answer("404 Not Found", "", b""));
    let new = Puppet::repeating(answer("206 x", "Content-Range: bytes 0-2/9\r\n", b"abc"));
    struct Moving(Arc<Places>, String);
    impl fabric::Locate for Moving {
        fn locate(
            &self,
            ctx: &Context<'_>,
            volume: u32,
        ) -> Result<Arc<[fabric::Location]>, fabric::LocateError> {
            self.0.locate(ctx, volume)
        }
        fn forget(&self, volume: u32) {
            self.0.forget(volume);
            *self.0.locations.lock().unwrap() = locations(std::slice::from_ref(&self.1));
        }
    }
    let places = Moving(Places::new(&[old.address()]), new.address());
    let stats = Arc::new(HttpStats::new());
    let route = HttpRoute::new(quick(), Arc::new(places), stats);
    assert_eq!(read(&route, 0, 3).unwrap(), b"abc");
    assert!(old.heads().iter().all(|head| !head.contains("readDeleted")));
}

#[test]
fn trouble_that_passes_is_waited_out() {
    for status in ["500 x", "503 x", "429 x", "499 x"] {
        let puppet = Puppet::new(move |request| {
            vec![Step::Send(match request.number {
                0 | 1 => answer(status, "", b"later"),
                _ => answer("206 x", "Content-Range: bytes 0-2/9\r\n", b"abc"),
            })]
        });
        let mut config = quick();
        config.retry = Duration::from_secs(10);
        let route = route_to(config, &[&puppet]);
        assert_eq!(read(&route, 0, 3).unwrap(), b"abc", "{status}");
        assert_eq!(route.stats().retries.get(), 2);
        assert_eq!(route.stats().errors("status"), 2);
    }
}

#[test]
fn retries_end_with_the_cause_when_their_time_is_over() {
    let puppet = Puppet::repeating(answer("500 x", "", b""));
    let mut config = quick();
    config.retry = Duration::from_millis(400);
    let route = route_to(config, &[&puppet]);
    let failure = read(&route, 0, 3).unwrap_err();
    assert!(
        matches!(failure, RouteError::Status { status: 500, .. }),
        "{failure}"
    );
    assert!(puppet.heads().len() >= 3, "{:?}", puppet.heads());
}

#[test]
fn an_unknown_volume_is_asked_for_again_and_then_named() {
    let places = Places::new(&[]);
    let mut config = quick();
    config.retry = Duration::from_millis(200);
    let stats = Arc::new(HttpStats::new());
    let route = HttpRoute::new(config, places, stats);
    let failure = read(&route, 0, 3).unwrap_err();
    assert!(matches!(failure, RouteError::Unlocated { .. }), "{failure}");
    assert!(failure.to_string().contains("volume 3"), "{failure}");
    assert!(route.stats().retries.get() >= 1);
}

#[test]
fn wrong_bytes_are_noticed_and_the_other_replica_is_asked() {
    let data = pattern(3_000);
    let mut damaged = all(&data);
    *damaged.last_mut().unwrap() ^= 1;
    let bad = Puppet::repeating(damaged);
    let good = Puppet::repeating(all(&data));
    let route = route_to(quick(), &[&bad, &good]);
    assert_eq!(fetch(&route, Stored::Plain).unwrap(), (data, true));
    assert_eq!(route.stats().errors("corrupt"), 1);
    assert_eq!(route.stats().switches.get(), 1);
    let route = route_to(quick(), &[&bad, &bad]);
    let failure = fetch(&route, Stored::Plain).unwrap_err();
    assert!(matches!(failure, RouteError::Corrupt { .. }), "{failure}");
}

#[test]
fn the_second_replica_is_asked_when_the_first_breaks_off_or_keeps_silent() {
    let data = pattern(100_000);
    let good = Puppet::repeating(part(&data, 0, data.len()));
    let cut = part(&data, 0, data.len())[..40_000].to_vec();
    for (steps, kind) in [
        (vec![Step::Send(cut.clone()), Step::Close], "unreachable"),
        (vec![Step::Send(cut), Step::Hang], "silent"),
        (vec![Step::Close], "unreachable"),
        (vec![Step::Hang], "silent"),
    ] {
        let bad = Puppet::new(move |_| steps.clone());
        let route = route_to(quick(), &[&bad, &good]);
        assert_eq!(read(&route, 0, data.len()).unwrap(), data, "{kind}");
        assert_eq!(route.stats().errors(kind), 1, "{kind}");
        assert_eq!(route.stats().switches.get(), 1, "{kind}");
        // The bad one is left alone for a while, and its connection is not kept.
        assert_eq!(read(&route, 0, data.len()).unwrap(), data, "{kind}");
        assert_eq!(bad.heads().len(), 1, "{kind}");
        assert_eq!(route.idle_connections(), 1, "{kind}");
    }
}

#[test]
fn a_failing_server_makes_its_volume_be_looked_up_again() {
    let bad = Puppet::repeating(answer("500 x", "", b""));
    let good = Puppet::repeating(answer("206 x", "Content-Range: bytes 0-2/9\r\n", b"abc"));
    let places = Places::new(&[bad.address(), good.address()]);
    let stats = Arc::new(HttpStats::new());
    let route = HttpRoute::new(quick(), places.clone(), stats);
    for _ in 0..5 {
        assert_eq!(read(&route, 0, 3).unwrap(), b"abc");
    }
    assert_eq!(places.forgotten.load(Ordering::SeqCst), 1);
}

#[test]
fn a_filer_proxy_is_asked_by_query_and_the_next_one_when_it_fails() {
    let data = pattern(100);
    let bad = Puppet::repeating(answer("500 x", "", b""));
    let good = Puppet::repeating(part(&data, 10, 20));
    let mut config = quick();
    config.access = fabric::Access::FilerProxy(vec![bad.address(), good.address()]);
    let places = Places::new(&[]);
    let stats = Arc::new(HttpStats::new());
    let route = HttpRoute::new(config, places.clone(), stats);
    for _ in 0..3 {
        assert_eq!(read(&route, 10, 20).unwrap(), data[10..30]);
    }
    assert_eq!(bad.heads().len(), 1);
    assert!(good.heads()[0].starts_with("GET /?proxyChunkId=3,1637037d6037 HTTP/1.1\r\n"));
    assert_eq!(places.forgotten.load(Ordering::SeqCst), 0);
}

#[test]
fn the_public_address_is_used_where_there_is_one() {
    let data = pattern(100);
    let puppet = Puppet::repeating(part(&data, 10, 20));
    let places = Places::new(&[]);
    *places.locations.lock().unwrap() = Arc::new([fabric::Location {
        url: "127.0.0.1:1".into(),
        public_url: puppet.address(),
        data_center: String::new(),
    }]);
    let mut config = quick();
    config.access = fabric::Access::PublicUrl;
    let stats = Arc::new(HttpStats::new());
    let route = HttpRoute::new(config, places, stats);
    assert_eq!(read(&route, 10, 20).unwrap(), data[10..30]);
}
