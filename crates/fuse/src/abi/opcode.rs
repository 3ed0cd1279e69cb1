//! What a request asks for.

use std::fmt;

/// A request code of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Opcode(u32);

macro_rules! opcodes {
    ($($name:ident = $value:literal)*) => {
        /// The codes, named as in the kernel's header without `FUSE_`.
        #[allow(missing_docs)]
        impl Opcode {
            $(pub const $name: Self = Self($value);)*

            /// The name, where the code is known here.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

opcodes! {
    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    SETXATTR = 21
    GETXATTR = 22
    LISTXATTR = 23
    REMOVEXATTR = 24
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    GETLK = 31
    SETLK = 32
    SETLKW = 33
    ACCESS = 34
    CREATE = 35
    INTERRUPT = 36
    BMAP = 37
    DESTROY = 38
    IOCTL = 39
    POLL = 40
    NOTIFY_REPLY = 41
    BATCH_FORGET = 42
    FALLOCATE = 43
    READDIRPLUS = 44
    RENAME2 = 45
    LSEEK = 46
    COPY_FILE_RANGE = 47
    SETUPMAPPING = 48
    REMOVEMAPPING = 49
    SYNCFS = 50
    TMPFILE = 51
    STATX = 52
    COPY_FILE_RANGE_64 = 53
}

impl Opcode {
    /// From the number in a request's header.
    pub const fn from_raw(opcode: u32) -> Self {
        Self(opcode)
    }

    /// The number.
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// Whether the request would change the tree or a file.
    pub const fn mutates(self) -> bool {
        matches!(
            self,
            Self::SETATTR
                | Self::SYMLINK
                | Self::MKNOD
                | Self::MKDIR
                | Self::UNLINK
                | Self::RMDIR
                | Self::RENAME
                | Self::RENAME2
                | Self::LINK
                | Self::WRITE
                | Self::SETXATTR
                | Self::REMOVEXATTR
                | Self::CREATE
                | Self::FALLOCATE
                | Self::COPY_FILE_RANGE
                | Self::COPY_FILE_RANGE_64
                | Self::TMPFILE
        )
    }

    /// Whether the kernel waits for no reply.
    pub const fn is_oneway(self) -> bool {
        matches!(
            self,
            Self::FORGET | Self::BATCH_FORGET | Self::INTERRUPT | Self::NOTIFY_REPLY
        )
    }
}

impl fmt::Debug for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "opcode {}", self.0),
        }
    }
}
