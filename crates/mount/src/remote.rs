//! Questions to the filer from a thread that answers the kernel.

use std::future::Future;
use std::time::{Duration, Instant};

use context::{Context, Stopped};
use filer::{Filer, FilerError, Lanes};
use fuse::Errno;
use parking_lot::Mutex;

/// Why the filer gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    #[error(transparent)]
    Filer(#[from] FilerError),
    #[error("the filer's answer: {0}")]
    Stopped(#[from] Stopped),
}

impl RemoteError {
    /// Whether the name does not exist, as opposed to not being known.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Filer(FilerError::NotFound { .. }))
    }

    pub(crate) fn errno(&self) -> Errno {
        match self {
            Self::Stopped(Stopped::Interrupted) => Errno::EINTR,
            Self::Filer(FilerError::NotFound { .. }) => Errno::ENOENT,
            _ => Errno::EIO,
        }
    }
}

/// Runs the filer client's futures to their end on the calling thread.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) filer: Filer,
    lanes: Lanes,
    runtime: tokio::runtime::Handle,
    last_logged: Mutex<Option<Instant>>,
}

/// One line a second is enough to say that the filer is away.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

impl Remote {
    pub(crate) fn new(filer: Filer, runtime: tokio::runtime::Handle) -> Self {
        Self {
            lanes: Lanes::new(filer.clone(), runtime.clone()),
            filer,
            runtime,
            last_logged: Mutex::new(None),
        }
    }

    /// Asks, and blocks until the answer is here or `ctx` ends the wait.
    pub(crate) fn ask<T>(
        &self,
        ctx: &Context<'_>,
        question: impl AsyncFnOnce(&Filer) -> Result<T, FilerError>,
    ) -> Result<T, RemoteError> {
        let asked = async |filer: &Filer| ctx.run(question(filer)).await;
        Ok(self.lanes.block_on(asked)??)
    }

    /// The error number for the caller; says once a second what went wrong.
    pub(crate) fn fail(&self, what: &str, path: &str, error: &RemoteError) -> Errno {
        let errno = error.errno();
        if errno == Errno::EIO {
            let mut last = self.last_logged.lock();
            if last.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
                *last = Some(Instant::now());
                tracing::warn!(path, %error, "{what} failed");
            }
        }
        errno
    }

    /// Runs something in the background of the mount.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(work);
    }
}
