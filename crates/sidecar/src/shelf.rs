//! A volume server's folders as a shelf.
//!
//! [`volume`] reads the files; here its answers are put into the words of the fabric. Two things
//! are not handed out although they could be read. A needle that is a list of chunks (made by
//! `weed upload` of a large file) is put together by the volume server's HTTP, so it is declined.
//! And for a needle that SeaweedFS before 3.09 wrote, whose checksum is kept in a masked form, the
//! checksum is told as it is kept until the whole was read once.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use fabric::serve::{Held, Loan, Miss, ReadFault, Shelf};
use fabric::wire::{FileTerms, Verify};
use seaweed::FileId;
use stats::{Export, Exporter};
use volume::lent::Inodes;
use volume::saved::SavedIndexes;
use volume::{DataDir, Lending, Needle, ReadError, Store, StoreConfig, VerifyRanges};

use crate::Config;
use crate::discovery::OpenShelf;
use crate::shelves::{Stock, VolumeReport, VolumeState};

/// Needles of a volume server's folders.
#[derive(Debug)]
pub struct VolumeShelf(Arc<Store>);

/// One of them.
#[derive(Debug)]
pub struct VolumeNeedle(Needle);

/// Opens shelves whose ranges are checked, and whose indexes are saved, as the configuration says.
///
/// # Errors
/// When indexes cannot be saved there.
pub fn opener(config: &Config) -> anyhow::Result<OpenShelf<VolumeShelf>> {
    let verify = config.verify_ranges;
    let saved = config.index_dir.as_ref().map(|dir| SavedIndexes {
        limit: config.index_dir_limit,
        ..SavedIndexes::new(dir)
    });
    if let Some(saved) = &saved {
        let told = || format!("flag -index-dir: {}", saved.dir.display());
        saved.prepare().with_context(told)?;
    }
    let open: OpenShelf<VolumeShelf> =
        Arc::new(move |dirs, idx_dir| VolumeShelf::open(dirs, idx_dir, verify, saved.clone()));
    Ok(open)
}

impl VolumeShelf {
    /// Starts to read the folders.
    ///
    /// # Errors
    /// When one is not there.
    pub fn open(
        dirs: &[PathBuf],
        idx_dir: Option<&Path>,
        verify: VerifyRanges,
        saved: Option<SavedIndexes>,
    ) -> anyhow::Result<Self> {
        let dirs = dirs.iter().map(|data| DataDir {
            data: data.clone(),
            index: idx_dir.map(Path::to_owned),
        });
        let config = StoreConfig {
            verify,
            saved,
            ..StoreConfig::new(dirs.collect())
        };
        let store = Store::open(config).context("flags -dir, -dir.idx and -index-dir")?;
        Ok(Self(store))
    }

    /// The store behind it.
    pub fn store(&self) -> &Arc<Store> {
        &self.0
    }
}

impl Shelf for VolumeShelf {
    type Needle = VolumeNeedle;

    fn find(&self, id: FileId) -> Result<VolumeNeedle, Miss> {
        told(id, self.0.find(id))
    }

    fn try_find(&self, id: FileId) -> Option<Result<VolumeNeedle, Miss>> {
        match self.0.try_find(id) {
            Err(volume::Miss::WouldWait) => None,
            found => Some(told(id, found)),
        }
    }

    fn lend(&self, volume: u32, held: Option<[u64; 4]>) -> Result<Loan, Miss> {
        let lent = self.0.lend(volume, held.map(Inodes));
        match lent.map_err(|miss| lending_in_other_words(volume, miss))? {
            Lending::Same => Ok(Loan::Same),
            Lending::Files(files) => {
                let terms = FileTerms {
                    width: files.width.bytes(),
                    verify: verify_word(files.verify),
                    revision: files.revision,
                };
                Ok(Loan::Files([files.dat, files.idx], terms))
            }
        }
    }
}

/// The words of the protocol for how ranges are checked.
fn verify_word(verify: VerifyRanges) -> Verify {
    match verify {
        VerifyRanges::Always => Verify::Always,
        VerifyRanges::Cached => Verify::Cached,
        VerifyRanges::Never => Verify::Never,
    }
}

impl Stock for VolumeShelf {
    fn volumes(&self) -> Vec<VolumeReport> {
        let summaries = self.0.volumes().into_iter();
        let reports = summaries.map(|summary| {
            let (state, reason) = match summary.state {
                volume::VolumeState::Serving => (VolumeState::Serving, None),
                volume::VolumeState::Loading { progress } => {
                    let told = format!("{:.0} % of its index is read", progress * 100.0);
                    (VolumeState::Loading, Some(told))
                }
                volume::VolumeState::Declined(reason) => {
                    (VolumeState::Declined, Some(reason.to_string()))
                }
            };
            VolumeReport {
                id: summary.id,
                collection: summary.collection,
                state,
                reason,
                needles: summary.needles,
            }
        });
        reports.collect()
    }

    fn export(&self, to: &mut dyn Exporter) {
        self.0.export(to);
    }
}

impl Held for VolumeNeedle {
    fn stored_len(&self) -> u64 {
        self.0.len()
    }

    fn is_gzip(&self) -> bool {
        self.0.is_gzip()
    }

    fn crc(&self) -> u32 {
        self.0.crc().unwrap_or_else(|| self.0.stored_crc())
    }

    fn is_cached(&self, offset: u64, len: usize) -> bool {
        self.0.is_cached(offset, len as u64)
    }

    fn will_need(&self, offset: u64, len: u64) {
        self.0.will_need(offset, len);
    }

    fn known_crc(&self, offset: u64, len: usize) -> Option<u32> {
        self.0.known_crc(offset, len)
    }

    fn file(&self, offset: u64) -> Option<(BorrowedFd<'_>, u64)> {
        self.0.file_at(offset)
    }

    fn read_at(&self, offset: u64, dst: &mut [u8]) -> Result<u32, ReadFault> {
        let read = self.0.read_at(offset, dst);
        read.map_err(|error| self.fault(&error))
    }

    unsafe fn read_into(&self, offset: u64, dst: *mut u8, len: usize) -> Result<(), ReadFault> {
        // SAFETY: the caller promises the same: `dst` is valid for writes of `len` bytes, and
        // nobody in this process refers to them meanwhile.
        let read = unsafe { self.copy_into(offset, dst, len) };
        read.map_err(|error| self.fault(&error))
    }
}

impl VolumeNeedle {
    /// Bytes as they are in the file, or in memory where the record was held.
    ///
    /// # Safety
    /// As for [`Needle::read_into`].
    unsafe fn copy_into(&self, offset: u64, dst: *mut u8, len: usize) -> Result<(), ReadError> {
        // SAFETY: the caller promises what both want.
        unsafe {
            match self.0.file_at(offset) {
                Some(_) => self.0.copy_into(offset, dst, len),
                None => self.0.read_into(offset, dst, len).map(drop),
            }
        }
    }

    fn fault(&self, error: &ReadError) -> ReadFault {
        tracing::warn!(needle = %self.0.file_id(), %error, "cannot read a needle");
        match error {
            ReadError::Corrupt(_) => ReadFault::Corrupt,
            ReadError::Range { .. } | ReadError::Io(_) => ReadFault::Failed,
        }
    }
}

fn lending_in_other_words(volume: u32, miss: volume::Miss) -> Miss {
    match miss {
        volume::Miss::NotHere => Miss::NotHere,
        volume::Miss::Io(error) => {
            tracing::warn!(volume, %error, "cannot lend the files of a volume");
            Miss::Failed
        }
        _ => Miss::Declined,
    }
}

fn told(id: FileId, found: Result<Needle, volume::Miss>) -> Result<VolumeNeedle, Miss> {
    let needle = found.map_err(|miss| in_other_words(id, miss))?;
    match needle.is_chunk_manifest() {
        true => Err(Miss::Declined),
        false => Ok(VolumeNeedle(needle)),
    }
}

/// Damage and failures are logged here, where they are known best.
fn in_other_words(id: FileId, miss: volume::Miss) -> Miss {
    match miss {
        volume::Miss::Absent(_) | volume::Miss::Expired => Miss::Absent,
        volume::Miss::NotHere => Miss::NotHere,
        volume::Miss::Declined(_) => Miss::Declined,
        volume::Miss::Loading => Miss::Loading,
        volume::Miss::Corrupt(damage) => {
            tracing::warn!(needle = %id, %damage, "a needle is damaged");
            Miss::Corrupt
        }
        volume::Miss::WouldWait => Miss::Failed,
        volume::Miss::Io(error) => {
            tracing::warn!(needle = %id, %error, "cannot look for a needle");
            Miss::Failed
        }
    }
}
