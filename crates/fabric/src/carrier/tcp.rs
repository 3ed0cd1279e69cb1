//! A lane over TCP, plain or under TLS. All data comes inline.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;

use super::error::Failure;
use super::greet::Greeting;
use super::stream::StreamLane;
use crate::http::resolve::Resolver;
use crate::http::wait::Watch;
use crate::http::wire::{Secure, Wire, server_name};
use crate::wire::Way;

/// Connects and shakes hands.
pub(super) fn open(
    address: &str,
    resolver: &Resolver,
    tls: Option<&Arc<ClientConfig>>,
    greeting: Greeting<'_>,
    watch: &Watch<'_>,
) -> Result<StreamLane, Failure> {
    let secure = match tls {
        None => None,
        Some(config) => Some(Secure {
            config: config.clone(),
            name: server_name(address)?,
        }),
    };
    let wire = resolver.try_each(watch, |address| Wire::open(address, secure.as_ref(), watch))?;
    greeting.exchange(Way::Tcp, wire, None, watch)
}

/// Why there is no lane to a server that wants TLS.
pub(super) fn without_tls() -> Failure {
    io::Error::other("it wants TLS, and none is configured here").into()
}
