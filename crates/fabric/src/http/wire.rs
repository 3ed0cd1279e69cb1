//! A non-blocking socket, plain or under TLS.

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use context::{Interrupt, Stopped};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, connect,
    recv, send, sendmsg, socket_with, sockopt,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::wait::{Halt, Watch};

/// What a connection is made of.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: OwnedFd,
    tls: Option<Box<ClientConnection>>,
}

/// Pieces that one system call takes, at most (`UIO_MAXIOV`).
const SLICES: usize = 1024;

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
        let mut wire = Self { socket, tls: None };
        if let Some(secure) = secure {
            let session = ClientConnection::new(secure.config.clone(), secure.name.clone())
                .map_err(io::Error::other)?;
            wire.tls = Some(Box::new(session));
            wire.shake_hands(watch)?;
        }
        Ok(wire)
    }

    /// A plain wire over a connected, non-blocking socket.
    #[cfg(test)]
    pub(crate) fn over(socket: OwnedFd) -> Self {
        Self { socket, tls: None }
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
            let got = match &mut self.tls {
                None => plain_recv(&self.socket, to),
                Some(tls) => secure_recv(&self.socket, tls, to),
            };
            match got {
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
    pub(crate) fn expect_answer(&self, watch: &Watch<'_>) -> Result<(), Halt> {
        match self.tls {
            // Its next bytes may have been decrypted already.
            Some(_) => Ok(()),
            None => self.wait_readable(watch),
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

fn plain_recv(socket: &OwnedFd, to: &mut [u8]) -> io::Result<usize> {
    loop {
        match recv(socket, &mut *to, RecvFlags::empty()) {
            Ok((got, _)) => return Ok(got),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn secure_recv(socket: &OwnedFd, tls: &mut ClientConnection, to: &mut [u8]) -> io::Result<usize> {
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
fn feed(socket: &OwnedFd, tls: &mut ClientConnection) -> io::Result<usize> {
    let got = tls.read_tls(&mut Descriptor(socket.as_fd()))?;
    tls.process_new_packets().map_err(io::Error::other)?;
    Ok(got)
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
