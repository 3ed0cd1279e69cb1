//! Writes into the peer's memory.

use verbs::{Access, Config, Connection, Error, Event, Lost, RemoteMemory, Status, Write};

use crate::peer::{contents, counter, is_end, memory, pair, pattern, until};

const MIB: usize = 1 << 20;

#[test]
#[ignore = "needs an RDMA device: make test-rdma"]
fn a_write_lands_with_the_right_bytes_over_the_device() {
    let (client, server) = pair(&Config::default());
    let (target, region) = memory(&client, 2 * MIB, Access::RemoteWrite);
    let (source, local) = memory(&server, MIB, Access::Local);
    let before = counter("sent_pkts");
    for round in 0..3 {
        let bytes = pattern(round, MIB);
        source.write(0, &bytes).unwrap();
        let remote = region.remote(MIB / 2, MIB).unwrap();
        let slice = local.slice(0, MIB).unwrap();
        let id = server
            .post_write(&slice, remote, Some(0xdead_0000 + round as u32))
            .unwrap();
        let got = until(&client, |event| matches!(event, Event::Landed { .. }));
        let landed = Event::Landed {
            imm: 0xdead_0000 + round as u32,
            len: MIB as u32,
        };
        assert_eq!(got, [landed]);
        let all = contents(&target, 2 * MIB);
        assert!(
            all[MIB / 2..MIB / 2 + MIB] == bytes[..],
            "round {round}: other bytes"
        );
        assert!(
            all[..MIB / 2].iter().all(|&b| b == 0),
            "bytes before the target changed"
        );
        assert!(
            all[MIB / 2 + MIB..].iter().all(|&b| b == 0),
            "bytes behind the target changed"
        );
        let got = until(&server, |event| matches!(event, Event::WriteDone { .. }));
        assert_eq!(got, [Event::WriteDone { id }]);
    }
    let packets = counter("sent_pkts") - before;
    assert!(
        packets >= 3 * MIB as u64 / 4096,
        "only {packets} packets went over rxe0"
    );
}

#[test]
#[ignore = "needs an RDMA device: make test-rdma"]
fn a_chain_is_in_place_when_its_message_arrives() {
    let (client, server) = pair(&Config::default());
    let (target, region) = memory(&client, MIB, Access::RemoteWrite);
    let (source, local) = memory(&server, MIB, Access::Local);
    let remote = region.remote(0, MIB).unwrap();
    let step = MIB / 15;
    for round in 0..20 {
        let bytes = pattern(round, MIB);
        source.write(0, &bytes).unwrap();
        let writes: Vec<Write> = (0..15)
            .map(|i| Write {
                local: local.slice(i * step, step).unwrap(),
                remote: remote.part((i * step) as u64, step as u64).unwrap(),
                imm: (i == 7).then_some(7),
            })
            .collect();
        let id = server.post_writes_then_send(&writes, b"all there").unwrap();
        let got = until(&client, |event| matches!(event, Event::Received { .. }));
        let landed = Event::Landed {
            imm: 7,
            len: step as u32,
        };
        assert_eq!(
            got,
            [
                landed,
                Event::Received {
                    bytes: b"all there".to_vec()
                }
            ]
        );
        assert!(
            contents(&target, 15 * step) == bytes[..15 * step],
            "round {round}"
        );
        let got = until(&server, |event| matches!(event, Event::WriteDone { .. }));
        assert_eq!(got, [Event::WriteDone { id }]);
    }
    let write = Write {
        local: local.slice(0, 1).unwrap(),
        remote,
        imm: None,
    };
    let many = vec![write; Connection::MAX_CHAIN + 1];
    assert!(matches!(
        server.post_writes(&many),
        Err(Error::Config { .. })
    ));
    assert!(matches!(server.post_writes(&[]), Err(Error::Config { .. })));
}

#[test]
#[ignore = "needs an RDMA device: make test-rdma"]
fn an_empty_write_tells_and_a_probe_is_answered() {
    let (client, server) = pair(&Config::default());
    let (_target, region) = memory(&client, 10, Access::RemoteWrite);
    let (_source, local) = memory(&server, 10, Access::Local);
    let remote = region.remote(0, 0).unwrap();
    server
        .post_write(&local.slice(0, 0).unwrap(), remote, Some(404))
        .unwrap();
    let got = until(&client, |event| matches!(event, Event::Landed { .. }));
    assert_eq!(got, [Event::Landed { imm: 404, len: 0 }]);
    until(&server, |event| matches!(event, Event::WriteDone { .. }));
    let id = client.post_probe().unwrap();
    let got = until(&client, |event| matches!(event, Event::WriteDone { .. }));
    assert_eq!(got, [Event::WriteDone { id }]);
}

#[test]
#[ignore = "needs an RDMA device: make test-rdma"]
fn what_does_not_fit_is_refused_here() {
    let config = Config {
        send_depth: 2,
        ..Config::default()
    };
    let (client, server) = pair(&config);
    let (_target, region) = memory(&client, 100, Access::RemoteWrite);
    let (_source, local) = memory(&server, 200, Access::Local);
    let remote = region.remote(0, 100).unwrap();
    let long = local.slice(0, 101).unwrap();
    assert!(matches!(
        server.post_write(&long, remote, None),
        Err(Error::Bounds { .. })
    ));
    assert!(matches!(local.slice(101, 100), Err(Error::Bounds { .. })));
    assert!(matches!(region.remote(1, 100), Err(Error::Bounds { .. })));
    assert!(matches!(local.remote(0, 1), Err(Error::Config { .. })));
    let write = Write {
        local: local.slice(0, 1).unwrap(),
        remote,
        imm: None,
    };
    let error = server.post_writes(&vec![write; 3]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "RDMA configuration: chain of 3, the send queue has 2"
    );
}

#[test]
#[ignore = "needs an RDMA device: make test-rdma"]
fn memory_that_is_not_offered_cannot_be_written() {
    for wrong in ["key", "bounds", "gone"] {
        let (client, server) = pair(&Config::default());
        let (target, region) = memory(&client, 8192, Access::RemoteWrite);
        let (source, local) = memory(&server, 4096, Access::Local);
        source.write(0, &[9; 4096]).unwrap();
        let good = region.remote(4096, 4096).unwrap();
        let remote = match wrong {
            "key" => RemoteMemory {
                rkey: good.rkey ^ 0x5500,
                ..good
            },
            "bounds" => RemoteMemory {
                addr: good.addr + 1,
                ..good
            },
            _ => good,
        };
        if wrong == "gone" {
            drop(region);
        }
        let id = server
            .post_write(&local.slice(0, 4096).unwrap(), remote, Some(1))
            .unwrap();
        let got = until(&server, is_end);
        assert_eq!(
            got[0],
            Event::Failed {
                id,
                status: Status::ACCESS
            },
            "{wrong}"
        );
        let why = Lost::Work(Status::ACCESS);
        assert_eq!(got[1], Event::Disconnected { why }, "{wrong}");
        assert!(
            contents(&target, 8192).iter().all(|&b| b == 0),
            "{wrong}: bytes were written"
        );
        until(&client, is_end);
    }
}
