//! The files of a volume for a client that reads them by itself.
//!
//! Who has the descriptors can read every needle of the volume, whatever its cookie. So they go only to whom
//! that gives nothing new: on the unix socket the kernel tells as whom the client has connected (`SO_PEERCRED`,
//! unix(7)), and root and the user of this process could open the files themselves. The lane is open, so that in a
//! protected cluster the client has proved that it holds the read key as well.
//!
//! Files are looked at before they are lent, so a disk thread does it.

use std::io;
use std::os::fd::AsFd;

use rustix::net::sockopt;
use rustix::process::geteuid;

use super::{Fault, Lane, Link};
use crate::serve::{Loan, Miss, Shelf};
use crate::server::outlet::Bench;
use crate::server::shared::Shared;
use crate::wire::{self, Lent, Message};

impl<S: Shelf> Lane<S> {
    /// Answers the wish to borrow, unless that has to wait for a disk. Gives whether it did.
    pub(super) fn lend(&mut self, shared: &Shared<S>, bench: &mut Bench) -> Result<bool, Fault> {
        let Some((id, borrow)) = self.borrowing.take() else {
            return Ok(true);
        };
        let loan = match self.may_borrow(shared) {
            true if bench.may_wait() => shared.shelf.lend(borrow.volume, borrow.held).map_err(lent),
            true if shared.disk.is_full() => Err(Lent::Failed),
            true => {
                self.borrowing = Some((id, borrow));
                return Ok(false);
            }
            false => Err(Lent::Refused),
        };
        let (lent, files) = match loan {
            Ok(Loan::Files(files, terms)) => (Lent::Files(terms), Some(files)),
            Ok(Loan::Same) => (Lent::Same, None),
            Err(lent) => (lent, None),
        };
        shared.stats.lent(&lent);
        self.session.finished(id);
        bench.staging.clear();
        let encoded = wire::encode(id, &Message::Lent(lent), &mut bench.staging);
        encoded.map_err(io::Error::other)?;
        match files {
            Some(files) => self.link.send_with(&bench.staging, &files)?,
            None => self.link.send(&bench.staging)?,
        }
        bench.staging.clear();
        Ok(true)
    }

    fn may_borrow(&self, shared: &Shared<S>) -> bool {
        let Link::Socket { sender, .. } = &self.link else {
            return false;
        };
        if !shared.config.lends || self.carrier != "shm" {
            return false;
        }
        let peer = sockopt::socket_peercred(sender.wire.as_fd());
        peer.is_ok_and(|peer| peer.uid.is_root() || peer.uid == geteuid())
    }
}

fn lent(miss: Miss) -> Lent {
    match miss {
        Miss::NotHere | Miss::Absent => Lent::NotHere,
        Miss::Declined | Miss::Loading | Miss::Corrupt => Lent::Declined,
        Miss::Failed => Lent::Failed,
    }
}
