//! How long a file is. Four places may know, and they need not agree.

use super::time;
use crate::{Chunk, Remote, pb};

/// Length in bytes, at most `i64::MAX` as for any file.
pub(super) fn size(
    attributes: &pb::FuseAttributes,
    chunks: &[Chunk],
    content: &[u8],
    remote: Option<&Remote>,
) -> u64 {
    let ends = chunks.iter().map(Chunk::end);
    let mut size = ends.fold(attributes.file_size, u64::max);
    if let Some(remote) = remote
        && remote.mtime > attributes.mtime
    {
        size = size.max(remote.size);
    }
    if size == 0 && !is_changed_by_mount(attributes) {
        // Writers of small files may leave the attribute at 0 and mean the content.
        size = content.len() as u64;
    }
    size.min(i64::MAX as u64)
}

/// `weed mount` truncates a file to nothing by its attribute alone, and leaves the content in
/// the entry. Unlike other writers it notes when the entry changed, a moment after the content
/// did, and it always keeps the attribute right. Where nobody noted it, a filer sends none, or
/// that of the content again.
fn is_changed_by_mount(attributes: &pb::FuseAttributes) -> bool {
    let changed = (attributes.ctime, attributes.ctime_ns);
    time::is_known(changed.0, changed.1) && changed != (attributes.mtime, attributes.mtime_ns)
}
