//! One request, from its bytes to its reply.
//!
//! [`Dispatcher::handle`] knows nothing of how requests travel: a [`Backend`]
//! lends it memory to build a reply in and delivers the reply. A back end that
//! gathers (writev on /dev/fuse) sends the slices as they are; one with a fixed
//! payload buffer (io_uring) lends that buffer, in which READ replies have
//! their bytes in place.

use std::io::{self, IoSlice};
use std::ops::DerefMut;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::abi::InHeader;
use crate::device::Undelivered;
use crate::memory::Mapping;
use crate::parse::{Message, Operation, parse, parse_parts};
use crate::reply::Segments;
use crate::running::{Current, Outcome, Running, Slot};
use crate::{Errno, FileSystem, NodeId, Observer, Opcode, Request, caller};

mod change;
mod serve;
#[cfg(test)]
mod tests;

/// How a request came and its reply goes.
pub(crate) trait Backend {
    /// Whether a reply is sent from wherever its parts are. If not, all of it has to be in the
    /// memory lent for it.
    const GATHERS: bool;

    /// Memory for one reply.
    type Memory<'a>: DerefMut<Target = [u8]>
    where
        Self: 'a;

    /// Lends memory for a reply of the largest size.
    fn memory(&self) -> io::Result<Self::Memory<'_>>;

    /// Delivers a reply; `error` is 0 or a negative errno.
    fn reply(&self, unique: u64, error: i32, body: &[IoSlice<'_>]) -> Result<(), Undelivered>;

    /// Delivers a reply that lies at the start of the memory lent for it.
    fn reply_lent(&self, unique: u64, body: &[u8]) -> Result<(), Undelivered>;
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
    /// Whether the kernel sends an INTERRUPT again that is answered with EAGAIN.
    requeues: bool,
    zeros: Mapping,
}

impl<F: FileSystem + ?Sized> Dispatcher<F> {
    /// A dispatcher for replies of at most `max_reply` bytes; `requeues` says whether the kernel
    /// sends an INTERRUPT again that is answered with EAGAIN.
    pub(crate) fn new(
        fs: Arc<F>,
        observer: Option<Arc<dyn Observer>>,
        max_reply: usize,
        requeues: bool,
    ) -> io::Result<Self> {
        Ok(Self {
            fs,
            observer,
            running: Running::default(),
            requeues,
            // Never written: every page of it is the kernel's one zero page.
            zeros: Mapping::plain(max_reply)?,
        })
    }

    /// The requests under way.
    pub(crate) fn running(&self) -> &Running {
        &self.running
    }

    /// Answers one request, as it was read from the device.
    pub(crate) fn handle(&self, bytes: &[u8], scratch: &mut Scratch, backend: &impl Backend) {
        match parse(bytes) {
            Ok(message) => self.answer(message, scratch, backend),
            Err(error) => {
                let header = InHeader::read_from_prefix(bytes).ok();
                refuse(header.map(|(header, _)| header), &error, backend);
            }
        }
    }

    /// Answers one request that came in parts.
    pub(crate) fn handle_parts(
        &self,
        (header, structure, data): (InHeader, &[u8], &[u8]),
        scratch: &mut Scratch,
        backend: &impl Backend,
    ) {
        match parse_parts(header, structure, data) {
            Ok(message) => self.answer(message, scratch, backend),
            Err(error) => refuse(Some(header), &error, backend),
        }
    }

    fn answer(&self, message: Message<'_>, scratch: &mut Scratch, backend: &impl Backend) {
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
                let pause = match self.running.interrupt(unique, |caller| {
                    caller.waits_for_lock || caller::is_dying(caller.pid)
                }) {
                    Outcome::Raised => return,
                    // See `signals`.
                    _ if !self.requeues => return,
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
        self.delivered(self.backend.reply(self.unique, 0, body))
    }

    /// Replies with what lies at the start of the memory lent for it; whether it was delivered.
    fn send_lent(&self, body: &[u8]) -> bool {
        tracing::trace!(target: "fuse::wire", unique = self.unique, len = body.len(), "reply");
        self.delivered(self.backend.reply_lent(self.unique, body))
    }

    fn delivered(&self, sent: Result<(), Undelivered>) -> bool {
        match sent {
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
fn refuse(header: Option<InHeader>, error: &crate::ParseError, backend: &impl Backend) {
    tracing::error!(%error, "unintelligible request");
    if let Some(header) = header
        && !Opcode::from_raw(header.opcode).is_oneway()
    {
        let _ = backend.reply(header.unique, -libc::EIO, &[]);
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panicked")
}
