use proptest::collection::vec;
use proptest::prelude::*;
use seaweed::FileId;
use seaweed::jwt::SigningKey;

use super::*;

fn nonce() -> impl Strategy<Value = [u8; 16]> {
    any::<[u8; 16]>()
}

fn region() -> impl Strategy<Value = Region> {
    any::<(u64, u64, u32)>().prop_map(|(len, base, key)| Region { len, base, key })
}

fn item() -> impl Strategy<Value = Item> {
    let needle = any::<(u32, u64, u32)>().prop_map(|(volume, key, cookie)| FileId {
        volume,
        key,
        cookie,
    });
    let len = 1..=MAX_READ as u32;
    let extent = prop_oneof![
        (0..=MAX_READ as u32).prop_map(|room| Extent::Whole { room }),
        (any::<u64>(), len).prop_map(|(offset, len)| Extent::Range { offset, len }),
    ];
    let place = prop_oneof![
        Just(Place::Inline),
        any::<(u16, u64)>().prop_map(|(region, offset)| Place::Region { region, offset }),
    ];
    (needle, extent, place).prop_map(|(needle, extent, place)| Item {
        needle,
        extent,
        place,
    })
}

/// With at most `len` bytes of data.
fn answer(len: u32) -> impl Strategy<Value = Answer> {
    let status = prop_oneof![
        3 => Just(Status::Done),
        1 => Just(Status::Absent),
        1 => Just(Status::TooLarge),
        1 => Just(Status::Busy),
    ];
    let item = 0..MAX_ITEMS as u16;
    (item, status, any::<(bool, bool, u64, u32)>(), 0..=len).prop_map(
        |(item, status, (is_inline, is_gzip, stored, crc), len)| Answer {
            item,
            status,
            is_inline,
            is_gzip,
            len,
            stored,
            crc,
        },
    )
}

/// Of at most `len` bytes.
fn write(len: u32) -> impl Strategy<Value = Write> {
    let place = prop_oneof![
        Just(Place::Inline),
        any::<(u16, u64)>().prop_map(|(region, offset)| Place::Region { region, offset }),
    ];
    let id = any::<(u32, u64, u32, u32)>();
    let flags = any::<(bool, bool)>();
    let words = ("[!-~]{1,261}", "[!-~]{0,2048}");
    (id, flags, place, 1..=len, any::<(u32, u32)>(), words).prop_map(
        |((volume, key, cookie, delta), (gzip, fsync), place, len, (crc, patience), words)| Write {
            base: FileId {
                volume,
                key,
                cookie,
            },
            delta,
            gzip,
            fsync,
            place,
            len,
            crc,
            patience,
            server: words.0,
            token: words.1,
        },
    )
}

fn written() -> impl Strategy<Value = Written> {
    let outcome = prop::sample::select(&Outcome::ALL[..]);
    let text = ".{0,300}";
    (outcome, any::<(u16, Option<u32>)>(), text).prop_map(|(outcome, (status, stored), text)| {
        Written {
            status,
            stored,
            ..Written::without(outcome, text)
        }
    })
}

fn borrow() -> impl Strategy<Value = Borrow> {
    any::<(u32, Option<[u64; 4]>)>().prop_map(|(volume, held)| Borrow {
        volume,
        held: held.filter(|held| *held != [0; 4]),
    })
}

fn lent() -> impl Strategy<Value = Lent> {
    let verify = prop::sample::select(vec![Verify::Always, Verify::Cached, Verify::Never]);
    let files = (4u8..=5, verify, any::<u16>()).prop_map(|(width, verify, revision)| {
        Lent::Files(FileTerms {
            width,
            verify,
            revision,
        })
    });
    let others = [
        Lent::Same,
        Lent::NotHere,
        Lent::Declined,
        Lent::Refused,
        Lent::Failed,
    ];
    prop_oneof![files, prop::sample::select(others.to_vec())]
}

fn message() -> impl Strategy<Value = Message> {
    let hello = (nonce(), any::<bool>(), "[ -~]{0,64}");
    let hello = hello.prop_map(|(nonce, offers, name)| Hello {
        nonce,
        offers,
        name,
    });
    let memory = vec(region(), 1..=MAX_REGIONS);
    let challenge =
        (nonce(), any::<bool>()).prop_map(|(nonce, wants_proof)| Challenge { nonce, wants_proof });
    let limits = (1..=MAX_ITEMS as u16, 1..=MAX_READ).prop_map(|(max_items, max_read)| Limits {
        max_items,
        max_read,
    });
    let welcome = (limits, any::<[u8; 32]>()).prop_map(|(limits, mac)| Welcome {
        limits,
        proof: Proof { mac },
    });
    prop_oneof![
        hello.prop_map(Message::Hello),
        challenge.prop_map(Message::Challenge),
        any::<[u8; 32]>().prop_map(|mac| Message::Proof(Proof { mac })),
        welcome.prop_map(Message::Welcome),
        ".{0,300}".prop_map(|reason| Message::Refusal(Refusal::new(reason))),
        vec(item(), 1..=MAX_ITEMS).prop_map(|items| Message::Read(Read { items })),
        answer(3000).prop_map(Message::Answer),
        Just(Message::Ping),
        Just(Message::Pong),
        Just(Message::Bye),
        write(3000).prop_map(Message::Write),
        written().prop_map(Message::Written),
        borrow().prop_map(Message::Borrow),
        lent().prop_map(Message::Lent),
        memory.prop_map(|regions| Message::Memory(Memory { regions })),
        Just(Message::Ready),
    ]
}

/// What a stream is heard as: frames, each with its data.
type Heard = Vec<(Frame, Vec<u8>)>;

/// Feeds a reader with runs of at most `runs` bytes, until it refuses or all is heard.
fn hear(stream: &[u8], runs: &[usize]) -> (Heard, Option<WireError>) {
    let mut reader = FrameReader::new();
    let mut heard: Heard = Vec::new();
    let mut runs = runs.iter().cycle();
    let mut rest = stream;
    loop {
        match reader.next() {
            Err(error) => return (heard, Some(error)),
            Ok(Next::Frame(frame)) => heard.push((frame, Vec::new())),
            Ok(Next::Data(left)) => {
                let (_, data) = heard.last_mut().unwrap();
                let mut part = vec![0; left];
                let mut len = reader.take_data(&mut part);
                if len == 0 {
                    // Past the reader, as from a socket.
                    len = left.min(*runs.next().unwrap()).min(rest.len());
                    part[..len].copy_from_slice(&rest[..len]);
                    rest = &rest[len..];
                    reader.received(len);
                    if len == 0 {
                        return (heard, None);
                    }
                }
                data.extend(&part[..len]);
            }
            Ok(Next::NeedMore) => {
                let space = reader.space();
                let len = space.len().min(*runs.next().unwrap()).min(rest.len());
                if len == 0 {
                    return (heard, None);
                }
                space[..len].copy_from_slice(&rest[..len]);
                rest = &rest[len..];
                reader.filled(len);
            }
        }
    }
}

fn spoken(messages: &[(u64, Message)]) -> (Heard, Vec<u8>) {
    let mut stream = Vec::new();
    let mut said = Heard::new();
    for (id, message) in messages {
        encode(*id, message, &mut stream).unwrap();
        let data: Vec<_> = (0..message.data()).map(|at| (at * 7) as u8).collect();
        stream.extend(&data);
        let frame = Frame {
            id: *id,
            message: message.clone(),
        };
        said.push((frame, data));
    }
    (said, stream)
}

proptest! {
    #[test]
    fn what_is_said_is_heard_however_it_is_split(
        messages in vec((any::<u64>(), message()), 0..6),
        runs in vec(1usize..5000, 1..20),
    ) {
        let (said, stream) = spoken(&messages);
        let (heard, error) = hear(&stream, &runs);
        prop_assert_eq!(error, None);
        prop_assert_eq!(&heard, &said);
        let (heard, error) = hear(&stream, &[1]);
        prop_assert_eq!(error, None);
        prop_assert_eq!(heard, said);
    }

    #[test]
    fn a_flipped_bit_is_never_heard_as_a_message(
        id: u64,
        message in message(),
        bit: prop::sample::Index,
    ) {
        let mut stream = Vec::new();
        encode(id, &message, &mut stream).unwrap();
        let bit = bit.index(stream.len() * 8);
        stream[bit / 8] ^= 1 << (bit % 8);
        // A longer body may be waited for; what comes then does not make it right.
        stream.extend(vec![0; MAX_BODY]);
        let (heard, error) = hear(&stream, &[100_000]);
        prop_assert_eq!(heard, vec![]);
        prop_assert!(error.is_some());
    }

    #[test]
    fn whatever_is_heard_is_said_in_the_same_bytes(
        kind in 1u8..=16,
        body in vec(any::<u8>(), 0..200),
        small in vec(0u8..3, 0..100),
        take_small: bool,
    ) {
        // With the right checksum, so that the fields are looked at.
        let body = if take_small { small } else { body };
        let stream = frame(kind, 0, &body);
        let mut reader = FrameReader::new();
        reader.space()[..stream.len()].copy_from_slice(&stream);
        reader.filled(stream.len());
        if let Ok(Next::Frame(frame)) = reader.next() {
            let mut again = Vec::new();
            encode(frame.id, &frame.message, &mut again).unwrap();
            prop_assert_eq!(again, stream);
        }
    }
}

/// A frame of any content with a right checksum.
fn frame(kind: u8, data: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::from(*b"RT\x02");
    bytes.push(kind);
    bytes.extend((body.len() as u32).to_le_bytes());
    bytes.extend([0; 8]);
    bytes.extend(data.to_le_bytes());
    let sum = seaweed::crc::crc32c(&[&bytes[..], &[0; 4], body].concat());
    bytes.extend(sum.to_le_bytes());
    bytes.extend(body);
    bytes
}

fn refusal_of(bytes: &[u8]) -> String {
    let (heard, error) = hear(bytes, &[10_000]);
    assert_eq!(heard, []);
    error.map_or_else(String::new, |error| error.to_string())
}

#[test]
fn the_layout_is_the_documented_one() {
    let read = Message::Read(Read {
        items: vec![Item {
            needle: FileId {
                volume: 0x0102_0304,
                key: 0x1112_1314_1516_1718,
                cookie: 0x2122_2324,
            },
            extent: Extent::Range {
                offset: 0x3132_3334_3536_3738,
                len: 0x0142_4344,
            },
            place: Place::Region {
                region: 0x5152,
                offset: 0x6162_6364_6566_6768,
            },
        }],
    });
    let mut out = Vec::new();
    encode(0x7172_7374_7576_7778, &read, &mut out).unwrap();
    let hex: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
    let sum = seaweed::crc::crc32c(&[&out[..20], &[0; 4], &out[24..]].concat());
    let sum: String = sum.to_le_bytes().map(|byte| format!("{byte:02x}")).concat();
    let expected = [
        "52540206",
        "2a000000",
        "7877767574737271",
        "00000000",
        &sum,
        "0100",
        "04030201",
        "1817161514131211",
        "24232221",
        "01",
        "01",
        "5251",
        "44434201",
        "3837363534333231",
        "6867666564636261",
    ];
    assert_eq!(hex, expected.concat());
}

#[test]
fn the_layout_of_a_write_is_the_documented_one() {
    let write = Message::Write(Write {
        base: FileId {
            volume: 0x0102_0304,
            key: 0x1112_1314_1516_1718,
            cookie: 0x2122_2324,
        },
        delta: 0x3132_3334,
        gzip: true,
        fsync: true,
        place: Place::Region {
            region: 0x4142,
            offset: 0x5152_5354_5556_5758,
        },
        len: 0x0162_6364,
        crc: 0x7172_7374,
        patience: 0x8182_8384,
        server: "a:1".to_owned(),
        token: "x.y".to_owned(),
    });
    let written = Message::Written(Written {
        outcome: Outcome::Refused,
        status: 0x0102,
        stored: Some(0x1112_1314),
        text: "no".to_owned(),
    });
    let mut out = Vec::new();
    encode(0, &write, &mut out).unwrap();
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let expected = [
        "04030201",
        "1817161514131211",
        "24232221",
        "34333231",
        "03",
        "01",
        "4241",
        "64636201",
        "74737271",
        "5857565554535251",
        "84838281",
        "0300",
        "0300",
        "613a31",
        "782e79",
    ];
    assert_eq!(hex(&out[HEADER..]), expected.concat());
    assert_eq!((out[3], &out[16..20]), (11, &[0; 4][..]));
    out.clear();
    encode(0, &written, &mut out).unwrap();
    assert_eq!(hex(&out[HEADER..]), "01010201141312116e6f");
    assert_eq!(out[3], 12);
}

#[test]
fn writes_that_cannot_be_are_refused_by_name() {
    let mut body = [0; 50];
    (body[24], body[44], body[46]) = (1, 1, 1);
    body[48..].copy_from_slice(b"st");
    assert_eq!(hear(&frame(11, 1, &body), &[999]).1, None);
    for (kind, body, at, byte, expected) in [
        (11, &body[..], 20, 4, "Write has unknown flags"),
        (11, &body, 21, 2, "Write has bytes of unknown place"),
        (11, &body, 22, 1, "Write has bytes of unknown place"),
        (11, &body, 39, 1, "Write has bytes of unknown place"),
        (11, &body, 24, 0, "Write has an impossible number of bytes"),
        (11, &body, 27, 5, "Write has an impossible number of bytes"),
        (11, &body, 44, 0, "Write has a server that is none"),
        (11, &body, 44, 3, "Write has too few bytes"),
        (11, &body, 46, 0, "Write has bytes behind its last field"),
        (11, &body, 48, b' ', "Write has a server that is none"),
        (11, &body, 49, b'\n', "Write has a token that is none"),
        (12, &[0; 8], 0, 7, "Written has an unknown outcome"),
        (12, &[0; 8], 1, 2, "Written has a flag"),
        (
            12,
            &[0; 8],
            4,
            1,
            "Written has a checksum that is not known",
        ),
        (12, &[0; 9], 8, 0xff, "Written has a text that is not UTF-8"),
    ] {
        let mut body = body.to_vec();
        body[at] = byte;
        let refusal = refusal_of(&frame(kind, 0, &body));
        assert!(refusal.starts_with(expected), "{expected}: {refusal}");
    }
    // What follows is as long as the write says, and nothing when its bytes are in a region.
    for data in [0, 2] {
        assert!(refusal_of(&frame(11, data, &body)).contains("bytes of data"));
    }
    body[21] = 1;
    assert_eq!(hear(&frame(11, 0, &body), &[999]).1, None);
    assert!(refusal_of(&frame(11, 1, &body)).contains("bytes of data"));
    assert!(refusal_of(&frame(12, 1, &[0; 8])).contains("bytes of data"));
}

#[test]
fn the_layout_of_lending_is_the_documented_one() {
    let hex = |message: &Message| -> String {
        let mut out = Vec::new();
        encode(0, message, &mut out).unwrap();
        out[24..].iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let borrow = Message::Borrow(Borrow {
        volume: 0x0102_0304,
        held: Some([0x11, 0x2122, 0x31, 0x4142_4344_4546_4748]),
    });
    let expected = [
        "04030201",
        "1100000000000000",
        "2221000000000000",
        "3100000000000000",
        "4847464544434241",
    ];
    assert_eq!(hex(&borrow), expected.concat());
    let lent = Message::Lent(Lent::Files(FileTerms {
        width: 5,
        verify: Verify::Cached,
        revision: 0x0102,
    }));
    assert_eq!(hex(&lent), "0005010201");
    assert_eq!(hex(&Message::Lent(Lent::Failed)), "0500000000");
}

#[test]
fn lending_that_cannot_be_is_refused_by_name() {
    for (body, named) in [
        ([6, 0, 0, 0, 0], "Lent has an unknown outcome"),
        ([0, 3, 0, 0, 0], "Lent has an impossible width of offsets"),
        ([0, 4, 3, 0, 0], "Lent has an unknown way of checking"),
        ([1, 5, 0, 0, 0], "Lent has terms of files that are not lent"),
        ([4, 0, 0, 1, 0], "Lent has terms of files that are not lent"),
    ] {
        let said = refusal_of(&frame(14, 0, &body));
        assert!(said.contains(named), "{said}");
    }
    let none = Message::Borrow(Borrow {
        volume: 1,
        held: Some([0; 4]),
    });
    assert!(encode(0, &none, &mut Vec::new()).is_err());
}

#[test]
fn strangers_are_refused_by_their_first_bytes() {
    assert!(refusal_of(b"GE").contains("does not start with RT"));
    assert!(refusal_of(b"RT\x01").contains("version 1 of the fabric, here it is version 2"));
    assert_eq!(refusal_of(b"RT\x02"), "");
}

#[test]
fn lengths_are_refused_before_anything_is_waited_for() {
    for (kind, len, expected) in [
        (0, 0, "unknown kind 0"),
        (17, 0, "unknown kind 17"),
        (1, 82, "a Hello has no body of 82 bytes"),
        (4, 10, "a Welcome has no body of 10 bytes"),
        (6, u32::MAX, "a Read has no body of 4294967295 bytes"),
        (6, 2, "a Read has no body of 2 bytes"),
        (7, 19, "a Answer has no body of 19 bytes"),
        (8, 1, "a Ping has no body of 1 bytes"),
        (11, 48, "a Write has no body of 48 bytes"),
        (11, 2358, "a Write has no body of 2358 bytes"),
        (12, 265, "a Written has no body of 265 bytes"),
        (13, 37, "a Borrow has no body of 37 bytes"),
        (14, 4, "a Lent has no body of 4 bytes"),
        (15, 0, "a Memory has no body of 0 bytes"),
        (15, 321, "a Memory has no body of 321 bytes"),
        (16, 1, "a Ready has no body of 1 bytes"),
    ] {
        let mut head = frame(kind, 0, &[]);
        head[4..8].copy_from_slice(&len.to_le_bytes());
        assert!(refusal_of(&head).contains(expected), "{kind} {len}");
    }
    for (kind, data) in [(8, 1), (7, u32::MAX), (7, MAX_READ as u32 + 1)] {
        let mut head = frame(kind, data, &[]);
        if kind == 7 {
            head[4..8].copy_from_slice(&20u32.to_le_bytes());
        }
        let refusal = refusal_of(&head);
        assert!(
            refusal.contains("bytes of data"),
            "{kind} {data}: {refusal}"
        );
    }
}

#[test]
fn bodies_that_cannot_be_are_refused_by_name() {
    let mut hello = [0; 20];
    hello[17..].copy_from_slice(b"abc");
    assert_eq!(hear(&frame(1, 0, &hello), &[999]).1, None);
    let mut item = [0; 42];
    item[0] = 1;
    assert_eq!(hear(&frame(6, 0, &item), &[999]).1, None);
    for (kind, body, at, byte, expected) in [
        (1, &hello[..], 16, 2, "Hello has a flag"),
        (1, &hello, 18, b'\n', "Hello has a name that is long or not"),
        (15, &[0; 30], 0, 0, "Memory has a region that is not whole"),
        (2, &[0; 17], 16, 2, "Challenge has a flag"),
        (4, &[1; 42], 0, 0, "Welcome has an impossible number"),
        (4, &[1; 42], 0, 65, "Welcome has an impossible number"),
        (
            4,
            &[&[1, 0, 1][..], &[0; 39]].concat(),
            9,
            1,
            "Welcome has an impossible size",
        ),
        (
            5,
            &[b'x'; 4],
            2,
            0xff,
            "Refusal has a text that is not UTF-8",
        ),
        (6, &item, 0, 2, "Read has not as many items"),
        (6, &item, 18, 2, "Read has an item of unknown extent"),
        (6, &item, 18, 1, "Read has an empty range"),
        (6, &item, 33, 1, "Read has an item of unknown extent"),
        (6, &item, 19, 2, "Read has an item of unknown place"),
        (6, &item, 20, 1, "Read has an item of unknown place"),
        (6, &item, 25, 5, "Read has an item of more bytes"),
        (7, &[0; 20], 0, 64, "Answer has an item no read can have"),
        (7, &[0; 20], 2, 11, "Answer has an unknown status"),
        (7, &[0; 20], 3, 4, "Answer has unknown flags"),
        (7, &[0; 20], 7, 5, "Answer has more bytes"),
    ] {
        let mut body = body.to_vec();
        body[at] = byte;
        let refusal = refusal_of(&frame(kind, 0, &body));
        assert!(refusal.starts_with(expected), "{expected}: {refusal}");
    }
    // Data that the answer does not speak of, and the reverse.
    let mut inline = [0; 20];
    (inline[3], inline[4]) = (1, 9);
    assert_eq!(hear(&frame(7, 9, &inline), &[99]).1, None);
    for data in [0, 8, 10] {
        assert!(refusal_of(&frame(7, data, &inline)).contains("bytes of data"));
    }
    assert!(refusal_of(&frame(7, 9, &[0; 20])).contains("bytes of data"));
}

#[test]
fn what_exceeds_a_limit_is_not_sent() {
    let hello = |name: &str| {
        Message::Hello(Hello {
            nonce: [0; 16],
            offers: false,
            name: name.to_owned(),
        })
    };
    let region = Region {
        len: 1,
        base: 0,
        key: 0,
    };
    let memory = |count| {
        Message::Memory(Memory {
            regions: vec![region; count],
        })
    };
    let item = Item {
        needle: "3,01637037d6".parse().unwrap(),
        extent: Extent::Whole { room: 1 },
        place: Place::Inline,
    };
    let read = |items| Message::Read(Read { items });
    let reason = "x".repeat(MAX_REASON + 1);
    let write = |len, server: usize, token: usize| {
        Message::Write(Write {
            base: item.needle,
            delta: 0,
            gzip: false,
            fsync: false,
            place: Place::Inline,
            len,
            crc: 0,
            patience: 0,
            server: "x".repeat(server),
            token: "x".repeat(token),
        })
    };
    let text = "x".repeat(MAX_TEXT + 1);
    let bad = [
        write(0, 1, 0),
        write((64 << 20) + 1, 1, 0),
        write(1, 0, 0),
        write(1, MAX_SERVER + 1, 0),
        write(1, 1, MAX_TOKEN + 1),
        Message::Written(Written {
            text,
            ..Written::without(Outcome::Busy, "")
        }),
        hello(&"x".repeat(65)),
        hello("tab\t"),
        memory(0),
        memory(17),
        read(vec![]),
        read(vec![item; 65]),
        read(vec![Item {
            extent: Extent::Range { offset: 0, len: 0 },
            ..item
        }]),
        read(vec![Item {
            extent: Extent::Whole {
                room: (64 << 20) + 1,
            },
            ..item
        }]),
        Message::Refusal(Refusal { reason }),
        Message::Welcome(Welcome {
            limits: Limits {
                max_items: 0,
                max_read: 1,
            },
            proof: Proof::EMPTY,
        }),
    ];
    for message in bad {
        let mut out = b"before".to_vec();
        assert!(encode(1, &message, &mut out).is_err(), "{message:?}");
        assert_eq!(out, b"before");
    }
    assert_eq!(Refusal::new("é".repeat(200)).reason.len(), MAX_REASON);
    assert_eq!(
        Refusal::new("x".repeat(200) + &"é".repeat(99)).reason.len(),
        MAX_REASON
    );
}

#[test]
fn nothing_is_heard_after_a_refusal() {
    let mut reader = FrameReader::new();
    let mut stream = Vec::new();
    encode(1, &Message::Ping, &mut stream).unwrap();
    let bad = [b"XX", &stream[..]].concat();
    reader.space()[..bad.len()].copy_from_slice(&bad);
    reader.filled(bad.len());
    assert!(reader.next().is_err());
    assert!(reader.next().is_err());
}

#[test]
fn the_layout_of_a_handshake_is_the_documented_one() {
    let hex = |message: &Message| -> String {
        let mut out = Vec::new();
        encode(0, message, &mut out).unwrap();
        let hex = out[24..].iter().map(|byte| format!("{byte:02x}"));
        format!("{:02x} {}", out[3], hex.collect::<String>())
    };
    let hello = Hello {
        nonce: [0x11; 16],
        offers: true,
        name: "ab".to_owned(),
    };
    let expected = format!("01 {}016162", "11".repeat(16));
    assert_eq!(hex(&Message::Hello(hello)), expected);
    let welcome = Welcome {
        limits: Limits {
            max_items: 0x0021,
            max_read: 0x0002_0304,
        },
        proof: Proof { mac: [0x22; 32] },
    };
    let expected = format!("04 21000403020000000000{}", "22".repeat(32));
    assert_eq!(hex(&Message::Welcome(welcome)), expected);
    let region = Region {
        len: 0x0102_0304_0506_0708,
        base: 0x1112_1314_1516_1718,
        key: 0x2122_2324,
    };
    let one = "0807060504030201181716151413121124232221";
    let regions = vec![region; 2];
    assert_eq!(
        hex(&Message::Memory(Memory { regions })),
        format!("0f {one}{one}")
    );
    assert_eq!(hex(&Message::Ready), "10 ");
}

#[test]
fn a_proof_depends_on_key_role_way_and_both_nonces() {
    let key = SigningKey::new(b"read key", None);
    let way = Way::Rdma("10.0.0.5:18081".parse().unwrap());
    let signed = Signed {
        client: [1; 16],
        server: [2; 16],
        way,
    };
    let hex = |proof: Proof| -> String { proof.mac.map(|byte| format!("{byte:02x}")).concat() };
    // (printf 'riptide client 2' + 16 × 01 + 16 × 02 + 03, ::ffff:10.0.0.5, a146)
    //     | openssl dgst -sha256 -hmac 'read key'
    let proof = Proof::new(Some(&key), Role::Client, &signed);
    assert_eq!(
        hex(proof),
        "e89712730e0d06ef025b2bf79b5184785f3702843efc4233a7ad8e971bbf495e"
    );
    let server = Proof::new(Some(&key), Role::Server, &signed);
    assert_eq!(
        hex(server),
        "66d983c8d2cc9caf8b8d64410e867d792c4b96111d6d8247309b52b6583ee0a7"
    );
    assert!(proof.is_good(Some(&key), Role::Client, &signed));
    assert!(!proof.is_good(Some(&key), Role::Server, &signed));
    assert!(!server.is_good(Some(&key), Role::Client, &signed));
    let exchanged = Signed {
        client: signed.server,
        server: signed.client,
        way,
    };
    let elsewhere = |way| Signed { way, ..signed };
    for other in [
        exchanged,
        elsewhere(Way::Tcp),
        elsewhere(Way::Shm),
        elsewhere(Way::Rdma("10.0.0.6:18081".parse().unwrap())),
        elsewhere(Way::Rdma("10.0.0.5:18082".parse().unwrap())),
    ] {
        assert!(
            !proof.is_good(Some(&key), Role::Client, &other),
            "{other:?}"
        );
    }
    let foreign = SigningKey::new(b"other", None);
    assert!(!proof.is_good(Some(&foreign), Role::Client, &signed));
    assert!(!proof.is_good(None, Role::Client, &signed));
    assert!(!Proof::EMPTY.is_good(Some(&key), Role::Client, &signed));
    assert!(Proof::EMPTY.is_good(None, Role::Client, &signed));
}
