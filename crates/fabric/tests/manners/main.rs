//! What the client makes of every way a server can answer, right and wrong.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod answers;
mod bodies;
mod connections;
mod puppet;
mod replicas;

use fabric::{HttpRoute, Route, RouteError, Stored, UpTo};

use puppet::{NEEDLE, patient};

fn read(route: &HttpRoute, offset: u64, len: usize) -> Result<Vec<u8>, RouteError> {
    let mut dst = vec![0; len];
    route.read_at(&patient(), NEEDLE, offset, &mut dst)?;
    Ok(dst)
}

fn fetch(route: &HttpRoute, form: Stored) -> Result<(Vec<u8>, bool), RouteError> {
    let mut to = UpTo::new(1 << 20);
    let whole = route.read_whole(&patient(), NEEDLE, form, &mut to)?;
    assert_eq!(whole.len, to.bytes.len());
    Ok((to.bytes, whole.verified))
}
