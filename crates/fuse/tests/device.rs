//! The tests of the session once more over /dev/fuse, which is what they get where io_uring
//! cannot be had.
#![allow(clippy::unwrap_used, clippy::duplicate_mod)]

#[path = "metadata.rs"]
mod metadata;
#[path = "read.rs"]
mod read;
#[path = "readonly.rs"]
mod readonly;
#[path = "trouble.rs"]
mod trouble;
