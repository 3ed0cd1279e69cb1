//! Memory that a device reads and writes.
//!
//! A [`MemoryRegion`] pins memory and gives it the keys by which work requests name it: the local
//! one for this end's own sends, writes and reads, the remote one for the peer's. It holds its
//! owner, so memory cannot be freed while a device may touch it, and deregisters before it lets go.
//!
//! # Why this is sound
//!
//! A device is another thread that takes no locks. [`Pinned`] therefore demands memory that is
//! never seen through plain references while it is registered for remote writes, or only while the
//! caller's protocol says that nobody writes: after [`crate::Event::Landed`], or after
//! [`crate::Connection::revoke`].

mod pages;
mod remote;

use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

use rdma_mummy_sys as sys;

pub use self::pages::Pages;
pub use self::remote::RemoteMemory;
use crate::{Domain, Error};

/// Memory that stays where it is.
///
/// # Safety
/// For as long as the object lives, `as_ptr` returns the same pointer to `len` bytes, always the
/// same number, that are mapped, readable and writable. A device may read and write them at any time while a
/// [`MemoryRegion`] of them exists, so the implementor gives out no reference to them that assumes
/// otherwise.
#[allow(clippy::len_without_is_empty)]
pub unsafe trait Pinned: Send + Sync {
    /// The first byte.
    fn as_ptr(&self) -> *mut u8;
    /// How many there are; at least one.
    fn len(&self) -> usize;
}

/// Who may access a region, besides this end's sends and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nobody.
    Local,
    /// Every peer that knows the key may write.
    RemoteWrite,
    /// Every peer that knows the key may read and write.
    RemoteReadWrite,
}

/// Registered memory. Deregistered when dropped, then its owner is released.
pub struct MemoryRegion {
    mr: NonNull<sys::ibv_mr>,
    owner: Arc<dyn Pinned>,
    domain: &'static Domain,
    access: Access,
}

// SAFETY: `mr` is only read (its keys never change) until Drop deregisters it, and verbs
// objects may be used from any thread.
unsafe impl Send for MemoryRegion {}
// SAFETY: as above; no method changes it.
unsafe impl Sync for MemoryRegion {}

impl MemoryRegion {
    /// Registers all memory of `owner` with `domain`. This pins it, page by page: some 0.1 ms
    /// for each MiB, so it is done once for memory that is used often.
    ///
    /// # Errors
    /// [`Error::Call`], mostly for a limit on locked memory (`ulimit -l`).
    pub fn register(
        domain: &'static Domain,
        owner: Arc<dyn Pinned>,
        access: Access,
    ) -> Result<Arc<Self>, Error> {
        let flags = match access {
            Access::Local => sys::ibv_access_flags::IBV_ACCESS_LOCAL_WRITE,
            Access::RemoteWrite => {
                sys::ibv_access_flags::IBV_ACCESS_LOCAL_WRITE
                    | sys::ibv_access_flags::IBV_ACCESS_REMOTE_WRITE
            }
            Access::RemoteReadWrite => {
                sys::ibv_access_flags::IBV_ACCESS_LOCAL_WRITE
                    | sys::ibv_access_flags::IBV_ACCESS_REMOTE_WRITE
                    | sys::ibv_access_flags::IBV_ACCESS_REMOTE_READ
            }
        };
        let len = owner.len();
        // SAFETY: the domain's PD is never deallocated; Pinned promises `len` mapped bytes, for as
        // long as `owner` lives, which is longer than the registration.
        let mr = unsafe {
            sys::ibv_reg_mr(
                domain.pd(),
                owner.as_ptr().cast(),
                len,
                flags.0 as libc::c_int,
            )
        };
        let mr = NonNull::new(mr).ok_or_else(|| {
            let source = io::Error::last_os_error();
            Error::call(registering(len, domain, &source), source)
        })?;
        Ok(Arc::new(Self {
            mr,
            owner,
            domain,
            access,
        }))
    }

    /// A part of it, as the source of a write or the target of a read.
    ///
    /// # Errors
    /// [`Error::Bounds`] when it is not inside.
    pub fn slice(self: &Arc<Self>, offset: usize, len: usize) -> Result<MemorySlice, Error> {
        self.check(offset, len)?;
        Ok(MemorySlice {
            region: self.clone(),
            offset,
            len,
        })
    }

    /// A part of it, for a peer to write to, or to read where that was allowed.
    ///
    /// # Errors
    /// [`Error::Bounds`] when it is not inside, [`Error::Config`] when peers may not touch it.
    pub fn remote(&self, offset: usize, len: usize) -> Result<RemoteMemory, Error> {
        self.check(offset, len)?;
        if self.access == Access::Local {
            let what = "this memory is not registered for remote access".to_owned();
            return Err(Error::Config { what });
        }
        let addr = self.owner.as_ptr().expose_provenance() as u64 + offset as u64;
        // SAFETY: `mr` is valid until Drop.
        let rkey = unsafe { self.mr.as_ref() }.rkey;
        Ok(RemoteMemory {
            addr,
            rkey,
            len: len as u64,
        })
    }

    /// Where it is registered: good for connections over this domain.
    pub fn domain(&self) -> &'static Domain {
        self.domain
    }

    fn check(&self, offset: usize, len: usize) -> Result<(), Error> {
        let size = self.owner.len();
        if offset.checked_add(len).is_none_or(|end| end > size) {
            let (offset, len, size) = (offset as u64, len as u64, size as u64);
            return Err(Error::Bounds { offset, len, size });
        }
        Ok(())
    }
}

impl Drop for MemoryRegion {
    fn drop(&mut self) {
        // SAFETY: registered once, deregistered once, here.
        let failed = unsafe { sys::ibv_dereg_mr(self.mr.as_ptr()) };
        if failed != 0 {
            // The device may still have it: then it must never be freed.
            std::mem::forget(self.owner.clone());
            let error = io::Error::from_raw_os_error(failed);
            tracing::error!(bytes = self.owner.len(), %error, "memory cannot be deregistered and is leaked");
        }
    }
}

/// A part of a [`MemoryRegion`]; keeps it registered.
#[derive(Clone)]
pub struct MemorySlice {
    region: Arc<MemoryRegion>,
    offset: usize,
    len: usize,
}

impl MemorySlice {
    /// How many bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn domain(&self) -> &'static Domain {
        self.region.domain
    }

    /// The scatter/gather element for a work request.
    pub(crate) fn element(&self) -> sys::ibv_sge {
        sys::ibv_sge {
            addr: self.region.owner.as_ptr().expose_provenance() as u64 + self.offset as u64,
            length: self.len as u32,
            // SAFETY: `mr` is valid until the region is dropped, which `self` prevents.
            lkey: unsafe { self.region.mr.as_ref() }.lkey,
        }
    }
}

fn registering(len: usize, domain: &Domain, source: &io::Error) -> String {
    let what = format!("cannot register {len} bytes with {}", domain.name());
    if source.raw_os_error() != Some(libc::ENOMEM) {
        return what;
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
    match limit {
        Some(limit) => format!("{what} (locked memory is limited to {limit} bytes, see ulimit -l)"),
        None => what,
    }
}
