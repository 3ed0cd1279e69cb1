//! How many bytes wake whoever waits for a TCP socket.
//!
//! A chunk of megabytes arrives in segments of 64 KiB at most. To be woken for each of them costs more than the
//! segment does, so who knows how many bytes are still to come asks to be woken for more of them at a time
//! (`SO_RCVLOWAT`, socket(7)). An error and the end of the stream wake in any case, and so does a receive buffer that
//! takes no more (tcp(7)), so it never waits for what cannot come.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Has poll(2) tell of `socket` from `bytes` on.
pub(super) fn wake_at(socket: BorrowedFd<'_>, bytes: u32) -> io::Result<()> {
    let value = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    // SAFETY: the option is an int (socket(7)), which is read during the call only.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    match set {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
