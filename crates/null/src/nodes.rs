//! The inodes: their number is their place in a table.

use std::collections::HashMap;

use bench::{File, Tree};
use bytes::Bytes;
use fuse::{Errno, FileType, NodeId};

use crate::memory::filled;

/// All inodes, the root first.
#[derive(Debug)]
pub(crate) struct Nodes(Vec<Node>);

#[derive(Debug)]
pub(crate) enum Node {
    Folder(Folder),
    File(Bytes),
}

/// Names in the order they are listed in, and where to find each.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    pub(crate) names: Vec<(Box<[u8]>, NodeId)>,
    places: HashMap<Box<[u8]>, NodeId>,
}

impl Nodes {
    /// The tree with the content of its files.
    pub(crate) fn of(tree: &Tree) -> Self {
        let files: Vec<&File> = tree.many().into_iter().chain([tree.big()]).collect();
        // Each file starts on a page, as in a page cache.
        let room = |file: &File| (file.size as usize).next_multiple_of(PAGE);
        let content = filled(files.iter().map(|file| room(file)).sum(), |mut memory| {
            for file in &files {
                let (own, rest) = memory.split_at_mut(room(file));
                file.pattern().fill(0, &mut own[..file.size as usize]);
                memory = rest;
            }
        });
        let mut nodes = Self(vec![Node::Folder(Folder::default())]);
        let mut start = 0;
        for file in files {
            let bytes = content.slice(start..start + file.size as usize);
            nodes.add(&file.path, bytes);
            start += room(file);
        }
        nodes
    }

    /// The inode with that number.
    pub(crate) fn get(&self, node: NodeId) -> Result<&Node, Errno> {
        let at = usize::try_from(node.0).ok().and_then(|n| n.checked_sub(1));
        at.and_then(|at| self.0.get(at)).ok_or(Errno::ENOENT)
    }

    /// The folder with that number.
    pub(crate) fn folder(&self, node: NodeId) -> Result<&Folder, Errno> {
        match self.get(node)? {
            Node::Folder(folder) => Ok(folder),
            Node::File(_) => Err(Errno::ENOTDIR),
        }
    }

    /// The content of the file with that number.
    pub(crate) fn file(&self, node: NodeId) -> Result<&Bytes, Errno> {
        match self.get(node)? {
            Node::File(bytes) => Ok(bytes),
            Node::Folder(_) => Err(Errno::EISDIR),
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    fn add(&mut self, path: &str, bytes: Bytes) {
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut parent = NodeId::ROOT;
        for folder in folders.split('/').filter(|part| !part.is_empty()) {
            let known = self
                .folder(parent)
                .ok()
                .and_then(|f| f.find(folder.as_bytes()));
            parent =
                known.unwrap_or_else(|| self.link(parent, folder, Node::Folder(Folder::default())));
        }
        self.link(parent, name, Node::File(bytes));
    }

    fn link(&mut self, parent: NodeId, name: &str, node: Node) -> NodeId {
        self.0.push(node);
        let number = NodeId(self.0.len() as u64);
        if let Some(Node::Folder(folder)) = self.0.get_mut(parent.0 as usize - 1) {
            let name: Box<[u8]> = name.as_bytes().into();
            folder.names.push((name.clone(), number));
            folder.places.insert(name, number);
        }
        number
    }
}

impl Node {
    pub(crate) fn kind(&self) -> FileType {
        match self {
            Self::Folder(_) => FileType::Directory,
            Self::File(_) => FileType::Regular,
        }
    }
}

impl Folder {
    pub(crate) fn find(&self, name: &[u8]) -> Option<NodeId> {
        self.places.get(name).copied()
    }
}

const PAGE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_found_by_its_path_with_its_bytes() {
        let tree = Tree::new(10_000, 60);
        let nodes = Nodes::of(&tree);
        for file in tree.many().into_iter().chain([tree.big()]) {
            let node = file.path.split('/').fold(NodeId::ROOT, |parent, name| {
                nodes.folder(parent).unwrap().find(name.as_bytes()).unwrap()
            });
            assert_eq!(
                nodes.file(node).unwrap()[..],
                file.content(),
                "{}",
                file.path
            );
        }
        // The root, the folder of folders, and what a walk of that finds, and the large file.
        assert_eq!(nodes.count(), 3 + tree.entries());
        assert!(nodes.get(NodeId(0)).is_err() && nodes.get(NodeId(1 << 40)).is_err());
        assert!(nodes.file(NodeId::ROOT).is_err());
    }
}
