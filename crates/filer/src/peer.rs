//! One filer of the list: its connection and what became of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use seaweed::ServerAddress;
use seaweed::pb;
use tonic::transport::Channel;

use crate::RawClient;
use crate::dialer::Dialer;
use crate::line::{Line, Transport};

/// Largest message accepted. Upstream allows 1 GiB, which one broken message
/// could make us allocate. The largest sound ones: an entry with 10,000 chunks
/// before they fold into a manifest is about 1.5 MB, an event carries two of
/// them, and inline content is a few MB at most.
pub(crate) const MAX_MESSAGE: usize = 64 << 20;

/// A filer and the connection that all calls share.
pub(crate) struct Peer {
    pub(crate) address: ServerAddress,
    dialer: Dialer,
    channel: ArcSwap<Channel>,
    /// It takes no changes in a stream.
    unary: Arc<AtomicBool>,
    calls: AtomicU64,
    errors: AtomicU64,
    failures: AtomicU64,
}

impl Peer {
    pub(crate) fn new(address: ServerAddress, tls: Option<&Arc<ClientConfig>>) -> Self {
        let dialer = Dialer::new(&address, tls);
        let (channel, _) = dialer.channel();
        Self {
            address,
            dialer,
            channel: ArcSwap::from_pointee(channel),
            unary: Arc::default(),
            calls: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    /// A client on the shared connection.
    pub(crate) fn client(&self) -> RawClient {
        by(self.transport())
    }

    /// The shared connection.
    pub(crate) fn transport(&self) -> Transport {
        Transport::Channel(Channel::clone(&self.channel.load()))
    }

    /// A connection that nobody shares, for one caller.
    pub(crate) fn line(&self) -> Transport {
        Transport::Line(Line::new(&self.dialer, &self.unary))
    }

    /// A connection that nobody shares, with the count of how often it was
    /// made.
    pub(crate) fn private_channel(&self) -> (Channel, Arc<AtomicU64>) {
        self.dialer.channel()
    }

    /// Gives up the shared connection: calls on it ran out of time, so its
    /// path may be cut although the socket does not know.
    pub(crate) fn abandon_connection(&self) {
        let (channel, _) = self.dialer.channel();
        self.channel.store(Arc::new(channel));
    }

    pub(crate) fn called(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> PeerStats {
        PeerStats {
            address: self.address.clone(),
            calls: self.calls.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }
}

/// What one filer has done for us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStats {
    /// The filer.
    pub address: ServerAddress,
    /// Attempts sent to it.
    pub calls: u64,
    /// Attempts that it answered with an error (a missing entry is none).
    pub errors: u64,
    /// Attempts that it did not answer: refused, cut off, out of time.
    pub failures: u64,
}

/// The generated client on `channel`.
pub(crate) fn client(channel: Channel) -> RawClient {
    by(Transport::Channel(channel))
}

/// The generated client on `transport`.
pub(crate) fn by(transport: Transport) -> RawClient {
    RawClient::new(transport).max_decoding_message_size(MAX_MESSAGE)
}

/// The configuration request has no fields.
pub(crate) const CONFIGURATION: pb::GetFilerConfigurationRequest =
    pb::GetFilerConfigurationRequest {};
