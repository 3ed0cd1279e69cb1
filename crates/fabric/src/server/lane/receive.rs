//! What a client sends, and the descriptors beside its Memory.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::{Fault, Lane, Link};
use crate::http::wire::Wire;
use crate::serve::Shelf;
use crate::wire::MAX_REGIONS;

/// What there was to receive.
pub(super) enum Received {
    Some { is_all: bool },
    None,
    End,
}

impl<S: Shelf> Lane<S> {
    /// Receives what is there.
    pub(super) fn receive(&mut self) -> Result<Received, Fault> {
        let wants_files = self.carrier == "shm" && self.session.wants_memory();
        let (sender, reader) = match &mut self.link {
            Link::Socket { sender, reader } => (sender, reader),
            Link::Rdma(link) => {
                let is_some = link.poll()?;
                return Ok(match (link.has_message(), is_some) {
                    (true, _) => Received::Some { is_all: false },
                    (false, _) if link.is_lost() => Received::End,
                    (false, true) => Received::Some { is_all: false },
                    (false, false) => Received::None,
                });
            }
        };
        let wire = &mut sender.wire;
        let space = reader.space();
        let room = space.len();
        let got = match wants_files && self.files.is_empty() {
            true => receive_with(wire, space, &mut self.files),
            false => wire.try_recv(space),
        };
        match got {
            Ok(0) => Ok(Received::End),
            Ok(got) => {
                reader.filled(got);
                let is_all = got < room && sender.wire.is_drained_when_short();
                Ok(Received::Some { is_all })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Receives bytes, and the descriptors that come with them.
fn receive_with(wire: &Wire, to: &mut [u8], files: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_REGIONS))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(to)];
    let received = loop {
        match recvmsg(
            wire.as_fd(),
            &mut parts,
            &mut beside,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Ok(received) => break received,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = message {
            files.extend(some);
        }
    }
    Ok(received.bytes)
}
