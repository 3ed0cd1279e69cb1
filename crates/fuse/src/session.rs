//! A mounted file system and the threads that serve it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zerocopy::IntoBytes;

use crate::device::{Device, Received};
use crate::dispatch::Dispatcher;
use crate::handshake::{self, Answer};
use crate::mountpoint::Mountpoint;
use crate::parse::{Operation, parse};
use crate::uring::Queues;
use crate::uring::offer::{self, Offer};
use crate::workers::{Staff, WAITERS, Workers};
use crate::{
    FileSystem, MountError, Negotiated, Notifier, SessionConfig, Transport, UnmountError, readahead,
};

/// A mounted file system.
///
/// It is served by threads of its own until it is unmounted, by us or by anybody
/// else. Dropping the session unmounts it; if it is in use then (also in another
/// mount namespace), it is served on as long as the process lives.
#[derive(Debug)]
pub struct Session {
    unmounter: Unmounter,
    staff: Arc<Staff>,
    negotiated: Negotiated,
    notifier: Notifier,
}

/// Who waits for a FORGET or INTERRUPT while all else comes through io_uring: one, and one
/// while that is at work.
const FEW_WAITERS: usize = 2;

/// Room for INIT; the kernel wants at least 8 KiB in every read.
const INIT_SIZE: usize = 8192;

/// Time for its users and then for its threads to leave when a session is
/// dropped. The threads leave at once unless the mount lives on elsewhere or a
/// method ignores its interrupt.
const DROP_PATIENCE: Duration = Duration::from_secs(2);

/// Between two attempts to unmount.
const DROP_PAUSE: Duration = Duration::from_millis(20);

impl Session {
    /// Mounts `fs` on the directory `dir` and serves it.
    ///
    /// Returns once the kernel has accepted the session, so that a failure to
    /// start is an error here and not later.
    ///
    /// # Errors
    /// [`MountError`]; nothing is mounted then.
    pub fn mount<F>(dir: &Path, config: SessionConfig, fs: Arc<F>) -> Result<Self, MountError>
    where
        F: FileSystem + ?Sized,
    {
        let mut config = config;
        config.default_permissions |= config.posix_acl;
        let wanted = config.transport;
        let offer = match wanted {
            Transport::Device => Err("/dev/fuse was asked for".to_owned()),
            Transport::Auto => offer::ask(false),
            Transport::Uring => offer::ask(true),
        };
        if offer.is_err() {
            config.transport = Transport::Device;
        }
        let (device, mountpoint) = Mountpoint::mount(dir, &config)?;
        let unmounter = Unmounter {
            device: Arc::new(device),
            mountpoint: Arc::new(mountpoint),
        };
        let started = Self::start(unmounter.clone(), &config, offer, fs);
        let started = started.and_then(|session| match &session.negotiated.uring {
            Err(reason) if wanted == Transport::Uring => Err(MountError::NoUring(reason.clone())),
            _ => Ok(session),
        });
        started.inspect_err(|_| {
            // Nobody can be using it: no request was ever answered.
            if let Err(error) = unmounter.unmount(true) {
                tracing::warn!(%error, "a session that did not start stays mounted");
            }
        })
    }

    fn start<F>(
        unmounter: Unmounter,
        config: &SessionConfig,
        offer: Result<Offer, String>,
        fs: Arc<F>,
    ) -> Result<Self, MountError>
    where
        F: FileSystem + ?Sized,
    {
        let device = &unmounter.device;
        let mut negotiated = shake_hands(device, config)?;
        // It was for INIT alone.
        if let Err(reason) = offer.map(drop) {
            negotiated.uring = Err(reason);
        }
        negotiated.read_ahead_kb = config.read_ahead_kb.map(|kib| {
            readahead::set(unmounter.mountpoint.device_number(), kib).inspect_err(|error| {
                tracing::warn!(%error, "the kernel's read-ahead stays small");
            })
        });
        tracing::debug!(?negotiated, "FUSE session");
        let max_size = negotiated.max_read as usize;
        let notifier = Notifier::new(device);
        fs.mounted(notifier.clone(), &negotiated);
        let uring = negotiated.uring.is_ok();
        let dispatcher = Dispatcher::new(fs, config.observer.clone(), max_size, !uring)
            .map_err(MountError::Resources)?;
        let dispatcher = Arc::new(dispatcher);
        let waiters = if uring { FEW_WAITERS } else { WAITERS };
        let staff = Workers::start(
            Arc::clone(device),
            Arc::clone(&dispatcher),
            waiters,
            max_size,
            config.max_threads,
        )
        .map_err(MountError::Resources)?;
        if uring {
            // The kernel wants room for a request of all the pages it may have.
            let max_size = max_size.max(usize::from(negotiated.max_pages) * 4096);
            let started = Queues::start(device, dispatcher, &staff, max_size, config.max_threads);
            negotiated.uring = started.map_err(|error| error.to_string());
        }
        if let Err(reason) = &negotiated.uring {
            tracing::info!("requests come through /dev/fuse, not io_uring: {reason}");
        }
        Ok(Self {
            unmounter,
            staff,
            negotiated,
            notifier,
        })
    }

    /// The mount point, without symbolic links.
    pub fn path(&self) -> &Path {
        self.unmounter.mountpoint.path()
    }

    /// What the kernel and we agreed on.
    pub fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }

    /// Threads that serve the session now.
    pub fn threads(&self) -> usize {
        self.staff.alive()
    }

    /// Invalidates what the kernel caches.
    pub fn notifier(&self) -> Notifier {
        self.notifier.clone()
    }

    /// Unmounts from another thread, as when a signal arrives.
    pub fn unmounter(&self) -> Unmounter {
        self.unmounter.clone()
    }

    /// Waits until the file system is unmounted, by whomever, and every request
    /// is done with.
    pub fn wait(&self) {
        self.staff.wait();
    }

    /// The same for at most `patience`; whether it has ended.
    pub fn wait_for(&self, patience: Duration) -> bool {
        self.staff.wait_for(patience)
    }

    /// Unmounts and waits until every request is done with.
    ///
    /// # Errors
    /// [`UnmountError`], [`UnmountError::Busy`] above all; the session goes on.
    pub fn unmount(&self) -> Result<(), UnmountError> {
        self.unmounter.unmount(false)?;
        self.wait();
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let deadline = Instant::now() + DROP_PATIENCE;
        let unmounted = loop {
            match self.unmounter.unmount(false) {
                // Perhaps for a moment only: a child between fork(2) and exec(2)
                // holds every file its parent has open.
                Err(UnmountError::Busy(_)) if Instant::now() < deadline => {
                    std::thread::sleep(DROP_PAUSE);
                }
                done => break done,
            }
        };
        match unmounted {
            Ok(()) => {
                self.staff.wait_for(DROP_PATIENCE);
            }
            Err(error) => tracing::warn!(%error, "the file system stays mounted"),
        }
    }
}

/// Unmounts a session, from any thread but its own workers.
#[derive(Debug, Clone)]
pub struct Unmounter {
    device: Arc<Device>,
    mountpoint: Arc<Mountpoint>,
}

impl Unmounter {
    /// Unmounts the session's own mount, if it is still there: never a mount
    /// that somebody made there since. With `lazy` it vanishes from the tree at
    /// once and ends when its last user leaves.
    ///
    /// # Errors
    /// [`UnmountError`], [`UnmountError::Busy`] above all.
    pub fn unmount(&self, lazy: bool) -> Result<(), UnmountError> {
        self.mountpoint.unmount(self.device.has_ended(), lazy)
    }
}

/// Answers INIT, which comes before everything else.
fn shake_hands(device: &Device, config: &SessionConfig) -> Result<Negotiated, MountError> {
    let broken = |what: String| MountError::Handshake(std::io::Error::other(what));
    let mut buffer = vec![0; INIT_SIZE];
    loop {
        let length = match device.receive(&mut buffer).map_err(MountError::Handshake)? {
            Received::Request(length) => length,
            Received::Ended => return Err(broken("it was unmounted".to_owned())),
        };
        let message = parse(&buffer[..length]).map_err(|error| broken(error.to_string()))?;
        let Operation::Init { init, flags } = message.operation else {
            return Err(broken(format!("{} came before INIT", message.opcode)));
        };
        let limit = handshake::max_pages_limit();
        let send = |error: i32, body: &[u8]| {
            let body = std::io::IoSlice::new(body);
            device
                .send(message.header.unique, error, &[body])
                .map_err(|errno| MountError::Handshake(errno.into()))
        };
        match handshake::answer(&init, flags, config, limit) {
            Answer::Agreed(out, negotiated) => {
                send(0, out.as_bytes())?;
                return Ok(negotiated);
            }
            Answer::AskAgain(out) => send(0, out.as_bytes())?,
            Answer::TooOld { major, minor } => {
                send(-libc::EPROTO, &[])?;
                return Err(MountError::TooOld { major, minor });
            }
        }
    }
}
