//! Written bytes that memory has no room for.
//!
//! One file without a name in `-cacheDirWrite`, so that nothing is left behind
//! however the mount ends, cut into slots of one block each. It is made when it
//! is first needed; a slot that is given back gives its space back too.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::FallocateFlags;

/// The swap file of a mount.
#[derive(Debug)]
pub(crate) struct Swap {
    dir: PathBuf,
    block: u64,
    slots_max: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    file: Option<Arc<File>>,
    free: Vec<u64>,
    used: u64,
    /// Slots that the file has room for.
    end: u64,
}

impl Swap {
    /// Up to `limit` bytes in `dir`.
    pub(crate) fn new(dir: PathBuf, limit: u64, block: usize) -> Self {
        Self {
            dir,
            block: block as u64,
            slots_max: limit / block as u64,
            state: Mutex::default(),
        }
    }

    /// Room for one block, unless all is in use.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub(crate) fn slot(self: &Arc<Self>) -> io::Result<Option<Slot>> {
        let mut state = self.state.lock();
        if state.used >= self.slots_max {
            return Ok(None);
        }
        let file = match &state.file {
            Some(file) => Arc::clone(file),
            None => {
                let file = Arc::new(tempfile::tempfile_in(&self.dir)?);
                state.file = Some(Arc::clone(&file));
                file
            }
        };
        let number = state.free.pop().unwrap_or_else(|| {
            state.end += 1;
            state.end - 1
        });
        state.used += 1;
        Ok(Some(Slot {
            swap: Arc::clone(self),
            file,
            number,
        }))
    }

    /// Bytes of slots in use.
    pub(crate) fn held(&self) -> u64 {
        self.state.lock().used * self.block
    }
}

/// Room for one block.
#[derive(Debug)]
pub(crate) struct Slot {
    swap: Arc<Swap>,
    file: Arc<File>,
    number: u64,
}

impl Slot {
    pub(crate) fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.place(at, bytes.len()))
    }

    pub(crate) fn read(&self, at: u64, to: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(to, self.place(at, to.len()))
    }

    fn place(&self, at: u64, len: usize) -> u64 {
        debug_assert!(at + len as u64 <= self.swap.block, "outside of its slot");
        self.number * self.swap.block + at
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let start = self.number * self.swap.block;
        // A file system without holes keeps the space for the next block.
        let _ = rustix::fs::fallocate(&*self.file, flags, start, self.swap.block);
        let mut state = self.swap.state.lock();
        state.used -= 1;
        state.free.push(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_do_not_touch_each_other_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let swap = Arc::new(Swap::new(dir.path().to_owned(), 200, 100));
        let one = swap.slot().unwrap().unwrap();
        let other = swap.slot().unwrap().unwrap();
        assert!(swap.slot().unwrap().is_none());
        one.write(0, &[1; 100]).unwrap();
        other.write(0, &[2; 100]).unwrap();
        let mut back = [0; 100];
        one.read(0, &mut back).unwrap();
        assert_eq!(back, [1; 100]);
        drop(one);
        assert_eq!(swap.held(), 100);
        assert!(swap.slot().unwrap().is_some());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
