//! Messages, and what is known of devices.

use verbs::{Config, Connection, Error, Event, GidKind, LinkLayer};

use crate::peer::{HOST, PATIENCE, counter, events, is_end, listen, pair, request, until};

#[test]
#[ignore = "needs an RDMA device: make test-rdma"]
fn the_device_is_described_as_it_is() {
    let devices = verbs::devices().unwrap();
    let rxe = devices.iter().find(|device| device.name == "rxe0").unwrap();
    assert_eq!(rxe.unusable, None);
    assert_eq!(rxe.pci, None);
    let port = &rxe.ports[0];
    assert!(port.is_active());
    assert_eq!(port.link_layer, LinkLayer::Ethernet);
    assert_eq!(port.active_mtu, Some(4096));
    let gid = port.gids.iter().find(|gid| gid.is_ipv4()).unwrap();
    assert_eq!(gid.kind, GidKind::RoceV2);
    assert_eq!(gid.value.to_ipv4_mapped().unwrap().to_string(), "10.77.0.1");
    assert_eq!(verbs::available().unwrap().len(), devices.len());
    assert_eq!(verbs::Domain::all().unwrap()[0].name(), "rxe0");
}

#[test]
#[ignore = "needs an RDMA device: make test-rdma"]
fn messages_of_every_size_arrive_in_order() {
    let (client, server) = pair(&Config::default());
    let max = client.config().message_size as usize;
    let before = counter("sent_pkts");
    // Inline, on the edge of it, and in slots.
    for (round, len) in [0, 1, 64, 127, 128, 129, 1000, max].into_iter().enumerate() {
        let message = vec![round as u8 + 1; len];
        let id = client.post_send(&message).unwrap();
        assert_eq!(id, round as u64);
        let got = until(&server, |event| matches!(event, Event::Received { .. }));
        assert!(
            got.contains(&Event::Received {
                bytes: message.clone()
            }),
            "{len}: {got:?}"
        );
        server.post_send(&message).unwrap();
        let got = until(&client, |event| matches!(event, Event::Received { .. }));
        assert!(got.contains(&Event::SendDone { id }), "{got:?}");
        assert!(got.contains(&Event::Received { bytes: message }), "{len}");
    }
    let sent = counter("sent_pkts") - before;
    assert!(sent >= 16, "only {sent} packets went over rxe0");
}

#[test]
#[ignore = "needs an RDMA device: make test-rdma"]
fn slots_are_used_again_and_again() {
    let config = Config {
        send_depth: 4,
        recv_depth: 4,
        ..Config::default()
    };
    let (client, server) = pair(&config);
    for round in 0..500_u32 {
        // Every second one goes through a slot.
        let len = if round % 2 == 0 { 8 } else { 600 };
        let mut message = vec![0; len];
        message[..4].copy_from_slice(&round.to_le_bytes());
        client.post_send(&message).unwrap();
        let got = until(&server, |event| matches!(event, Event::Received { .. }));
        assert!(
            got.contains(&Event::Received { bytes: message }),
            "round {round}"
        );
        until(&client, |event| matches!(event, Event::SendDone { .. }));
    }
}

#[test]
#[ignore = "needs an RDMA device: make test-rdma"]
fn private_data_goes_both_ways() {
    let listener = listen();
    let addr = listener.local_addr();
    let question: Vec<u8> = (0..verbs::MAX_PRIVATE as u8).collect();
    let sent = question.clone();
    let client = std::thread::spawn(move || {
        Connection::connect(addr, &Config::default(), PATIENCE, &sent).unwrap()
    });
    let request = request(&listener);
    assert_eq!(request.private(), question);
    assert_eq!(request.peer().ip().to_string(), HOST);
    let server = request.accept(&Config::default(), b"welcome").unwrap();
    let client = client.join().unwrap();
    assert_eq!(client.private(), b"welcome");
    assert_eq!(server.private(), question);
    assert_eq!(client.domain(), server.domain());
    assert_eq!(client.inline_size(), 128);
}

#[test]
#[ignore = "needs an RDMA device: make test-rdma"]
fn closing_is_told_to_the_peer_after_what_was_sent() {
    let (client, server) = pair(&Config::default());
    client.post_send(b"last words").unwrap();
    until(&client, |event| matches!(event, Event::SendDone { .. }));
    drop(client);
    let got = until(&server, is_end);
    let why = verbs::Lost::Closed;
    let expected = [
        Event::Received {
            bytes: b"last words".to_vec(),
        },
        Event::Disconnected { why },
    ];
    assert_eq!(got, expected);
    let error = server.post_send(b"too late").unwrap_err();
    assert!(matches!(error, Error::Lost(lost) if lost == why), "{error}");
    let mut none = Vec::new();
    server.poll(&mut none);
    assert_eq!(none, []);
}

#[test]
#[ignore = "needs an RDMA device: make test-rdma"]
fn a_full_send_queue_says_so_and_empties() {
    let config = Config {
        send_depth: 8,
        recv_depth: 16,
        ..Config::default()
    };
    let (client, server) = pair(&config);
    for _ in 0..8 {
        client.post_send(&[1; 500]).unwrap();
    }
    assert!(matches!(client.post_send(b"x"), Err(Error::Full)));
    let mut done = 0;
    while done < 8 {
        done += events(&client).len();
    }
    client.post_send(b"x").unwrap();
    until(
        &server,
        |event| matches!(event, Event::Received { bytes } if bytes == b"x"),
    );
    let error = client.post_send(&[0; 1025]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "message of 1025 bytes, the connection takes 1024"
    );
}
