//! Structures the kernel is sent.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

macro_rules! reply {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout,
            Immutable,
        )]
        #[repr(C)]
        pub(crate) struct $name {
            $($(#[$fdoc])* pub(crate) $field: $type,)*
        }
    };
}

reply! {
    /// What every reply and notification starts with.
    OutHeader {
        /// Bytes of the whole reply.
        len: u32,
        /// 0 or a negative errno; a notification's code.
        error: i32,
        /// The request's number; 0 for a notification.
        unique: u64,
    }
}

reply! {
    InitOut {
        major: u32,
        minor: u32,
        max_readahead: u32,
        flags: u32,
        max_background: u16,
        congestion_threshold: u16,
        max_write: u32,
        time_gran: u32,
        max_pages: u16,
        map_alignment: u16,
        flags2: u32,
        max_stack_depth: u32,
        request_timeout: u16,
        unused: [u16; 11],
    }
}

reply! {
    Attr {
        ino: u64,
        size: u64,
        blocks: u64,
        atime: u64,
        mtime: u64,
        ctime: u64,
        atimensec: u32,
        mtimensec: u32,
        ctimensec: u32,
        mode: u32,
        nlink: u32,
        uid: u32,
        gid: u32,
        rdev: u32,
        blksize: u32,
        flags: u32,
    }
}

reply! {
    /// A name that exists; with `nodeid` 0 one that does not.
    EntryOut {
        nodeid: u64,
        generation: u64,
        entry_valid: u64,
        attr_valid: u64,
        entry_valid_nsec: u32,
        attr_valid_nsec: u32,
        attr: Attr,
    }
}

reply! {
    AttrOut {
        attr_valid: u64,
        attr_valid_nsec: u32,
        dummy: u32,
        attr: Attr,
    }
}

reply! {
    OpenOut {
        fh: u64,
        open_flags: u32,
        /// Counts only with FOPEN_PASSTHROUGH.
        backing_id: i32,
    }
}

reply! {
    StatfsOut {
        blocks: u64,
        bfree: u64,
        bavail: u64,
        files: u64,
        ffree: u64,
        bsize: u32,
        namelen: u32,
        frsize: u32,
        padding: u32,
        spare: [u32; 6],
    }
}

reply! { GetxattrOut { size: u32, padding: u32, } }

reply! { LseekOut { offset: u64, } }

reply! {
    /// WRITE and COPY_FILE_RANGE: how many bytes.
    WriteOut {
        size: u32,
        padding: u32,
    }
}

reply! { CopyFileRangeOut { bytes_copied: u64, } }

reply! { LkOut { start: u64, end: u64, kind: u32, pid: u32, } }

reply! {
    /// An entry of READDIR; the name follows. READDIRPLUS puts an [`EntryOut`] before it.
    Dirent {
        ino: u64,
        off: u64,
        namelen: u32,
        kind: u32,
    }
}

reply! {
    /// A negative `off` invalidates the attributes alone; `len` ≤ 0 means to the end.
    NotifyInvalInodeOut {
        ino: u64,
        off: i64,
        len: i64,
    }
}

reply! { NotifyInvalEntryOut { parent: u64, namelen: u32, flags: u32, } }

reply! { NotifyPruneOut { count: u32, padding: u32, spare: u64, } }

reply! { NotifyDeleteOut { parent: u64, child: u64, namelen: u32, padding: u32, } }

reply! {
    /// The argument of the ioctl that registers a backing file.
    BackingMap {
        fd: i32,
        flags: u32,
        padding: u64,
    }
}

const _: () = {
    assert!(size_of::<OutHeader>() == 16);
    assert!(size_of::<InitOut>() == 64);
    assert!(size_of::<Attr>() == 88);
    assert!(size_of::<EntryOut>() == 128);
    assert!(size_of::<AttrOut>() == 104);
    assert!(size_of::<OpenOut>() == 16);
    assert!(size_of::<StatfsOut>() == 80);
    assert!(size_of::<Dirent>() == 24);
    assert!(size_of::<BackingMap>() == 16);
    assert!(size_of::<NotifyPruneOut>() == 16);
};
