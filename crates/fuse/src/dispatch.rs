//! One request, from its bytes to its reply.
//!
//! [`Dispatcher::handle`] knows nothing of how requests travel: a [`Backend`]
//! lends it memory to build a reply in and delivers the reply. A back end that
//! gathers (writev on /dev/fuse) sends the slices as they are; one with a fixed
//! payload buffer (io_uring) lends that buffer, in which READ replies already
//! have their bytes in place.

use std::io::{self, IoSlice};
use std::ops::DerefMut;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use zerocopy::{Immutable, IntoBytes};

use crate::device::Undelivered;
use crate::memory::Mapping;
use crate::parse::{Message, Operation, parse};
use crate::reply::Segments;
use crate::running::{Current, Outcome, Running, Slot};
use crate::{Errno, FileSystem, NodeId, Observer, Opcode, Request, caller};

mod change;
mod serve;
#[cfg(test)]
mod tests;

/// How a request came and its reply goes.
pub(crate) trait Backend {
    /// Memory for one reply.
    type Memory<'a>: DerefMut<Target = [u8]>
    where
        Self: 'a;

    /// Lends memory for a reply of the largest size.
    fn memory(&self) -> io::Result<Self::Memory<'_>>;

    /// Delivers a reply; `error` is 0 or a negative errno.
    fn reply(&self, unique: u64, error: i32, body: &[IoSlice<'_>]) -> Result<(), Undelivered>;
}

/// What a thread keeps from one request to the next.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub(crate) slot: Arc<Slot>,
    pub(crate) segments: Segments,
}

/// Answers requests out of a file system.
pub(crate) struct Dispatcher<F: ?Sized> {
    fs: Arc<F>,
    observer: Option<Arc<dyn Observer>>,
    running: Running,
    zeros: Mapping,
}

impl<F: FileSystem + ?Sized> Dispatcher<F> {
    /// A dispatcher for replies of at most `max_reply` bytes.
    pub(crate) fn new(
        fs: Arc<F>,
        observer: Option<Arc<dyn Observer>>,
        max_reply: usize,
    ) -> io::Result<Self> {
        Ok(Self {
            fs,
            observer,
            running: Running::default(),
            // Never written: every page of it is the kernel's one zero page.
            zeros: Mapping::plain(max_reply)?,
        })
    }

    /// The requests under way.
    pub(crate) fn running(&self) -> &Running {
        &self.running
    }

    /// Answers one request.
    pub(crate) fn handle(&self, bytes: &[u8], scratch: &mut Scratch, backend: &impl Backend) {
        let message = match parse(bytes) {
            Ok(message) => message,
            Err(error) => return refuse(bytes, &error, backend),
        };
        let Message {
            header,
            opcode,
            operation,
        } = message;
        let unique = header.unique;
        tracing::trace!(
            target: "fuse::wire", unique, node = header.nodeid, pid = header.pid,
            uid = header.uid, len = header.len, ?operation, "{opcode}",
        );
        if opcode.is_oneway() {
            return self.take_notice(&message, backend);
        }
        let started = self.observer.is_some().then(Instant::now);
        scratch.slot.begin(Current {
            unique,
            pid: header.pid,
            waits_for_lock: opcode == Opcode::SETLKW,
        });
        let call = Call {
            fs: &*self.fs,
            zeros: &self.zeros,
            backend,
            unique,
            node: NodeId(header.nodeid),
            request: Request {
                unique,
                uid: header.uid,
                gid: header.gid,
                pid: header.pid,
                interrupt: scratch.slot.interrupt(),
            },
        };
        let segments = &mut scratch.segments;
        let served = catch_unwind(AssertUnwindSafe(|| call.serve(opcode, operation, segments)));
        let result = served.unwrap_or_else(|panic| {
            tracing::error!(%opcode, node = header.nodeid, "{}", panic_text(&*panic));
            Err(Errno::EIO)
        });
        if let Err(errno) = result {
            call.fail(errno);
        }
        scratch.slot.end();
        if let (Some(observer), Some(started)) = (&self.observer, started) {
            let name = opcode.name().unwrap_or("UNKNOWN");
            observer.answered(name, started.elapsed(), result);
        }
    }

    /// The requests that get no answer.
    fn take_notice(&self, message: &Message<'_>, backend: &impl Backend) {
        let forget = |node: u64, count| {
            let forget = AssertUnwindSafe(|| self.fs.forget(NodeId(node), count));
            if let Err(panic) = catch_unwind(forget) {
                tracing::error!(node, count, "FORGET: {}", panic_text(&*panic));
            }
        };
        match message.operation {
            Operation::Forget { count } => forget(message.header.nodeid, count),
            Operation::BatchForget(all) => all.for_each(|(node, count)| forget(node, count)),
            Operation::Interrupt { unique } => {
                let pause = match self.running.interrupt(unique, caller::is_dying) {
                    Outcome::Raised => return,
                    Outcome::Alive => LOOK_AGAIN,
                    // Not begun yet, or just over: the kernel knows which (see `running`).
                    Outcome::Unknown => REQUEUE_PAUSE,
                };
                std::thread::sleep(pause);
                let _ = backend.reply(message.header.unique, -libc::EAGAIN, &[]);
            }
            _ => {}
        }
    }
}

/// Time for the thread that has the request to note it, before its interrupt
/// is queued again.
const REQUEUE_PAUSE: Duration = Duration::from_micros(50);

/// How often it is looked whether a caller who got a signal has got one that ends it, while it waits.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// One request while it is served.
struct Call<'a, F: ?Sized, B> {
    fs: &'a F,
    zeros: &'a [u8],
    backend: &'a B,
    unique: u64,
    node: NodeId,
    request: Request<'a>,
}

impl<F: ?Sized, B: Backend> Call<'_, F, B> {
    /// Replies with a structure; whether it was delivered.
    fn send(&self, value: &(impl IntoBytes + Immutable)) -> bool {
        self.send_slices(&[IoSlice::new(value.as_bytes())])
    }

    /// Replies with data; whether it was delivered.
    fn send_bytes(&self, bytes: &[u8]) -> bool {
        self.send_slices(&[IoSlice::new(bytes)])
    }

    /// Replies that it is done; whether that was delivered.
    fn send_done(&self) -> bool {
        self.send_slices(&[])
    }

    fn send_slices(&self, body: &[IoSlice<'_>]) -> bool {
        tracing::trace!(
            target: "fuse::wire", unique = self.unique,
            len = body.iter().map(|slice| slice.len()).sum::<usize>(), "reply",
        );
        match self.backend.reply(self.unique, 0, body) {
            Ok(()) => true,
            Err(Undelivered::Unwanted) => false,
            Err(Undelivered::Refused(error)) => {
                tracing::error!(unique = self.unique, %error, "reply refused");
                // If it still waits, it must not wait for ever.
                self.fail(Errno::EIO);
                false
            }
        }
    }

    /// Replies with an error.
    fn fail(&self, errno: Errno) {
        tracing::trace!(target: "fuse::wire", unique = self.unique, %errno, "reply");
        let error = match errno.raw() {
            // What the kernel takes for an error number.
            raw @ 1..512 => -raw,
            _ => -libc::EIO,
        };
        if let Err(Undelivered::Refused(error)) = self.backend.reply(self.unique, error, &[]) {
            tracing::error!(unique = self.unique, %error, "error reply refused");
        }
    }
}

/// A message no kernel sends: answered, if it has a number to answer to.
fn refuse(bytes: &[u8], error: &crate::ParseError, backend: &impl Backend) {
    use zerocopy::FromBytes;

    tracing::error!(%error, "unintelligible request");
    if let Ok((header, _)) = crate::abi::InHeader::read_from_prefix(bytes)
        && !crate::Opcode::from_raw(header.opcode).is_oneway()
    {
        let _ = backend.reply(header.unique, -libc::EIO, &[]);
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panicked")
}
