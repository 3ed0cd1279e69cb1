//! Needles of a real SeaweedFS, in every form and through every access path.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod faults;
mod forms;
mod master;
mod protection;
mod speed;

use std::sync::Arc;
use std::time::Duration;

use context::Context;
use fabric::{HttpConfig, HttpRoute, HttpStats, Route, RouteError, Stored, UpTo};
use seaweed::FileId;

use master::Master;

/// A route that asks the master where volumes are.
fn route_to(master: &Arc<Master>, config: HttpConfig) -> HttpRoute {
    HttpRoute::new(config, master.clone(), Arc::new(HttpStats::new()))
}

/// Fails at once instead of asking again.
fn once() -> HttpConfig {
    HttpConfig {
        retry: Duration::ZERO,
        ..HttpConfig::default()
    }
}

fn ctx() -> Context<'static> {
    Context::background(Duration::from_secs(60))
}

fn read(route: &HttpRoute, needle: FileId, at: u64, len: usize) -> Result<Vec<u8>, RouteError> {
    let mut dst = vec![0; len];
    route.read_at(&ctx(), needle, at, &mut dst)?;
    Ok(dst)
}

/// All bytes; it is asserted that they were compared with the server's checksum.
fn fetch(route: &HttpRoute, needle: FileId, form: Stored) -> Result<Vec<u8>, RouteError> {
    let mut to = UpTo::new(100 << 20);
    let whole = route.read_whole(&ctx(), needle, form, &mut to)?;
    assert!(whole.verified);
    assert_eq!(whole.len, to.bytes.len());
    Ok(to.bytes)
}

/// Bytes that do not compress and differ from one `seed` to the next.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let word = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes()
    });
    word.flatten().take(len).collect()
}
