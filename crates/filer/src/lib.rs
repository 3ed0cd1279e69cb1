//! The client of SeaweedFS's filer: gRPC, fail-over, and the stream of
//! metadata changes.
//!
//! [`Filer`] makes the filers of a cluster look like one that does not fail:
//! it asks the current one, and the next when there is no answer.
//! [`Filer::subscribe`] tells of every change, and honestly of every moment in
//! which a change could have been missed. [`VolumeMap`] remembers where
//! volumes are. Everything is asynchronous; a caller that has a deadline or
//! can be interrupted wraps a call with it, and dropping a call is always safe.
//! [`Lanes`] is for callers that block: each has a connection to itself.
//!
//! The messages are `seaweed::pb`; what is generated here is only the client.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod attempt;
mod backoff;
mod calls;
mod changes;
mod configuration;
mod dialer;
mod error;
mod filer;
mod lanes;
mod line;
mod mutations;
mod peer;
mod quiet;
mod random;
mod stream;
mod subscribe;
mod tls;
mod volumes;

pub use calls::{Page, Stamped};
pub use configuration::Configuration;
pub use error::FilerError;
pub use filer::{Filer, FilerConfig, FilerStats};
pub use lanes::Lanes;
pub use line::{Line, Transport};
pub use mutations::{Condition, Created, Deleted, Renamed, Updated, same_entry};
pub use peer::PeerStats;
pub use quiet::Echo;
pub use subscribe::{Event, Notice, Notices, Subscription};
pub use tls::TlsError;
pub use volumes::{LocateError, Location, VolumeMap};

/// The generated client, on a connection of ours.
pub type RawClient = generated::seaweed_filer_client::SeaweedFilerClient<Transport>;

#[allow(missing_docs, clippy::all, unreachable_pub)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/filer_pb.rs"));
}
