//! Reads of the peer's memory.

use verbs::{Access, Config, Error, Event, Lost, RemoteMemory};

use crate::peer::{contents, counter, is_end, memory, pair, pattern, until};

const MIB: usize = 1 << 20;

#[test]
#[ignore = "needs an RDMA device: make test-rdma"]
fn a_read_brings_the_right_bytes_over_the_device() {
    let (client, server) = pair(&Config::default());
    let (source, region) = memory(&client, 2 * MIB, Access::RemoteReadWrite);
    let (target, local) = memory(&server, MIB, Access::Local);
    let before = counter("rcvd_pkts");
    for round in 0..3 {
        let bytes = pattern(round, 2 * MIB);
        source.write(0, &bytes).unwrap();
        let remote = region.remote(0, 2 * MIB).unwrap();
        // Several are posted at once, and done one after the other.
        let step = MIB / 4;
        let ids: Vec<u64> = (0..4)
            .map(|i| {
                let slice = local.slice(i * step, step).unwrap();
                let part = remote.part((MIB / 2 + i * step) as u64, step as u64);
                server.post_read(&slice, part.unwrap()).unwrap()
            })
            .collect();
        let last = *ids.last().unwrap();
        let got = until(&server, |event| *event == Event::ReadDone { id: last });
        let done: Vec<_> = ids.iter().map(|id| Event::ReadDone { id: *id }).collect();
        assert_eq!(got, done);
        assert!(
            contents(&target, MIB) == bytes[MIB / 2..][..MIB],
            "round {round}: other bytes"
        );
    }
    let packets = counter("rcvd_pkts") - before;
    assert!(
        packets >= 3 * MIB as u64 / 4096,
        "only {packets} packets came over rxe0"
    );
    // Messages and writes go on working.
    server.post_send(b"all read").unwrap();
    let got = until(&client, |event| matches!(event, Event::Received { .. }));
    let bytes = b"all read".to_vec();
    assert_eq!(got, [Event::Received { bytes }]);
}

#[test]
#[ignore = "needs an RDMA device: make test-rdma"]
fn memory_that_is_for_writes_alone_cannot_be_read() {
    let (client, server) = pair(&Config::default());
    let (source, region) = memory(&client, MIB, Access::RemoteWrite);
    source.write(0, &pattern(1, MIB)).unwrap();
    let (target, local) = memory(&server, MIB, Access::Local);
    let remote = region.remote(0, MIB).unwrap();
    let id = server
        .post_read(&local.slice(0, MIB).unwrap(), remote)
        .unwrap();
    let got = until(&server, is_end);
    assert!(
        matches!(got[0], Event::Failed { id: failed, .. } if failed == id),
        "{got:?}"
    );
    assert!(
        matches!(got[1], Event::Disconnected { why: Lost::Work(_) }),
        "{got:?}"
    );
    assert!(contents(&target, MIB).iter().all(|byte| *byte == 0));
}

#[test]
#[ignore = "needs an RDMA device: make test-rdma"]
fn reads_that_cannot_be_are_refused_here() {
    let (client, server) = pair(&Config::default());
    let (_, region) = memory(&client, 4096, Access::RemoteReadWrite);
    let (_, local) = memory(&server, 8192, Access::Local);
    let remote = region.remote(0, 4096).unwrap();
    let long = server.post_read(&local.slice(0, 4097).unwrap(), remote);
    assert!(matches!(long, Err(Error::Bounds { .. })), "{long:?}");
    let slice = local.slice(0, 4096).unwrap();
    client.revoke().unwrap();
    server.post_read(&slice, remote).unwrap();
    until(&server, is_end);
    let lost = server.post_read(&slice, RemoteMemory { ..remote });
    assert!(matches!(lost, Err(Error::Lost(_))), "{lost:?}");
}
