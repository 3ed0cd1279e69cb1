//! Being called by peers.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use parking_lot::Mutex;

use crate::connect::{pack, prepare, set_ack_timeout};
use crate::raw::{Id, Incoming, Notice};
use crate::{Config, Connection, Error, private, unavailable};

/// Requests that may wait to be accepted; more are refused by the kernel.
const BACKLOG: i32 = 128;
/// Requests that one call of [`Listener::accept`] may refuse on its own before it returns.
const MAX_REFUSED: usize = 64;

/// Listens on an IP address and port of the connection manager, which are not TCP's: the
/// same number may be in use there.
pub struct Listener {
    id: Mutex<Id>,
    fd: RawFd,
    addr: SocketAddr,
}

impl Listener {
    /// Listens on `addr`. The unspecified address stands for every device, those to come too;
    /// port 0 for a free one.
    ///
    /// # Errors
    /// [`Error::Unavailable`], or [`Error::Call`] for an address that is in use or of no device.
    pub fn bind(addr: SocketAddr) -> Result<Self, Error> {
        unavailable::libraries()?;
        let mut id = Id::new().map_err(|error| unavailable::no_channel(&error))?;
        let listening = id.bind(addr).and_then(|()| id.listen(BACKLOG));
        listening.map_err(|error| {
            let what = match error.raw_os_error() {
                Some(libc::ENODEV | libc::EADDRNOTAVAIL) => "is no address of an RDMA device",
                _ => "cannot be listened on",
            };
            Error::call(format!("{addr} {what}"), error)
        })?;
        let addr = id.local_addr().unwrap_or(addr);
        let fd = id.as_raw_fd();
        Ok(Self {
            id: Mutex::new(id),
            fd,
            addr,
        })
    }

    /// The address, with the port that was found.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// The next request, if one waits. Never blocks; the descriptor is readable when there may be one.
    ///
    /// # Errors
    /// [`Error::Call`]: too many open files, for one request; or the device was removed, after
    /// which a listener on one address must be bound anew.
    pub fn accept(&self) -> Result<Option<Request>, Error> {
        let mut listening = self.id.lock();
        for _ in 0..MAX_REFUSED {
            let incoming = listening.next();
            let incoming = incoming.map_err(|error| Error::call("cannot accept", error))?;
            match incoming {
                None => return Ok(None),
                Some(Incoming::Request {
                    id,
                    private,
                    retry_count,
                }) => {
                    if let Some(request) = Request::new(id, &private, retry_count) {
                        return Ok(Some(request));
                    }
                }
                Some(Incoming::Notice {
                    notice: Notice::DeviceRemoved,
                    ..
                }) => {
                    let gone = std::io::Error::from_raw_os_error(libc::ENODEV);
                    return Err(Error::call(
                        format!("the RDMA device of {} was removed", self.addr),
                        gone,
                    ));
                }
                Some(Incoming::Notice { .. }) => {}
            }
        }
        Ok(None)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: it belongs to `id`, which lives as long as `self`.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

/// A peer that wants to connect. Dropping it refuses.
pub struct Request {
    id: Id,
    peer: SocketAddr,
    private: Vec<u8>,
}

impl Request {
    /// `None`, and refused, when the peer asks for what must not be granted: to
    /// send again for ever, or in another protocol.
    fn new(id: Id, private: &[u8], retry_count: u8) -> Option<Self> {
        let peer = id.peer_addr()?;
        // The number is the peer's and goes for both directions (rdma_accept(3)).
        if retry_count > Config::MAX_RETRIES {
            tracing::warn!(%peer, retry_count, "RDMA peer refused: it asks for endless retries");
            return None;
        }
        let Some(private) = private::unpack(private) else {
            tracing::warn!(%peer, "RDMA peer refused: it speaks another protocol");
            return None;
        };
        Some(Self { id, peer, private })
    }

    /// Who calls.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// What it sent along.
    pub fn private(&self) -> &[u8] {
        &self.private
    }

    /// Grants it, with an answer. Nothing should be posted before the peer's first message has
    /// come: until the peer has taken the answer its device drops what arrives, and a slow one
    /// would be taken for a dead one.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::PrivateData`], [`Error::Call`]; the peer is refused then.
    pub fn accept(self, config: &Config, private: &[u8]) -> Result<Connection, Error> {
        config.check()?;
        let answer = pack(private)?;
        let mut id = self.id;
        set_ack_timeout(&mut id, config);
        let (mut state, domain) = prepare(id, config)?;
        state
            .id()
            .accept(&answer, config.retry_count)
            .map_err(|error| Error::call(format!("cannot accept {}", self.peer), error))?;
        state.connected();
        Ok(Connection::new(
            state,
            *config,
            domain,
            self.peer,
            self.private,
        ))
    }

    /// Refuses it, with a reason that the peer gets in [`Error::Refused`].
    ///
    /// # Errors
    /// [`Error::PrivateData`], [`Error::Call`]; the peer is refused nonetheless.
    pub fn reject(mut self, private: &[u8]) -> Result<(), Error> {
        let answer = pack(private)?;
        let rejected = self.id.reject(&answer);
        rejected.map_err(|error| Error::call(format!("cannot refuse {}", self.peer), error))
    }
}
