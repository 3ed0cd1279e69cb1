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
    (Session::new(terms, Way::Shm, NONCE, now), now)
}

fn frame(id: u64, message: Message) -> Frame {
    Frame { id, message }
}

fn hello(offers: bool) -> Frame {
    let hello = Hello {
        nonce: [1; 16],
        offers,
        name: "mount".to_owned(),
    };
    frame(0, Message::Hello(hello))
}

const SIGNED: Signed = Signed {
    client: [1; 16],
    server: NONCE,
    way: Way::Shm,
};

fn proof(key: Option<&SigningKey>) -> Frame {
    let proof = Proof::new(key, Role::Client, &SIGNED);
    frame(0, Message::Proof(proof))
}

/// What is sent to whom `key` let in.
fn welcome(key: Option<&SigningKey>) -> Effect {
    let limits = Limits {
        max_items: 2,
        max_read: 1000,
    };
    let proof = Proof::new(key, Role::Server, &SIGNED);
    Effect::Send(frame(0, Message::Welcome(Welcome { limits, proof })))
}

fn offer(regions: Vec<Region>) -> Frame {
    frame(0, Message::Memory(Memory { regions }))
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
    session.take(hello(true));
    assert_eq!(session.take(proof(None)), welcome(None));
    assert_eq!(session.take(offer(vec![memory(5000)])), Effect::Admit);
    assert!(!session.is_open());
    assert_eq!(session.admit(), Effect::Send(frame(0, Message::Ready)));
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
fn a_client_with_the_key_is_let_in_and_shown_that_we_have_it_as_well() {
    let (mut session, _) = lane(Some(key()));
    let effect = session.take(hello(true));
    let challenge = Challenge {
        nonce: NONCE,
        wants_proof: true,
    };
    assert_eq!(
        effect,
        Effect::Send(frame(0, Message::Challenge(challenge)))
    );
    assert!(!session.wants_memory());
    assert_eq!(session.take(proof(Some(&key()))), welcome(Some(&key())));
    assert!(session.wants_memory());
    assert_eq!(session.regions(), []);
    assert_eq!(session.admit(), Effect::Nothing);
    assert_eq!(session.take(offer(vec![memory(1)])), Effect::Admit);
    assert!(!session.wants_memory());
    assert_eq!(session.admit(), Effect::Send(frame(0, Message::Ready)));
    assert_eq!(
        (session.name(), session.regions()),
        ("mount", &[memory(1)][..])
    );
    assert_eq!(session.deadline(), None);
}

#[test]
fn who_has_no_memory_is_in_when_it_is_welcome() {
    let (mut session, _) = lane(Some(key()));
    session.take(hello(false));
    assert_eq!(session.take(proof(Some(&key()))), Effect::Admit);
    assert_eq!(session.admit(), welcome(Some(&key())));
    assert!(session.is_open());
    let told = refusal(session.take(offer(vec![memory(1)])));
    assert_eq!(told, "Memory is out of turn");
}

#[test]
fn a_client_without_the_key_is_not_let_in_and_nothing_is_signed_for_it() {
    let foreign = |way| {
        let signed = Signed { way, ..SIGNED };
        let proof = Proof::new(Some(&key()), Role::Client, &signed);
        frame(0, Message::Proof(proof))
    };
    let ours = Proof::new(Some(&key()), Role::Server, &SIGNED);
    for wrong in [
        proof(None),
        proof(Some(&SigningKey::new(b"other", None))),
        // A server's proof is none of a client's, nor one for another way.
        frame(0, Message::Proof(ours)),
        foreign(Way::Tcp),
    ] {
        let (mut session, _) = lane(Some(key()));
        session.take(hello(true));
        let told = refusal(session.take(wrong));
        assert_eq!(told, "the client does not prove that it holds the read key");
        assert_eq!(session.take(proof(Some(&key()))), Effect::Nothing);
        assert_eq!(session.take(offer(vec![memory(1)])), Effect::Nothing);
        assert_eq!(session.admit(), Effect::Nothing);
        assert!(!session.is_open() && session.regions().is_empty());
    }
    // A proof where none is wanted is not what was agreed on.
    let (mut session, _) = lane(None);
    session.take(hello(false));
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
        session.take(hello(true));
        session.take(proof(None));
        let told = refusal(session.take(offer(vec![memory(1), region])));
        assert!(told.starts_with(expected), "{told}");
    }
    let (mut session, _) = lane(None);
    session.take(hello(true));
    session.take(proof(None));
    session.take(offer(vec![memory(1)]));
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
        offer(vec![memory(1)]),
    ];
    for message in &strange {
        refusal(lane(None).0.take(message.clone()));
    }
    let greeted = || {
        let (mut session, _) = lane(Some(key()));
        session.take(hello(true));
        session
    };
    // Memory before the proof above all.
    for message in [
        &hello(true),
        &strange[0],
        &strange[2],
        &strange[3],
        &strange[4],
    ] {
        let told = refusal(greeted().take(message.clone()));
        assert!(told.ends_with("is out of turn"), "{told}");
    }
    let welcomed = || {
        let mut session = greeted();
        session.take(proof(Some(&key())));
        session
    };
    for message in [&hello(true), &strange[0], &strange[1], &strange[2]] {
        let told = refusal(welcomed().take(message.clone()));
        assert!(told.ends_with("is out of turn"), "{told}");
    }
    for message in [&hello(true), &strange[1], &strange[3], &strange[4]] {
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
    session.take(hello(true));
    session.take(proof(None));
    assert_eq!(session.deadline(), Some(deadline));
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
