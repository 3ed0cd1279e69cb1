//! Bytes on their way: frames of the fabric, and pieces that are in memory.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use context::Context;
use fabric::wire::{Extent, FrameReader, Item, Message, Next, Place, Read, encode, encode_read};
use fabric::{Destination, Route, RouteError, Stored, Way, Whole};
use reader::{Reader, ReaderConfig, Stream};
use seaweed::{Chunk, FileId, FileView};

/// A read of one needle.
pub(super) fn encode_frame() -> Box<dyn FnMut() -> usize> {
    let mut out = Vec::with_capacity(256);
    Box::new(move || {
        out.clear();
        match encode_read(7, black_box(&[item()]), &mut out) {
            Ok(()) => out.len(),
            Err(_) => 0,
        }
    })
}

/// The same, as the other side hears it.
pub(super) fn decode_frame() -> Box<dyn FnMut() -> usize> {
    let mut bytes = Vec::new();
    let message = Message::Read(Read {
        items: vec![item()],
    });
    assert!(encode(7, &message, &mut bytes).is_ok());
    let mut reader = FrameReader::new();
    Box::new(move || {
        let bytes = black_box(&bytes);
        let mut rest = &bytes[..];
        loop {
            match reader.next() {
                Ok(Next::Frame(frame)) => return frame.id as usize,
                Ok(_) if !rest.is_empty() => {
                    let space = reader.space();
                    let len = space.len().min(rest.len());
                    space[..len].copy_from_slice(&rest[..len]);
                    reader.filled(len);
                    rest = &rest[len..];
                }
                _ => return 0,
            }
        }
    })
}

/// 4 KiB of a chunk that is in memory, into a reply.
pub(super) fn cache_hit() -> Box<dyn FnMut() -> usize> {
    const LEN: usize = 256 << 10;
    let config = ReaderConfig {
        memory_bytes: 16 << 20,
        ..ReaderConfig::default()
    };
    let reader = Reader::open(config, Arc::new(Sevens));
    let reader = reader.unwrap_or_else(|error| panic!("a reader: {error}"));
    let chunk = Chunk {
        file_id: item().needle,
        offset: 0,
        size: LEN as u64,
        modified_ts_ns: 1,
        cipher_key: None,
        is_compressed: false,
        is_manifest: false,
        sse: false,
        e_tag: "".into(),
    };
    let view = FileView::resolve([chunk], LEN as u64);
    let (ctx, stream) = (
        Context::background(Duration::from_secs(86_400)),
        Stream::new(),
    );
    let mut out = Vec::with_capacity(LEN);
    // All of it comes to memory.
    assert!(reader.read(&ctx, &view, &stream, 0, LEN, &mut out).is_ok());
    let mut at = 0;
    Box::new(move || {
        out.clear();
        at = (at + (68 << 10)) % LEN as u64;
        match reader.read(&ctx, &view, &stream, at, 4096, &mut out) {
            Ok(()) => out.len(),
            Err(_) => 0,
        }
    })
}

fn item() -> Item {
    Item {
        needle: FileId {
            volume: 3,
            key: 4711,
            cookie: 0x1234_5678,
        },
        extent: Extent::Range {
            offset: 1 << 20,
            len: 4096,
        },
        place: Place::Region {
            region: 0,
            offset: 65_536,
        },
    }
}

/// Needles of nothing but sevens.
struct Sevens;

impl Route for Sevens {
    fn name(&self) -> &'static str {
        "sevens"
    }

    fn read_at(
        &self,
        _: &Context<'_>,
        _: FileId,
        _: u64,
        dst: &mut [u8],
    ) -> Result<Way, RouteError> {
        dst.fill(7);
        Ok(Way::Http)
    }

    fn read_whole(
        &self,
        _: &Context<'_>,
        needle: FileId,
        stored: Stored,
        to: &mut dyn Destination,
    ) -> Result<Whole, RouteError> {
        let _ = stored;
        let len: u64 = 256 << 10;
        let memory = to.memory(len);
        let memory = memory.map_err(|_| RouteError::Refused { needle, len })?;
        memory.fill(7);
        Ok(Whole {
            len: len as usize,
            verified: true,
            way: Way::Http,
            near: false,
        })
    }
}
