//! Files that are opened past us (`-cache.aggressive`).
//!
//! A file that is whole on the local disk is registered with the kernel, which then reads it
//! there without asking: as fast as any local file. The kernel's rules for it:
//!
//! - All handles of an inode are either past us, and then to one and the same registered file, or
//!   none is. A handle that breaks this fails to open. What the kernel counts ends before
//!   it tells us of a close, so a decision by what we count is never too early.
//! - It needs root, and a kernel that offers it. Without, a file that is whole here is read
//!   by ourselves from there: not as fast, but no server is asked.
//!
//! A handle past us stays with the bytes it was opened on. When the file is changed elsewhere, the
//! name gets another inode (`tree::part`), whose handles read the new version.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};

use fuse::{Errno, Negotiated, NodeId, Notifier, NotifyError};
use parking_lot::Mutex;
use seaweed::{ContentKey, Entry};
use stats::{Counter, Export, Exporter, Gauge};
use whole::{Files, Whole};

use crate::tree::{Content, Node};

/// What `-cache.aggressive` adds to a mount.
pub(crate) struct Fast {
    pub(crate) files: Files,
    /// `-cache.decrypted`.
    decrypted: bool,
    kernel: OnceLock<Kernel>,
    modes: Mutex<HashMap<NodeId, Mode>>,
    past: Counter,
    local: Counter,
    remote: Counter,
    held: Gauge,
}

/// The kernel, and why it does not read for us, if so.
struct Kernel {
    notifier: Notifier,
    offers: Result<(), String>,
}

/// How an inode is open.
#[derive(Default)]
struct Mode {
    /// Handles that read through us.
    ours: u32,
    backing: Option<Backing>,
}

/// A file that is registered with the kernel.
struct Backing {
    id: u32,
    handles: u32,
    _whole: Whole,
}

/// Why a file is not kept whole.
pub(crate) const ENCRYPTED: &str = "it is stored encrypted, and -cache.decrypted is off";

impl Fast {
    pub(crate) fn new(files: Files, decrypted: bool) -> Self {
        Self {
            files,
            decrypted,
            kernel: OnceLock::new(),
            modes: Mutex::default(),
            past: Counter::new(),
            local: Counter::new(),
            remote: Counter::new(),
            held: Gauge::new(),
        }
    }

    /// The session has begun: finds out whether the kernel reads for us.
    pub(crate) fn attach(&self, notifier: Notifier, agreed: &Negotiated) {
        let offers = self.probe(&notifier, agreed);
        match &offers {
            Ok(()) => tracing::info!("whole files are opened past this process"),
            Err(reason) => tracing::warn!("whole files are read by this process: {reason}"),
        }
        // A second session on one file system does not exist.
        let _ = self.kernel.set(Kernel { notifier, offers });
    }

    fn probe(&self, notifier: &Notifier, agreed: &Negotiated) -> Result<(), String> {
        if !agreed.passthrough() {
            return Err("the kernel does not offer it (Linux 6.9 would)".to_owned());
        }
        let file = self.files.probe().map_err(|error| error.to_string())?;
        let id = notifier.open_backing(file.as_fd()).map_err(|error| {
            let why = match error {
                NotifyError::Refused(Errno::EPERM) => "it needs root (CAP_SYS_ADMIN)",
                NotifyError::Refused(Errno::ELOOP) => {
                    "the cache lies on a file system that lies on another, such as overlayfs"
                }
                _ => return error.to_string(),
            };
            why.to_owned()
        })?;
        notifier
            .close_backing(id)
            .map_err(|error| error.to_string())
    }

    /// Why the kernel does not read for us; nothing when it does.
    pub(crate) fn refused(&self) -> Option<String> {
        match self.kernel.get() {
            Some(kernel) => kernel.offers.clone().err(),
            None => Some("it is not mounted yet".to_owned()),
        }
    }

    /// The key of what can be kept whole, or why it cannot.
    pub(crate) fn key(&self, content: &Content) -> Result<ContentKey, &'static str> {
        self.fits(&content.entry)?;
        content.key().ok_or(NOTHING)
    }

    /// The same of an entry.
    pub(crate) fn key_of(&self, entry: &Entry) -> Result<ContentKey, &'static str> {
        self.fits(entry)?;
        entry.content_key().ok_or(NOTHING)
    }

    fn fits(&self, entry: &Entry) -> Result<(), &'static str> {
        let sealed = entry.chunks.iter().any(|chunk| chunk.cipher_key.is_some());
        if sealed && !self.decrypted {
            return Err(ENCRYPTED);
        }
        if entry.chunks.iter().any(|chunk| chunk.sse) {
            return Err("the S3 gateway has encrypted it");
        }
        Ok(())
    }

    /// Whether a handle of the node could be opened past us. It needs its file then, even where one is
    /// registered already: the last handle of that may be closed before this one is opened.
    pub(crate) fn wants_file(&self, node: NodeId) -> bool {
        let offers = self
            .kernel
            .get()
            .is_some_and(|kernel| kernel.offers.is_ok());
        offers
            && self
                .modes
                .lock()
                .get(&node)
                .is_none_or(|mode| mode.ours == 0)
    }

    /// Opens a handle of a node: past us, by the number of its registered file, or not. `whole` is
    /// the file of the node's version, if it is here.
    pub(crate) fn open(&self, node: NodeId, held: &Node, whole: Option<Whole>) -> Option<u32> {
        let mut modes = self.modes.lock();
        let mode = modes.entry(node).or_default();
        if let Some(backing) = &mut mode.backing {
            // Of the node's version: with another, the name would have parted from it.
            backing.handles += 1;
            self.past.inc();
            return Some(backing.id);
        }
        if mode.ours == 0
            && let Some(whole) = whole
            && let Some(id) = self.register(&whole)
        {
            mode.backing = Some(Backing {
                id,
                handles: 1,
                _whole: whole,
            });
            held.set_past_us(true);
            self.past.inc();
            self.held.add(1);
            return Some(id);
        }
        mode.ours += 1;
        None
    }

    fn register(&self, whole: &Whole) -> Option<u32> {
        let Kernel { notifier, offers } = self.kernel.get()?;
        offers.as_ref().ok()?;
        let registered = notifier.open_backing(whole.file().as_fd());
        registered
            .inspect_err(|error| tracing::warn!(%error, "a whole file is not read by the kernel"))
            .ok()
    }

    /// Closes a handle that was opened past us, or not.
    pub(crate) fn close(&self, node: NodeId, held: Option<&Node>, past: bool) {
        let mut modes = self.modes.lock();
        let Some(mode) = modes.get_mut(&node) else {
            return;
        };
        if !past {
            mode.ours -= 1;
        } else if let Some(backing) = &mut mode.backing {
            backing.handles -= 1;
            if backing.handles == 0 {
                self.held.add(-1);
                if let Some(held) = held {
                    held.set_past_us(false);
                }
                if let Some(kernel) = self.kernel.get()
                    && let Err(error) = kernel.notifier.close_backing(backing.id)
                    && error != NotifyError::Ended
                {
                    tracing::warn!(%error, "the kernel does not give a whole file back");
                }
                mode.backing = None;
            }
        }
        if mode.ours == 0 && mode.backing.is_none() {
            modes.remove(&node);
        }
    }

    /// A read by ourselves was answered from a whole file, or not.
    pub(crate) fn was_read(&self, locally: bool) {
        match locally {
            true => self.local.inc(),
            false => self.remote.inc(),
        }
    }
}

/// What has no bytes in the cluster needs no keeping.
const NOTHING: &str = "it has no bytes in the cluster";

impl Export for Fast {
    fn export(&self, to: &mut dyn Exporter) {
        self.files.stats().export(to);
        let refused = self.refused();
        let labels = [
            ("used", if refused.is_none() { "true" } else { "false" }),
            (
                "reason",
                refused.as_deref().unwrap_or("the kernel offers it"),
            ),
        ];
        to.gauge(
            "passthrough",
            "Whether the kernel reads whole files without asking, and why.",
            &labels,
            1.0,
        );
        to.counter(
            "passthrough_opens",
            "Handles whose reads the kernel answers itself.",
            &[],
            self.past.get(),
        );
        to.gauge(
            "passthrough_files",
            "Files that the kernel reads itself now.",
            &[],
            self.held.get() as f64,
        );
        let help = "Reads that came here, by where their bytes were.";
        for (from, counter) in [("whole_file", &self.local), ("elsewhere", &self.remote)] {
            to.counter("aggressive_reads", help, &[("from", from)], counter.get());
        }
    }
}

impl std::fmt::Debug for Fast {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fast")
            .field("files", &self.files)
            .field("refused", &self.refused())
            .finish_non_exhaustive()
    }
}

/// What a handle that reads through us knows of its file on the local disk.
#[derive(Debug, Default)]
pub(crate) struct Local {
    /// The version that was looked for.
    version: u64,
    /// How many files had been brought in when it was looked for last.
    looked: Option<u64>,
    whole: Option<Arc<Whole>>,
}

impl Local {
    /// The file of this version, if it is here by now.
    pub(crate) fn find(&mut self, fast: &Fast, content: &Content) -> Option<Arc<Whole>> {
        if self.version != content.version {
            *self = Self {
                version: content.version,
                ..Self::default()
            };
        }
        if self.whole.is_none() {
            let brought_in = fast.files.brought_in();
            if self.looked == Some(brought_in) {
                return None;
            }
            self.looked = Some(brought_in);
            let key = fast.key(content).ok()?;
            self.whole = fast.files.find(&key, None).map(Arc::new);
        }
        self.whole.clone()
    }
}
