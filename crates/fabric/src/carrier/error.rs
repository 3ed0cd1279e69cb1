//! Why there is no lane.

use std::fmt;

use context::Stopped;

use super::shm::Stranger;
use crate::http::wait::Halt;
use crate::lane::Broken;
use crate::wire::{VERSION, WireError};

/// Why no lane was opened.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The caller gave up, or had no time left.
    #[error("{0} while a lane was being opened")]
    Stopped(#[from] Stopped),
    /// The sidecar is older or newer.
    #[error("the sidecar speaks version {0} of the fabric, here it is version {VERSION}")]
    Version(u8),
    /// Every way that there is was tried.
    #[error("no lane could be opened: {}", list(.0))]
    Failed(Vec<Attempt>),
}

/// What [`Failure::NotReady`] is to those who are told of it.
const NOT_READY: std::io::ErrorKind = std::io::ErrorKind::WouldBlock;

impl DialError {
    /// Whether a lane can be had soon: memory is still being registered for it.
    pub fn is_not_ready(&self) -> bool {
        let waits = |one: &Attempt| matches!(&one.why, Broken::Io(why) if why.kind() == NOT_READY);
        matches!(self, Self::Failed(all) if all.iter().any(waits))
    }

    /// The user with whom we share nothing, where that was the reason.
    pub fn stranger(&self) -> Option<Stranger> {
        let Self::Failed(all) = self else {
            return None;
        };
        all.iter().find_map(|one| match &one.why {
            Broken::Io(why) => why.get_ref()?.downcast_ref().copied(),
            _ => None,
        })
    }
}

/// One way that was tried, and what came of it.
#[derive(Debug)]
pub struct Attempt {
    /// The carrier's name.
    pub carrier: &'static str,
    /// Where to.
    pub address: String,
    /// Why it did not work.
    pub why: Broken,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            carrier,
            address,
            why,
        } = self;
        write!(f, "{carrier} {address}: {why}")
    }
}

/// An attempt ended: for good, or for this carrier only.
#[derive(Debug)]
pub(super) enum Failure {
    Stopped(Stopped),
    Broken(Broken),
    /// Nothing is wrong with this way: it is being made ready here.
    NotReady(&'static str),
}

impl From<Halt> for Failure {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Stopped(why) => Self::Stopped(why),
            Halt::Silent => Self::Broken(Broken::Gone("it does not answer".into())),
            Halt::Broken(error) => Self::Broken(error.into()),
            Halt::Malformed(what) => Self::Broken(Broken::Protocol(what.into())),
        }
    }
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        Self::Broken(Broken::Protocol(error.to_string()))
    }
}

impl Failure {
    /// The same as other callers are told.
    pub(super) fn into_broken(self) -> Result<Broken, Stopped> {
        match self {
            Self::Stopped(why) => Err(why),
            Self::Broken(why) => Ok(why),
            Self::NotReady(why) => Ok(std::io::Error::new(NOT_READY, why).into()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Broken(error.into())
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(errno: rustix::io::Errno) -> Self {
        std::io::Error::from(errno).into()
    }
}

fn list(attempts: &[Attempt]) -> String {
    match attempts {
        [] => "the sidecar announces no address that can be reached from here".into(),
        some => {
            let words: Vec<_> = some.iter().map(Attempt::to_string).collect();
            words.join("; ")
        }
    }
}
