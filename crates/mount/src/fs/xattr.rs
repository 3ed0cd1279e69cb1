//! Extended attributes.

use bytes::{Bytes, BytesMut};
use fuse::{Errno, NodeId, XattrReply};

use super::Mount;

impl Mount {
    pub(super) fn xattr(&self, node: NodeId, name: &str, size: u32) -> Result<XattrReply, Errno> {
        let tree = self.core.tree.read();
        let entry = &tree.content(node).ok_or(Errno::ESTALE)?.entry;
        let value = entry.xattrs.get(name).ok_or(Errno::ENODATA)?;
        sized(value.clone(), size)
    }

    pub(super) fn xattr_names(&self, node: NodeId, size: u32) -> Result<XattrReply, Errno> {
        let tree = self.core.tree.read();
        let entry = &tree.content(node).ok_or(Errno::ESTALE)?.entry;
        let mut names = BytesMut::new();
        for name in entry.xattrs.keys() {
            names.extend_from_slice(name.as_bytes());
            names.extend_from_slice(&[0]);
        }
        sized(names.freeze(), size)
    }
}

/// The value, or its length when that is what was asked for.
fn sized(value: Bytes, size: u32) -> Result<XattrReply, Errno> {
    match u32::try_from(value.len()) {
        Ok(length) if size == 0 => Ok(XattrReply::Size(length)),
        Ok(length) if length <= size => Ok(XattrReply::Data(value)),
        _ => Err(Errno::ERANGE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_buffer_is_an_error_and_none_asks_for_the_length() {
        let value = Bytes::from_static(b"value");
        assert_eq!(sized(value.clone(), 0), Ok(XattrReply::Size(5)));
        assert_eq!(sized(value.clone(), 4), Err(Errno::ERANGE));
        assert_eq!(sized(value.clone(), 5), Ok(XattrReply::Data(value)));
    }
}
