//! Entries: what a filer knows about one name.
//!
//! [`Entry::from_pb`] is the border between what a filer sends and what the
//! rest of the code believes. Missing times, sizes and inode numbers get the
//! values that the filer and `weed mount` agree on, so that both show the same
//! file.

mod content;
mod inode;
mod size;
mod time;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

pub use content::{ContentKey, ContentKeyError};

use crate::mode::{Kind, kind, permissions};
use crate::{Chunk, ChunkError, pb};

/// A file, directory or other inode under the one name it was looked up by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name in its directory, 1 to 255 bytes without `/` and NUL.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The low twelve bits of its mode.
    pub perm: u32,
    /// Owner, as the filer numbers users.
    pub uid: u32,
    /// Group, as the filer numbers groups.
    pub gid: u32,
    /// Length in bytes; of a symbolic link, that of its target.
    pub size: u64,
    /// Last change of the content.
    pub mtime: SystemTime,
    /// Last change of the entry.
    pub ctime: SystemTime,
    /// Last read, as far as it was ever written down.
    pub atime: SystemTime,
    /// Creation.
    pub crtime: SystemTime,
    /// Number of a device, packed as Linux does it.
    pub rdev: u32,
    /// Names of the same inode, at least 1.
    pub nlink: u32,
    /// Where a symbolic link points to; empty for everything else.
    pub symlink_target: String,
    /// Inode number, the same for all mounts.
    pub inode: u64,
    /// Shared by all names of a hard-linked file.
    pub hard_link_id: Option<Bytes>,
    /// Extended attributes by name.
    pub xattrs: BTreeMap<String, Bytes>,
    /// Bytes stored in the entry itself; when there are any, they replace the chunks.
    pub content: Bytes,
    /// Where the bytes are; manifests are not resolved yet.
    pub chunks: Arc<[Chunk]>,
    /// The object in a cloud store that this entry stands for.
    pub remote: Option<Remote>,
    /// Life time in seconds, 0 for ever.
    pub ttl_sec: i32,
    /// Media type; may be empty.
    pub mime: String,
}

impl Entry {
    /// Longest name in bytes.
    pub const NAME_MAX: usize = 255;

    /// Checks what a filer sent about a name in the directory with this full path.
    ///
    /// # Errors
    /// When a file system cannot show such a name, or a chunk makes no sense.
    pub fn from_pb(directory_path: &str, entry: pb::Entry) -> Result<Self, EntryError> {
        check_name(directory_path, &entry.name)?;
        Self::convert(directory_path, entry)
    }

    /// The same for the filer's root, which has no name.
    ///
    /// # Errors
    /// When a chunk makes no sense.
    pub fn root_from_pb(entry: pb::Entry) -> Result<Self, EntryError> {
        let entry = pb::Entry {
            name: String::new(),
            ..entry
        };
        Self::convert("", entry)
    }

    fn convert(directory_path: &str, entry: pb::Entry) -> Result<Self, EntryError> {
        let chunks = entry.chunks.iter().map(Chunk::try_from);
        let chunks: Arc<[Chunk]> = chunks.collect::<Result<_, _>>().map_err(|source| {
            let path = path(directory_path, &entry.name);
            EntryError::Chunk { path, source }
        })?;
        let attributes = entry.attributes.unwrap_or_default();
        let remote = entry.remote_entry.map(Remote::from);
        let kind = kind(entry.is_directory, &attributes);

        let mtime = time::stamp(attributes.mtime, attributes.mtime_ns);
        let or_mtime = |seconds, nanos| match time::is_known(seconds, nanos) {
            true => time::stamp(seconds, nanos),
            false => mtime,
        };
        let size = match kind {
            Kind::Symlink => attributes.symlink_target.len() as u64,
            _ => size::size(&attributes, &chunks, &entry.content, remote.as_ref()),
        };
        let hard_link_id = Some(own(&entry.hard_link_id)).filter(|id| !id.is_empty());
        let inode = match (attributes.inode, &hard_link_id) {
            (0, Some(id)) => inode::of_hard_link(id),
            (0, None) => inode::of_path(&path(directory_path, &entry.name), attributes.crtime),
            (stored, _) => stored,
        };
        Ok(Self {
            kind,
            perm: u32::from(permissions(attributes.file_mode)),
            uid: attributes.uid,
            gid: attributes.gid,
            size,
            mtime,
            ctime: or_mtime(attributes.ctime, attributes.ctime_ns),
            atime: or_mtime(attributes.atime, attributes.atime_ns),
            crtime: time::stamp(attributes.crtime, attributes.crtime_ns),
            rdev: attributes.rdev,
            nlink: u32::try_from(entry.hard_link_counter).unwrap_or(0).max(1),
            symlink_target: attributes.symlink_target,
            inode,
            hard_link_id,
            xattrs: xattrs(entry.extended),
            content: own(&entry.content),
            chunks,
            remote,
            ttl_sec: attributes.ttl_sec,
            mime: attributes.mime,
            name: entry.name,
        })
    }

    /// A number for a new inode at this path: like those that filers compute, but from the
    /// nanosecond of its creation, so that a name used again at once gets another one.
    pub fn new_inode(path: &str, crtime: SystemTime) -> u64 {
        let (seconds, nanos) = time::split(crtime);
        let nanos_all = seconds
            .wrapping_mul(1_000_000_000)
            .wrapping_add(i64::from(nanos));
        inode::of_path(path, nanos_all)
    }

    /// Seconds since 1970 and nanoseconds after them, as the filer stores times.
    pub fn stored_time(time: SystemTime) -> (i64, i32) {
        time::split(time)
    }

    /// The key under which a filer keeps an extended attribute.
    pub fn xattr_key(name: &str) -> String {
        format!("{XATTR_PREFIX}{name}")
    }

    /// Holds other entries.
    pub fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }

    /// All its bytes are in a cloud store: the filer must be told to fetch them first.
    pub fn is_remote_only(&self) -> bool {
        let remote = self.remote.as_ref().is_some_and(|remote| remote.size > 0);
        remote && self.size > 0 && self.chunks.is_empty() && self.content.is_empty()
    }

    /// Bytes of memory that it takes, as nearly as can be told from outside an allocator.
    pub fn weight(&self) -> usize {
        let text = |len: usize| if len == 0 { 0 } else { len + ALLOCATED };
        let xattrs = self.xattrs.iter();
        let xattrs = xattrs.map(|(name, value)| XATTR + text(name.len()) + text(value.len()));
        let chunk = |chunk: &Chunk| {
            let key = usize::from(chunk.cipher_key.is_some()) * (32 + ALLOCATED);
            size_of::<Chunk>() + text(chunk.e_tag.len()) + key
        };
        let chunks: usize = self.chunks.iter().map(chunk).sum();
        let group = self.hard_link_id.as_ref().map_or(0, Bytes::len);
        size_of::<Self>()
            + text(self.name.len())
            + text(self.symlink_target.len())
            + text(self.mime.len())
            + text(self.content.len())
            + text(group)
            + text(chunks)
            + xattrs.sum::<usize>()
    }

    /// Reading both gives the same bytes, as far as the entries tell.
    pub fn same_content(&self, other: &Self) -> bool {
        let same_source = !self.is_remote_only() || self.remote == other.remote;
        self.size == other.size
            && self.symlink_target == other.symlink_target
            && self.content == other.content
            && (Arc::ptr_eq(&self.chunks, &other.chunks) || self.chunks == other.chunks)
            && same_source
    }

    /// `stat(2)`, `listxattr(2)` and `getxattr(2)` show the same for both.
    pub fn same_attributes(&self, other: &Self) -> bool {
        let numbers = |e: &Self| (e.perm, e.uid, e.gid, e.size, e.rdev, e.nlink, e.inode);
        let times = |e: &Self| (e.mtime, e.ctime, e.atime, e.crtime);
        self.kind == other.kind
            && numbers(self) == numbers(other)
            && times(self) == times(other)
            && self.xattrs == other.xattrs
    }
}

/// An object in a cloud store, as it was when the filer last looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// The filer's name for the store.
    pub storage_name: String,
    /// When the filer last brought it into the cluster, in nanoseconds since 1970; 0 for never.
    pub last_local_sync_ts_ns: i64,
    /// The store's tag for this version.
    pub e_tag: String,
    /// When it was changed there, in seconds since 1970.
    pub mtime: i64,
    /// Its length in bytes.
    pub size: u64,
}

impl From<pb::RemoteEntry> for Remote {
    fn from(remote: pb::RemoteEntry) -> Self {
        Self {
            storage_name: remote.storage_name,
            last_local_sync_ts_ns: remote.last_local_sync_ts_ns,
            e_tag: remote.remote_e_tag,
            mtime: remote.remote_mtime,
            size: u64::try_from(remote.remote_size).unwrap_or(0),
        }
    }
}

/// Why an entry cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Object stores know names that file systems do not.
    #[error("name {name:?} in {directory}: {reason}")]
    Name {
        /// Full path of the directory.
        directory: String,
        /// The name, shortened when it is very long.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// One of its chunks makes no sense.
    #[error("{path}: {source}")]
    Chunk {
        /// Full path of the entry.
        path: String,
        /// What is wrong with the chunk.
        source: ChunkError,
    },
}

/// What an allocation takes beside its bytes, roundings included.
const ALLOCATED: usize = 16;
/// An extended attribute's place in its map.
const XATTR: usize = 96;

/// Extended attributes are kept under this prefix among other things a filer knows.
const XATTR_PREFIX: &str = "xattr-";
/// Longest piece of a bad name that an error repeats.
const EXCERPT: usize = 300;

fn check_name(directory: &str, name: &str) -> Result<(), EntryError> {
    let reason = match name {
        "" => "it is empty",
        "." | ".." => "it is reserved",
        _ if name.len() > Entry::NAME_MAX => "it has more than 255 bytes",
        _ if name.contains(['/', '\0']) => "it contains a slash or a NUL",
        _ => return Ok(()),
    };
    Err(EntryError::Name {
        directory: directory.to_owned(),
        name: name.chars().take(EXCERPT).collect(),
        reason,
    })
}

/// Bytes of a message in memory of their own: as a part of it they would keep all of the message, and whatever
/// else came in the same buffer.
fn own(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn path(directory: &str, name: &str) -> String {
    format!("{}/{name}", directory.trim_end_matches('/'))
}

fn xattrs(extended: std::collections::HashMap<String, Bytes>) -> BTreeMap<String, Bytes> {
    let named = extended.into_iter().filter_map(|(key, value)| {
        let name = key.strip_prefix(XATTR_PREFIX)?;
        (!name.is_empty()).then(|| (name.to_owned(), own(&value)))
    });
    named.collect()
}

#[cfg(test)]
mod tests;
