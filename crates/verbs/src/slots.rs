//! Fixed pieces of one registered mapping, into which messages are copied.

use std::sync::Arc;

use crate::memory::{Access, MemoryRegion, MemorySlice, Pages};
use crate::{Domain, Error};

/// `count` slots of `size` bytes.
pub(crate) struct Slots {
    region: Arc<MemoryRegion>,
    pages: Arc<Pages>,
    size: usize,
}

impl Slots {
    pub(crate) fn new(domain: &'static Domain, count: u32, size: u32) -> Result<Self, Error> {
        let size = size as usize;
        let pages = Arc::new(Pages::new(size * count as usize)?);
        let region = MemoryRegion::register(domain, pages.clone(), Access::Local)?;
        Ok(Self {
            region,
            pages,
            size,
        })
    }

    /// The first `len` bytes of slot `index`, for a work request.
    pub(crate) fn slice(&self, index: u32, len: usize) -> Result<MemorySlice, Error> {
        self.region
            .slice(index as usize * self.size, len.min(self.size))
    }

    /// Copies `bytes`, at most a slot's size, into slot `index`.
    pub(crate) fn fill(&self, index: u32, bytes: &[u8]) -> Result<MemorySlice, Error> {
        self.pages.write(index as usize * self.size, bytes)?;
        self.slice(index, bytes.len())
    }

    /// Copies the first `len` bytes of slot `index` out.
    pub(crate) fn take(&self, index: u32, len: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; len.min(self.size)];
        self.pages.read(index as usize * self.size, &mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn domain(&self) -> &'static Domain {
        self.region.domain()
    }

    /// Keeps the memory registered for ever.
    pub(crate) fn leak(&self) {
        std::mem::forget(self.region.clone());
    }
}
