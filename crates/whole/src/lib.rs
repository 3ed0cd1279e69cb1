//! Files as a whole on a local disk, so that they can be opened there.
//!
//! [`Files`] brings files in, in the background and each as a file of its own with exactly its bytes, and
//! hands them out by their content ([`ContentKey`](seaweed::ContentKey)): who finds one has the
//! bytes of that version and of no other, whatever has happened to the name since.
//!
//! - [`record`]: what is written beside each file, by which it is believed after a restart.
//! - [`index`]: which files there are, which goes next; one that somebody has open stays.
//! - [`store`]: the folder, and the room there is.
//! - [`filling`]: one file on its way. [`queue`]: which is next. [`fill`]: the threads.
//! - [`pace`]: how much of the machine and the network they may take.

#![cfg_attr(test, allow(clippy::unwrap_used))]
#![allow(rustdoc::private_intra_doc_links)]

mod config;
mod files;
mod fill;
mod filling;
mod index;
mod pace;
mod queue;
mod record;
mod stats;
mod store;

pub use config::{Config, Foreground};
pub use files::{Evicted, Files, Listed, State, Verdict, Want};
pub use filling::Source;
pub use stats::FilesStats;
pub use store::Whole;
