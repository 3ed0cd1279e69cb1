//! INIT: what is asked of the kernel, out of what it offers.
//!
//! Two choices need their reasons.
//!
//! AUTO_INVAL_DATA: the kernel drops a file's pages when it learns of another
//! size or time of change. EXPLICIT_INVAL_DATA would keep them until we say so,
//! but then a file that grows shows bytes it never had: the page with its old
//! end is zero behind it, the new size (which any GETATTR may bring) makes those
//! zeros readable, and no order of answers and notifications closes the gap
//! between the two. Besides, after a gap in what we know of the filer it is
//! enough to let names and attributes expire: files that did not change keep
//! their pages, the others lose them. `Notifier::inval_inode` remains for being
//! exact and early.
//!
//! NO_EXPORT_SUPPORT: node numbers mean nothing after a remount, so an NFS file
//! handle made from one could name another file. The kernel then makes none.

//!
//! What writing needs, and why it is asked for:
//!
//! - ATOMIC_O_TRUNC: O_TRUNC comes with OPEN, and not as a change of size
//!   before it, so that overwriting a file is one change of its entry.
//! - HANDLE_KILLPRIV_V2: we clear setuid and setgid bits. Otherwise the kernel
//!   asks for `security.capability` before every single write.
//! - DONT_MASK is not asked for: the kernel knows the caller's umask, and
//!   default ACLs, which would override it, are not enforced here.
//! - POSIX_LOCKS and FLOCK_LOCKS only where locks are shared with other mounts.
//!   The kernel's own are as good for one machine, and cost no round trip.

use crate::abi::{InitIn, InitOut, MAJOR, MINOR, OLDEST_MINOR};
use crate::{InitFlags, Negotiated, SessionConfig, Transport};

/// What an INIT of the kernel is answered with.
#[derive(Debug)]
pub(crate) enum Answer {
    /// We agree.
    Agreed(Box<InitOut>, Negotiated),
    /// A newer major version: the kernel will ask again with ours.
    AskAgain(Box<InitOut>),
    /// Too old: 7.`minor`, or another major version.
    TooOld {
        /// Major version of the kernel.
        major: u32,
        /// Minor version of the kernel.
        minor: u32,
    },
}

/// Bytes of a page, in which the kernel counts requests.
const PAGE: u32 = 4096;

/// Where the kernel says how many pages a request may have (since 6.13; 256 before).
const MAX_PAGES_LIMIT: &str = "/proc/sys/fs/fuse/max_pages_limit";

/// Pages of a request on kernels without that file.
const MAX_PAGES_BEFORE: u32 = 256;

/// What `fs.fuse.max_pages_limit` is here.
pub(crate) fn max_pages_limit() -> u32 {
    let limit = std::fs::read_to_string(MAX_PAGES_LIMIT).ok();
    limit
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(MAX_PAGES_BEFORE)
}

/// Decides on the answer to INIT.
pub(crate) fn answer(
    init: &InitIn,
    offered: InitFlags,
    config: &SessionConfig,
    max_pages_limit: u32,
) -> Answer {
    if init.major > MAJOR {
        return Answer::AskAgain(Box::new(InitOut {
            major: MAJOR,
            minor: MINOR,
            ..InitOut::default()
        }));
    }
    if init.major < MAJOR || init.minor < OLDEST_MINOR {
        return Answer::TooOld {
            major: init.major,
            minor: init.minor,
        };
    }
    let flags = wanted(config).and(offered);
    let minor = init.minor.min(MINOR);
    let pages = config
        .max_read
        .div_ceil(PAGE)
        .clamp(1, max_pages_limit.max(1));
    let max_pages = u16::try_from(pages).unwrap_or(u16::MAX);
    let size = u32::from(max_pages) * PAGE;
    let max_read = config.max_read.clamp(PAGE, size);
    let max_background = config.max_background.max(1);
    let congestion_threshold = match config.congestion_threshold {
        0 => (max_background - max_background / 4).max(1),
        asked => asked.min(max_background),
    };
    let (low, high) = flags.to_wire();
    let out = InitOut {
        major: MAJOR,
        minor,
        // Can only lower what the kernel's bdi has; see `readahead` for raising it.
        max_readahead: init.max_readahead.max(max_read),
        flags: low,
        max_background,
        congestion_threshold,
        max_write: max_read,
        time_gran: 1,
        max_pages,
        map_alignment: 0,
        flags2: high,
        max_stack_depth: u32::from(flags.contains(InitFlags::PASSTHROUGH)),
        request_timeout: 0,
        unused: [0; 11],
    };
    let negotiated = Negotiated {
        kernel_minor: init.minor,
        minor,
        flags,
        max_read,
        max_pages,
        max_background,
        congestion_threshold,
        read_ahead_kb: None,
        uring: match flags.contains(InitFlags::OVER_IO_URING) {
            true => Ok(()),
            false => Err("the kernel does not offer it (Linux 6.14 would)".to_owned()),
        },
    };
    Answer::Agreed(Box::new(out), negotiated)
}

fn wanted(config: &SessionConfig) -> InitFlags {
    let writes = !config.read_only;
    InitFlags::ASYNC_READ
        .with_if(writes, InitFlags::ATOMIC_O_TRUNC)
        .with_if(writes, InitFlags::HANDLE_KILLPRIV_V2)
        .with_if(writes && config.writeback_cache, InitFlags::WRITEBACK_CACHE)
        .with_if(config.remote_locks, InitFlags::POSIX_LOCKS)
        .with_if(config.remote_locks, InitFlags::FLOCK_LOCKS)
        .with(InitFlags::BIG_WRITES)
        .with(InitFlags::PARALLEL_DIROPS)
        .with(InitFlags::MAX_PAGES)
        .with(InitFlags::INIT_EXT)
        .with(InitFlags::DO_READDIRPLUS)
        .with(InitFlags::READDIRPLUS_AUTO)
        .with(InitFlags::AUTO_INVAL_DATA)
        .with(InitFlags::ABORT_ERROR)
        .with(InitFlags::HAS_EXPIRE_ONLY)
        .with(InitFlags::DIRECT_IO_ALLOW_MMAP)
        .with(InitFlags::NO_EXPORT_SUPPORT)
        .with_if(config.async_dio, InitFlags::ASYNC_DIO)
        .with_if(config.cache_symlinks, InitFlags::CACHE_SYMLINKS)
        .with_if(config.posix_acl, InitFlags::POSIX_ACL)
        .with_if(config.passthrough, InitFlags::PASSTHROUGH)
        .with_if(
            config.transport != Transport::Device,
            InitFlags::OVER_IO_URING,
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: InitFlags = InitFlags::from_wire(u32::MAX, u32::MAX);

    fn init(major: u32, minor: u32) -> InitIn {
        InitIn {
            major,
            minor,
            max_readahead: 131_072,
            flags: 0,
        }
    }

    #[test]
    fn a_newer_kernel_gets_our_minor_and_what_was_wanted() {
        let config = SessionConfig {
            passthrough: true,
            transport: Transport::Device,
            ..SessionConfig::default()
        };
        match answer(&init(7, 99), ALL, &config, 256) {
            Answer::Agreed(out, negotiated) => {
                assert_eq!((out.major, out.minor), (7, 45));
                assert_eq!((out.max_pages, out.max_write), (256, 1 << 20));
                assert_eq!((out.max_background, out.congestion_threshold), (128, 96));
                assert_eq!((out.max_stack_depth, negotiated.passthrough()), (1, true));
                assert_eq!(negotiated.kernel_minor, 99);
                assert!(!negotiated.flags.contains(InitFlags::EXPLICIT_INVAL_DATA));
                assert!(!negotiated.flags.contains(InitFlags::ASYNC_DIO));
                assert!(!negotiated.flags.contains(InitFlags::OVER_IO_URING));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_older_kernel_gets_no_more_than_it_offers() {
        let offered = InitFlags::ASYNC_READ.with(InitFlags::MAX_PAGES);
        match answer(&init(7, 31), offered, &SessionConfig::default(), 256) {
            Answer::Agreed(out, negotiated) => {
                assert_eq!(out.minor, 31);
                assert_eq!((out.flags, out.flags2), (1 | 1 << 22, 0));
                assert_eq!(out.max_stack_depth, 0);
                assert_eq!(negotiated.flags, offered);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn sizes_stay_within_the_kernels_limit() {
        let config = SessionConfig {
            max_read: 8 << 20,
            ..SessionConfig::default()
        };
        for (limit, pages) in [(256, 256), (1024, 1024), (65_535, 2048), (0, 1)] {
            match answer(&init(7, 45), ALL, &config, limit) {
                Answer::Agreed(out, negotiated) => {
                    assert_eq!(out.max_pages, pages);
                    assert_eq!(negotiated.max_read, u32::from(pages) * 4096);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn other_majors_are_asked_again_or_refused() {
        let config = SessionConfig::default();
        assert!(matches!(
            answer(&init(8, 1), ALL, &config, 256),
            Answer::AskAgain(_)
        ));
        assert!(matches!(
            answer(&init(7, 30), ALL, &config, 256),
            Answer::TooOld {
                major: 7,
                minor: 30
            }
        ));
        assert!(matches!(
            answer(&init(6, 99), ALL, &config, 256),
            Answer::TooOld { .. }
        ));
    }
}
