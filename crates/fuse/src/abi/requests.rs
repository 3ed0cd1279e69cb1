//! Structures the kernel sends.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

macro_rules! request {
    ($(#[$doc:meta])* $vis:vis $name:ident { $($(#[$fdoc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
        #[repr(C)]
        $vis struct $name {
            $($(#[$fdoc])* $vis $field: $type,)*
        }
    };
}

request! {
    /// What every request starts with.
    pub InHeader {
        /// Bytes of the whole request.
        len: u32,
        /// See [`Opcode`](super::Opcode).
        opcode: u32,
        /// The number the reply repeats.
        unique: u64,
        /// The inode asked about, 0 if none.
        nodeid: u64,
        /// User of the caller.
        uid: u32,
        /// Group of the caller.
        gid: u32,
        /// Thread of the caller, 0 from another pid namespace.
        pid: u32,
        /// Length of extensions at the end, in units of 8 bytes.
        total_extlen: u16,
        /// Unused.
        padding: u16,
    }
}

request! {
    /// The part of INIT that every supported kernel sends.
    pub InitIn {
        /// Always 7.
        major: u32,
        /// The kernel's protocol.
        minor: u32,
        /// Read-ahead the kernel offers, bytes.
        max_readahead: u32,
        /// Lower half of the capabilities.
        flags: u32,
    }
}

request! {
    /// What kernels from 7.36 on send behind it.
    pub(crate) InitTail {
        flags2: u32,
        unused: [u32; 11],
    }
}

request! { pub(crate) ForgetIn { nlookup: u64, } }

request! { pub(crate) BatchForgetIn { count: u32, dummy: u32, } }

request! { pub(crate) ForgetOne { nodeid: u64, nlookup: u64, } }

request! { pub(crate) GetattrIn { flags: u32, dummy: u32, fh: u64, } }

request! {
    /// OPEN and OPENDIR.
    pub(crate) OpenIn {
        flags: u32,
        open_flags: u32,
    }
}

request! {
    /// READ, READDIR and READDIRPLUS.
    pub(crate) ReadIn {
        fh: u64,
        offset: u64,
        size: u32,
        read_flags: u32,
        lock_owner: u64,
        flags: u32,
        padding: u32,
    }
}

request! {
    /// RELEASE and RELEASEDIR.
    pub(crate) ReleaseIn {
        fh: u64,
        flags: u32,
        release_flags: u32,
        lock_owner: u64,
    }
}

request! { pub(crate) FlushIn { fh: u64, unused: u32, padding: u32, lock_owner: u64, } }

request! {
    /// FSYNC and FSYNCDIR.
    pub(crate) FsyncIn {
        fh: u64,
        fsync_flags: u32,
        padding: u32,
    }
}

request! {
    /// GETXATTR and LISTXATTR.
    pub(crate) GetxattrIn {
        size: u32,
        padding: u32,
    }
}

request! { pub(crate) AccessIn { mask: u32, padding: u32, } }

request! { pub(crate) InterruptIn { unique: u64, } }

request! {
    pub(crate) SetattrIn {
        valid: u32,
        padding: u32,
        fh: u64,
        size: u64,
        lock_owner: u64,
        atime: u64,
        mtime: u64,
        ctime: u64,
        atimensec: u32,
        mtimensec: u32,
        ctimensec: u32,
        mode: u32,
        unused4: u32,
        uid: u32,
        gid: u32,
        unused5: u32,
    }
}

request! { pub(crate) MknodIn { mode: u32, rdev: u32, umask: u32, padding: u32, } }

request! { pub(crate) MkdirIn { mode: u32, umask: u32, } }

request! { pub(crate) RenameIn { newdir: u64, } }

request! { pub(crate) Rename2In { newdir: u64, flags: u32, padding: u32, } }

request! { pub(crate) LinkIn { oldnodeid: u64, } }

request! { pub(crate) CreateIn { flags: u32, mode: u32, umask: u32, open_flags: u32, } }

request! {
    /// The data follows.
    pub(crate) WriteIn {
        fh: u64,
        offset: u64,
        size: u32,
        write_flags: u32,
        lock_owner: u64,
        flags: u32,
        padding: u32,
    }
}

request! {
    /// Without FUSE_SETXATTR_EXT, which is not asked for; name and value follow.
    pub(crate) SetxattrIn {
        size: u32,
        flags: u32,
    }
}

request! {
    /// GETLK, SETLK and SETLKW.
    pub(crate) LkIn {
        fh: u64,
        owner: u64,
        start: u64,
        end: u64,
        kind: u32,
        pid: u32,
        lk_flags: u32,
        padding: u32,
    }
}

request! {
    pub(crate) FallocateIn {
        fh: u64,
        offset: u64,
        length: u64,
        mode: u32,
        padding: u32,
    }
}

request! {
    /// COPY_FILE_RANGE and COPY_FILE_RANGE_64.
    pub(crate) CopyFileRangeIn {
        fh_in: u64,
        off_in: u64,
        nodeid_out: u64,
        fh_out: u64,
        off_out: u64,
        len: u64,
        flags: u64,
    }
}

request! { pub(crate) LseekIn { fh: u64, offset: u64, whence: u32, padding: u32, } }

const _: () = {
    assert!(size_of::<InHeader>() == 40);
    assert!(size_of::<InitIn>() + size_of::<InitTail>() == 64);
    assert!(size_of::<ReadIn>() == 40);
    assert!(size_of::<ReleaseIn>() == 24);
    assert!(size_of::<FlushIn>() == 24);
    assert!(size_of::<LseekIn>() == 24);
    assert!(size_of::<SetattrIn>() == 88);
    assert!(size_of::<WriteIn>() == 40);
    assert!(size_of::<LkIn>() == 48);
    assert!(size_of::<FallocateIn>() == 32);
    assert!(size_of::<CopyFileRangeIn>() == 56);
};
