//! A lane over a unix socket, with our memory at hand for the server.
//!
//! The arena's memfd travels beside the Hello. With it the server can map all of our memory, so it
//! goes only to a process of root or of our own user, which could reach that memory anyway; the
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

/// Connects and shakes hands; with an arena, the server may write to it.
pub(super) fn open(
    path: &str,
    greeting: Greeting<'_>,
    arena: Option<&Arena>,
    watch: &Watch<'_>,
) -> Result<StreamLane, Failure> {
    let socket = reach(path, watch)?;
    if arena.is_some() {
        check_peer(&socket)?;
    }
    greeting.exchange("shm", Wire::over(socket), arena, watch)
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

pub(super) fn check_peer(socket: &OwnedFd) -> Result<(), Failure> {
    let peer = sockopt::socket_peercred(socket)?;
    if peer.uid.is_root() || peer.uid == geteuid() {
        return Ok(());
    }
    let user = peer.uid.as_raw();
    let words = format!("it runs as user {user}, with whom we share nothing");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, words).into())
}
