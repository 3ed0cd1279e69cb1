//! The way to a client: a socket, or a queue pair.

use std::io;
use std::os::fd::OwnedFd;

use crate::http::wire::Wire;
use crate::rdma::ITEMS;
use crate::serve::Shelf;
use crate::server::outlet::Sender;
use crate::server::rdma;
use crate::server::session::Terms;
use crate::server::shared::Shared;
use crate::wire::{FrameReader, INLINE, Next, Way, WireError};

/// What a lane sends to and receives from.
pub(in crate::server) enum Link {
    Socket { sender: Sender, reader: FrameReader },
    Rdma(Box<rdma::Link>),
}

impl Link {
    /// The server's end of a socket that was accepted.
    pub(in crate::server) fn socket<S: Shelf>(
        shared: &Shared<S>,
        carrier: &'static str,
        socket: OwnedFd,
    ) -> io::Result<Self> {
        let tls = shared.config.tls.as_ref().filter(|_| carrier == "tcp");
        Ok(Self::Socket {
            sender: Sender::new(Wire::accepted(socket, tls)?),
            reader: FrameReader::new(),
        })
    }

    /// What the client has come by; `carrier` tells sockets apart.
    pub(in crate::server) fn way(&self, carrier: &str) -> Way {
        match self {
            Self::Rdma(link) => Way::Rdma(link.rail()),
            Self::Socket { .. } if carrier == "shm" => Way::Shm,
            Self::Socket { .. } => Way::Tcp,
        }
    }

    /// What is granted over it, of what the server grants.
    pub(in crate::server) fn terms(&self, terms: &Terms) -> Terms {
        let mut terms = terms.clone();
        if let Self::Rdma(_) = self {
            terms.max_items = ITEMS;
            terms.max_inline = INLINE;
        }
        terms
    }

    pub(super) fn next(&mut self) -> Result<Next, WireError> {
        match self {
            Self::Socket { reader, .. } => reader.next(),
            Self::Rdma(link) => link.next(),
        }
    }

    pub(super) fn is_blocked(&self) -> bool {
        match self {
            Self::Socket { sender, .. } => sender.is_blocked(),
            Self::Rdma(_) => false,
        }
    }

    pub(super) fn flush(&mut self) -> io::Result<bool> {
        match self {
            Self::Socket { sender, .. } => sender.flush(),
            Self::Rdma(_) => Ok(true),
        }
    }

    /// Sends bytes, and descriptors beside the first of them; nothing is waiting to be sent.
    pub(super) fn send_with(&mut self, bytes: &[u8], files: &[OwnedFd; 2]) -> io::Result<()> {
        match self {
            Self::Socket { sender, .. } => sender.send_with(bytes, files),
            Self::Rdma(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Socket { sender, .. } => sender.send(bytes, &[]),
            Self::Rdma(link) => link.send(bytes),
        }
    }
}
