//! Two machines and the cable between them. Each test runs on both; which is which says
//! RDMA_VM_HOST, and flags are files in RDMA_VM_DIR (tools/rdma-vm).

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use verbs::{Access, Config, Connection, Error, Event, Listener, Lost, RemoteMemory, Status};

use crate::peer::{HOST, PATIENCE, contents, events, is_end, memory, pattern, request, until};

/// Half a second on an idle machine, see `Config::default`. Emulated processors on a busy one take longer;
/// without the limit on retries it would be for ever.
const REPORTED_WITHIN: Duration = Duration::from_secs(10);
const MIB: usize = 1 << 20;

#[test]
#[ignore = "needs two hosts with RDMA devices: make test-rdma"]
fn bytes_cross_the_cable() {
    let Some((server, offered)) = meet(18701) else {
        return;
    };
    let (source, local) = memory(&server, MIB, Access::Local);
    source.write(0, &pattern(77, MIB)).unwrap();
    server
        .post_write(&local.slice(0, MIB).unwrap(), offered, Some(77))
        .unwrap();
    until(&server, |event| matches!(event, Event::WriteDone { .. }));
    until(&server, is_end);
}

#[test]
#[ignore = "needs two hosts with RDMA devices: make test-rdma"]
fn a_pulled_cable_fails_work_and_probes() {
    let Some((server, offered)) = meet(18702) else {
        return;
    };
    let (_source, local) = memory(&server, MIB, Access::Local);
    control(&["link", "2", "off"]);
    let pulled = Instant::now();
    let write = server
        .post_write(&local.slice(0, MIB).unwrap(), offered, Some(1))
        .unwrap();
    let probe = server.post_probe().unwrap();
    let got = until(&server, is_end);
    println!("{got:?} after {:?}", pulled.elapsed());
    assert!(pulled.elapsed() < REPORTED_WITHIN, "{:?}", pulled.elapsed());
    let expected = [
        Event::Failed {
            id: write,
            status: Status::NO_ANSWER,
        },
        Event::Failed {
            id: probe,
            status: Status::FLUSHED,
        },
        Event::Disconnected {
            why: Lost::Work(Status::NO_ANSWER),
        },
    ];
    assert_eq!(got, expected);
    let limit = Duration::from_secs(1);
    let peer = "10.77.0.2:18702".parse().unwrap();
    let error = Connection::connect(peer, &Config::default(), limit, b"")
        .err()
        .unwrap();
    println!("{error} after {:?}", pulled.elapsed());
    assert!(
        matches!(error, Error::TimedOut { .. } | Error::Connect { .. }),
        "{error}"
    );
    control(&["link", "2", "on"]);
    flag("cable-is-back");
}

#[test]
#[ignore = "needs two hosts with RDMA devices: make test-rdma"]
fn a_short_break_is_survived() {
    let Some((server, offered)) = meet(18703) else {
        return;
    };
    let (source, local) = memory(&server, MIB, Access::Local);
    source.write(0, &pattern(77, MIB)).unwrap();
    control(&["pause", "2"]);
    server
        .post_write(&local.slice(0, MIB).unwrap(), offered, Some(77))
        .unwrap();
    std::thread::sleep(Duration::from_millis(50));
    control(&["resume", "2"]);
    until(&server, |event| matches!(event, Event::WriteDone { .. }));
    until(&server, is_end);
}

#[test]
#[ignore = "needs two hosts with RDMA devices: make test-rdma"]
fn a_host_without_power_is_noticed_by_a_probe() {
    let Some((server, _)) = meet(18704) else {
        return;
    };
    control(&["kill", "2"]);
    let killed = Instant::now();
    server.post_probe().unwrap();
    let got = until(&server, is_end);
    println!("{got:?} after {:?}", killed.elapsed());
    assert!(killed.elapsed() < REPORTED_WITHIN, "{:?}", killed.elapsed());
}

#[test]
#[ignore = "needs two hosts with RDMA devices: make test-rdma"]
fn a_revoked_buffer_stays_as_it_is() {
    let Some((server, offered)) = meet(18705) else {
        return;
    };
    let (_source, local) = memory(&server, MIB, Access::Local);
    let slice = local.slice(0, MIB).unwrap();
    // Always some on their way, until the client has had enough.
    let mut under_way = 0;
    let mut got = Vec::new();
    while !got.iter().any(is_end) {
        got.clear();
        while under_way < 3 && server.post_write(&slice, offered, Some(77)).is_ok() {
            under_way += 1;
        }
        got = events(&server);
        let done = |event: &&Event| matches!(event, Event::WriteDone { .. });
        under_way -= got.iter().filter(done).count();
    }
    let failed = |event: &Event| matches!(event, Event::Failed { .. });
    assert!(got.iter().any(failed), "nothing was on its way: {got:?}");
}

/// On host 1, the server: the connection and the memory the client offers. On host 2 the client, which
/// is done when this returns `None`: it has seen the bytes, or whatever the test does to it.
fn meet(port: u16) -> Option<(Connection, RemoteMemory)> {
    let config = Config::default();
    let addr = format!("{HOST}:{port}").parse().unwrap();
    if host() == 1 {
        let listener = Listener::bind(addr).unwrap();
        flag(&format!("listening-{port}"));
        let server = request(&listener).accept(&config, b"").unwrap();
        let got = until(&server, |event| matches!(event, Event::Received { .. }));
        let Event::Received { bytes } = &got[0] else {
            panic!("{got:?}")
        };
        let addr = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        let rkey = u32::from_le_bytes(bytes[8..12].try_into().unwrap());
        return Some((
            server,
            RemoteMemory {
                addr,
                rkey,
                len: MIB as u64,
            },
        ));
    }
    await_flag(&format!("listening-{port}"));
    let client = Connection::connect(addr, &config, PATIENCE, b"").unwrap();
    let (target, region) = memory(&client, MIB, Access::RemoteWrite);
    let remote = region.remote(0, MIB).unwrap();
    let mut message = remote.addr.to_le_bytes().to_vec();
    message.extend(remote.rkey.to_le_bytes());
    client.post_send(&message).unwrap();
    match port {
        18701 | 18703 => {
            until(&client, |event| {
                matches!(event, Event::Landed { imm: 77, .. })
            });
            assert!(
                contents(&target, MIB) == pattern(77, MIB),
                "other bytes arrived"
            );
        }
        18702 => await_flag("cable-is-back"),
        18705 => {
            until(&client, |event| matches!(event, Event::Landed { .. }));
            client.revoke().unwrap();
            target.write(0, &vec![0xa5; MIB]).unwrap();
            std::thread::sleep(Duration::from_millis(500));
            let strange = contents(&target, MIB)
                .iter()
                .filter(|&&b| b != 0xa5)
                .count();
            assert_eq!(strange, 0, "{strange} bytes were written after revoke");
        }
        _ => std::thread::sleep(PATIENCE),
    }
    None
}

fn host() -> u32 {
    std::env::var("RDMA_VM_HOST").unwrap().parse().unwrap()
}

fn flag(name: &str) {
    std::fs::write(path(name), "").unwrap();
}

fn await_flag(name: &str) {
    let end = Instant::now() + 3 * PATIENCE;
    while !path(name).exists() {
        assert!(Instant::now() < end, "no {name}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os("RDMA_VM_DIR").unwrap()).join(name)
}

fn control(words: &[&str]) {
    let tool = std::env::var_os("RDMA_VM").unwrap();
    let status = Command::new(tool).arg("ctl").args(words).status().unwrap();
    assert!(status.success(), "ctl {words:?}");
}
