//! What the fuzzer calls: one function for each parser of outside input.
//!
//! Each takes any bytes, hands them to a parser, and panics when the parser
//! breaks a promise: that what it accepts is what it says, that it keeps its
//! limits, that two ways to the same answer agree. They are ordinary functions
//! so that `tests/seeds.rs` can run them on the stable compiler as well; the
//! fuzzer's own workspace in `fuzz/` only gives them names.

mod announcements;
mod bytes_of;
mod chunks;
mod flags;
mod names;
mod saved;
mod secrets;
mod shell;
mod sidecar;
mod volumes;
mod wire;

pub use announcements::announcement;
pub use chunks::{chunk_views, decode, entry, manifest};
pub use flags::flags;
pub use names::{address, file_id};
pub use saved::saved_index;
pub use secrets::{jwt, security};
pub use shell::http2_authority;
pub use sidecar::sidecar_query;
pub use volumes::{volume_data, volume_index, volume_info};
pub use wire::{fabric_frame, fuse_request, http_head};

/// A function for the fuzzer.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also that of its folder in `fuzz/seeds`.
pub const TARGETS: &[(&str, Target)] = &[
    ("address", address),
    ("announcement", announcement),
    ("chunk_views", chunk_views),
    ("decode", decode),
    ("entry", entry),
    ("fabric_frame", fabric_frame),
    ("file_id", file_id),
    ("flags", flags),
    ("fuse_request", fuse_request),
    ("http2_authority", http2_authority),
    ("http_head", http_head),
    ("jwt", jwt),
    ("manifest", manifest),
    ("saved_index", saved_index),
    ("security", security),
    ("sidecar_query", sidecar_query),
    ("volume_data", volume_data),
    ("volume_index", volume_index),
    ("volume_info", volume_info),
];
