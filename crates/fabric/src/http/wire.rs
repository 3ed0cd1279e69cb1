//! A non-blocking socket, plain or under TLS.

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use context::{Interrupt, Stopped};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, connect,
    recv, send, sendmsg, socket_with, sockopt,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

use super::wait::{Halt, Watch};
use super::wake::wake_at;
use crate::eager::{Seen, Waiting};

/// What a connection is made of.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: OwnedFd,
    tls: Option<Box<Connection>>,
    /// From so many bytes on whoever waits is woken.
    wakes_at: u32,
}

/// Pieces that one system call takes, at most (`UIO_MAXIOV`).
const SLICES: usize = 1024;

/// So many bytes are waited for at a time, at most: a sixth of what the kernel lets a socket hold unless told otherwise
/// (`tcp_rmem`). With a quarter of it a chunk took 5 % more processor time.
const WOKEN_FOR: usize = 1 << 20;
/// As much as a segment holds. For no more it is not worth a system call.
const SEGMENT: usize = 64 << 10;

/// TLS towards one named server.
#[derive(Debug, Clone)]
pub(crate) struct Secure {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) name: ServerName<'static>,
}

impl Wire {
    /// Connects to `address`, shaking hands where `secure` asks for it.
    pub(crate) fn open(
        address: SocketAddr,
        secure: Option<&Secure>,
        watch: &Watch<'_>,
    ) -> Result<Self, Halt> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::STREAM, flags, None)
            .map_err(|errno| Halt::Broken(errno.into()))?;
        // A request is one small segment that must not wait for an acknowledgement.
        sockopt::set_tcp_nodelay(&socket, true).map_err(io::Error::from)?;
        match connect(&socket, &address) {
            Ok(()) => {}
            Err(Errno::INPROGRESS) => {
                watch.ready(socket.as_fd(), PollFlags::OUT)?;
                sockopt::socket_error(&socket)
                    .and_then(|outcome| outcome)
                    .map_err(io::Error::from)?;
            }
            Err(errno) => return Err(Halt::Broken(errno.into())),
        }
        let mut wire = Self {
            socket,
            tls: None,
            wakes_at: 1,
        };
        if let Some(secure) = secure {
            let session = ClientConnection::new(secure.config.clone(), secure.name.clone())
                .map_err(io::Error::other)?;
            wire.tls = Some(Box::new(session.into()));
            wire.shake_hands(watch)?;
        }
        Ok(wire)
    }

    /// A plain wire over a connected, non-blocking socket.
    pub(crate) fn over(socket: OwnedFd) -> Self {
        Self {
            socket,
            tls: None,
            wakes_at: 1,
        }
    }

    /// The server's end of a connected, non-blocking socket. Under TLS the handshake is done by and
    /// by, with what is received.
    pub(crate) fn accepted(socket: OwnedFd, tls: Option<&Arc<ServerConfig>>) -> io::Result<Self> {
        let tls = match tls {
            None => None,
            Some(config) => {
                let session = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
                Some(Box::new(session.into()))
            }
        };
        Ok(Self {
            socket,
            tls,
            wakes_at: 1,
        })
    }

    /// Sends all of `parts`, one behind the other.
    pub(crate) fn send(&mut self, parts: &[&[u8]], watch: &Watch<'_>) -> Result<(), Halt> {
        if self.tls.is_some() {
            return parts.iter().try_for_each(|part| self.encrypt(part, watch));
        }
        let mut slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut left = slices.as_mut_slice();
        // Nothing to send is nothing to wait for.
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let none = &mut SendAncillaryBuffer::default();
            let most = left.len().min(SLICES);
            match sendmsg(&self.socket, &left[..most], none, SendFlags::NOSIGNAL) {
                Ok(sent) => IoSlice::advance_slices(&mut left, sent),
                Err(Errno::AGAIN) => watch.ready(self.socket.as_fd(), PollFlags::OUT)?,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Halt::Broken(errno.into())),
            }
        }
        Ok(())
    }

    /// Sends what the socket takes without waiting, of one part after the other; gives the number
    /// of bytes, of which those under TLS may still have to be [flushed](Self::try_flush).
    pub(crate) fn try_send(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if let Some(tls) = &mut self.tls {
            let taken = tls.writer().write_vectored(parts)?;
            self.try_flush()?;
            return Ok(taken);
        }
        loop {
            let mut beside = SendAncillaryBuffer::default();
            match sendmsg(&self.socket, parts, &mut beside, SendFlags::NOSIGNAL) {
                Ok(sent) => return Ok(sent),
                Err(Errno::AGAIN) => return Ok(0),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Like [`try_send`](Self::try_send) of one part, where more follows at once: the kernel may wait for it
    /// with a segment that is not full.
    pub(crate) fn try_send_more(&mut self, part: &[u8]) -> io::Result<usize> {
        if self.tls.is_some() {
            return self.try_send(&[IoSlice::new(part)]);
        }
        loop {
            match send(&self.socket, part, SendFlags::NOSIGNAL | SendFlags::MORE) {
                Ok(sent) => return Ok(sent),
                Err(Errno::AGAIN) => return Ok(0),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Whether [`try_send_file`](Self::try_send_file) can be used: TLS has to see the bytes.
    pub(crate) fn sends_files(&self) -> bool {
        self.tls.is_none()
    }

    /// Sends up to `len` bytes of `file` from `at` on, as many as the socket takes without waiting, without
    /// copying them (sendfile(2)); none when it takes nothing now, and 0 at the end of the file.
    pub(crate) fn try_send_file(
        &mut self,
        file: BorrowedFd<'_>,
        at: u64,
        len: usize,
    ) -> io::Result<Option<usize>> {
        debug_assert!(self.sends_files());
        loop {
            let mut from = at;
            match rustix::fs::sendfile(&self.socket, file, Some(&mut from), len) {
                Ok(sent) => return Ok(Some(sent)),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Whether the socket takes bytes again, or has an error to tell.
    pub(crate) fn is_writable(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.socket, PollFlags::OUT)];
        let none = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        loop {
            match poll(&mut fds, Some(&none)) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Sends what TLS still has to send, as far as the socket takes it; whether that was all.
    pub(crate) fn try_flush(&mut self) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else {
            return Ok(true);
        };
        while tls.wants_write() {
            match tls.write_tls(&mut Descriptor(self.socket.as_fd())) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Receives what is there into `to`, which is not empty; 0 means the peer has closed, and
    /// nothing there is [`io::ErrorKind::WouldBlock`].
    pub(crate) fn try_recv(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => plain_recv(&self.socket, to),
            Some(tls) => secure_recv(&self.socket, tls, to),
        }
    }

    /// Of what is received next, so many bytes are sure to come: whoever waits is woken for more of them at
    /// a time, where that is worth it. With 1 for any.
    pub(crate) fn expect(&mut self, bytes: usize) {
        // Under TLS they are taken out of the socket before they are received.
        let wakes_at = match self.tls {
            None if bytes > SEGMENT => bytes.min(WOKEN_FOR) as u32,
            _ => 1,
        };
        // Where the system does not take it, who waits is woken as before.
        if wakes_at != self.wakes_at && wake_at(self.socket.as_fd(), wakes_at).is_ok() {
            self.wakes_at = wakes_at;
        }
    }

    /// Whether nothing is left for [`try_flush`](Self::try_flush).
    pub(crate) fn is_flushed(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| !tls.wants_write())
    }

    /// Whether fewer bytes than there was room for mean that no more are there.
    pub(crate) fn is_drained_when_short(&self) -> bool {
        self.tls.is_none()
    }

    /// The socket, without what TLS knew.
    pub(crate) fn into_socket(self) -> OwnedFd {
        self.socket
    }

    fn encrypt(&mut self, mut bytes: &[u8], watch: &Watch<'_>) -> Result<(), Halt> {
        while !bytes.is_empty() {
            let Some(tls) = &mut self.tls else {
                return Ok(());
            };
            // As much as its buffer takes.
            let taken = tls.writer().write(bytes)?;
            bytes = &bytes[taken..];
            self.flush(watch)?;
        }
        Ok(())
    }

    /// Receives at least one byte into `to`, which is not empty; 0 means the peer has closed.
    pub(crate) fn recv(&mut self, to: &mut [u8], watch: &Watch<'_>) -> Result<usize, Halt> {
        // A fast peer never lets us wait, and so notice this, amid a large body.
        if watch.ctx.interrupt().is_some_and(Interrupt::is_raised) {
            return Err(Stopped::Interrupted.into());
        }
        loop {
            match self.try_recv(to) {
                Ok(got) => return Ok(got),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.tls.as_ref().is_some_and(|tls| tls.wants_write()) {
                        self.flush(watch)?;
                    }
                    self.wait_readable(watch)?;
                }
                Err(error) => return Err(Halt::Broken(error)),
            }
        }
    }

    /// Waits for an answer, when a look would surely come too early.
    pub(crate) fn expect_answer(
        &self,
        watch: &Watch<'_>,
        waiting: Option<&Waiting<'_>>,
    ) -> Result<(), Halt> {
        match self.tls {
            // Its next bytes may have been decrypted already.
            Some(_) => Ok(()),
            None if waiting.is_some_and(|waiting| waiting.look(|| self.look())) => Ok(()),
            None => self.wait_readable(watch),
        }
    }

    fn look(&self) -> Seen {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut fds, Some(&Timespec::default())) {
            Ok(1..) => Seen::Came,
            _ => Seen::Nothing,
        }
    }

    fn wait_readable(&self, watch: &Watch<'_>) -> Result<(), Halt> {
        watch.ready(self.socket.as_fd(), PollFlags::IN)
    }

    fn shake_hands(&mut self, watch: &Watch<'_>) -> Result<(), Halt> {
        loop {
            self.flush(watch)?;
            let Some(tls) = &mut self.tls else {
                return Ok(());
            };
            if !tls.is_handshaking() {
                return Ok(());
            }
            match feed(&self.socket, tls) {
                Ok(0) => return Err(Halt::Broken(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait_readable(watch)?;
                }
                Err(error) => {
                    // The peer deserves to hear why (an alert may be queued).
                    let _ = self.flush(watch);
                    return Err(Halt::Broken(error));
                }
            }
        }
    }

    fn flush(&mut self, watch: &Watch<'_>) -> Result<(), Halt> {
        let Some(tls) = &mut self.tls else {
            return Ok(());
        };
        while tls.wants_write() {
            match tls.write_tls(&mut Descriptor(self.socket.as_fd())) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    watch.ready(self.socket.as_fd(), PollFlags::OUT)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Halt::Broken(error)),
            }
        }
        Ok(())
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn plain_recv(socket: &OwnedFd, to: &mut [u8]) -> io::Result<usize> {
    loop {
        match recv(socket, &mut *to, RecvFlags::empty()) {
            Ok((got, _)) => return Ok(got),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn secure_recv(socket: &OwnedFd, tls: &mut Connection, to: &mut [u8]) -> io::Result<usize> {
    loop {
        match tls.reader().read(to) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // A close without close_notify is an error here, so a cut is never an end.
            outcome => return outcome,
        }
        // At the end of the stream the reader reports it, on the next round.
        feed(socket, tls)?;
    }
}

/// Takes what the socket has and decrypts it.
fn feed(socket: &OwnedFd, tls: &mut Connection) -> io::Result<usize> {
    let got = tls.read_tls(&mut Descriptor(socket.as_fd()))?;
    tls.process_new_packets().map_err(io::Error::other)?;
    Ok(got)
}

/// The name a server's certificate must carry.
pub(crate) fn server_name(address: &str) -> Result<ServerName<'static>, Halt> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned()).map_err(|error| Halt::Broken(io::Error::other(error)))
}

/// A socket as rustls wants it.
struct Descriptor<'a>(BorrowedFd<'a>);

impl Read for Descriptor<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let (got, _) = recv(self.0, to, RecvFlags::empty())?;
        Ok(got)
    }
}

impl Write for Descriptor<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(self.0, bytes, SendFlags::NOSIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
