//! Reads needles out of the files of a live volume server.
//!
//! A volume server on the same host writes `.dat` and `.idx` files ([`seaweed::volume`] has the
//! formats). A [`Store`] reads them beside it, without asking it for anything and without being
//! noticed. It relies on what the server does in this order for every upload: the whole record
//! into `.dat`, its entry into `.idx`, then the answer. So one fstat(2) of the index file tells
//! whether there is news, and whoever looks after an answer sees what was answered:
//!
//! ```text
//!  find(id) ── fstat(.idx) ── grown?      read the new entries first
//!                          └─ unlinked?   a vacuum replaced both files: open the new pair
//!           ── index ── record's place ── read header, check id, cookie, size ── Needle
//!           ── not found, or anything odd? look at the paths once more before it is a miss
//! ```
//!
//! A [`Needle`] keeps the pair of files it was found in, so a read never mixes two. All that it
//! returns was checked against the stored checksum: a whole needle by itself, a range by the sums
//! of its 4 KiB blocks, which are made when the whole was checked once ([`VerifyRanges`]).
//!
//! What it cannot serve it declines with a [`Reason`]: whoever asked goes to the server's own HTTP.
//! It never answers with bytes that it is not sure of.
//!
//! The files of a volume can be lent to another process of the same host ([`lent`]), which then reads needles by
//! itself with the same checks.
//!
//! No file of a volume is mapped into memory: the server may cut off the end of one at any time, and a
//! mapping would then end the process. Mapped are only [indexes](saved) that the store has saved for itself.
//!
//! Each volume that is served takes two file descriptors, and one more where its index is saved; what the process
//! may open has to allow for [`StoreConfig::max_volumes`] of them.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod budget;
mod context;
mod damage;
mod files;
mod index;
pub mod inspect;
pub mod lent;
mod miss;
mod needle;
mod pair;
mod raw;
pub mod saved;
mod scan;
mod stats;
mod store;
mod sums;
mod volume;

pub use damage::Damage;
pub use files::DataDir;
pub use miss::{Absent, Miss, Reason};
pub use needle::{Needle, ReadError};
pub use stats::VolumeStats;
pub use store::{Lending, OpenError, Store, StoreConfig};
pub use sums::VerifyRanges;
pub use volume::{VolumeState, VolumeSummary};
