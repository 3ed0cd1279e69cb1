//! The error number a request is answered with.

use std::fmt;

/// A positive errno value, as in `errno(3)`.
///
/// The FUSE path carries nothing else: whatever is worth saying about an
/// error is said (logged, counted) where it is turned into an errno.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

macro_rules! errnos {
    ($($(#[$doc:meta])* $name:ident)*) => {
        impl Errno {
            $($(#[$doc])* pub const $name: Self = Self(libc::$name);)*

            /// The symbolic name, where it is one this file system uses.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $(libc::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    /// Permission denied by mode bits.
    EACCES
    /// Try again.
    EAGAIN
    /// A bad handle.
    EBADF
    /// Busy.
    EBUSY
    /// The quota is used up.
    EDQUOT
    /// The name exists.
    EEXIST
    /// Too large.
    EFBIG
    /// A name that cannot be stored.
    EILSEQ
    /// The caller was interrupted.
    EINTR
    /// An argument is out of range.
    EINVAL
    /// Data could not be had.
    EIO
    /// A directory where a file was wanted.
    EISDIR
    /// Too many symbolic links.
    ELOOP
    /// Too many links.
    EMLINK
    /// Name or path too long.
    ENAMETOOLONG
    /// No such extended attribute.
    ENODATA
    /// No such name.
    ENOENT
    /// Not enough memory.
    ENOMEM
    /// No room for another lock.
    ENOLCK
    /// No space.
    ENOSPC
    /// The operation does not exist here; the kernel stops asking.
    ENOSYS
    /// A file where a directory was wanted.
    ENOTDIR
    /// The directory has entries.
    ENOTEMPTY
    /// Not supported.
    ENOTSUP
    /// No such device address (also: no more data for SEEK_DATA).
    ENXIO
    /// Not permitted.
    EPERM
    /// The buffer is too small.
    ERANGE
    /// Read-only file system.
    EROFS
    /// What the handle names is gone.
    ESTALE
    /// Timed out.
    ETIMEDOUT
    /// A program that runs.
    ETXTBSY
    /// Across file systems.
    EXDEV
}

impl Errno {
    /// From a raw positive error number.
    pub const fn from_raw(errno: i32) -> Self {
        Self(errno)
    }

    /// The positive number.
    pub const fn raw(self) -> i32 {
        self.0
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", std::io::Error::from_raw_os_error(self.0))
    }
}

impl std::error::Error for Errno {}
