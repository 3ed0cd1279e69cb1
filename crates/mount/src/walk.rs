//! Who goes through a directory and reads its small files one after the other.
//!
//! Each such file costs an exchange that nothing but the one before tells of. So the files that were read whole are
//! compared with the order of the names, which is that of listings: after a few in a row the chunks of the next ones are
//! asked for ([`Reader::fetch_small`](reader::Reader::fetch_small)), more the longer it goes on. The first read elsewhere
//! ends it. Only entries that are known already are looked at, and nothing of what the kernel is told changes: chunks
//! have ids, and a file that was changed has others.

use std::collections::VecDeque;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use fuse::NodeId;
use parking_lot::Mutex;
use reader::SMALL;
use seaweed::{Chunk, Entry, Kind};

use crate::tree::{Dir, Place, Tree};

/// Directories that are remembered at a time.
const WALKS: usize = 32;
/// Files in a row before anything is fetched.
const STREAK: u32 = 3;
/// Files ahead: at first, and at most.
const FIRST: usize = 8;
const MOST: usize = 64;
/// Files that may be passed over: the kernel has them in memory, or the program did not want them.
const SKIP: usize = 3;
/// Names that are looked at to find a next file.
const LOOK: usize = 512;

/// Every walk that may be under way, the latest last.
#[derive(Debug, Default)]
pub(crate) struct Walks(Mutex<VecDeque<Walk>>);

/// One directory.
#[derive(Debug)]
struct Walk {
    dir: NodeId,
    /// The file that was read last.
    last: Arc<str>,
    /// Files read in a row.
    streak: u32,
    /// Files that may be asked for ahead.
    window: usize,
    /// The last one that was asked for, and how many there are up to it.
    reached: Option<Arc<str>>,
    ahead: usize,
}

impl Walks {
    /// A small file is read whole: the chunks that are to be fetched ahead.
    pub(crate) fn read(&self, tree: &Tree, node: NodeId) -> Vec<Chunk> {
        let Some(Place::In(parent, name)) = tree.node(node).map(|held| &held.place) else {
            return Vec::new();
        };
        let Some(dir) = tree.node(*parent).and_then(|held| held.dir.as_deref()) else {
            return Vec::new();
        };
        let mut walks = self.0.lock();
        let at = walks.iter().position(|walk| walk.dir == *parent);
        let mut walk = at.and_then(|at| walks.remove(at)).unwrap_or(Walk {
            dir: *parent,
            last: Arc::clone(name),
            streak: 0,
            window: FIRST,
            reached: None,
            ahead: 0,
        });
        let chunks = walk.step(dir, name);
        if walks.len() == WALKS {
            walks.pop_front();
        }
        walks.push_back(walk);
        chunks
    }
}

impl Walk {
    fn step(&mut self, dir: &Dir, name: &Arc<str>) -> Vec<Chunk> {
        if self.last == *name {
            self.streak = self.streak.max(1);
            return Vec::new();
        }
        let passed = files_after(dir, &self.last)
            .take(SKIP + 1)
            .position(|(next, _)| next == name);
        self.last = Arc::clone(name);
        let Some(passed) = passed else {
            // Elsewhere: it begins anew.
            self.streak = 1;
            self.window = FIRST;
            self.reached = None;
            self.ahead = 0;
            return Vec::new();
        };
        self.streak = self.streak.saturating_add(1);
        self.ahead = self.ahead.saturating_sub(passed + 1);
        if self.reached.as_ref().is_some_and(|reached| reached <= name) {
            self.reached = None;
            self.ahead = 0;
        }
        if self.streak < STREAK || self.ahead > self.window / 2 {
            return Vec::new();
        }
        if self.reached.is_some() {
            // What was asked for is wanted.
            self.window = (self.window * 2).min(MOST);
        }
        let from = self.reached.clone().unwrap_or_else(|| Arc::clone(name));
        let mut chunks = Vec::new();
        for (next, chunk) in files_after(dir, &from).take(self.window - self.ahead) {
            chunks.push(chunk.clone());
            self.reached = Some(Arc::clone(next));
        }
        self.ahead += chunks.len();
        chunks
    }
}

/// The next small files of a directory, with their chunks.
fn files_after<'d>(dir: &'d Dir, name: &str) -> impl Iterator<Item = (&'d Arc<str>, &'d Chunk)> {
    let names = dir.children.range::<str, _>((Excluded(name), Unbounded));
    names.take(LOOK).filter_map(|(name, child)| {
        let chunk = small_chunk(child.entry.as_deref()?)?;
        Some((name, chunk))
    })
}

/// The only chunk of a small file.
pub(crate) fn small_chunk(entry: &Entry) -> Option<&Chunk> {
    let is_small = entry.kind == Kind::Regular && (1..=SMALL).contains(&entry.size);
    match &entry.chunks[..] {
        [chunk] if is_small && entry.content.is_empty() && chunk.size <= SMALL => Some(chunk),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use seaweed::pb;

    use super::*;
    use crate::tree::Listed;

    fn entry(name: &str, size: u64) -> Arc<Entry> {
        let chunk = pb::FileChunk {
            file_id: format!("3,{:x}00000001", size + 1),
            size,
            ..pb::FileChunk::default()
        };
        let entry = pb::Entry {
            name: name.to_owned(),
            chunks: match size {
                0 => Vec::new(),
                _ => vec![chunk],
            },
            attributes: Some(pb::FuseAttributes {
                file_size: size,
                file_mode: 0o644,
                ..pb::FuseAttributes::default()
            }),
            ..pb::Entry::default()
        };
        Arc::new(Entry::from_pb("/", entry).unwrap())
    }

    /// A listed folder in which every fourth file has content, of a size of its own.
    fn folder(files: u64) -> (Tree, Vec<Arc<str>>) {
        let root = Entry::from_pb(
            "/",
            pb::Entry {
                name: "root".to_owned(),
                is_directory: true,
                attributes: Some(pb::FuseAttributes {
                    file_mode: 1 << 31 | 0o755,
                    ..pb::FuseAttributes::default()
                }),
                ..pb::Entry::default()
            },
        );
        let account = ledger::Account::unlimited();
        let mut tree = Tree::new("/".to_owned(), Arc::new(root.unwrap()), 100_000, account);
        tree.trust(true);
        let mut all = Vec::new();
        for at in 0..files {
            let name: Arc<str> = format!("f{at:05}").into();
            let size = if at % 4 == 0 { 1000 + at } else { 0 };
            let entry = entry(&name, size);
            all.push(Listed { name, entry });
        }
        let seq = tree.seq();
        assert!(tree.listed(NodeId::ROOT, "/", &all, 1, seq));
        let small = all.iter().filter(|one| one.entry.size > 0);
        (tree, small.map(|one| Arc::clone(&one.name)).collect())
    }

    fn read(walks: &Walks, tree: &mut Tree, name: &str) -> Vec<u64> {
        let node = match tree.node_of(NodeId::ROOT, name) {
            Some(node) => node,
            None => tree.adopt(NodeId::ROOT, name).unwrap().node,
        };
        let chunks = walks.read(tree, node);
        chunks.iter().map(|chunk| chunk.size).collect()
    }

    #[test]
    fn who_goes_on_in_order_has_ever_more_fetched_and_each_once() {
        let (mut tree, small) = folder(2000);
        let walks = Walks::default();
        let mut asked = Vec::new();
        for (at, name) in small.iter().enumerate() {
            let next = read(&walks, &mut tree, name);
            if at < 2 {
                assert!(next.is_empty(), "{at}");
            }
            asked.extend(next);
            let read_to = 1000 + 4 * at as u64;
            let ahead = asked.iter().filter(|size| **size > read_to).count();
            assert!(ahead <= MOST, "{ahead} ahead");
            if at == 300 {
                assert!(ahead > MOST / 2 - 1, "{ahead} ahead");
            }
        }
        let expected: Vec<_> = (3..500).map(|at| 1000 + 4 * at).collect();
        assert_eq!(asked, expected);
    }

    #[test]
    fn a_file_elsewhere_ends_it_and_one_that_was_passed_over_does_not() {
        let (mut tree, small) = folder(2000);
        let walks = Walks::default();
        let mut go = |at: usize| read(&walks, &mut tree, &small[at]).len();
        assert_eq!([go(0), go(1), go(2)], [0, 0, FIRST]);
        // In memory at the kernel, perhaps.
        assert_eq!([go(4), go(5)], [0, 0]);
        assert!(go(7) > 0);
        assert_eq!([go(300), go(200), go(100), go(101)], [0; 4]);
        assert_eq!(go(102), FIRST);
        // Again and again the same is no walk.
        assert_eq!([go(7), go(7), go(7), go(7)], [0; 4]);
    }

    #[test]
    fn only_directories_that_were_walked_last_are_remembered() {
        let (mut tree, small) = folder(40);
        let walks = Walks::default();
        read(&walks, &mut tree, &small[0]);
        for _ in 0..3 {
            read(&walks, &mut tree, &small[1]);
        }
        assert_eq!(walks.0.lock().len(), 1);
    }
}
