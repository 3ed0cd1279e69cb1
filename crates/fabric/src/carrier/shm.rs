//! A lane over a unix socket, with our memory at hand for the server.
//!
//! The arena's memfd travels beside the Memory, when the server has proved itself. With it the server can map all of our memory, in which lie the
//! bytes of other files and other sidecars as well. So it goes only to a process of root or of our own
//! user, which could reach that memory anyway, or of a user whom the administrator trusts with it; the
//! kernel tells who it was that listened (`SO_PEERCRED`, unix(7)).

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt,
};
use rustix::process::geteuid;

use super::error::Failure;
use super::greet::Greeting;
use super::stream::StreamLane;
use crate::http::wait::Watch;
use crate::http::wire::Wire;
use crate::memory::Arena;
use crate::wire::Way;

/// Connects and shakes hands; with an arena, the server may write to it.
pub(super) fn open(
    path: &str,
    greeting: Greeting<'_>,
    arena: Option<&Arena>,
    trusted: &[u32],
    watch: &Watch<'_>,
) -> Result<StreamLane, Failure> {
    let socket = reach(path, watch)?;
    if arena.is_some() {
        check_peer(&socket, trusted)?;
    }
    greeting.exchange(Way::Shm, Wire::over(socket), arena, watch)
}

pub(super) fn reach(path: &str, watch: &Watch<'_>) -> Result<OwnedFd, Failure> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&socket, &address) {
        Ok(()) => Ok(socket),
        Err(Errno::INPROGRESS) => {
            watch.ready(socket.as_fd(), PollFlags::OUT)?;
            sockopt::socket_error(&socket)??;
            Ok(socket)
        }
        Err(Errno::AGAIN) => Err(io::Error::other("it accepts no more connections").into()),
        Err(errno) => Err(errno.into()),
    }
}

pub(super) fn check_peer(socket: &OwnedFd, trusted: &[u32]) -> Result<(), Failure> {
    let peer = sockopt::socket_peercred(socket)?;
    let user = peer.uid.as_raw();
    if peer.uid.is_root() || peer.uid == geteuid() || trusted.contains(&user) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, Stranger(user)).into())
}

/// A sidecar of this host runs as a user with whom we do not share memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it runs as user {0}, with whom we share nothing")]
pub struct Stranger(pub u32);
