//! Whole files: brought in, found again, and never half.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod common;
mod crash;
mod life;
mod room;
