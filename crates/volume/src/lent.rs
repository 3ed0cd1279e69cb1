//! Volumes whose files somebody else has opened.
//!
//! A [`Store`](crate::Store) can lend the files of a volume to a process of the same host, which reads
//! needles out of them by itself: [`Borrowed`] volumes have the same index, look at the same one
//! fstat(2) before each answer, and check the same of every needle as those of a store. What they
//! cannot do is look at paths. So of a needle that is not found nothing is said but [`Unfound`], and whoever
//! asked goes to somebody who can look; and that the files are still what the paths lead to, and may
//! still be read at all, has to be asked of the lender again and again ([`Inodes`] says which files are
//! meant).
//!
//! Nothing here waits for a disk but the thread that reads an index for the first time: whoever asks gets what is
//! in the page cache, and otherwise hears that it would have to wait. A hung disk must not hang who reads.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;
use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};
use seaweed::FileId;
use seaweed::volume::{OffsetWidth, SuperBlock};

use crate::budget::Budget;
use crate::context::{Context, Job};
use crate::files::{Inode, Opened};
use crate::pair::{Doubt, Pair};
use crate::raw::Wait;
use crate::{Miss, Needle, Reason, VerifyRanges, VolumeStats};

/// The files of a volume, as they are lent.
#[derive(Debug)]
pub struct Files {
    /// The data, open for reading.
    pub dat: OwnedFd,
    /// The index, open for reading.
    pub idx: OwnedFd,
    /// How wide offsets in the index are.
    pub width: OffsetWidth,
    /// What the super block said when the two were opened together.
    pub revision: u16,
    /// How the lender checks ranges, and wants them to be checked.
    pub verify: VerifyRanges,
}

/// Which files: device and inode of `.dat` and `.idx`. While somebody holds them open, no other files
/// have these numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inodes(pub [u64; 4]);

/// Why files that were lent cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BorrowError {
    /// They are not what they should be.
    #[error("{what}: {why}")]
    Wrong {
        /// `.dat` or `.idx`.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The super block says that they were replaced meanwhile.
    #[error("the volume has revision {found}, lent was {lent}")]
    Revision {
        /// As told.
        lent: u16,
        /// As read.
        found: u16,
    },
    /// As for files that were opened by path.
    #[error(transparent)]
    Declined(#[from] Reason),
}

/// Why there is no needle to read.
#[derive(Debug)]
pub enum Unfound {
    /// The files have been replaced, or were cut off: newer ones are needed.
    Replaced,
    /// As the files say. Only who can look at the paths knows whether it is true.
    Miss(Miss),
}

/// What all borrowed volumes share.
#[derive(Debug)]
pub struct Borrower {
    context: Arc<Context>,
    loader: Mutex<Option<JoinHandle<()>>>,
}

/// A borrowed volume.
#[derive(Debug)]
pub struct Borrowed {
    pair: Arc<Pair>,
    context: Arc<Context>,
}

impl Borrower {
    /// Borrows nothing yet: at most so many volumes, with so many bytes for their indexes and for the sums of
    /// blocks.
    ///
    /// # Errors
    /// The system's, when it gives no thread.
    pub fn new(max_volumes: usize, max_index_bytes: u64, sums_bytes: u64) -> io::Result<Self> {
        let budget = Budget::new(max_volumes, max_index_bytes);
        let context = Context::new(VerifyRanges::default(), sums_bytes, budget, None);
        let context = Arc::new(context);
        let loading = Arc::clone(&context);
        let thread = thread::Builder::new().name("volume-load".to_owned());
        let loader = thread.spawn(move || loading.work())?;
        Ok(Self {
            context,
            loader: Mutex::new(Some(loader)),
        })
    }

    /// Takes files over. The index is read at once if it is short, and otherwise in the background.
    ///
    /// # Errors
    /// See [`BorrowError`].
    pub fn borrow(&self, files: Files) -> Result<Borrowed, BorrowError> {
        let verify = files.verify;
        let pair = Pair::new(received(files)?, verify, &self.context)?;
        let pair = Arc::new(pair);
        self.context.stats.opened.inc();
        if pair.to_load() <= AT_ONCE {
            pair.load(&self.context);
        } else {
            self.context.send(Job::Load(Arc::downgrade(&pair)));
        }
        Ok(Borrowed {
            pair,
            context: Arc::clone(&self.context),
        })
    }

    /// Bytes of all indexes in memory.
    pub fn index_bytes(&self) -> u64 {
        self.context.budget.index_bytes()
    }

    /// Volumes whose files are open, two each.
    pub fn volumes(&self) -> usize {
        self.context.budget.volumes()
    }

    /// Its numbers.
    pub fn stats(&self) -> &Arc<VolumeStats> {
        &self.context.stats
    }
}

impl Drop for Borrower {
    fn drop(&mut self) {
        self.context.close();
        self.context.send(Job::Stop);
        if let Some(loader) = self.loader.lock().take()
            && loader.join().is_err()
        {
            tracing::error!("the thread that loads indexes has panicked");
        }
    }
}

impl Borrowed {
    /// Which files they are.
    pub fn inodes(&self) -> Inodes {
        Inodes::of(self.pair.inodes())
    }

    /// Finds a needle by what the files say now.
    ///
    /// # Errors
    /// See [`Unfound`].
    pub fn find(&self, id: FileId) -> Result<Needle, Unfound> {
        let found = self.pair.find(id, &self.context, Wait::IfUntold);
        found.map_err(|doubt| match doubt {
            Doubt::Replaced => Unfound::Replaced,
            Doubt::Unless(miss) | Doubt::Final(miss) => {
                self.context.stats.count(&miss);
                Unfound::Miss(miss)
            }
        })
    }

    /// Reads new entries of the index although nobody asks; says no when the files have been replaced or cannot be
    /// read.
    pub fn keep_up(&self) -> bool {
        !self.pair.has_failed() && self.pair.keep_up(&self.context)
    }

    /// Whether the index is still being read.
    pub fn is_loading(&self) -> bool {
        self.pair.is_loading()
    }
}

impl Inodes {
    pub(crate) fn of(inodes: [Inode; 2]) -> Self {
        let [dat, idx] = inodes;
        Self([dat.device, dat.number, idx.device, idx.number])
    }
}

/// A descriptor of its own for an open file: other flags, other position, other locks, also where the
/// file has no name any more.
pub(crate) fn again(file: &File) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(File::open(path)?.into())
}

/// Checks what came from another process.
fn received(files: Files) -> Result<Opened, BorrowError> {
    let (dat, dat_inode, _) = readable(".dat", files.dat)?;
    let (idx, idx_inode, idx_len) = readable(".idx", files.idx)?;
    let mut start = [0; SuperBlock::LEN];
    let read = dat.read_exact_at(&mut start, 0);
    read.map_err(|error| Reason::Io(format!("read the super block: {error}")))?;
    let block = SuperBlock::parse(&start).map_err(Reason::SuperBlock)?;
    if block.revision != files.revision {
        return Err(BorrowError::Revision {
            lent: files.revision,
            found: block.revision,
        });
    }
    Ok(Opened {
        dat,
        idx,
        idx_path: None,
        inodes: [dat_inode, idx_inode],
        idx_len,
        block,
        width: files.width,
    })
}

/// A regular file that can be read and not written: nothing else is a volume's.
fn readable(what: &'static str, fd: OwnedFd) -> Result<(File, Inode, u64), BorrowError> {
    let wrong = |why: String| BorrowError::Wrong { what, why };
    let flags = fcntl_getfl(fd.as_fd()).map_err(|errno| wrong(errno.to_string()))?;
    if flags & OFlags::RWMODE != OFlags::RDONLY || flags.contains(OFlags::PATH) {
        return Err(wrong(
            "it is not open for reading, and for nothing else".into(),
        ));
    }
    if flags.contains(OFlags::DIRECT) {
        return Err(wrong("it is open for direct reading".into()));
    }
    let status = fstat(fd.as_fd()).map_err(|errno| wrong(errno.to_string()))?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Err(wrong("it is no regular file".into()));
    }
    let inode = Inode {
        device: status.st_dev,
        number: status.st_ino,
    };
    // No file has a negative length.
    Ok((fd.into(), inode, status.st_size as u64))
}

/// An index of up to this many bytes is loaded by whoever borrows, which takes about 3 ms.
const AT_ONCE: u64 = 1 << 20;
