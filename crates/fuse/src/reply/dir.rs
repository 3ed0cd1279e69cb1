//! The body of a READDIR or READDIRPLUS.

use zerocopy::{FromBytes, IntoBytes};

use crate::abi::{DIRENT_ALIGN, Dirent, EntryOut};
use crate::{DirEntry, Entry, NodeId, encode};

/// The body of a READDIR or READDIRPLUS.
///
/// Entries are packed as the kernel reads them: the structure, the name, and
/// zeros up to a multiple of eight bytes. A name that could not be a name in a
/// directory (empty, over 255 bytes, with a slash or a NUL) is left out and
/// logged, because the kernel answers EIO for a whole listing that has one.
#[derive(Debug)]
pub struct DirReply<'a> {
    memory: &'a mut [u8],
    len: usize,
    plus: bool,
}

/// The longest name Linux shows in a directory.
const NAME_MAX: usize = 255;

impl<'a> DirReply<'a> {
    /// An empty reply of at most `memory.len()` bytes; `plus` for READDIRPLUS.
    pub fn new(memory: &'a mut [u8], plus: bool) -> Self {
        Self {
            memory,
            len: 0,
            plus,
        }
    }

    /// Adds an entry; false, and nothing added, when the reply is full.
    pub fn add(&mut self, entry: &DirEntry<'_>) -> bool {
        self.add_plus(entry, || None)
    }

    /// Adds an entry with attributes; `None` gives the name alone and counts
    /// no lookup (for `.` and `..`). `attr` is asked only if there is room, and
    /// only in a reply to READDIRPLUS.
    pub fn add_plus(&mut self, entry: &DirEntry<'_>, attr: impl FnOnce() -> Option<Entry>) -> bool {
        if !is_name(entry.name) {
            tracing::warn!(name = %entry.name.escape_ascii(), "left a name out of a listing");
            return true;
        }
        let head = if self.plus { size_of::<EntryOut>() } else { 0 };
        let size = record_len(head, entry.name.len());
        let Some(record) = self.memory.get_mut(self.len..self.len + size) else {
            return false;
        };
        let (plus, rest) = record.split_at_mut(head);
        if self.plus {
            let out = attr().as_ref().map(encode::entry).unwrap_or_default();
            plus.copy_from_slice(out.as_bytes());
        }
        let dirent = Dirent {
            ino: entry.ino,
            off: entry.next_offset,
            // At most NAME_MAX.
            namelen: entry.name.len() as u32,
            kind: entry.kind.mode_bits() >> 12,
        };
        let (fixed, rest) = rest.split_at_mut(size_of::<Dirent>());
        fixed.copy_from_slice(dirent.as_bytes());
        let (name, padding) = rest.split_at_mut(entry.name.len());
        name.copy_from_slice(entry.name);
        padding.fill(0);
        self.len += size;
        true
    }

    /// Whether nothing has been added.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What was added, packed.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[..self.len]
    }
}

/// The nodes that the packed entries of a READDIRPLUS hand to the kernel.
pub(crate) fn entries_plus(mut packed: &[u8]) -> impl Iterator<Item = NodeId> {
    std::iter::from_fn(move || {
        let (entry, rest) = EntryOut::read_from_prefix(packed).ok()?;
        let (dirent, _) = Dirent::read_from_prefix(rest).ok()?;
        let size = record_len(size_of::<EntryOut>(), dirent.namelen as usize);
        packed = packed.get(size..).unwrap_or_default();
        Some(entry)
    })
    .filter_map(|entry| encode::node_of(&entry))
}

fn record_len(head: usize, name: usize) -> usize {
    (head + size_of::<Dirent>() + name).next_multiple_of(DIRENT_ALIGN)
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.len() <= NAME_MAX && !name.contains(&b'/') && !name.contains(&0)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;

    use super::*;
    use crate::{Attr, FileType};

    fn entry(node: u64) -> Entry {
        Entry {
            node: NodeId(node),
            entry_ttl: Duration::from_millis(1500),
            attr_ttl: Duration::ZERO,
            attr: Attr {
                ino: node + 1000,
                size: 5,
                blocks: 1,
                atime: SystemTime::UNIX_EPOCH,
                mtime: SystemTime::UNIX_EPOCH,
                ctime: SystemTime::UNIX_EPOCH,
                kind: FileType::Regular,
                perm: 0o644,
                nlink: 1,
                uid: 0,
                gid: 0,
                rdev: 0,
                blksize: 512,
            },
        }
    }

    /// Reads packed entries the way the kernel does.
    fn unpack(mut packed: &[u8], plus: bool) -> Vec<(u64, Dirent, Vec<u8>)> {
        let mut all = Vec::new();
        while !packed.is_empty() {
            let mut rest = packed;
            let mut node = 0;
            if plus {
                let (out, after) = EntryOut::read_from_prefix(rest).unwrap();
                node = out.nodeid;
                rest = after;
            }
            let (dirent, after) = Dirent::read_from_prefix(rest).unwrap();
            let name = after[..dirent.namelen as usize].to_vec();
            let fixed = if plus { 128 + 24 } else { 24 };
            let size = (fixed + name.len() + 7) & !7;
            assert!(
                packed[fixed + name.len()..size]
                    .iter()
                    .all(|byte| *byte == 0)
            );
            packed = &packed[size..];
            all.push((node, dirent, name));
        }
        all
    }

    proptest! {
        #[test]
        fn what_is_packed_is_what_the_kernel_unpacks(
            names in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..40),
            room in 0usize..6000,
            plus: bool,
        ) {
            let mut memory = vec![0xAA; room];
            let mut reply = DirReply::new(&mut memory, plus);
            let mut expected = Vec::new();
            for (index, name) in names.iter().enumerate() {
                let index = index as u64;
                let dirent = DirEntry {
                    ino: index + 7, next_offset: index + 1, kind: FileType::Directory, name,
                };
                let mut asked = false;
                let added = reply.add_plus(&dirent, || {
                    asked = true;
                    (!index.is_multiple_of(3)).then(|| entry(index))
                });
                prop_assert_eq!(asked, plus && added && is_name(name));
                if !added {
                    break;
                }
                if is_name(name) {
                    let node = if plus && !index.is_multiple_of(3) { index } else { 0 };
                    expected.push((node, index, name.clone()));
                }
            }
            let packed = reply.bytes().to_vec();
            prop_assert!(packed.len() <= room);
            let unpacked = unpack(&packed, plus);
            prop_assert_eq!(unpacked.len(), expected.len());
            for ((node, dirent, name), (want, index, wanted)) in unpacked.iter().zip(&expected) {
                prop_assert_eq!(node, want);
                prop_assert_eq!(dirent.ino, index + 7);
                prop_assert_eq!(dirent.off, index + 1);
                prop_assert_eq!(dirent.kind, 4);
                prop_assert_eq!(name, wanted);
            }
            if plus {
                let nodes: Vec<u64> = entries_plus(&packed).map(|node| node.0).collect();
                let wanted: Vec<u64> =
                    expected.iter().map(|(node, ..)| *node).filter(|node| *node != 0).collect();
                prop_assert_eq!(nodes, wanted);
            }
        }
    }

    #[test]
    fn a_full_reply_refuses_without_asking_for_attributes() {
        let mut memory = [0; 128 + 24 + 8];
        let mut reply = DirReply::new(&mut memory, true);
        let dirent = DirEntry {
            ino: 1,
            next_offset: 1,
            kind: FileType::Regular,
            name: b"a",
        };
        assert!(reply.add_plus(&dirent, || Some(entry(2))));
        assert!(!reply.add_plus(&dirent, || panic!("asked for attributes")));
    }
}
