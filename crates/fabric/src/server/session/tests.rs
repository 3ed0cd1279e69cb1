use super::*;
use crate::wire::{Answer, Extent, Read, Status};

const NONCE: [u8; 16] = [9; 16];

fn key() -> SigningKey {
    SigningKey::new(b"read key", None)
}

fn lane(key: Option<SigningKey>) -> (Session, Instant) {
    let now = Instant::now();
    let terms = Terms {
        key,
        max_items: 2,
        max_read: 1000,
        ..Terms::default()
    };
    (Session::new(terms, NONCE, now), now)
}

fn frame(id: u64, message: Message) -> Frame {
    Frame { id, message }
}

fn hello(regions: Vec<Region>) -> Frame {
    let hello = Hello {
        nonce: [1; 16],
        name: "mount".to_owned(),
        regions,
    };
    frame(0, Message::Hello(hello))
}

fn proof(key: Option<&SigningKey>) -> Frame {
    frame(0, Message::Proof(Proof::new(key, &[1; 16], &NONCE)))
}

fn memory(len: u64) -> Region {
    Region {
        len,
        base: 1 << 40,
        key: 5,
    }
}

/// A lane that is open, with one region of 5000 bytes.
fn open() -> Session {
    let (mut session, _) = lane(None);
    session.take(hello(vec![memory(5000)]));
    assert_eq!(session.take(proof(None)), Effect::Admit);
    assert!(!session.is_open());
    assert!(matches!(session.admit(), Effect::Send(_)));
    assert!(session.is_open());
    session
}

fn item(extent: Extent, place: Place) -> Item {
    Item {
        needle: "3,01637037d6".parse().unwrap(),
        extent,
        place,
    }
}

fn whole(place: Place) -> Item {
    item(Extent::Whole { room: 1000 }, place)
}

fn read(id: u64, items: Vec<Item>) -> Frame {
    frame(id, Message::Read(Read { items }))
}

/// The reason that the client is told, and that the server has.
fn refusal(effect: Effect) -> String {
    match effect {
        Effect::Close(Some(frame), end) => match frame.message {
            Message::Refusal(refusal) => {
                assert_eq!(refusal.reason, end.to_string());
                refusal.reason
            }
            message => panic!("{message:?} is no refusal"),
        },
        effect => panic!("{effect:?} does not refuse"),
    }
}

#[test]
fn a_client_with_the_key_is_let_in() {
    let (mut session, _) = lane(Some(key()));
    let effect = session.take(hello(vec![memory(1)]));
    let challenge = Challenge {
        nonce: NONCE,
        wants_proof: true,
    };
    assert_eq!(
        effect,
        Effect::Send(frame(0, Message::Challenge(challenge)))
    );
    assert_eq!(session.take(proof(Some(&key()))), Effect::Admit);
    let welcome = Welcome {
        max_items: 2,
        max_read: 1000,
    };
    assert_eq!(
        session.admit(),
        Effect::Send(frame(0, Message::Welcome(welcome)))
    );
    assert_eq!(
        (session.name(), session.regions()),
        ("mount", &[memory(1)][..])
    );
    assert_eq!(session.deadline(), None);
}

#[test]
fn a_client_without_the_key_is_not_and_its_memory_is_not_looked_at() {
    for wrong in [None, Some(SigningKey::new(b"other", None))] {
        let (mut session, _) = lane(Some(key()));
        // This region would be complained of.
        session.take(hello(vec![memory(0)]));
        let told = refusal(session.take(proof(wrong.as_ref())));
        assert_eq!(told, "the client does not prove that it holds the read key");
        assert_eq!(session.take(proof(Some(&key()))), Effect::Nothing);
        assert_eq!(session.admit(), Effect::Nothing);
        assert!(!session.is_open());
    }
    // A proof where none is wanted is not what was agreed on.
    let (mut session, _) = lane(None);
    session.take(hello(vec![]));
    refusal(session.take(proof(Some(&key()))));
}

#[test]
fn impossible_regions_are_refused() {
    let over = Region {
        len: 2,
        base: u64::MAX,
        key: 0,
    };
    for (region, expected) in [
        (memory(0), "region 1 of 0 bytes"),
        (over, "region 1 of 2 bytes"),
    ] {
        let (mut session, _) = lane(None);
        session.take(hello(vec![memory(1), region]));
        let told = refusal(session.take(proof(None)));
        assert!(told.starts_with(expected), "{told}");
    }
    let (mut session, _) = lane(None);
    session.take(hello(vec![]));
    session.take(proof(None));
    assert_eq!(refusal(session.refuse("no descriptor")), "no descriptor");
    assert_eq!(session.admit(), Effect::Nothing);
}

#[test]
fn frames_out_of_turn_are_refused_in_every_state() {
    let answer = Answer {
        item: 0,
        status: Status::Busy,
        is_inline: false,
        is_gzip: false,
        len: 0,
        stored: 0,
        crc: 0,
    };
    let strange = [
        read(1, vec![whole(Place::Inline)]),
        proof(None),
        frame(0, Message::Ping),
        frame(0, Message::Answer(answer)),
    ];
    for message in &strange {
        refusal(lane(None).0.take(message.clone()));
    }
    let greeted = || {
        let (mut session, _) = lane(Some(key()));
        session.take(hello(vec![]));
        session
    };
    for message in [&hello(vec![]), &strange[0], &strange[2], &strange[3]] {
        refusal(greeted().take(message.clone()));
    }
    for message in [&hello(vec![]), &strange[1], &strange[3]] {
        let told = refusal(open().take(message.clone()));
        assert!(told.ends_with("is out of turn"), "{told}");
    }
}

#[test]
fn reads_come_one_at_a_time_and_never_twice() {
    let mut session = open();
    let items = vec![whole(Place::Inline)];
    let serve = |id| Effect::Serve {
        id,
        items: items.clone(),
    };
    assert_eq!(session.take(read(7, items.clone())), serve(7));
    let pong = Effect::Send(frame(3, Message::Pong));
    assert_eq!(session.take(frame(3, Message::Ping)), pong);
    session.finished(7);
    assert_eq!(session.take(read(8, items.clone())), serve(8));
    let told = refusal(session.take(read(9, items.clone())));
    assert_eq!(told, "another request is still in flight on this lane");

    let mut session = open();
    session.take(read(7, items.clone()));
    session.finished(7);
    let told = refusal(session.take(read(7, items.clone())));
    assert_eq!(told, "read 7 is sent again");
}

#[test]
fn every_place_lies_within_a_region_that_was_offered() {
    let at = |region, offset| Place::Region { region, offset };
    for place in [at(0, 0), at(0, 4000)] {
        let effect = open().take(read(1, vec![whole(Place::Inline), whole(place)]));
        assert!(matches!(effect, Effect::Serve { .. }), "{place:?}");
    }
    for (place, expected) in [
        (at(1, 0), "item 1 names no region 1"),
        (
            at(0, 4001),
            "item 1 of 1000 bytes at 4001 is outside region 0",
        ),
        (
            at(0, u64::MAX),
            "item 1 of 1000 bytes at 18446744073709551615 is outside region 0",
        ),
    ] {
        let items = vec![whole(Place::Inline), whole(place)];
        assert_eq!(refusal(open().take(read(1, items))), expected);
    }
}

fn write(id: u64, place: Place, len: u32) -> Frame {
    let write = Write {
        base: "3,01637037d6".parse().unwrap(),
        delta: 0,
        gzip: false,
        fsync: false,
        place,
        len,
        crc: 0,
        patience: 1000,
        server: "a:8080".to_owned(),
        token: String::new(),
    };
    frame(id, Message::Write(write))
}

#[test]
fn writes_keep_the_same_rules() {
    let at = |region, offset| Place::Region { region, offset };
    for place in [Place::Inline, at(0, 4000)] {
        let effect = open().take(write(1, place, 1000));
        assert!(matches!(effect, Effect::Store { id: 1, .. }), "{place:?}");
    }
    for (place, len, expected) in [
        (
            Place::Inline,
            1001,
            "a write of 1001 bytes is more than 1000",
        ),
        (at(1, 0), 1, "a write names no region 1"),
        (
            at(0, 4001),
            1000,
            "a write of 1000 bytes at 4001 is outside region 0",
        ),
        (
            at(0, u64::MAX),
            1,
            "a write of 1 bytes at 18446744073709551615 is outside region 0",
        ),
    ] {
        assert_eq!(refusal(open().take(write(1, place, len))), expected);
    }
    let mut session = open();
    session.take(write(7, Place::Inline, 1));
    let told = refusal(session.take(write(8, Place::Inline, 1)));
    assert_eq!(told, "another request is still in flight on this lane");
    let mut session = open();
    session.take(write(7, Place::Inline, 1));
    session.finished(7);
    let told = refusal(session.take(write(7, Place::Inline, 1)));
    assert_eq!(told, "write 7 is sent again");
    let (mut closed, _) = lane(None);
    let told = refusal(closed.take(write(7, Place::Inline, 1)));
    assert!(told.ends_with("is out of turn"), "{told}");
}

#[test]
fn reads_keep_the_limits_that_were_granted() {
    let large = item(
        Extent::Range {
            offset: 0,
            len: 1001,
        },
        Place::Inline,
    );
    let told = refusal(open().take(read(1, vec![large])));
    assert_eq!(told, "item 0 of 1001 bytes is more than 1000");
    let told = refusal(open().take(read(1, vec![whole(Place::Inline); 3])));
    assert_eq!(told, "a read of 3 items is more than 2");
}

#[test]
fn who_dawdles_is_refused_until_the_lane_is_open() {
    let (mut session, now) = lane(None);
    let deadline = session.deadline().unwrap();
    assert_eq!(deadline, now + Terms::default().patience);
    assert_eq!(
        session.tick(deadline - Duration::from_nanos(1)),
        Effect::Nothing
    );
    session.take(hello(vec![]));
    refusal(session.tick(deadline));
    let mut session = open();
    assert_eq!(session.tick(deadline), Effect::Nothing);
}

#[test]
fn goodbye_and_nonsense_end_the_lane() {
    let mut session = open();
    assert_eq!(
        session.take(frame(0, Message::Bye)),
        Effect::Close(None, End::Bye)
    );
    assert_eq!(session.take(frame(0, Message::Ping)), Effect::Nothing);
    let mut session = open();
    let told = refusal(session.nonsense(&WireError::Version(7)));
    assert!(told.contains("version 7"), "{told}");
}
