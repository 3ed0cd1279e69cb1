//! A look at every request for statistics.

use std::time::Duration;

use crate::Errno;

/// Told of every request that was answered, on the thread that answered it.
///
/// Closures of the same shape are observers.
pub trait Observer: Send + Sync + 'static {
    /// `opcode` is the kernel's name of the request (`LOOKUP`), `took` the time
    /// from its arrival to the end of its reply.
    fn answered(&self, opcode: &'static str, took: Duration, result: Result<(), Errno>);
}

impl<O> Observer for O
where
    O: Fn(&'static str, Duration, Result<(), Errno>) + Send + Sync + 'static,
{
    fn answered(&self, opcode: &'static str, took: Duration, result: Result<(), Errno>) {
        self(opcode, took, result);
    }
}
