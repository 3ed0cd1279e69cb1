//! Memory is one's own again when `revoke` has returned.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use verbs::{Access, Config, Connection, Error, Event, Lost, RemoteMemory};

use crate::peer::{contents, events, memory, pair, until};

const LEN: usize = 256 << 10;
const ROUNDS: usize = 20;

#[test]
#[ignore = "needs an RDMA device: make test-rdma"]
fn no_write_lands_after_revoke_has_returned() {
    let mut cut_short = 0;
    for round in 0..ROUNDS {
        let (client, server) = pair(&Config::default());
        let (target, region) = memory(&client, LEN, Access::RemoteWrite);
        let remote = region.remote(0, LEN).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let writer = std::thread::spawn(move || write_on(&server, remote, &stopped));
        // It does write, again and again ...
        let mut landed = 0;
        while landed < 2 + round % 3 {
            landed += events(&client).len();
        }
        // ... until it must not.
        client.revoke().unwrap();
        let mine = vec![0xa5; LEN];
        target.write(0, &mine).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        let now = contents(&target, LEN);
        let strange = now.iter().filter(|&&b| b != 0xa5).count();
        assert_eq!(
            strange, 0,
            "round {round}: {strange} bytes were written after revoke"
        );
        stop.store(true, Ordering::Relaxed);
        cut_short += usize::from(writer.join().unwrap());
    }
    // Otherwise nothing was on its way when the connection was revoked, and nothing was shown.
    println!("{cut_short} of {ROUNDS} times a write was cut short");
    assert!(cut_short > ROUNDS / 2, "only {cut_short} of {ROUNDS}");
}

/// Keeps several writes on their way; says whether one of them failed in the end.
fn write_on(server: &Connection, remote: RemoteMemory, stop: &AtomicBool) -> bool {
    let (source, local) = memory(server, LEN, Access::Local);
    let slice = local.slice(0, LEN).unwrap();
    let mut failed = false;
    let mut got = Vec::new();
    let mut under_way = 0;
    for value in 1.. {
        source.write(0, &vec![value as u8 & 0x5f; LEN]).unwrap();
        match server.post_write(&slice, remote, (value % 2 == 0).then_some(value)) {
            Ok(_) => under_way += 1,
            Err(Error::Full) => {}
            Err(Error::Lost(_)) => return failed,
            Err(error) => panic!("{error}"),
        }
        while under_way >= 4 || !got.is_empty() {
            for event in got.drain(..) {
                match event {
                    Event::WriteDone { .. } => under_way -= 1,
                    Event::Failed { .. } => failed = true,
                    Event::Disconnected { .. } => return failed,
                    _ => {}
                }
            }
            if stop.load(Ordering::Relaxed) {
                return failed;
            }
            server.poll(&mut got);
        }
    }
    failed
}

#[test]
#[ignore = "needs an RDMA device: make test-rdma"]
fn revoking_reports_what_was_pending() {
    let (client, server) = pair(&Config::default());
    client.revoke().unwrap();
    client.revoke().unwrap();
    let error = client.post_send(b"x").unwrap_err();
    assert!(matches!(error, Error::Lost(Lost::Revoked)), "{error}");
    let mut got = Vec::new();
    client.poll(&mut got);
    assert_eq!(got, [Event::Disconnected { why: Lost::Revoked }]);
    client.poll(&mut got);
    assert_eq!(got.len(), 1);
    let got = until(&server, |event| matches!(event, Event::Disconnected { .. }));
    assert_eq!(got, [Event::Disconnected { why: Lost::Closed }]);
}
