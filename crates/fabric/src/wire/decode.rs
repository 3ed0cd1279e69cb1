//! Bytes to messages. Every length was compared with its limit by the header before.

use seaweed::FileId;

use super::encode::{check_answer, check_hello, check_item, check_limits};
use super::header::{ITEM, Kind, REGION};
use super::{
    Answer, Borrow, Challenge, Extent, Hello, Item, Lent, Limits, Memory, Message, Outcome, Place,
    Proof, Read, Refusal, Region, Status, Welcome, WireError, Write, Written,
};

/// Reads the body of a frame of this kind.
pub(super) fn decode(kind: Kind, body: &[u8]) -> Result<Message, WireError> {
    let mut fields = Fields { kind, rest: body };
    let message = match kind {
        Kind::Hello => Message::Hello(hello(&mut fields)?),
        Kind::Challenge => Message::Challenge(Challenge {
            nonce: fields.bytes()?,
            wants_proof: fields.flag()?,
        }),
        Kind::Proof => Message::Proof(Proof {
            mac: fields.bytes()?,
        }),
        Kind::Welcome => {
            let limits = Limits {
                max_items: fields.u16()?,
                max_read: fields.u64()?,
            };
            check_limits(&limits)?;
            let proof = Proof {
                mac: fields.bytes()?,
            };
            Message::Welcome(Welcome { limits, proof })
        }
        Kind::Refusal => Message::Refusal(Refusal {
            reason: fields.text(body.len())?,
        }),
        Kind::Read => Message::Read(read(&mut fields)?),
        Kind::Answer => Message::Answer(answer(&mut fields)?),
        Kind::Ping => Message::Ping,
        Kind::Pong => Message::Pong,
        Kind::Bye => Message::Bye,
        Kind::Write => Message::Write(write(&mut fields)?),
        Kind::Written => Message::Written(written(&mut fields)?),
        Kind::Borrow => {
            let volume = fields.u32()?;
            let held = [fields.u64()?, fields.u64()?, fields.u64()?, fields.u64()?];
            Message::Borrow(Borrow {
                volume,
                held: Some(held).filter(|held| *held != [0; 4]),
            })
        }
        Kind::Lent => {
            let [number, width, verify] = fields.bytes()?;
            Message::Lent(Lent::of((number, width, verify, fields.u16()?))?)
        }
        Kind::Memory => Message::Memory(memory(&mut fields)?),
        Kind::Ready => Message::Ready,
    };
    match fields.rest.is_empty() {
        true => Ok(message),
        false => Err(kind.malformed("bytes behind its last field")),
    }
}

/// Statuses in the order of their numbers.
const STATUSES: [Status; 11] = [
    Status::Done,
    Status::Absent,
    Status::NotHere,
    Status::Declined,
    Status::Loading,
    Status::Corrupt,
    Status::Failed,
    Status::PastEnd,
    Status::TooLarge,
    Status::Gzip,
    Status::Busy,
];

fn hello(fields: &mut Fields<'_>) -> Result<Hello, WireError> {
    let nonce = fields.bytes()?;
    let offers = fields.flag()?;
    let hello = Hello {
        nonce,
        offers,
        name: fields.text(fields.rest.len())?,
    };
    check_hello(&hello)?;
    Ok(hello)
}

fn memory(fields: &mut Fields<'_>) -> Result<Memory, WireError> {
    // With the limits of the body this is a number of regions that a client may have.
    if !fields.rest.len().is_multiple_of(REGION) {
        return Err(fields.kind.malformed("a region that is not whole"));
    }
    let regions = (0..fields.rest.len() / REGION).map(|_| {
        Ok(Region {
            len: fields.u64()?,
            base: fields.u64()?,
            key: fields.u32()?,
        })
    });
    Ok(Memory {
        regions: regions.collect::<Result<_, WireError>>()?,
    })
}

fn read(fields: &mut Fields<'_>) -> Result<Read, WireError> {
    let count = fields.u16()?;
    // With the limits of the body this is a number of items that a read may have.
    if fields.rest.len() != usize::from(count) * ITEM {
        return Err(fields.kind.malformed("not as many items as it says"));
    }
    let items = (0..count).map(|_| item(fields));
    Ok(Read {
        items: items.collect::<Result<_, _>>()?,
    })
}

fn item(fields: &mut Fields<'_>) -> Result<Item, WireError> {
    let needle = FileId {
        volume: fields.u32()?,
        key: fields.u64()?,
        cookie: fields.u32()?,
    };
    let [extent, place] = fields.bytes()?;
    let (region, len, from, at) = (fields.u16()?, fields.u32()?, fields.u64()?, fields.u64()?);
    let extent = match (extent, from) {
        (0, 0) => Extent::Whole { room: len },
        (1, offset) => Extent::Range { offset, len },
        _ => return Err(fields.kind.malformed("an item of unknown extent")),
    };
    let place = place_of(place, region, at);
    let place = place.ok_or(fields.kind.malformed("an item of unknown place"))?;
    let item = Item {
        needle,
        extent,
        place,
    };
    check_item(&item)?;
    Ok(item)
}

fn answer(fields: &mut Fields<'_>) -> Result<Answer, WireError> {
    let item = fields.u16()?;
    let [status, flags] = fields.bytes()?;
    let status = STATUSES.get(usize::from(status)).copied();
    let answer = Answer {
        item,
        status: status.ok_or(fields.kind.malformed("an unknown status"))?,
        is_inline: flags & 1 != 0,
        is_gzip: flags & 2 != 0,
        len: fields.u32()?,
        stored: fields.u64()?,
        crc: fields.u32()?,
    };
    if flags > 3 {
        return Err(fields.kind.malformed("unknown flags"));
    }
    check_answer(&answer)?;
    Ok(answer)
}

fn write(fields: &mut Fields<'_>) -> Result<Write, WireError> {
    let base = FileId {
        volume: fields.u32()?,
        key: fields.u64()?,
        cookie: fields.u32()?,
    };
    let delta = fields.u32()?;
    let [flags, place] = fields.bytes()?;
    if flags > 3 {
        return Err(fields.kind.malformed("unknown flags"));
    }
    let (region, len, crc, at) = (fields.u16()?, fields.u32()?, fields.u32()?, fields.u64()?);
    let place = place_of(place, region, at);
    let place = place.ok_or(fields.kind.malformed("bytes of unknown place"))?;
    let patience = fields.u32()?;
    let (server, token) = (fields.u16()?, fields.u16()?);
    let write = Write {
        base,
        delta,
        gzip: flags & 1 != 0,
        fsync: flags & 2 != 0,
        place,
        len,
        crc,
        patience,
        server: fields.text(server.into())?,
        token: fields.text(token.into())?,
    };
    write.check()?;
    Ok(write)
}

fn written(fields: &mut Fields<'_>) -> Result<Written, WireError> {
    let [outcome] = fields.bytes()?;
    let outcome = Outcome::ALL.get(usize::from(outcome)).copied();
    let outcome = outcome.ok_or(fields.kind.malformed("an unknown outcome"))?;
    let is_known = fields.flag()?;
    let (status, stored) = (fields.u16()?, fields.u32()?);
    if !is_known && stored != 0 {
        return Err(fields.kind.malformed("a checksum that is not known"));
    }
    let written = Written {
        outcome,
        status,
        stored: is_known.then_some(stored),
        text: fields.text(fields.rest.len())?,
    };
    written.check()?;
    Ok(written)
}

fn place_of(place: u8, region: u16, at: u64) -> Option<Place> {
    match (place, region, at) {
        (0, 0, 0) => Some(Place::Inline),
        (1, region, offset) => Some(Place::Region { region, offset }),
        _ => None,
    }
}

/// Takes field after field off the front of a body.
struct Fields<'b> {
    kind: Kind,
    rest: &'b [u8],
}

impl Fields<'_> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let short = self.kind.malformed("too few bytes");
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(short)?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn u16(&mut self) -> Result<u16, WireError> {
        self.bytes().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn flag(&mut self) -> Result<bool, WireError> {
        match self.bytes()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(self.kind.malformed("a flag that is neither 0 nor 1")),
        }
    }

    fn text(&mut self, len: usize) -> Result<String, WireError> {
        let short = self.kind.malformed("too few bytes");
        let (text, rest) = self.rest.split_at_checked(len).ok_or(short)?;
        self.rest = rest;
        let text = std::str::from_utf8(text);
        let text = text.map_err(|_| self.kind.malformed("a text that is not UTF-8"))?;
        Ok(text.to_owned())
    }
}
