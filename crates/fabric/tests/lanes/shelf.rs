//! Needles in memory.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use fabric::serve::{Held, Loan, Miss, ReadFault, Shelf};
use fabric::wire::{FileTerms, Inodes};
use seaweed::FileId;
use seaweed::crc::crc32c;

/// Needles by their ids, and what is wrong with the disk they are on.
#[derive(Default)]
pub(crate) struct Memory {
    needles: Mutex<HashMap<FileId, Arc<Needle>>>,
    /// Data and index of volumes that are lent.
    lent: Mutex<HashMap<u32, (String, String, FileTerms)>>,
    disk: Arc<Disk>,
    has_files: AtomicBool,
}

/// A disk that can be held up.
#[derive(Default)]
pub(crate) struct Disk {
    is_cold: AtomicBool,
    is_broken: AtomicBool,
    held: Mutex<bool>,
    /// Needles that are not cached, and those of which reads wait as if the disk were held.
    cold: Mutex<HashSet<FileId>>,
    stuck: Mutex<HashSet<FileId>>,
    /// Needles that are not even found without the disk.
    buried: Mutex<HashSet<FileId>>,
    freed: Condvar,
    /// Reads that were started.
    pub(crate) reads: AtomicUsize,
}

pub(crate) struct Needle {
    id: FileId,
    bytes: Vec<u8>,
    is_gzip: bool,
    crc: u32,
    disk: Arc<Disk>,
    /// The same bytes behind some others, where the shelf has files.
    file: Option<File>,
}

/// What is in a needle's file before its bytes.
const BEFORE: &[u8] = b"of another needle";

/// A needle that was found.
pub(crate) struct OnShelf(Arc<Needle>);

pub(crate) fn id(volume: u32, key: u64) -> FileId {
    FileId {
        volume,
        key,
        cookie: 0x5eed,
    }
}

/// Bytes that differ from place to place.
pub(crate) fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        })
        .collect()
}

impl Memory {
    pub(crate) fn put(&self, id: FileId, bytes: Vec<u8>, is_gzip: bool) {
        let mut needle = Needle {
            id,
            crc: crc32c(&bytes),
            bytes,
            is_gzip,
            disk: self.disk.clone(),
            file: None,
        };
        if self.has_files.load(Ordering::SeqCst) {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(BEFORE).unwrap();
            file.write_all(&needle.bytes).unwrap();
            needle.file = Some(file);
        }
        self.needles.lock().unwrap().insert(id, Arc::new(needle));
    }

    /// What is put from now on is in files, and the sums of all its parts are known.
    pub(crate) fn use_files(&self) {
        self.has_files.store(true, Ordering::SeqCst);
    }

    /// Cuts a needle's file short.
    pub(crate) fn cut(&self, id: FileId, len: usize) {
        let needles = self.needles.lock().unwrap();
        let file = needles[&id].file.as_ref().unwrap();
        file.set_len((BEFORE.len() + len) as u64).unwrap();
    }

    /// From now on these files are lent.
    pub(crate) fn lend_files(&self, volume: u32, dat: &str, idx: &str, terms: FileTerms) {
        let files = (dat.to_owned(), idx.to_owned(), terms);
        self.lent.lock().unwrap().insert(volume, files);
    }

    /// From now on nothing is cached.
    pub(crate) fn cool(&self) {
        self.disk.is_cold.store(true, Ordering::SeqCst);
    }

    /// From now on this needle is not cached.
    pub(crate) fn cool_one(&self, id: FileId) {
        self.disk.cold.lock().unwrap().insert(id);
    }

    /// From now on the disk does not come to an end with this needle, until it is unstuck.
    pub(crate) fn stick(&self, id: FileId) {
        self.cool_one(id);
        self.disk.stuck.lock().unwrap().insert(id);
    }

    /// From now on looking this needle up waits for a disk that does not come to an end, until it is unstuck.
    pub(crate) fn bury(&self, id: FileId) {
        self.disk.buried.lock().unwrap().insert(id);
        self.disk.stuck.lock().unwrap().insert(id);
    }

    /// The disk works again.
    pub(crate) fn unstick(&self) {
        let held = self.disk.held.lock().unwrap();
        self.disk.stuck.lock().unwrap().clear();
        drop(held);
        self.disk.freed.notify_all();
    }

    /// From now on reads fail.
    pub(crate) fn smash(&self) {
        self.disk.is_broken.store(true, Ordering::SeqCst);
    }

    /// Whether reads that wait for the disk have to wait.
    pub(crate) fn hold(&self, is_held: bool) {
        *self.disk.held.lock().unwrap() = is_held;
        self.disk.freed.notify_all();
    }

    pub(crate) fn reads(&self) -> usize {
        self.disk.reads.load(Ordering::SeqCst)
    }
}

impl Shelf for Memory {
    type Needle = OnShelf;

    fn try_find(&self, needle: FileId) -> Option<Result<OnShelf, Miss>> {
        let is_buried = self.disk.buried.lock().unwrap().contains(&needle);
        (!is_buried).then(|| self.find(needle))
    }

    fn find(&self, needle: FileId) -> Result<OnShelf, Miss> {
        if self.disk.buried.lock().unwrap().contains(&needle) {
            self.disk.wait_for(needle);
        }
        match needle.volume {
            404 => Err(Miss::NotHere),
            405 => Err(Miss::Declined),
            409 => Err(Miss::Loading),
            500 => panic!("a shelf that fails"),
            _ => {
                let needles = self.needles.lock().unwrap();
                needles
                    .get(&needle)
                    .cloned()
                    .map(OnShelf)
                    .ok_or(Miss::Absent)
            }
        }
    }

    fn lend(&self, volume: u32, held: Option<Inodes>) -> Result<Loan, Miss> {
        let lent = self.lent.lock().unwrap();
        let (dat, idx, terms) = lent.get(&volume).ok_or(Miss::NotHere)?;
        if held.is_some() {
            return Ok(Loan::Same);
        }
        let file = |text: &str| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file.into()
        };
        Ok(Loan::Files([file(dat), file(idx)], *terms))
    }
}

impl Disk {
    fn wait_for(&self, id: FileId) {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let mut held = self.held.lock().unwrap();
        while *held || self.stuck.lock().unwrap().contains(&id) {
            held = self.freed.wait(held).unwrap();
        }
    }
}

impl Needle {
    fn fetch(&self) -> Result<(), ReadFault> {
        self.disk.wait_for(self.id);
        match self.disk.is_broken.load(Ordering::SeqCst) {
            true => Err(ReadFault::Failed),
            false => Ok(()),
        }
    }
}

impl Held for OnShelf {
    fn stored_len(&self) -> u64 {
        self.0.bytes.len() as u64
    }

    fn is_gzip(&self) -> bool {
        self.0.is_gzip
    }

    fn crc(&self) -> u32 {
        self.0.crc
    }

    fn is_cached(&self, _offset: u64, _len: usize) -> bool {
        let disk = &self.0.disk;
        !disk.is_cold.load(Ordering::SeqCst) && !disk.cold.lock().unwrap().contains(&self.0.id)
    }

    fn will_need(&self, _offset: u64, _len: u64) {}

    fn known_crc(&self, offset: u64, len: usize) -> Option<u32> {
        let is_known = self.0.file.is_some();
        is_known.then(|| crc32c(&self.0.bytes[offset as usize..][..len]))
    }

    fn file(&self, offset: u64) -> Option<(BorrowedFd<'_>, u64)> {
        let file = self.0.file.as_ref()?;
        Some((file.as_fd(), BEFORE.len() as u64 + offset))
    }

    fn read_at(&self, offset: u64, dst: &mut [u8]) -> Result<u32, ReadFault> {
        self.0.fetch()?;
        dst.copy_from_slice(&self.0.bytes[offset as usize..][..dst.len()]);
        Ok(crc32c(dst))
    }

    unsafe fn read_into(&self, offset: u64, dst: *mut u8, len: usize) -> Result<(), ReadFault> {
        self.0.fetch()?;
        let from = &self.0.bytes[offset as usize..][..len];
        // SAFETY: the caller has `len` bytes writable at `dst`.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), dst, len) };
        Ok(())
    }
}
