//! Locks whose waits end when the caller is interrupted.

use std::time::Duration;

use context::{Context, Stopped};
use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// How often a waiter looks whether its caller has given up.
const LOOK: Duration = Duration::from_millis(20);

/// One at a time.
#[derive(Debug, Default)]
pub(crate) struct Turn(Mutex<()>);

impl Turn {
    pub(crate) fn take(&self, ctx: &Context<'_>) -> Result<MutexGuard<'_, ()>, Stopped> {
        loop {
            if let Some(guard) = self.0.try_lock_for(LOOK) {
                return Ok(guard);
            }
            ctx.check()?;
        }
    }
}

/// Many who use paths, or one who changes what paths mean.
#[derive(Debug, Default)]
pub(crate) struct Gate(RwLock<()>);

impl Gate {
    /// Uses paths.
    pub(crate) fn pass(&self, ctx: &Context<'_>) -> Result<RwLockReadGuard<'_, ()>, Stopped> {
        loop {
            if let Some(guard) = self.0.try_read_for(LOOK) {
                return Ok(guard);
            }
            ctx.check()?;
        }
    }

    /// Renames a directory.
    pub(crate) fn close(&self, ctx: &Context<'_>) -> Result<RwLockWriteGuard<'_, ()>, Stopped> {
        loop {
            if let Some(guard) = self.0.try_write_for(LOOK) {
                return Ok(guard);
            }
            ctx.check()?;
        }
    }
}
