//! Connections that are not made.

use std::time::{Duration, Instant};

use verbs::{Config, Connection, Error, Listener};

use crate::peer::{HOST, PATIENCE, listen, request};

#[test]
#[ignore = "needs an RDMA device: make test-rdma"]
fn nobody_listening_is_a_refusal() {
    let peer = format!("{HOST}:9").parse().unwrap();
    let result = Connection::connect(peer, &Config::default(), PATIENCE, b"");
    let Err(Error::Refused { private, .. }) = result else {
        panic!("{:?}", result.err());
    };
    assert_eq!(private, []);
}

#[test]
#[ignore = "needs an RDMA device: make test-rdma"]
fn a_refusal_comes_with_its_reason() {
    let listener = listen();
    let addr = listener.local_addr();
    let client = std::thread::spawn(move || {
        Connection::connect(addr, &Config::default(), PATIENCE, b"let me in").err()
    });
    request(&listener).reject(b"too many").unwrap();
    let error = client.join().unwrap().unwrap();
    assert!(
        matches!(&error, Error::Refused { private, .. } if private == b"too many"),
        "{error}"
    );
}

#[test]
#[ignore = "needs an RDMA device: make test-rdma"]
fn a_request_that_is_dropped_is_refused() {
    let listener = listen();
    let addr = listener.local_addr();
    let client = std::thread::spawn(move || {
        Connection::connect(addr, &Config::default(), PATIENCE, b"").err()
    });
    drop(request(&listener));
    let error = client.join().unwrap().unwrap();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
}

#[test]
#[ignore = "needs an RDMA device: make test-rdma"]
fn a_listener_that_does_not_accept_is_given_up() {
    let listener = listen();
    let (start, limit) = (Instant::now(), Duration::from_millis(700));
    let error = Connection::connect(listener.local_addr(), &Config::default(), limit, b"").err();
    let error = error.unwrap();
    assert!(
        error.to_string().contains("while waiting for its answer"),
        "{error}"
    );
    println!(
        "given up after {:?}, with a limit of {limit:?}",
        start.elapsed()
    );
}

#[test]
#[ignore = "needs an RDMA device: make test-rdma"]
fn an_address_without_a_host_is_given_up() {
    let peer = "10.77.0.99:18600".parse().unwrap();
    let limit = Duration::from_secs(2);
    let start = Instant::now();
    let error = Connection::connect(peer, &Config::default(), limit, b"")
        .err()
        .unwrap();
    println!("{error} after {:?}", start.elapsed());
    assert!(
        matches!(error, Error::TimedOut { .. } | Error::Connect { .. }),
        "{error}"
    );
}

#[test]
#[ignore = "needs an RDMA device: make test-rdma"]
fn an_address_is_listened_on_once_and_must_be_a_device_s() {
    let listener = listen();
    let error = Listener::bind(listener.local_addr()).err().unwrap();
    assert!(
        error.to_string().contains("cannot be listened on"),
        "{error}"
    );
    let error = Listener::bind("192.0.2.1:18600".parse().unwrap())
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .contains("is no address of an RDMA device"),
        "{error}"
    );
    let addr = listener.local_addr();
    drop(listener);
    Listener::bind(addr).unwrap();
}

#[test]
#[ignore = "needs an RDMA device: make test-rdma"]
fn what_cannot_be_asked_for_is_refused_here() {
    let listener = listen();
    let addr = listener.local_addr();
    let forever = Config {
        retry_count: 7,
        ..Config::default()
    };
    let error = Connection::connect(addr, &forever, PATIENCE, b"")
        .err()
        .unwrap();
    assert!(error.to_string().contains("retry_count is 7"), "{error}");
    let error = Connection::connect(addr, &Config::default(), PATIENCE, &[0; 56])
        .err()
        .unwrap();
    assert!(matches!(error, Error::PrivateData { len: 56 }), "{error}");
}
