//! The operations as the kernel asks for them.

mod bring;
mod copy;
mod data;
mod execute;
mod link;
mod lock;
mod make;
mod names;
mod operations;
mod punch;
mod quota;
mod remove;
mod rename;
mod root;
mod setattr;
mod write;
mod xattr;

use std::ffi::OsStr;
use std::sync::{Arc, OnceLock};

use filer::Filer;
use fuse::Errno;
use parking_lot::{Mutex, RwLock};
use reader::Reader;
use stats::Export;
use whole::Files;
use writer::Writer;

use crate::changed::Changed;
use crate::claims::Claims;
use crate::compare::Compare;
use crate::config::MountConfig;
use crate::fast::Fast;
use crate::files::Files as OpenFiles;
use crate::follow::Follower;
use crate::gate::{Gate, Turn, Turns};
use crate::handles::Handles;
use crate::invalidate::Invalidator;
use crate::keeper::Keeper;
use crate::list::DirHandle;
use crate::locks::Locks;
use crate::remote::Remote;
use crate::state::Core;
use crate::statfs::Capacity;
use crate::stats::MountStats;
use crate::streaming::Streaming;
use crate::tree::Tree;
use crate::walk::Walks;
use crate::worm::Worm;

use data::FileHandle;

/// A SeaweedFS tree that can be mounted.
#[derive(Debug)]
pub struct Mount {
    pub(crate) core: Arc<Core>,
    pub(crate) reader: Reader,
    files: Handles<FileHandle>,
    dirs: Handles<DirHandle>,
    capacity: Capacity,
    quota: quota::Quota,
    follower: Follower,
    walks: Walks,
}

/// Why a tree cannot be mounted.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The root cannot be had.
    #[error("-filer.path={path}: {reason}")]
    Root {
        /// `-filer.path`.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The filer does not answer.
    #[error(transparent)]
    Filer(#[from] filer::FilerError),
    /// No thread could be started.
    #[error("starting a thread: {0}")]
    Thread(#[from] std::io::Error),
}

impl Mount {
    /// Opens the tree: looks up its root and begins to follow the filer's events, so that the
    /// first answer given is kept true from the start. With `whole`, files are kept whole there. Must be called inside a tokio runtime,
    /// on which all questions to the filer run from then on.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(
        config: MountConfig,
        filer: Filer,
        reader: Reader,
        writer: Writer,
        whole: Option<Files>,
        stats: Arc<MountStats>,
    ) -> Result<Self, OpenError> {
        let path = config.filer_path.clone();
        let (root, since_ns) = root::root_entry(&filer, &config).await?;
        let invalidator = Invalidator::start(&stats)?;
        let runtime = tokio::runtime::Handle::current();
        let core = Arc::new(Core {
            lifetime: OnceLock::new(),
            tree: RwLock::new(Tree::new(
                path,
                Arc::new(root),
                config.dir_max_entries,
                config.account.clone(),
            )),
            remote: Remote::new(filer, runtime),
            invalidator,
            keeper: Keeper::new(config.account.clone()),
            stats,
            signature: signature(),
            root: Mutex::new(config.root),
            files: OpenFiles::new(writer),
            fast: whole.map(|files| Arc::new(Fast::new(files, config.keep_decrypted))),
            streaming: Streaming::new(config.direct_io),
            changed: Changed::default(),
            gate: Gate::default(),
            compare: Compare::default(),
            amending: Turns::default(),
            links: Turn::default(),
            locks: Locks::new(),
            claims: Claims::default(),
            worm: Worm::default(),
            touched: Mutex::default(),
            waiting: Mutex::default(),
            config,
        });
        Keeper::start(&core)?;
        let quota = quota::Quota::new(core.config.quota_bytes);
        let follower = Follower::start(Arc::clone(&core), since_ns);
        Ok(Self {
            core,
            reader,
            files: Handles::new(),
            dirs: Handles::new(),
            capacity: Capacity::default(),
            quota,
            follower,
            walks: Walks::default(),
        })
    }

    /// Whether the stream of events is whole, so that the kernel's caches are true.
    pub fn is_trusted(&self) -> bool {
        self.core.stats.is_trusted()
    }

    /// Drops names and inodes until they take no more memory than they may now; does not wait for it.
    pub fn fit(&self) {
        self.core.keeper.ring();
    }

    /// Files and directories that are open.
    pub fn open_handles(&self) -> usize {
        self.files.len() + self.dirs.len()
    }

    /// Numbers of whole files, with `-cache.aggressive`.
    pub fn whole_numbers(&self) -> Option<Arc<dyn Export>> {
        let fast = self.core.fast.as_ref()?;
        Some(Arc::clone(fast) as Arc<dyn Export>)
    }

    /// Stops following the filer and telling the kernel. Called after the session has ended.
    pub fn close(&self) {
        self.save_all();
        self.core.save_all_times();
        self.core.files.writer().close();
        self.follower.stop();
        self.core.keeper.close();
        self.core.invalidator.close();
        if let Some(fast) = &self.core.fast {
            fast.files.close();
        }
        self.reader.close();
    }
}

/// `NAME_MAX` of Linux and of the filer.
const NAME_MAX: usize = 255;

/// A name that is looked for. The filer's protocol holds names in UTF-8: another name cannot
/// exist there.
fn old_name(name: &OsStr) -> Result<&str, Errno> {
    if name.len() > NAME_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    name.to_str().ok_or(Errno::ENOENT)
}

/// A name that is to be made: one that is not UTF-8 is refused, as it could only be stored as
/// another.
fn new_name(name: &OsStr) -> Result<&str, Errno> {
    if name.len() > NAME_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    name.to_str().ok_or(Errno::EILSEQ)
}

/// A number that no other mount has chosen for its changes; never 0, which means nobody.
fn signature() -> i32 {
    use std::hash::{BuildHasher as _, RandomState};
    let random = RandomState::new().hash_one(std::process::id());
    // Odd, so never 0.
    random as i32 | 1
}
