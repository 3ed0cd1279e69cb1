//! What SeaweedFS is, without any I/O: its names, formats and rules.
//!
//! A *volume* is a big file on some server that holds many *needles*, small
//! blobs named by a [`FileId`]. The *filer* keeps a tree of entries; the bytes
//! of a file are its *chunks*, each a needle placed at some offset. Chunks may
//! overlap (the newest wins), leave holes (zeros), be encrypted or compressed,
//! and a chunk may itself hold a list of chunks (a *manifest*).
//!
//! The way from an entry to bytes is: [`Entry::from_pb`] checks what a filer
//! sent, [`manifest::Resolver`] replaces manifests by their children,
//! [`FileView::resolve`] decides which chunk shows where, and [`decode_chunk`]
//! turns the stored bytes of a chunk into clear ones. Around it are the
//! settings a client shares with the servers: [`ServerAddress`], [`Security`],
//! and the tokens of [`jwt`]. The files of a volume itself are in [`volume`].
//!
//! Facts about the formats were observed on SeaweedFS 4.48 unless a comment
//! says otherwise.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod address;
mod chunk;
pub mod cipher;
pub mod compress;
pub mod crc;
mod decode;
mod entry;
mod file_id;
pub mod jwt;
pub mod manifest;
mod mode;
pub mod security;
mod view;
pub mod volume;

pub use address::{AddressError, ServerAddress, host_and_port};
pub use chunk::{Chunk, ChunkError, CipherKey};
pub use decode::{DecodeError, MAX_CLEAR, decode_chunk};
pub use entry::{ContentKey, ContentKeyError, Entry, EntryError, Remote};
pub use file_id::{FileId, FileIdError};
pub use mode::Kind;
pub use security::Security;
pub use view::{FileView, Piece, View};

/// The messages of the filer's gRPC interface, generated from `proto/filer.proto`.
#[allow(missing_docs, clippy::all)]
pub mod pb {
    include!(concat!(env!("OUT_DIR"), "/filer_pb.rs"));
}
