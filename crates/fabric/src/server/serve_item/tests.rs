use std::sync::Mutex;

use seaweed::FileId;
use seaweed::crc::crc32c;

use super::*;
use crate::serve::Shelf;
use crate::server::{Exchange, Progress, serve};

/// Needles by their keys.
struct Fixed(Vec<Result<Fixture, Miss>>);

#[derive(Clone)]
struct Fixture {
    bytes: Vec<u8>,
    is_gzip: bool,
    /// Reads at or behind this offset fail.
    fails_from: u64,
    /// Bytes before this one are in memory.
    cached: u64,
    wanted: std::sync::Arc<Mutex<Vec<(u64, u64)>>>,
}

impl Shelf for Fixed {
    type Needle = Fixture;

    fn try_find(&self, needle: FileId) -> Option<Result<Fixture, Miss>> {
        Some(self.find(needle))
    }

    fn find(&self, needle: FileId) -> Result<Fixture, Miss> {
        self.0[needle.key as usize].clone()
    }
}

/// A checksum that no bytes here have, to see where it comes from.
const STORED_CRC: u32 = 0x0dd0_5eed;

impl Held for Fixture {
    fn stored_len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn is_gzip(&self) -> bool {
        self.is_gzip
    }

    fn crc(&self) -> u32 {
        STORED_CRC
    }

    fn is_cached(&self, offset: u64, len: usize) -> bool {
        offset + len as u64 <= self.cached
    }

    fn will_need(&self, offset: u64, len: u64) {
        self.wanted.lock().unwrap().push((offset, len));
    }

    fn read_at(&self, offset: u64, dst: &mut [u8]) -> Result<u32, ReadFault> {
        if offset + dst.len() as u64 > self.fails_from {
            return Err(ReadFault::Failed);
        }
        let from = offset as usize;
        dst.copy_from_slice(&self.bytes[from..from + dst.len()]);
        Ok(crc32c(dst))
    }

    unsafe fn read_into(&self, offset: u64, dst: *mut u8, len: usize) -> Result<(), ReadFault> {
        // SAFETY: the caller promises that `dst` takes `len` bytes that nobody else uses.
        let dst = unsafe { std::slice::from_raw_parts_mut(dst, len) };
        self.read_at(offset, dst).map(drop)
    }
}

fn needle(len: usize) -> Fixture {
    Fixture {
        bytes: (0..len).map(|at| (at * 31 + at / 251) as u8).collect(),
        is_gzip: false,
        fails_from: u64::MAX,
        cached: 0,
        wanted: Default::default(),
    }
}

/// A client's memory, and what was sent to it.
struct Client {
    buffer: Vec<u8>,
    region: Vec<u8>,
    is_mapped: bool,
    inline_up_to: u64,
    answers: Vec<(Answer, Vec<u8>)>,
    placed: usize,
    /// Whether to stop at every third chance, and which one this is.
    pauses: Option<std::cell::Cell<usize>>,
}

impl Output for Client {
    type Broken = ();

    fn buffer(&mut self) -> Result<&mut [u8], ()> {
        Ok(&mut self.buffer)
    }

    fn mapped(&mut self, region: u16, offset: u64, len: usize) -> Option<*mut u8> {
        assert_eq!(region, 3);
        let at = offset as usize;
        self.is_mapped
            .then(|| self.region[at..at + len].as_mut_ptr())
    }

    fn place(&mut self, region: u16, offset: u64, len: usize) -> Result<(), ()> {
        assert_eq!(region, 3);
        let at = offset as usize;
        self.region[at..at + len].copy_from_slice(&self.buffer[..len]);
        self.placed += 1;
        Ok(())
    }

    fn answer(&mut self, answer: &Answer, len: usize) -> Result<(), ()> {
        self.answers.push((*answer, self.buffer[..len].to_vec()));
        Ok(())
    }

    fn more(&mut self, len: usize) -> Result<(), ()> {
        let (_, data) = self.answers.last_mut().unwrap();
        data.extend(&self.buffer[..len]);
        Ok(())
    }

    fn wants_pause(&self) -> bool {
        let third = self
            .pauses
            .as_ref()
            .map(|step| step.replace(step.get() + 1) % 3);
        third == Some(0)
    }

    fn inline_up_to(&self) -> u64 {
        self.inline_up_to
    }
}

fn client() -> Client {
    Client {
        buffer: vec![0; PIECE],
        region: vec![0; 1 << 20],
        is_mapped: false,
        inline_up_to: 0,
        answers: Vec::new(),
        placed: 0,
        pauses: None,
    }
}

fn item(key: u64, extent: Extent, place: Place) -> Item {
    let needle = FileId {
        volume: 1,
        key,
        cookie: 0,
    };
    Item {
        needle,
        extent,
        place,
    }
}

const WHOLE: Extent = Extent::Whole { room: 1 << 20 };
const PLACE: Place = Place::Region {
    region: 3,
    offset: 100,
};

fn range(offset: u64, len: usize) -> Extent {
    Extent::Range {
        offset,
        len: len as u32,
    }
}

/// The answer to one item and its inline data.
fn answer(needle: Fixture, extent: Extent, place: Place, to: &mut Client) -> (Answer, Vec<u8>) {
    let shelf = Fixed(vec![Ok(needle)]);
    serve(&shelf, &[item(0, extent, place)], to, || {}, |_| {}).unwrap();
    to.answers.pop().unwrap()
}

#[test]
fn whole_needles_carry_the_volumes_own_checksum_on_every_way() {
    for len in [0, 1, 4096, PIECE, PIECE + 1, 3 * PIECE + 5] {
        let needle = needle(len);
        let expected = needle.bytes.clone();
        let check = |answer: &Answer, is_inline| {
            assert_eq!(answer.status, Status::Done);
            assert_eq!(answer.crc, STORED_CRC);
            assert_eq!((answer.len as usize, answer.stored), (len, len as u64));
            assert_eq!(answer.is_inline, is_inline, "{len}");
        };
        let (told, data) = answer(needle.clone(), WHOLE, Place::Inline, &mut client());
        check(&told, true);
        assert_eq!(data, expected);
        for is_mapped in [true, false] {
            let mut client = client();
            client.is_mapped = is_mapped;
            let (told, data) = answer(needle.clone(), WHOLE, PLACE, &mut client);
            check(&told, len == 0);
            assert_eq!(client.region[100..100 + len], expected);
            assert!(data.is_empty());
            assert_eq!(
                client.placed,
                if is_mapped { 0 } else { len.div_ceil(PIECE) }
            );
        }
    }
}

#[test]
fn ranges_carry_their_own_checksum_on_every_way() {
    let needle = needle(4 * PIECE);
    for (offset, len) in [
        (0, 1),
        (7, PIECE),
        (9, PIECE + 1),
        (0, 4 * PIECE),
        (PIECE, 3 * PIECE),
    ] {
        let expected = &needle.bytes[offset..offset + len];
        let extent = range(offset as u64, len);
        let (told, data) = answer(needle.clone(), extent, Place::Inline, &mut client());
        assert_eq!((told.status, told.crc), (Status::Done, crc32c(expected)));
        assert!(told.is_inline && told.data() == len);
        assert!(data == expected);
        let mut client = client();
        // Even where it is mapped: the checksum is taken from private memory.
        client.is_mapped = true;
        client.region = vec![0; 5 * PIECE];
        let (told, _) = answer(needle.clone(), extent, PLACE, &mut client);
        assert_eq!((told.status, told.crc), (Status::Done, crc32c(expected)));
        assert!(!told.is_inline && client.region[100..100 + len] == *expected);
    }
}

#[test]
fn small_items_go_inline_where_the_carrier_likes_that() {
    let mut client = client();
    client.inline_up_to = u64::MAX;
    for (len, is_inline) in [(4096, true), (4097, false)] {
        let (told, data) = answer(needle(len), WHOLE, PLACE, &mut client);
        assert_eq!(told.is_inline, is_inline);
        assert_eq!(data.len(), if is_inline { len } else { 0 });
    }
}

#[test]
fn what_cannot_be_served_is_told_by_its_status() {
    let status = |needle: &Fixture, extent| {
        let (told, data) = answer(needle.clone(), extent, PLACE, &mut client());
        assert_eq!((told.len, data.len()), (0, 0));
        assert_eq!(told.stored, needle.bytes.len() as u64);
        told.status
    };
    let plain = needle(100);
    assert_eq!(status(&plain, Extent::Whole { room: 99 }), Status::TooLarge);
    for (offset, len) in [(100, 1), (0, 101), (u64::MAX, 1)] {
        assert_eq!(status(&plain, range(offset, len)), Status::PastEnd);
    }
    let gzip = Fixture {
        is_gzip: true,
        ..needle(100)
    };
    assert_eq!(status(&gzip, range(0, 1)), Status::Gzip);
    let (told, _) = answer(gzip, WHOLE, PLACE, &mut client());
    assert_eq!((told.status, told.is_gzip), (Status::Done, true));
    for (miss, expected) in [
        (Miss::Absent, Status::Absent),
        (Miss::NotHere, Status::NotHere),
        (Miss::Declined, Status::Declined),
        (Miss::Loading, Status::Loading),
        (Miss::Corrupt, Status::Corrupt),
        (Miss::Failed, Status::Failed),
    ] {
        let mut client = client();
        let items = [item(0, WHOLE, Place::Inline)];
        serve(&Fixed(vec![Err(miss)]), &items, &mut client, || {}, |_| {}).unwrap();
        assert_eq!(client.answers[0].0.status, expected);
    }
}

#[test]
fn a_disk_that_fails_is_told_as_long_as_it_can_be() {
    let bad = Fixture {
        fails_from: PIECE as u64,
        ..needle(2 * PIECE)
    };
    for (extent, place) in [
        (WHOLE, PLACE),
        (range(0, 2 * PIECE), PLACE),
        (range(0, 2 * PIECE), Place::Inline),
    ] {
        let (told, data) = answer(bad.clone(), extent, place, &mut client());
        assert_eq!((told.status, told.len, data.len()), (Status::Failed, 0, 0));
    }
    // The first piece of a whole needle is on its way when the second one fails.
    let mut client = client();
    let items = [item(0, WHOLE, Place::Inline)];
    let torn = serve(&Fixed(vec![Ok(bad)]), &items, &mut client, || {}, |_| {});
    assert_eq!(torn, Err(Torn::Disk(ReadFault::Failed)));
    let (told, data) = &client.answers[0];
    assert!(
        data.len() < told.data(),
        "the client must not take it for complete"
    );
}

#[test]
fn items_are_answered_in_their_order_and_looked_up_ahead() {
    let second = needle(20);
    let shelf = Fixed(vec![Ok(needle(10)), Err(Miss::Absent), Ok(second.clone())]);
    let items = [
        item(0, WHOLE, Place::Inline),
        item(1, WHOLE, Place::Inline),
        item(2, range(5, 10), Place::Inline),
        item(2, range(15, 10), Place::Inline),
    ];
    let mut client = client();
    let order = std::cell::RefCell::new(Vec::new());
    let last = || order.borrow_mut().push(99);
    serve(&shelf, &items, &mut client, last, |answer| {
        order.borrow_mut().push(answer.item)
    })
    .unwrap();
    assert_eq!(*order.borrow(), [0, 1, 2, 99, 3]);
    let statuses: Vec<_> = client
        .answers
        .iter()
        .map(|(a, _)| (a.item, a.status))
        .collect();
    let expected = [
        (0, Status::Done),
        (1, Status::Absent),
        (2, Status::Done),
        (3, Status::PastEnd),
    ];
    assert_eq!(statuses, expected);
    // Only what lies within the needle is fetched ahead.
    assert_eq!(*second.wanted.lock().unwrap(), [(5, 10)]);
}

#[test]
fn the_disk_is_told_of_long_items_and_of_more_where_they_follow_each_other() {
    let told = |cached, extent| {
        let needle = Fixture {
            cached,
            ..needle(1_000_000)
        };
        let wanted = needle.wanted.clone();
        answer(needle, extent, PLACE, &mut client());
        let wanted = wanted.lock().unwrap();
        wanted.clone()
    };
    assert_eq!(told(0, WHOLE), [(0, 1_000_000)]);
    assert_eq!(
        told(0, range(0, 200_000)),
        [(0, 400_000)],
        "the first of several"
    );
    assert_eq!(told(200_000, range(200_000, 200_000)), [(200_000, 400_000)]);
    assert_eq!(told(900_000, range(900_000, 100_000)), [(900_000, 100_000)]);
    assert_eq!(
        told(0, range(200_000, 200_000)),
        [(200_000, 200_000)],
        "anywhere"
    );
    assert_eq!(told(400_000, range(200_000, 200_000)), [], "in memory");
    assert_eq!(told(0, range(200_000, 4096)), [], "read at once");
}

#[test]
fn an_exchange_that_pauses_sends_the_same() {
    let shelf = Fixed(vec![Ok(needle(3 * PIECE)), Err(Miss::Absent)]);
    let items = [
        item(0, WHOLE, Place::Inline),
        item(1, WHOLE, Place::Inline),
        item(0, range(1, PIECE + 7), Place::Inline),
    ];
    let mut straight = client();
    serve(&shelf, &items, &mut straight, || {}, |_| {}).unwrap();
    let mut halting = client();
    halting.pauses = Some(Default::default());
    let mut exchange = Exchange::begin(&shelf, items.to_vec());
    let (mut pauses, mut last) = (0, 0);
    while exchange
        .proceed(&mut halting, || last += 1, |_| {})
        .unwrap()
        == Progress::Paused
    {
        pauses += 1;
    }
    assert_eq!(last, 1);
    assert!(pauses > items.len(), "in the middle of items as well");
    assert!(halting.answers == straight.answers);
}
