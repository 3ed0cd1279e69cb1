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

/// One at a time for each of many things, told apart by number. Two of them may share a turn, so
/// nobody takes a second one while holding one.
#[derive(Debug)]
pub(crate) struct Turns([Turn; TURNS]);

/// Far more than there are threads that could meet in one by chance.
const TURNS: usize = 64;

impl Default for Turns {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Turn::default()))
    }
}

impl Turns {
    pub(crate) fn of(&self, number: u64) -> &Turn {
        &self.0[(number % TURNS as u64) as usize]
    }
}

/// Many who use paths, or one who changes what paths mean.
#[derive(Debug, Default)]
pub(crate) struct Gate(RwLock<()>);

impl Gate {
    /// Uses paths. Waits for as long as a directory is being renamed, which may be longer than a request
    /// has: what comes after has `budget` of its own.
    pub(crate) fn pass<'c>(
        &self,
        ctx: &Context<'c>,
        budget: Duration,
    ) -> Result<(RwLockReadGuard<'_, ()>, Context<'c>), Stopped> {
        let mut waited = false;
        loop {
            if let Some(guard) = self.0.try_read_for(LOOK) {
                let ctx = if waited { ctx.at_least(budget) } else { *ctx };
                return Ok((guard, ctx));
            }
            waited = true;
            match ctx.check() {
                Err(Stopped::TimedOut) | Ok(()) => {}
                Err(stopped) => return Err(stopped),
            }
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
