//! What kernel and server agree on in INIT, and what an open reply may say.

use std::fmt;

/// The 64 capability bits of INIT.
///
/// The wire carries them as two halves; the upper one counts only when the
/// lower one has [`InitFlags::INIT_EXT`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct InitFlags(u64);

macro_rules! init_flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal)*) => {
        impl InitFlags {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*

            const NAMED: &'static [(u32, &'static str)] = &[$(($bit, stringify!($name)),)*];
        }
    };
}

init_flags! {
    /// Several reads of one page range may be under way, in any order.
    ASYNC_READ = 0
    /// Locks of fcntl(2) are asked for here instead of being kept in the kernel.
    POSIX_LOCKS = 1
    /// O_TRUNC arrives with OPEN.
    ATOMIC_O_TRUNC = 3
    /// Writes beyond one page.
    BIG_WRITES = 5
    /// The umask is left to the server.
    DONT_MASK = 6
    /// Locks of flock(2) are asked for here instead of being kept in the kernel.
    FLOCK_LOCKS = 10
    /// An attribute change drops the file's pages.
    AUTO_INVAL_DATA = 12
    /// READDIRPLUS is spoken.
    DO_READDIRPLUS = 13
    /// The kernel chooses between READDIR and READDIRPLUS.
    READDIRPLUS_AUTO = 14
    /// One O_DIRECT call may become several requests at a time.
    ASYNC_DIO = 15
    /// The kernel keeps written pages and writes them back later.
    WRITEBACK_CACHE = 16
    /// Lookups and listings of one directory may run in parallel.
    PARALLEL_DIROPS = 18
    /// The kernel checks and asks for POSIX ACLs.
    POSIX_ACL = 20
    /// After an abort the device reads ECONNABORTED instead of ENODEV.
    ABORT_ERROR = 21
    /// `max_pages` of the reply counts.
    MAX_PAGES = 22
    /// Targets of symbolic links are kept in the page cache.
    CACHE_SYMLINKS = 23
    /// Pages are dropped only when the server says so.
    EXPLICIT_INVAL_DATA = 25
    /// The server clears setuid and setgid bits when it is told to.
    HANDLE_KILLPRIV_V2 = 28
    /// The upper half of the flags counts.
    INIT_EXT = 30
    /// A name can be expired without dropping its dentry.
    HAS_EXPIRE_ONLY = 35
    /// Shared mappings of files opened with FOPEN_DIRECT_IO.
    DIRECT_IO_ALLOW_MMAP = 36
    /// Reads and writes of a handle may go to another file directly.
    PASSTHROUGH = 37
    /// File handles for NFS are refused instead of half-supported.
    NO_EXPORT_SUPPORT = 38
    /// Unanswered requests can be sent again.
    HAS_RESEND = 39
    /// Requests may travel through io_uring.
    OVER_IO_URING = 41
}

impl InitFlags {
    /// From the two halves of the wire.
    pub const fn from_wire(flags: u32, flags2: u32) -> Self {
        let low = flags as u64;
        if low & Self::INIT_EXT.0 == 0 {
            return Self(low);
        }
        Self(low | (flags2 as u64) << 32)
    }

    /// The two halves for the wire.
    pub const fn to_wire(self) -> (u32, u32) {
        (self.0 as u32, (self.0 >> 32) as u32)
    }

    /// Whether all of `other` is in here.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// `other` too, if `wanted`.
    #[must_use]
    pub const fn with_if(self, wanted: bool, other: Self) -> Self {
        if wanted { self.with(other) } else { self }
    }

    /// What both have.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl fmt::Debug for InitFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let mut separator = "";
        for (bit, name) in Self::NAMED {
            if rest & (1 << bit) != 0 {
                rest &= !(1 << bit);
                write!(f, "{separator}{name}")?;
                separator = "|";
            }
        }
        if rest != 0 {
            write!(f, "{separator}{rest:#x}")?;
        }
        Ok(())
    }
}

/// `FOPEN_*`: how the kernel treats a handle.
pub(crate) mod open_reply {
    pub(crate) const DIRECT_IO: u32 = 1 << 0;
    pub(crate) const KEEP_CACHE: u32 = 1 << 1;
    pub(crate) const CACHE_DIR: u32 = 1 << 3;
    pub(crate) const NOFLUSH: u32 = 1 << 5;
    pub(crate) const PASSTHROUGH: u32 = 1 << 7;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_half_counts_only_when_announced() {
        assert_eq!(InitFlags::from_wire(1, 0x20), InitFlags::ASYNC_READ);
        let both = InitFlags::from_wire(1 | 1 << 30, 0x20);
        assert!(both.contains(InitFlags::PASSTHROUGH));
        assert_eq!(both.to_wire(), (1 | 1 << 30, 0x20));
    }

    #[test]
    fn flags_print_by_name_and_the_unknown_by_number() {
        let flags = InitFlags::from_wire(1 | 1 << 30 | 1 << 31, 1 << 5);
        assert_eq!(
            format!("{flags:?}"),
            "ASYNC_READ|INIT_EXT|PASSTHROUGH|0x80000000"
        );
    }
}
