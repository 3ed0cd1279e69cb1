//! Random numbers that are used once, for the handshakes of both ends.

use std::io;

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

/// One that nobody can guess.
///
/// # Errors
/// The kernel's, where it has no random numbers.
pub(crate) fn nonce() -> io::Result<[u8; 16]> {
    let mut nonce = [0; 16];
    let mut filled = 0;
    while filled < nonce.len() {
        match getrandom(&mut nonce[filled..], GetRandomFlags::empty()) {
            Ok(more) => filled += more,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(nonce)
}
