//! Peers that stop.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use verbs::{Config, Event, Lost, Status};

use crate::peer::{HOST, connect, is_end, pair, until};

/// Half a second on an idle machine, see `Config::default`. Emulated processors on a busy one take longer;
/// without the limit on retries it would be for ever.
const REPORTED_WITHIN: Duration = Duration::from_secs(10);

#[test]
#[ignore = "needs an RDMA device: make test-rdma"]
fn a_killed_peer_is_reported() {
    let mut server = Server::start();
    let client = connect(server.addr.parse().unwrap(), &Config::default());
    client.post_send(b"echo").unwrap();
    until(&client, |event| matches!(event, Event::Received { .. }));
    server.child.kill().unwrap();
    let killed = Instant::now();
    let got = until(&client, is_end);
    println!("{got:?} after {:?}", killed.elapsed());
    assert!(killed.elapsed() < REPORTED_WITHIN, "{:?}", killed.elapsed());
    assert_eq!(got.last(), Some(&Event::Disconnected { why: Lost::Closed }));
}

#[test]
#[ignore = "needs an RDMA device: make test-rdma"]
fn work_for_a_killed_peer_fails() {
    let mut server = Server::start();
    let client = connect(server.addr.parse().unwrap(), &Config::default());
    client.post_send(b"echo").unwrap();
    until(&client, |event| matches!(event, Event::Received { .. }));
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    // Its end was announced; this end has not looked yet, and works on.
    let killed = Instant::now();
    let id = client.post_send(b"anybody?").unwrap();
    let got = until(&client, is_end);
    println!("{got:?} after {:?}", killed.elapsed());
    assert!(killed.elapsed() < REPORTED_WITHIN, "{:?}", killed.elapsed());
    let failed = |event: &Event| matches!(event, Event::Failed { id: failed, .. } if *failed == id);
    assert_eq!(
        got.iter().filter(|event| failed(event)).count(),
        1,
        "{got:?}"
    );
}

#[test]
#[ignore = "needs an RDMA device: make test-rdma"]
fn a_peer_without_a_free_slot_ends_the_connection() {
    let config = Config {
        recv_depth: 4,
        ..Config::default()
    };
    let (client, server) = pair(&config);
    let start = Instant::now();
    for _ in 0..5 {
        client.post_send(b"more").unwrap();
    }
    let got = until(&client, is_end);
    println!("{got:?} after {:?}", start.elapsed());
    let failed = Event::Failed {
        id: 4,
        status: Status::NOT_READY,
    };
    assert!(got.contains(&failed), "{got:?}");
    assert!(start.elapsed() < REPORTED_WITHIN, "{:?}", start.elapsed());
    drop(server);
}

/// The server of the example, in a process of its own.
struct Server {
    child: Child,
    addr: String,
}

impl Server {
    fn start() -> Self {
        let tests = std::env::current_exe().unwrap();
        let example = tests
            .parent()
            .unwrap()
            .parent()
            .unwrap()
            .join("examples/verbs_ping");
        let mut child = Command::new(example)
            .args(["serve", &format!("{HOST}:0")])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let addr = line.trim().strip_prefix("serving ").unwrap().to_owned();
        Self { child, addr }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
