//! The files of one volume: where they are, and how to get two that belong together.
//!
//! A vacuum writes a new pair beside the old one and renames first `.dat`, then `.idx`, half a
//! millisecond apart; between the two renames the paths name files that do not belong together.
//! The sign of that is a `.cpx` (the new index) without a `.cpd` (the new data). Whoever opens the
//! files therefore opens both, looks whether the paths still name what was opened and that this
//! sign is absent, and otherwise starts again.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use seaweed::volume::{NeedleHeader, OffsetWidth, Slot, SuperBlock, VolumeInfo};

use crate::Reason;

/// A folder that a volume server was given with `-dir`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDir {
    /// The folder itself.
    pub data: PathBuf,
    /// Where indexes are, if `-dir.idx` says so.
    pub index: Option<PathBuf>,
}

impl DataDir {
    /// A folder that holds the indexes as well.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            index: None,
        }
    }
}

/// Where the files of a volume are or may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Paths {
    data: PathBuf,
    index: Option<PathBuf>,
    base: String,
}

/// Which file a path or a descriptor names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inode {
    pub(crate) device: u64,
    pub(crate) number: u64,
}

impl Inode {
    pub(crate) fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            number: metadata.ino(),
        }
    }
}

/// Two files that belong together.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) dat: File,
    pub(crate) idx: File,
    /// Where the index was opened; nothing when it came without a path.
    pub(crate) idx_path: Option<PathBuf>,
    pub(crate) inodes: [Inode; 2],
    pub(crate) idx_len: u64,
    pub(crate) block: SuperBlock,
    pub(crate) width: OffsetWidth,
}

impl Paths {
    pub(crate) fn new(dir: &DataDir, base: &str) -> Self {
        Self {
            data: dir.data.clone(),
            index: dir.index.clone(),
            base: base.to_owned(),
        }
    }

    /// The folder of the data.
    pub(crate) fn dir(&self) -> &Path {
        &self.data
    }

    pub(crate) fn dat(&self) -> PathBuf {
        self.beside_data("dat")
    }

    /// An index beside the data wins over one in the folder for indexes, as it does
    /// for the server.
    pub(crate) fn idx(&self) -> PathBuf {
        let beside = self.beside_data("idx");
        match &self.index {
            Some(index) if !beside.exists() => index.join(format!("{}.idx", self.base)),
            _ => beside,
        }
    }

    fn beside_data(&self, extension: &str) -> PathBuf {
        self.data.join(format!("{}.{extension}", self.base))
    }

    fn exists(&self, extension: &str) -> bool {
        let name = format!("{}.{extension}", self.base);
        let beside = |dir: &PathBuf| dir.join(&name).exists();
        beside(&self.data) || self.index.as_ref().is_some_and(beside)
    }

    /// Reads `.vif`. One that is absent says nothing.
    pub(crate) fn info(&self) -> Result<VolumeInfo, Reason> {
        let path = self.beside_data("vif");
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(VolumeInfo::default());
            }
            Err(error) => return Err(Reason::Io(format!("open {}: {error}", path.display()))),
        };
        let mut json = Vec::new();
        file.take(VolumeInfo::MAX_LEN as u64 + 1)
            .read_to_end(&mut json)
            .map_err(|error| Reason::Io(format!("read {}: {error}", path.display())))?;
        VolumeInfo::parse(&json).map_err(|error| Reason::Info(error.to_string()))
    }

    /// Length and time of change of `.vif`; nothing while there is none.
    pub(crate) fn info_stamp(&self) -> Option<(u64, SystemTime)> {
        let metadata = std::fs::metadata(self.beside_data("vif")).ok()?;
        Some((metadata.len(), metadata.modified().ok()?))
    }

    /// Whether what lies beside the files forbids to use them.
    pub(crate) fn obstacle(&self, info: &VolumeInfo) -> Option<Reason> {
        if info.tiered {
            return Some(Reason::Tiered);
        }
        if self.exists("note") {
            return Some(Reason::Copying);
        }
        // Both while shards are made of a volume and while a volume is made of shards; deletes
        // then go to another file.
        if self.exists("ecx") || (self.exists("ec00") && !self.exists("dat")) {
            return Some(Reason::ErasureCoded);
        }
        None
    }

    /// Opens both files.
    pub(crate) fn open(&self, info: &VolumeInfo) -> Result<Opened, Reason> {
        if let Some(obstacle) = self.obstacle(info) {
            return Err(obstacle);
        }
        for _ in 0..ATTEMPTS {
            let (dat_path, idx_path) = (self.dat(), self.idx());
            let (dat, dat_inode, _) = open(&dat_path, Reason::NoData)?;
            let (idx, idx_inode, idx_len) = open(&idx_path, Reason::NoIndex)?;
            let between = self.exists("cpx") && !self.exists("cpd");
            let still = |path: &Path, inode: Inode| {
                std::fs::metadata(path).is_ok_and(|now| Inode::of(&now) == inode)
            };
            if between || !still(&dat_path, dat_inode) || !still(&idx_path, idx_inode) {
                thread::sleep(PAUSE);
                continue;
            }
            let block = super_block(&dat)?;
            let width = match info.offset_width {
                Some(width) => width,
                None => guess_width(&dat, &idx, idx_len).ok_or(Reason::OffsetWidth)?,
            };
            return Ok(Opened {
                dat,
                idx,
                idx_path: Some(idx_path),
                inodes: [dat_inode, idx_inode],
                idx_len,
                block,
                width,
            });
        }
        Err(Reason::Vacuuming)
    }
}

/// Looks until a vacuum in progress must be over: its two renames are half a millisecond apart.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(1);

fn open(path: &Path, absent: Reason) -> Result<(File, Inode, u64), Reason> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => absent.clone(),
        _ => Reason::Io(format!("open {}: {error}", path.display())),
    };
    // A look first: to open a pipe would wait for its writer.
    let is_file = |metadata: &std::fs::Metadata| match metadata.is_file() {
        true => Ok(()),
        false => Err(Reason::Io(format!("{} is no file", path.display()))),
    };
    is_file(&std::fs::metadata(path).map_err(failed)?)?;
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    is_file(&metadata)?;
    Ok((file, Inode::of(&metadata), metadata.len()))
}

fn super_block(dat: &File) -> Result<SuperBlock, Reason> {
    let mut bytes = Vec::new();
    let mut start = [0; SuperBlock::LEN];
    let mut read = || -> io::Result<()> {
        while bytes.len() < start.len() {
            let at = bytes.len();
            match dat.read_at(&mut start[at..], at as u64)? {
                0 => break,
                n => bytes.extend_from_slice(&start[at..at + n]),
            }
        }
        Ok(())
    };
    read().map_err(|error| Reason::Io(format!("read the super block: {error}")))?;
    Ok(SuperBlock::parse(&bytes)?)
}

/// Tells the width by whose entries lead to records of their keys.
fn guess_width(dat: &File, idx: &File, idx_len: u64) -> Option<OffsetWidth> {
    let both = [OffsetWidth::Five, OffsetWidth::Four];
    let (width, matches) = both
        .map(|width| (width, matches(dat, idx, idx_len, width)))
        .into_iter()
        .max_by_key(|(_, matches)| *matches)?;
    (matches > 0).then_some(width)
}

/// How many of some entries, read with this width, lead to a record of their key and size.
fn matches(dat: &File, idx: &File, idx_len: u64, width: OffsetWidth) -> usize {
    let len = width.entry_len() as u64;
    let entries = idx_len / len;
    let step = (entries / PROBES).max(1);
    let probes = (0..entries).step_by(step.try_into().unwrap_or(usize::MAX));
    let leads_to_its_record = |at: &u64| -> Option<()> {
        let mut bytes = vec![0; width.entry_len()];
        idx.read_exact_at(&mut bytes, at * len).ok()?;
        let entry = width.entry(&bytes)?;
        // Not every version points to the record of a deletion, so only others count.
        let Slot::At { offset, size } = entry.slot() else {
            return None;
        };
        let mut head = [0; NeedleHeader::LEN];
        dat.read_exact_at(&mut head, offset).ok()?;
        let header = NeedleHeader::parse(&head)?;
        let same = header.id == entry.key && u32::try_from(header.size) == Ok(size);
        same.then_some(())
    };
    probes
        .filter(|at| leads_to_its_record(at).is_some())
        .count()
}

/// Entries to tell by. One would do: by chance 96 bits do not match.
const PROBES: u64 = 64;

/// Whether a folder lies on a file system that other machines write to as well, or that passes
/// on somebody else's files with a cache of its own.
pub(crate) fn remote_file_system(dir: &Path) -> Option<&'static str> {
    let status = rustix::fs::statfs(dir).ok()?;
    // The magic numbers of statfs(2).
    let name = match status.f_type as u64 & 0xffff_ffff {
        0x6969 => "NFS",
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => "SMB",
        0x6573_5546 => "FUSE",
        0x00c3_6400 => "Ceph",
        0x0102_1997 => "9P",
        0x0bd0_0bd0 => "Lustre",
        0x4750_4653 => "GPFS",
        0x0116_1970 => "GFS2",
        0x7461_636f => "OCFS2",
        0x5346_414f => "AFS",
        _ => return None,
    };
    Some(name)
}
