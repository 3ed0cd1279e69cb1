//! Calling a peer, step by step.
//!
//! Three answers of the connection manager lie between an address and a connection: which device
//! leads there, by which route, and what the peer says. [`Connecting`] never blocks; it is advanced
//! whenever its descriptor is readable or its deadline has passed, so the wait can be joined with
//! an interrupt. Dropping it gives the attempt up.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::connection::State;
use crate::raw::{self, Id, Incoming, Notice};
use crate::{Config, Connection, Domain, Error, private, unavailable};

/// The reason of a refusal by the peer's program; others are the network's (IBA table 95).
const REJECTED_BY_CONSUMER: i32 = 28;

/// A connection in the making.
pub struct Connecting {
    stage: Stage,
    call: Call,
}

/// Where an attempt has got to.
#[expect(
    clippy::large_enum_variant,
    reason = "moved a few times for each connection"
)]
pub enum Progress {
    /// There is more to wait for.
    Waiting(Connecting),
    /// Done.
    Connected(Connection),
}

enum Stage {
    Address(Id),
    Route(Id),
    Answer(Box<State>, &'static Domain),
}

/// What stays the same from the first step to the last.
struct Call {
    peer: SocketAddr,
    config: Config,
    deadline: Instant,
    private: Vec<u8>,
}

impl Connecting {
    /// Begins to call `peer`, which is given `private`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without RDMA here, [`Error::Config`], [`Error::PrivateData`], and
    /// [`Error::Connect`] for an address that no device reaches.
    pub fn start(
        peer: SocketAddr,
        config: &Config,
        timeout: Duration,
        private: &[u8],
    ) -> Result<Self, Error> {
        config.check()?;
        let private = pack(private)?;
        unavailable::libraries()?;
        let mut id = Id::new().map_err(|error| unavailable::no_channel(&error))?;
        set_ack_timeout(&mut id, config);
        id.resolve_address(peer, timeout)
            .map_err(|error| failed(peer, "address", error))?;
        let call = Call {
            peer,
            config: *config,
            deadline: Instant::now() + timeout,
            private,
        };
        let stage = Stage::Address(id);
        Ok(Self { stage, call })
    }

    /// Becomes readable when [`Self::advance`] can go on; the same one at every step.
    pub fn fd(&self) -> BorrowedFd<'_> {
        let fd = match &self.stage {
            Stage::Address(id) | Stage::Route(id) => id.as_raw_fd(),
            Stage::Answer(state, _) => state.fds().1,
        };
        // SAFETY: it is that of the identifier in `stage`, open for as long as `self` is borrowed.
        unsafe { BorrowedFd::borrow_raw(fd) }
    }

    /// When it is given up.
    pub fn deadline(&self) -> Instant {
        self.call.deadline
    }

    /// Goes on as far as it can.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::TimedOut`], [`Error::Connect`] with the network's reason,
    /// [`Error::Call`] when this end lacks something.
    pub fn advance(mut self, now: Instant) -> Result<Progress, Error> {
        loop {
            let incoming = match &mut self.stage {
                Stage::Address(id) | Stage::Route(id) => id.next(),
                Stage::Answer(state, _) => state.id().next(),
            };
            let incoming = incoming.map_err(|error| Error::call("connection manager", error))?;
            let Some(Incoming::Notice {
                notice,
                status,
                private,
            }) = incoming
            else {
                if now >= self.call.deadline {
                    let (peer, step) = (self.call.peer, self.stage.name());
                    return Err(Error::TimedOut { peer, step });
                }
                return Ok(Progress::Waiting(self));
            };
            let Self { stage, call } = self;
            let stage = match (stage, notice) {
                (Stage::Address(id), Notice::AddressResolved) => call.route(id, now)?,
                (Stage::Route(id), Notice::RouteResolved) => call.request(id)?,
                (Stage::Answer(state, domain), Notice::Established) => {
                    let connection = call.connected(*state, domain, &private)?;
                    return Ok(Progress::Connected(connection));
                }
                (_, Notice::Rejected) => return Err(call.refused(status, &private)),
                (stage, Notice::Other(_)) => stage,
                (_, notice) => return Err(call.broken(notice, status)),
            };
            self = Self { stage, call };
        }
    }
}

impl Stage {
    fn name(&self) -> &'static str {
        match self {
            Self::Address(_) => "resolving its address",
            Self::Route(_) => "resolving the route",
            Self::Answer(..) => "waiting for its answer",
        }
    }
}

impl Call {
    fn route(&self, mut id: Id, now: Instant) -> Result<Stage, Error> {
        let left = self.deadline.saturating_duration_since(now);
        id.resolve_route(left)
            .map_err(|error| failed(self.peer, "route", error))?;
        Ok(Stage::Route(id))
    }

    fn request(&self, id: Id) -> Result<Stage, Error> {
        let (mut state, domain) = prepare(id, &self.config)?;
        let requested = state.id().connect(&self.private, self.config.retry_count);
        requested.map_err(|error| failed(self.peer, "request", error))?;
        Ok(Stage::Answer(Box::new(state), domain))
    }

    fn connected(
        self,
        mut state: State,
        domain: &'static Domain,
        private: &[u8],
    ) -> Result<Connection, Error> {
        let Some(private) = private::unpack(private) else {
            let why = "its answer is not of this protocol".to_owned();
            return Err(Error::Connect {
                peer: self.peer,
                why,
            });
        };
        state.connected();
        Ok(Connection::new(
            state,
            self.config,
            domain,
            self.peer,
            private,
        ))
    }

    fn refused(&self, status: i32, private: &[u8]) -> Error {
        let private = match status {
            REJECTED_BY_CONSUMER => private::unpack(private).unwrap_or_default(),
            _ => Vec::new(),
        };
        Error::Refused {
            peer: self.peer,
            private,
        }
    }

    fn broken(&self, notice: Notice, status: i32) -> Error {
        let what = match notice {
            Notice::AddressError => "no RDMA device that can be opened leads to its address",
            Notice::RouteError => "there is no route",
            Notice::Unreachable => "it is unreachable",
            Notice::ConnectError => "the connection could not be set up",
            Notice::DeviceRemoved => "the RDMA device was removed",
            _ => "the connection manager lost its way",
        };
        // The network's reasons are positive numbers of the protocol, this end's are errno.
        let why = match status {
            // -1 is the library's word for anything.
            -1 | 0 => what.to_owned(),
            ..-1 => format!("{what} ({})", std::io::Error::from_raw_os_error(-status)),
            _ => format!("{what} (reason {status})"),
        };
        Error::Connect {
            peer: self.peer,
            why,
        }
    }
}

/// A state with queues on an identifier that is bound to a device.
pub(crate) fn prepare(id: Id, config: &Config) -> Result<(State, &'static Domain), Error> {
    let nowhere = || {
        let error = std::io::ErrorKind::NotFound.into();
        Error::call("the address belongs to no RDMA device", error)
    };
    let context = id.context().ok_or_else(nowhere)?;
    let local = id.local_addr().ok_or_else(nowhere)?;
    let domain = Domain::of(context, || hold(local, context))?;
    Ok((State::new(id, domain, config)?, domain))
}

/// Keeps the device of `local` open for ever, by an identifier that is bound to it and never dropped.
fn hold(local: SocketAddr, context: raw::Context) -> Result<(), Error> {
    let keep = |error| Error::call("cannot keep the RDMA device open", error);
    let mut id = Id::new().map_err(keep)?;
    id.bind(SocketAddr::new(local.ip(), 0)).map_err(keep)?;
    if id.context() != Some(context) {
        return Err(keep(std::io::ErrorKind::NotFound.into()));
    }
    std::mem::forget(id);
    Ok(())
}

/// Kernels before 4.17 lack the option; their time-out is then that of the subnet.
pub(crate) fn set_ack_timeout(id: &mut Id, config: &Config) {
    if let Err(error) = id.set_ack_timeout(config.ack_timeout) {
        tracing::debug!(%error, "RDMA acknowledgement time-out stays at its default");
    }
}

/// The error for private data that does not fit.
pub(crate) fn pack(data: &[u8]) -> Result<Vec<u8>, Error> {
    private::pack(data).ok_or(Error::PrivateData { len: data.len() })
}

fn failed(peer: SocketAddr, step: &str, error: std::io::Error) -> Error {
    Error::Connect {
        peer,
        why: format!("{step}: {error}"),
    }
}
