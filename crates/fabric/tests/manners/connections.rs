//! Connections: kept, given up, replaced; and what ends a wait on one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use context::{Context, Interrupt};
use fabric::{HttpRoute, HttpStats, Route as _, RouteError};

use crate::puppet::*;
use crate::read;

#[test]
fn a_connection_serves_one_request_after_another() {
    let data = pattern(600_000);
    let script = data.clone();
    // Sizes around what fits into the head's buffer and what waits in larger steps.
    let sizes = [
        1,
        15 * 1024 - 1,
        15 * 1024,
        15 * 1024 + 1,
        300_000,
        2,
        600_000,
        4096,
    ];
    let puppet =
        Puppet::new(move |request| vec![Step::Send(part(&script, 0, sizes[request.number]))]);
    let route = route_to(quick(), &[&puppet]);
    for size in sizes {
        assert_eq!(read(&route, 0, size).unwrap(), data[..size], "{size}");
    }
    assert_eq!(route.stats().opened.get(), 1);
    assert_eq!(route.stats().reused.get(), sizes.len() as u64 - 1);
    assert_eq!(route.idle_connections(), 1);
}

#[test]
fn a_server_that_wants_to_close_is_not_asked_again_on_that_connection() {
    let bytes = answer(
        "206 x",
        "Content-Range: bytes 0-2/9\r\nConnection: close\r\n",
        b"abc",
    );
    let puppet = Puppet::new(move |_| vec![Step::Send(bytes.clone()), Step::Close]);
    let route = route_to(quick(), &[&puppet]);
    for _ in 0..2 {
        assert_eq!(read(&route, 0, 3).unwrap(), b"abc");
    }
    assert_eq!(
        (route.stats().opened.get(), route.stats().stale.get()),
        (2, 0)
    );
}

#[test]
fn bytes_behind_the_body_cost_the_connection() {
    let mut bytes = answer("206 x", "Content-Range: bytes 0-2/9\r\n", b"abc");
    bytes.extend(b"HTTP/1.1 200 OK\r\n");
    let puppet = Puppet::repeating(bytes);
    let route = route_to(quick(), &[&puppet]);
    assert_eq!(read(&route, 0, 3).unwrap(), b"abc");
    assert_eq!(route.idle_connections(), 0);
}

#[test]
fn a_kept_connection_that_died_is_replaced_exactly_once() {
    // Closes after each answer without having said so.
    let bytes = answer("206 x", "Content-Range: bytes 0-2/9\r\n", b"abc");
    let puppet = Puppet::new(move |_| vec![Step::Send(bytes.clone()), Step::Close]);
    let route = route_to(quick(), &[&puppet]);
    for _ in 0..3 {
        assert_eq!(read(&route, 0, 3).unwrap(), b"abc");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(route.stats().opened.get(), 3);
    assert_eq!(route.stats().stale.get(), 2);
    assert_eq!(route.stats().errors("unreachable"), 0);

    // Serves one request, then closes every connection unanswered.
    let bytes = answer("206 x", "Content-Range: bytes 0-2/9\r\n", b"abc");
    let puppet = Puppet::new(move |request| match request.number {
        0 => vec![Step::Send(bytes.clone())],
        _ => vec![Step::Close],
    });
    let route = route_to(quick(), &[&puppet]);
    assert_eq!(read(&route, 0, 3).unwrap(), b"abc");
    assert!(matches!(
        read(&route, 0, 3),
        Err(RouteError::Unreachable { .. })
    ));
    assert_eq!(puppet.heads().len(), 3);
}

#[test]
fn a_kept_connection_that_breaks_amid_an_answer_is_no_stale_one() {
    let good = answer("206 x", "Content-Range: bytes 0-2/9\r\n", b"abc");
    let puppet = Puppet::new(move |request| match request.number {
        0 => vec![Step::Send(good.clone())],
        _ => vec![Step::Send(good[..10].to_vec()), Step::Close],
    });
    let route = route_to(quick(), &[&puppet]);
    assert_eq!(read(&route, 0, 3).unwrap(), b"abc");
    assert!(matches!(
        read(&route, 0, 3),
        Err(RouteError::Unreachable { .. })
    ));
    assert_eq!(puppet.heads().len(), 2);
    assert_eq!(route.stats().stale.get(), 0);
}

#[test]
fn an_interrupt_ends_a_read_amid_its_body_and_costs_the_connection() {
    let data = pattern(1_000_000);
    let half = part(&data, 0, data.len())[..500_000].to_vec();
    let puppet = Puppet::new(move |_| vec![Step::Send(half.clone()), Step::Hang]);
    let mut config = quick();
    config.give_up_after = Duration::from_secs(60);
    let route = route_to(config, &[&puppet]);
    let interrupt = Interrupt::new().unwrap();
    let ctx = Context::new(Duration::from_secs(60), &interrupt);
    let mut dst = vec![0; data.len()];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(100));
            interrupt.raise();
        });
        let began = Instant::now();
        let failure = route.read_at(&ctx, NEEDLE, 0, &mut dst).unwrap_err();
        assert!(
            matches!(failure, RouteError::Interrupted { .. }),
            "{failure}"
        );
        println!("interrupted after {:?}", began.elapsed());
        // Far from every other limit, so the interrupt it was.
        assert!(began.elapsed() < Duration::from_secs(20));
    });
    assert_eq!(route.idle_connections(), 0);
    assert_eq!(puppet.heads().len(), 1);
}

#[test]
fn a_deadline_ends_a_read_and_its_retries() {
    let puppet = Puppet::new(|_| vec![Step::Hang]);
    let mut config = quick();
    config.retry = Duration::from_secs(60);
    config.give_up_after = Duration::from_secs(60);
    let route = route_to(config, &[&puppet]);
    let ctx = Context::background(Duration::from_millis(100));
    let failure = route.read_at(&ctx, NEEDLE, 0, &mut [0; 10]).unwrap_err();
    assert!(matches!(failure, RouteError::TimedOut { .. }), "{failure}");
    let late = route.read_at(&ctx, NEEDLE, 0, &mut [0; 10]).unwrap_err();
    assert!(matches!(late, RouteError::TimedOut { .. }), "{late}");
    assert_eq!(puppet.heads().len(), 1);
}

#[test]
fn a_silent_only_server_is_given_up() {
    let puppet = Puppet::new(|_| vec![Step::Hang]);
    let route = route_to(quick(), &[&puppet]);
    let failure = read(&route, 0, 3).unwrap_err();
    assert!(matches!(failure, RouteError::Silent { .. }), "{failure}");
}

#[test]
fn a_closed_port_is_unreachable() {
    let gone = Puppet::repeating(Vec::new()).address();
    let stats = Arc::new(HttpStats::new());
    let route = HttpRoute::new(quick(), Places::new(&[gone]), stats);
    assert!(matches!(
        read(&route, 0, 3),
        Err(RouteError::Unreachable { .. })
    ));
}
