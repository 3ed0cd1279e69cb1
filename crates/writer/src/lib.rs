//! What programs write, until it is in a file's entry.
//!
//! A mount has one [`Writer`]; each file that is open for writing, however many
//! handles it has, one [`Dirty`]. The mount calls it from the threads that
//! answer the kernel, several at a time:
//!
//! - [`Dirty::write`], [`Dirty::truncate`], [`Dirty::zero`] take changes in the
//!   order in which they are made. They may block while memory is short, and
//!   stop when the caller is interrupted.
//! - [`Dirty::look`] tells what lies over the entry: bytes in memory, and an
//!   [`Edit`] of what was uploaded already. The mount reads `edit` applied to
//!   the entry's chunks, and lays the bytes over it. It looks first and takes the
//!   entry then: an entry that has the edit already is the same with it.
//! - [`Dirty::flush`] uploads whatever was written before it was called, and
//!   gives the [`Edit`] that has to be saved. The mount applies it to the
//!   newest entry, stores that at the filer under the condition that nobody
//!   changed the chunks meanwhile, and says [`Dirty::saved`] (or
//!   [`Dirty::not_saved`], after which the next flush gives it again). Between
//!   the two there is no other flush: the mount holds a lock over them.
//! - [`Dirty::take_error`]: an upload in the background failed. The mount
//!   returns it from the next write, fsync or close, once.
//! - [`Dirty::abandon`]: the file is gone; the chunks that nobody will name.
//!
//! A writer knows nothing of entries beside their chunks: names, attributes,
//! conditions and conflicts are the mount's. It never reads what it did not
//! write: a change of one byte becomes a chunk of one byte.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod block;
mod budget;
mod dirty;
mod edit;
mod error;
mod stats;
mod swap;
mod upload;
mod workers;
mod writer;

pub use dirty::{Dirty, Look};
pub use edit::{Applied, Edit};
pub use error::WriteError;
pub use stats::WriterStats;
pub use upload::{Fabric, FilerUpload, Placement, Upload, UploadConfig};
pub use writer::{Writer, WriterConfig};
