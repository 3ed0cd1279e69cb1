//! Messages to bytes.
//!
//! Frames are appended to a buffer of the caller's, which keeps its capacity when it is cleared:
//! nothing is allocated for a frame once the buffer has seen the longest.

use super::header::{Header, Kind};
use super::{
    Answer, Extent, HEADER, Hello, Item, Limits, MAX_ITEMS, MAX_NAME, MAX_READ, MAX_REASON,
    MAX_REGIONS, Memory, Message, Place, Read, Welcome, WireError, Write, Written,
};

/// Appends the frame of `message` to `out`, without the data that may follow it.
///
/// # Errors
/// When the message exceeds the protocol's limits; `out` is as before.
pub fn encode(id: u64, message: &Message, out: &mut Vec<u8>) -> Result<(), WireError> {
    match message {
        Message::Hello(hello) => frame(Kind::Hello, id, 0, out, |out| put_hello(hello, out)),
        Message::Challenge(challenge) => frame(Kind::Challenge, id, 0, out, |out| {
            out.extend(challenge.nonce);
            out.push(challenge.wants_proof.into());
            Ok(())
        }),
        Message::Proof(proof) => frame(Kind::Proof, id, 0, out, |out| {
            out.extend(proof.mac);
            Ok(())
        }),
        Message::Welcome(welcome) => frame(Kind::Welcome, id, 0, out, |out| {
            let Welcome { limits, proof } = welcome;
            check_limits(limits)?;
            out.extend(limits.max_items.to_le_bytes());
            out.extend(limits.max_read.to_le_bytes());
            out.extend(proof.mac);
            Ok(())
        }),
        Message::Refusal(refusal) => frame(Kind::Refusal, id, 0, out, |out| {
            if refusal.reason.len() > MAX_REASON {
                return Err(Kind::Refusal.malformed("a reason that is too long"));
            }
            out.extend(refusal.reason.as_bytes());
            Ok(())
        }),
        Message::Memory(memory) => frame(Kind::Memory, id, 0, out, |out| put_memory(memory, out)),
        Message::Ready => frame(Kind::Ready, id, 0, out, |_| Ok(())),
        Message::Read(Read { items }) => encode_read(id, items, out),
        Message::Answer(answer) => encode_answer(id, answer, out),
        Message::Ping => frame(Kind::Ping, id, 0, out, |_| Ok(())),
        Message::Pong => frame(Kind::Pong, id, 0, out, |_| Ok(())),
        Message::Bye => frame(Kind::Bye, id, 0, out, |_| Ok(())),
        Message::Write(write) => encode_write(id, write, out),
        Message::Written(written) => {
            frame(Kind::Written, id, 0, out, |out| put_written(written, out))
        }
        Message::Borrow(borrow) => frame(Kind::Borrow, id, 0, out, |out| {
            borrow.check()?;
            out.extend(borrow.volume.to_le_bytes());
            out.extend(
                borrow
                    .held
                    .unwrap_or_default()
                    .map(u64::to_le_bytes)
                    .as_flattened(),
            );
            Ok(())
        }),
        Message::Lent(lent) => frame(Kind::Lent, id, 0, out, |out| {
            let (number, width, verify, revision) = lent.fields()?;
            out.extend([number, width, verify]);
            out.extend(revision.to_le_bytes());
            Ok(())
        }),
    }
}

/// Appends the frame of a [`Message::Read`] of `items` to `out`.
///
/// # Errors
/// As [`encode()`].
pub fn encode_read(id: u64, items: &[Item], out: &mut Vec<u8>) -> Result<(), WireError> {
    if !(1..=MAX_ITEMS).contains(&items.len()) {
        return Err(Kind::Read.malformed("no items or too many"));
    }
    frame(Kind::Read, id, 0, out, |out| {
        out.extend((items.len() as u16).to_le_bytes());
        items.iter().try_for_each(|item| put_item(item, out))
    })
}

/// Appends the frame of a [`Message::Answer`] to `out`; its data is sent behind it.
///
/// # Errors
/// As [`encode()`].
pub fn encode_answer(id: u64, answer: &Answer, out: &mut Vec<u8>) -> Result<(), WireError> {
    check_answer(answer)?;
    frame(Kind::Answer, id, answer.data() as u32, out, |out| {
        out.extend(answer.item.to_le_bytes());
        out.push(answer.status as u8);
        out.push(u8::from(answer.is_inline) | u8::from(answer.is_gzip) << 1);
        out.extend(answer.len.to_le_bytes());
        out.extend(answer.stored.to_le_bytes());
        out.extend(answer.crc.to_le_bytes());
        Ok(())
    })
}

/// Appends the frame of a [`Message::Write`] to `out`; its data is sent behind it.
///
/// # Errors
/// As [`encode()`].
pub fn encode_write(id: u64, write: &Write, out: &mut Vec<u8>) -> Result<(), WireError> {
    write.check()?;
    frame(Kind::Write, id, write.data() as u32, out, |out| {
        let (place, region, at) = place_of(write.place);
        out.extend(write.base.volume.to_le_bytes());
        out.extend(write.base.key.to_le_bytes());
        out.extend(write.base.cookie.to_le_bytes());
        out.extend(write.delta.to_le_bytes());
        out.push(u8::from(write.gzip) | u8::from(write.fsync) << 1);
        out.push(place);
        out.extend(region.to_le_bytes());
        out.extend(write.len.to_le_bytes());
        out.extend(write.crc.to_le_bytes());
        out.extend(at.to_le_bytes());
        out.extend(write.patience.to_le_bytes());
        out.extend((write.server.len() as u16).to_le_bytes());
        out.extend((write.token.len() as u16).to_le_bytes());
        out.extend(write.server.as_bytes());
        out.extend(write.token.as_bytes());
        Ok(())
    })
}

pub(super) fn check_answer(answer: &Answer) -> Result<(), WireError> {
    if u64::from(answer.len) > MAX_READ {
        return Err(Kind::Answer.malformed("more bytes than an item may have"));
    }
    if usize::from(answer.item) >= MAX_ITEMS {
        return Err(Kind::Answer.malformed("an item no read can have"));
    }
    Ok(())
}

pub(super) fn check_limits(limits: &Limits) -> Result<(), WireError> {
    let items = 1..=MAX_ITEMS;
    if !items.contains(&usize::from(limits.max_items)) {
        return Err(Kind::Welcome.malformed("an impossible number of items"));
    }
    if !(1..=MAX_READ).contains(&limits.max_read) {
        return Err(Kind::Welcome.malformed("an impossible size of items"));
    }
    Ok(())
}

pub(super) fn check_hello(hello: &Hello) -> Result<(), WireError> {
    let is_printable = |b| matches!(b, b' '..=b'~');
    if hello.name.len() > MAX_NAME || !hello.name.bytes().all(is_printable) {
        return Err(Kind::Hello.malformed("a name that is long or not printable"));
    }
    Ok(())
}

pub(super) fn check_item(item: &Item) -> Result<(), WireError> {
    if u64::from(item.extent.room()) > MAX_READ {
        return Err(Kind::Read.malformed("an item of more bytes than one may have"));
    }
    if matches!(item.extent, Extent::Range { len: 0, .. }) {
        return Err(Kind::Read.malformed("an empty range"));
    }
    Ok(())
}

/// Appends header and body; takes both back when the body cannot be.
fn frame(
    kind: Kind,
    id: u64,
    data: u32,
    out: &mut Vec<u8>,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let start = out.len();
    out.extend([0; HEADER]);
    if let Err(error) = body(out) {
        out.truncate(start);
        return Err(error);
    }
    let (head, body) = out[start..].split_at_mut(HEADER);
    head.copy_from_slice(&Header::write(kind, id, data, body));
    Ok(())
}

fn put_hello(hello: &Hello, out: &mut Vec<u8>) -> Result<(), WireError> {
    check_hello(hello)?;
    out.extend(hello.nonce);
    out.push(hello.offers.into());
    out.extend(hello.name.as_bytes());
    Ok(())
}

fn put_memory(memory: &Memory, out: &mut Vec<u8>) -> Result<(), WireError> {
    if !(1..=MAX_REGIONS).contains(&memory.regions.len()) {
        return Err(Kind::Memory.malformed("an impossible number of regions"));
    }
    for region in &memory.regions {
        out.extend(region.len.to_le_bytes());
        out.extend(region.base.to_le_bytes());
        out.extend(region.key.to_le_bytes());
    }
    Ok(())
}

fn put_item(item: &Item, out: &mut Vec<u8>) -> Result<(), WireError> {
    check_item(item)?;
    let (extent, offset) = match item.extent {
        Extent::Whole { .. } => (0, 0),
        Extent::Range { offset, .. } => (1, offset),
    };
    let (place, region, at) = place_of(item.place);
    out.extend(item.needle.volume.to_le_bytes());
    out.extend(item.needle.key.to_le_bytes());
    out.extend(item.needle.cookie.to_le_bytes());
    out.extend([extent, place]);
    out.extend(region.to_le_bytes());
    out.extend(item.extent.room().to_le_bytes());
    out.extend(offset.to_le_bytes());
    out.extend(at.to_le_bytes());
    Ok(())
}

fn put_written(written: &Written, out: &mut Vec<u8>) -> Result<(), WireError> {
    written.check()?;
    out.push(written.outcome as u8);
    out.push(written.stored.is_some().into());
    out.extend(written.status.to_le_bytes());
    out.extend(written.stored.unwrap_or(0).to_le_bytes());
    out.extend(written.text.as_bytes());
    Ok(())
}

/// Kind, region and offset of a place.
fn place_of(place: Place) -> (u8, u16, u64) {
    match place {
        Place::Inline => (0, 0, 0),
        Place::Region { region, offset } => (1, region, offset),
    }
}
