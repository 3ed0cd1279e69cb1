//! File ids: the name of a needle.
//!
//! In text it is `<volume>,<key><cookie>`: the volume in decimal, the key in
//! lower-case hex without leading zero *bytes* (so its digits are even in
//! number), and the cookie as exactly eight hex digits. A `_<n>` behind it
//! adds `n` to the key: one assignment of many ids hands out `3,01ab…`,
//! `3,01ab…_1`, `3,01ab…_2`. The canonical text matters, because a volume
//! server compares the claim of a read token with it letter by letter.

use std::fmt;
use std::str::FromStr;

use crate::pb;

/// Names a needle: where it is, which it is, and a cookie against guessing.
///
/// What the filer stores under an id never changes, so the id alone is a sound cache key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// The volume that holds it.
    pub volume: u32,
    /// Its key within the volume.
    pub key: u64,
    /// A random number stored in the needle; a wrong one is answered like a missing needle.
    pub cookie: u32,
}

impl FileId {
    /// The text after the comma, such as `01637037d6`.
    pub fn needle_part(&self) -> String {
        Needle(*self).to_string()
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.volume, Needle(*self))
    }
}

impl FromStr for FileId {
    type Err = FileIdError;

    /// Reads the canonical text, and whatever a volume server takes for it in a URL's path:
    /// `/3,01637037d6`, `/3/01637037d6`, `/3/01637037d6/photo.jpg`, each with an extension.
    fn from_str(text: &str) -> Result<Self, FileIdError> {
        parse(text).map_err(|reason| FileIdError {
            text: excerpt(text),
            reason,
        })
    }
}

impl From<pb::FileId> for FileId {
    fn from(id: pb::FileId) -> Self {
        Self {
            volume: id.volume_id,
            key: id.file_key,
            cookie: id.cookie,
        }
    }
}

impl From<FileId> for pb::FileId {
    fn from(id: FileId) -> Self {
        Self {
            volume_id: id.volume,
            file_key: id.key,
            cookie: id.cookie,
        }
    }
}

/// A text that is no file id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("file id {text:?}: {reason}; expected something like 3,01637037d6")]
pub struct FileIdError {
    text: String,
    reason: &'static str,
}

/// Formats key and cookie.
struct Needle(FileId);

impl fmt::Display for Needle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(id) = self;
        if id.key != 0 {
            let bytes = (u64::BITS - id.key.leading_zeros()).div_ceil(8) as usize;
            write!(f, "{:0width$x}", id.key, width = 2 * bytes)?;
        }
        write!(f, "{:08x}", id.cookie)
    }
}

/// Hex digits of a cookie.
const COOKIE_DIGITS: usize = 8;
/// Hex digits of the longest key.
const KEY_DIGITS: usize = 16;
/// Longest piece of bad input that an error repeats.
const EXCERPT: usize = 80;

fn parse(text: &str) -> Result<FileId, &'static str> {
    let path = text.strip_prefix('/').unwrap_or(text);
    let at = path.find([',', '/']).ok_or("no comma in it")?;
    let (volume, rest) = (&path[..at], &path[at + 1..]);
    let volume = decimal(volume)
        .and_then(|n| u32::try_from(n).ok())
        .ok_or("the volume is not a number of 32 bits")?;

    let named = path.as_bytes()[at] == b'/';
    let needle = match rest.split_once('/') {
        Some((needle, name)) if named && !name.is_empty() && !name.contains('/') => needle,
        Some(_) => return Err("there is more than one name behind it"),
        None => rest
            .split_once('.')
            .map_or(rest, |(needle, _extension)| needle),
    };
    let (digits, delta) = match needle.split_once('_') {
        Some((digits, delta)) => {
            let delta = decimal(delta).ok_or("what follows the _ is not a number")?;
            (digits, delta)
        }
        None => (needle, 0),
    };
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err("what follows the volume is not hexadecimal");
    }
    if digits.len() < COOKIE_DIGITS {
        return Err("it is too short to hold a cookie");
    }
    if digits.len() > KEY_DIGITS + COOKIE_DIGITS {
        return Err("its key is longer than 64 bits");
    }
    let (key, cookie) = digits.split_at(digits.len() - COOKIE_DIGITS);
    let key = match key {
        "" => 0,
        key => u64::from_str_radix(key, 16).map_err(|_| "its key is not hexadecimal")?,
    };
    let cookie = u32::from_str_radix(cookie, 16).map_err(|_| "its cookie is not hexadecimal")?;
    let key = key.checked_add(delta).ok_or("its key overflows 64 bits")?;
    Ok(FileId {
        volume,
        key,
        cookie,
    })
}

/// Digits only: `str::parse` would take a sign as well.
fn decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(volume: u32, key: u64, cookie: u32) -> FileId {
        FileId {
            volume,
            key,
            cookie,
        }
    }

    #[test]
    fn keys_are_printed_as_whole_bytes() {
        assert_eq!(id(3, 0x1, 0x637037d6).to_string(), "3,01637037d6");
        assert_eq!(id(7, 0x123, 0x5).to_string(), "7,012300000005");
        assert_eq!(id(0, u64::MAX, 0).to_string(), "0,ffffffffffffffff00000000");
        assert_eq!(id(3, 0x1, 0x637037d6).needle_part(), "01637037d6");
    }

    #[test]
    fn every_form_of_a_url_names_the_same_needle() {
        for text in [
            "3,01637037d6",
            "/3,01637037d6",
            "3/01637037d6",
            "/3/01637037d6",
            "/3/01637037d6/photo.jpg",
            "/3,01637037d6.jpg",
            "/3/01637037d6.tar.gz",
            "3,1637037D6",
        ] {
            assert_eq!(text.parse(), Ok(id(3, 1, 0x637037d6)), "{text}");
        }
    }

    #[test]
    fn a_delta_is_added_to_the_key() {
        assert_eq!("3,01637037d6_15".parse(), Ok(id(3, 16, 0x637037d6)));
        assert_eq!("3,01637037d6_1.jpg".parse(), Ok(id(3, 2, 0x637037d6)));
    }

    #[test]
    fn nonsense_is_refused_and_repeated() {
        for text in [
            "",
            "/",
            "3",
            "3,",
            ",01637037d6",
            "-3,01637037d6",
            "+3,01637037d6",
            "4294967296,01637037d6",
            "3,637037d",
            "3,01637037dg",
            "3,+1637037d6",
            "3,0123456789abcdef0123456789",
            "3,ffffffffffffffff00000000_1",
            "3,01637037d6_",
            "3,01637037d6_-1",
            "3,01637037d6_1_2",
            "3,01637037d6/name",
            "3/01637037d6/",
            "3/01637037d6/a/b",
            "3,01637037dé",
        ] {
            let error = text.parse::<FileId>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
        let long = "3,".repeat(1000).parse::<FileId>().unwrap_err();
        assert!(long.to_string().len() < 250);
    }

    proptest! {
        #[test]
        fn text_and_number_are_the_same(volume: u32, key: u64, shift in 0u32..64, cookie: u32) {
            let id = id(volume, key >> shift, cookie);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            prop_assert_eq!(id.needle_part().len() % 2, 0);
            prop_assert_eq!(FileId::from(pb::FileId::from(id)), id);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            if let Ok(id) = text.parse::<FileId>() {
                prop_assert_eq!(id.to_string().parse(), Ok(id));
            }
        }
    }
}
