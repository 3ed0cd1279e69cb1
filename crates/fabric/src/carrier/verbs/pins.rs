//! The arena, registered with the devices that lanes go over.
//!
//! Registering pins all of it: the system can neither move it nor take it back, and it takes a
//! moment for each GiB. It is done at the first lane over a device, on a thread of its own, so that
//! whoever opens that lane keeps its deadline and goes another way meanwhile. It stays registered as
//! long as the process lives.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, PollFlags, eventfd};
use verbs::{Access, Domain, MemoryRegion, Pinned};

use super::super::error::Failure;
use crate::http::wait::{Halt, Watch};
use crate::lane::Broken;
use crate::memory::Arena;
use crate::wire::Region;

/// One arena and the devices that may write to it, and perhaps read.
#[derive(Debug)]
pub(in crate::carrier) struct Pins {
    arena: Arena,
    access: Access,
    known: Mutex<HashMap<&'static str, Arc<Pin>>>,
}

/// The arena's registration with one device.
struct Pin {
    /// Readable when there is an outcome.
    done: OwnedFd,
    outcome: OnceLock<Result<(Arc<MemoryRegion>, Region), String>>,
}

impl Pins {
    /// With `is_read` servers may read it as well.
    pub(in crate::carrier) fn new(arena: Arena, is_read: bool) -> Self {
        let access = match is_read {
            true => Access::RemoteReadWrite,
            false => Access::RemoteWrite,
        };
        Self {
            arena,
            access,
            known: Mutex::default(),
        }
    }

    /// Whether servers may read it.
    pub(super) fn can_be_read(&self) -> bool {
        self.access == Access::RemoteReadWrite
    }

    /// The arena as `domain`'s device knows it.
    pub(super) fn region(
        &self,
        domain: &'static Domain,
        watch: &Watch<'_>,
    ) -> Result<Region, Failure> {
        let (pin, begun) = self.pin(domain)?;
        // Who begins it waits as long as it may; nobody else does.
        if begun && pin.outcome.get().is_none() {
            match watch.ready(pin.done.as_fd(), PollFlags::IN) {
                Ok(()) => {}
                Err(Halt::Silent) => return Err(NOT_READY),
                Err(halt) => return Err(halt.into()),
            }
        }
        match pin.outcome.get() {
            Some(Ok((_, region))) => Ok(*region),
            Some(Err(why)) => {
                // Limits may be raised while we run: the next lane tries anew.
                self.known.lock().remove(domain.name());
                Err(failed(why))
            }
            None => Err(NOT_READY),
        }
    }

    /// The registration, and whether it was begun just now.
    fn pin(&self, domain: &'static Domain) -> Result<(Arc<Pin>, bool), Failure> {
        let mut known = self.known.lock();
        if let Some(pin) = known.get(domain.name()) {
            return Ok((pin.clone(), false));
        }
        let pin = Arc::new(Pin {
            done: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            outcome: OnceLock::new(),
        });
        let (ours, arena, access) = (pin.clone(), self.arena.clone(), self.access);
        std::thread::Builder::new()
            .name("riptide-pin".into())
            .spawn(move || {
                let _ = ours.outcome.set(register(domain, arena, access));
                let _ = rustix::io::write(&ours.done, &1u64.to_ne_bytes());
            })?;
        known.insert(domain.name(), pin.clone());
        Ok((pin, true))
    }
}

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pin")
            .field("is_done", &self.outcome.get().is_some())
            .finish_non_exhaustive()
    }
}

fn register(
    domain: &'static Domain,
    arena: Arena,
    access: Access,
) -> Result<(Arc<MemoryRegion>, Region), String> {
    // Before the device has its addresses.
    arena.pin();
    let len = arena.len();
    let registered = MemoryRegion::register(domain, Arc::new(Ground(arena)), access);
    let remote = registered.and_then(|region| Ok((region.remote(0, len)?, region)));
    let (remote, region) = remote.map_err(|error| error.to_string())?;
    tracing::info!(
        device = domain.name(),
        bytes = len,
        "memory is registered for RDMA"
    );
    let told = Region {
        len: remote.len,
        base: remote.addr,
        key: remote.rkey,
    };
    Ok((region, told))
}

/// The arena, for the verbs layer to hold.
struct Ground(Arena);

// SAFETY: the arena's mapping stays where it is, with one length, for as long as a handle lives,
// and after `pin` its pages stay too. A slice exists only of blocks that are in our hands
// (crate::memory), to which no server was told to write. A device that reads changes nothing; what a
// server reads elsewhere than it was told is bytes of its own invention.
unsafe impl Pinned for Ground {
    fn as_ptr(&self) -> *mut u8 {
        self.0.base()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

const NOT_READY: Failure = Failure::NotReady("memory is still being registered");

fn failed(why: &str) -> Failure {
    Failure::Broken(Broken::Io(std::io::Error::other(why.to_owned())))
}
