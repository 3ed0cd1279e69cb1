//! Registered memory to read needles into, a [`PIECE`] at a time, be it from a disk or from a client.
//!
//! It is registered in groups of some megabytes as it is needed, up to a limit, and kept. A [`Slab`] is
//! the only handle to its bytes: as long as a write of it, or a read into it, is under way it lies with
//! that work, and nobody can get at a slice of it.

use std::io;
use std::ptr::NonNull;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use verbs::{Access, Domain, MemoryRegion, MemorySlice, Pinned};

use super::super::ServerStats;
use super::super::serve_item::PIECE;

/// Pieces that are registered together.
const GROUP: usize = 16;
/// The size of a huge page, to which groups are aligned.
const HUGE: usize = 2 << 20;

/// All pieces of a server.
pub(in crate::server) struct Slabs {
    state: Mutex<State>,
    limit: u64,
    stats: Arc<ServerStats>,
}

#[derive(Default)]
struct State {
    free: Vec<(Arc<Group>, usize)>,
    bytes: u64,
    /// Registering failed, and was told.
    has_failed: bool,
}

impl Slabs {
    pub(in crate::server) fn new(limit: u64, stats: Arc<ServerStats>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            limit,
            stats,
        })
    }

    /// A piece that `domain`'s device can read, unless all are in use.
    pub(super) fn take(self: &Arc<Self>, domain: &'static Domain) -> Option<Slab> {
        let mut state = self.state.lock();
        let fits = |(group, _): &(Arc<Group>, usize)| group.region.domain() == domain;
        let mut at = state.free.iter().rposition(fits);
        if at.is_none() {
            let bytes = (GROUP * PIECE) as u64;
            if state.bytes + bytes > self.limit {
                return None;
            }
            match Group::new(domain) {
                Ok(group) => {
                    let group = Arc::new(group);
                    let pieces = (0..GROUP).map(|index| (group.clone(), index * PIECE));
                    state.free.extend(pieces);
                    state.bytes += bytes;
                    state.has_failed = false;
                    self.stats.registered.set(state.bytes as i64);
                }
                Err(error) => {
                    if !std::mem::replace(&mut state.has_failed, true) {
                        tracing::warn!(%error, "no buffers for RDMA: clients are sent elsewhere");
                    }
                    return None;
                }
            }
            at = state.free.len().checked_sub(1);
        }
        let (group, offset) = state.free.swap_remove(at?);
        Some(Slab {
            group: Some(group),
            offset,
            home: Arc::downgrade(self),
        })
    }
}

/// A piece.
pub(in crate::server) struct Slab {
    /// `None` only while it is dropped.
    group: Option<Arc<Group>>,
    offset: usize,
    home: Weak<Slabs>,
}

impl Slab {
    /// Its bytes.
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        match &self.group {
            // SAFETY: `offset..offset + PIECE` lies in the group's mapping, which `group` keeps;
            // no other slab overlaps it; no work of the device names it, for that keeps the slab
            // itself. `&mut self` makes the access unique.
            Some(group) => unsafe {
                let start = group.memory.start.as_ptr().add(self.offset);
                std::slice::from_raw_parts_mut(start, PIECE)
            },
            None => &mut [],
        }
    }

    /// The first `len` bytes, for the device to read or write.
    pub(super) fn slice(&self, len: usize) -> Result<MemorySlice, verbs::Error> {
        match &self.group {
            Some(group) => group.region.slice(self.offset, len.min(PIECE)),
            None => Err(verbs::Error::Full),
        }
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        if let (Some(group), Some(home)) = (self.group.take(), self.home.upgrade()) {
            home.state.lock().free.push((group, self.offset));
        }
    }
}

struct Group {
    memory: Arc<Memory>,
    region: Arc<MemoryRegion>,
}

impl Group {
    fn new(domain: &'static Domain) -> Result<Self, verbs::Error> {
        let memory = Memory::new(GROUP * PIECE).map_err(|source| verbs::Error::Call {
            what: "cannot map buffers".into(),
            source,
        })?;
        let memory = Arc::new(memory);
        let region = MemoryRegion::register(domain, memory.clone(), Access::Local)?;
        Ok(Self { memory, region })
    }
}

/// Private memory from a huge page's border on.
struct Memory {
    mapped: *mut std::ffi::c_void,
    room: usize,
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping has no tie to a thread; slabs decide who accesses which part of it.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

// SAFETY: the mapping exists, at one place and with one length, from `new` to Drop. A slab gives
// out a slice only while no work that names it is under way, and peers cannot name it.
unsafe impl Pinned for Memory {
    fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    fn len(&self) -> usize {
        self.len
    }
}

impl Memory {
    fn new(len: usize) -> io::Result<Self> {
        let room = len + HUGE;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new private mapping at a place of the kernel's choice touches nothing else.
        let mapped =
            unsafe { mmap_anonymous(std::ptr::null_mut(), room, access, MapFlags::PRIVATE)? };
        let before = mapped.cast::<u8>().align_offset(HUGE).min(HUGE);
        // SAFETY: within the mapping. What the advice changes is only how pages are found, and that a
        // child has none of them.
        let start = unsafe {
            let start = mapped.cast::<u8>().add(before);
            let _ = madvise(start.cast(), len, Advice::LinuxHugepage);
            let _ = madvise(start.cast(), len, Advice::LinuxDontFork);
            start
        };
        let start = NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self {
            mapped,
            room,
            start,
            len,
        })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped; the region that held it is deregistered, and slabs keep
        // the group.
        let _ = unsafe { munmap(self.mapped, self.room) };
    }
}
