//! A sidecar that damages what it puts into a mount's memory: a forwarder in front of a sidecar's unix socket, which
//! keeps the memory that passes and flips bits in it before it passes the answers on.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use fabric::wire::{Answer, FrameReader, Item, Message, Next, Place, Status};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Forwards connections to a unix socket; ends with the test's process.
#[derive(Debug)]
pub struct Meddler {
    path: PathBuf,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Of so many answers whose bytes were placed, those of one are damaged; 0 for none.
    flip_every: AtomicU64,
    placed: AtomicU64,
    flipped: AtomicU64,
}

/// One connection.
#[derive(Debug, Default)]
struct Lane {
    /// The mount's.
    memory: Mutex<Option<File>>,
    /// What it has asked for last.
    items: Mutex<Vec<Item>>,
}

impl Meddler {
    /// Listens at `path`, in front of the socket at `target`.
    ///
    /// # Panics
    /// When that is not possible.
    #[must_use]
    pub fn to(target: &Path, path: PathBuf) -> Self {
        let listener = UnixListener::bind(&path);
        let listener = listener.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let state = Arc::new(State::default());
        let (target, shared) = (target.to_owned(), Arc::clone(&state));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if let Err(error) = forward(client, &target, &shared) {
                    eprintln!("meddler: {error}");
                }
            }
        });
        Self { path, state }
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// From now on flips a bit in the memory of one in so many answers that have bytes there; 0 ends it.
    pub fn flip_every(&self, answers: u64) {
        self.state.flip_every.store(answers, Ordering::SeqCst);
    }

    /// How many bits it has flipped.
    #[must_use]
    pub fn flipped(&self) -> u64 {
        self.state.flipped.load(Ordering::SeqCst)
    }
}

impl State {
    /// Damages the bytes of an answer that is on its way: until it arrives they are nobody else's.
    fn damage(&self, lane: &Lane, answer: &Answer) {
        let items = lock(&lane.items);
        let (memory, item) = (lock(&lane.memory), items.get(usize::from(answer.item)));
        let (Some(memory), Some(item)) = (&*memory, item) else {
            return;
        };
        let Place::Region { offset, .. } = item.place else {
            return;
        };
        if answer.status != Status::Done || answer.is_inline || answer.len == 0 {
            return;
        }
        let placed = self.placed.fetch_add(1, Ordering::SeqCst);
        let every = self.flip_every.load(Ordering::SeqCst);
        if every == 0 || !placed.is_multiple_of(every) {
            return;
        }
        let (at, mut byte) = (offset + u64::from(answer.len) / 3, [0]);
        let flipped = memory
            .read_exact_at(&mut byte, at)
            .and_then(|()| memory.write_all_at(&[byte[0] ^ 8], at));
        match flipped {
            Ok(()) => drop(self.flipped.fetch_add(1, Ordering::SeqCst)),
            Err(error) => eprintln!("meddler: {error}"),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn forward(client: UnixStream, target: &Path, state: &Arc<State>) -> std::io::Result<()> {
    let server = UnixStream::connect(target)?;
    let lane = Arc::new(Lane::default());
    let (from, to, asked) = (client.try_clone()?, server.try_clone()?, Arc::clone(&lane));
    thread::spawn(move || {
        questions(&from, &to, &asked);
        // The server's end stays open until it writes no more, and so does ours towards the client.
        let _ = to.shutdown(Shutdown::Write);
    });
    let state = Arc::clone(state);
    thread::spawn(move || {
        answers(&server, &client, &lane, &state);
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    });
    Ok(())
}

fn questions(client: &UnixStream, server: &UnixStream, lane: &Lane) {
    let (mut frames, mut buffer) = (FrameReader::new(), vec![0; BUFFER]);
    while let Some((count @ 1.., memory)) = receive(client, &mut buffer) {
        let bytes = &buffer[..count];
        let is_clear = messages(&mut frames, bytes, |message| {
            if let Message::Read(read) = message {
                *lock(&lane.items) = read.items;
            }
        });
        if !is_clear || !send(server, bytes, memory.as_ref()) {
            return;
        }
        if let Some(memory) = memory {
            *lock(&lane.memory) = Some(memory.into());
        }
    }
}

fn answers(mut server: &UnixStream, mut client: &UnixStream, lane: &Lane, state: &State) {
    let (mut frames, mut buffer) = (FrameReader::new(), vec![0; BUFFER]);
    while let Ok(count @ 1..) = server.read(&mut buffer) {
        let bytes = &buffer[..count];
        let is_clear = messages(&mut frames, bytes, |message| {
            if let Message::Answer(answer) = message {
                state.damage(lane, &answer);
            }
        });
        if !is_clear || client.write_all(bytes).is_err() {
            return;
        }
    }
}

/// Hands out the messages that end in these bytes; false when they are none.
fn messages(frames: &mut FrameReader, mut bytes: &[u8], mut each: impl FnMut(Message)) -> bool {
    let mut data = [0; 4096];
    loop {
        let taken = match frames.next() {
            Err(_) => return false,
            Ok(Next::Frame(frame)) => {
                each(frame.message);
                continue;
            }
            Ok(Next::Data(_)) if frames.take_data(&mut data) > 0 => continue,
            Ok(_) if bytes.is_empty() => return true,
            Ok(Next::Data(left)) => {
                let taken = left.min(bytes.len());
                frames.received(taken);
                taken
            }
            Ok(Next::NeedMore) => {
                let space = frames.space();
                let taken = space.len().min(bytes.len());
                space[..taken].copy_from_slice(&bytes[..taken]);
                frames.filled(taken);
                taken
            }
        };
        bytes = &bytes[taken..];
    }
}

/// Bytes, and the descriptor beside them.
fn receive(from: &UnixStream, buffer: &mut [u8]) -> Option<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(buffer)];
    let received = recvmsg(from, &mut parts, &mut beside, RecvFlags::CMSG_CLOEXEC).ok()?;
    let descriptor = beside.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut some) => some.next(),
        _ => None,
    });
    Some((received.bytes, descriptor))
}

/// Sends all of them; whether that went well.
fn send(mut to: &UnixStream, bytes: &[u8], descriptor: Option<&OwnedFd>) -> bool {
    let descriptors = descriptor.map(AsFd::as_fd);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if descriptors.is_some() {
        beside.push(SendAncillaryMessage::ScmRights(descriptors.as_slice()));
    }
    let sent = sendmsg(to, &[IoSlice::new(bytes)], &mut beside, SendFlags::NOSIGNAL);
    sent.is_ok_and(|sent| to.write_all(&bytes[sent..]).is_ok())
}

const BUFFER: usize = 64 << 10;
