//! Whole chunks against the entry that names them.
//!
//! What a sidecar sends is compared with the checksum that it found with the bytes: that covers the disk and
//! the way, and says nothing about a sidecar that has other bytes altogether, such as one that was pointed
//! at a copy of the volumes. An entry has the MD5 of each chunk (its `e_tag`), as its writer made it. To compute that for every
//! chunk would cost more than all else that a read does, so one in [`EVERY`] is compared, the first
//! among them.
//!
//! A sum that differs is no proof yet: some writers put other things there. So the chunk is fetched once more, from a
//! volume server, whose word counts. If that has other bytes, the sidecar is wrong about the volume, and is not
//! asked for it for a while; if it has the same, the entry's sum is no MD5. So it is without fallback to HTTP as well, but that
//! the read fails then: nothing that came over HTTP is delivered.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use context::Context;
use fabric::{RouteError, Stored, Way, Whole};
use md5::{Digest as _, Md5};
use seaweed::Chunk;

use crate::core::Core;
use crate::landing::Landing;

/// One whole chunk in so many. MD5 takes 1.5 s a GiB.
const EVERY: u64 = 64;

/// Which chunks are compared.
#[derive(Debug, Default)]
pub(crate) struct Proof(AtomicU64);

impl Proof {
    /// The sum that `whole` has to have, if it is this one's turn.
    fn wanted(&self, chunk: &Chunk, whole: &Whole) -> Option<[u8; 16]> {
        let is_comparable = whole.way == Way::Fabric
            && whole.len as u64 == chunk.size
            && !chunk.is_opaque()
            && !chunk.is_manifest;
        if !is_comparable || chunk.e_tag.len() != BASE64_OF_MD5 {
            return None;
        }
        if !self.0.fetch_add(1, Ordering::Relaxed).is_multiple_of(EVERY) {
            return None;
        }
        BASE64_STANDARD.decode(&*chunk.e_tag).ok()?.try_into().ok()
    }
}

/// Length of 16 bytes in base64.
const BASE64_OF_MD5: usize = 24;

impl Core {
    /// Compares what came of a chunk; gives what it is and how it came in the end.
    pub(crate) fn proven(
        &self,
        ctx: &Context<'_>,
        chunk: &Chunk,
        stored: Bytes,
        whole: Whole,
    ) -> Result<(Bytes, Whole), RouteError> {
        let Some(wanted) = self.proof.wanted(chunk, &whole) else {
            return Ok((stored, whole));
        };
        self.stats.proofs.inc();
        if is_right(&stored, wanted) {
            return Ok((stored, whole));
        }
        let needle = chunk.file_id;
        let mut landing = Landing::new(&self.memory, chunk.size, None).expecting(chunk);
        let again = self
            .route
            .read_whole_from_server(ctx, needle, Stored::Plain, &mut landing)?;
        let other = landing.finish(again.len);
        if other == stored {
            tracing::debug!(%needle, e_tag = &*chunk.e_tag, "is not the MD5 of the chunk");
            return Ok((stored, whole));
        }
        self.stats.disproofs.inc();
        tracing::error!(%needle, "a sidecar has other bytes than the volume server");
        self.route.disbelieve(needle)?;
        Ok((other, again))
    }
}

fn is_right(bytes: &[u8], wanted: [u8; 16]) -> bool {
    let sum: [u8; 16] = Md5::digest(bytes).into();
    sum == wanted
}
