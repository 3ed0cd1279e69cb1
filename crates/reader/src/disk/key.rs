//! What a chunk is called in the disk cache.

use seaweed::FileId;

/// A chunk as stored, and how many bytes of it.
///
/// The name of its file says everything the index needs, so that a directory of 100,000 chunks
/// is opened without looking into (or asking for the size of) a single file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct DiskKey {
    pub(crate) needle: FileId,
    pub(crate) form: Form,
}

/// What the bytes are. A volume server may inflate what it stores compressed, so the two forms
/// of one needle can differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// Clear data, read in any part.
    Plain,
    /// Cipher text or a compressed stream, opened whole.
    Opaque,
}

impl Form {
    pub(super) fn letter(self) -> char {
        match self {
            Self::Plain => 'p',
            Self::Opaque => 'o',
        }
    }
}

impl DiskKey {
    /// The file's path below the cache: one of 256 directories, and the name.
    pub(super) fn path(&self, len: u64) -> String {
        let FileId {
            volume,
            key,
            cookie,
        } = self.needle;
        let form = self.form.letter();
        let directory = directory(key as u8);
        format!("{directory}/{volume:08x}-{key:016x}-{cookie:08x}-{form}-{len:x}")
    }

    /// The chunk and its length behind a file name; `None` for a name of another kind.
    pub(super) fn parse(name: &str) -> Option<(Self, u64)> {
        let mut parts = name.split('-');
        let volume = u32::from_str_radix(parts.next()?, 16).ok()?;
        let key = u64::from_str_radix(parts.next()?, 16).ok()?;
        let cookie = u32::from_str_radix(parts.next()?, 16).ok()?;
        let form = match parts.next()? {
            "p" => Form::Plain,
            "o" => Form::Opaque,
            _ => return None,
        };
        let len = u64::from_str_radix(parts.next()?, 16).ok()?;
        let key = Self {
            needle: FileId {
                volume,
                key,
                cookie,
            },
            form,
        };
        // Only names as we write them: a second spelling would be a second file for a chunk.
        (key.path(len).split_once('/')?.1 == name).then_some((key, len))
    }
}

/// The directory for keys that end in this byte.
pub(super) fn directory(low: u8) -> String {
    format!("{low:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_everything() {
        for form in [Form::Plain, Form::Opaque] {
            for len in [0, 1, 4 << 20, u64::MAX] {
                let key = DiskKey {
                    needle: FileId {
                        volume: 3,
                        key: 0x1234_5678_9abc_def0,
                        cookie: 0xffff_ffff,
                    },
                    form,
                };
                let path = key.path(len);
                let (directory, name) = path.split_once('/').unwrap();
                assert_eq!(directory, "f0");
                assert_eq!(DiskKey::parse(name), Some((key, len)));
            }
        }
    }

    #[test]
    fn other_names_are_not_ours() {
        let good = "00000003-123456789abcdef0-ffffffff-p-10";
        assert!(DiskKey::parse(good).is_some());
        for bad in [
            "",
            "lock",
            "00000003-123456789abcdef0-ffffffff-p",
            "00000003-123456789abcdef0-ffffffff-q-10",
            "00000003-123456789abcdef0-ffffffff-p-010",
            "00000003-123456789abcdef0-ffffffff-p-+1",
            "00000003-123456789abcdef0-ffffffff-p-10-1",
            "00000003-123456789ABCDEF0-ffffffff-p-10",
            "3-123456789abcdef0-ffffffff-p-10",
            "00000003-123456789abcdef0-ffffffff-p-10.tmp",
        ] {
            assert_eq!(DiskKey::parse(bad), None, "{bad}");
        }
    }
}
