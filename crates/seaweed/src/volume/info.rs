//! The `.vif` file: JSON beside a volume that says what kind it is.
//!
//! It is the JSON form of a protobuf message, so 64-bit numbers may stand as text and whatever
//! is zero may be missing. Only what decides how the other files are read is looked at.

use serde_json::Value;

use super::OffsetWidth;

/// What matters of a `.vif` file. An absent or empty file says the same as the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeInfo {
    /// Bytes of an offset in the index, if it says so.
    pub offset_width: Option<OffsetWidth>,
    /// The data was moved to other storage; `.dat` is absent or not authoritative.
    pub tiered: bool,
    /// The volume takes no writes. Deletes may still come.
    pub read_only: bool,
    /// Length of the data before it was erasure-coded, otherwise 0.
    pub dat_file_size: u64,
    /// When the whole volume ends, in seconds since 1970; 0: never.
    pub expire_at: u64,
    /// It has shards of an erasure code.
    pub erasure_coded: bool,
}

impl VolumeInfo {
    /// Longest file that is read. A real one has a few hundred bytes.
    pub const MAX_LEN: usize = 1 << 20;

    /// Reads the JSON.
    ///
    /// # Errors
    /// When it is none, or a field of it has another type.
    pub fn parse(json: &[u8]) -> Result<Self, VolumeInfoError> {
        if json.len() > Self::MAX_LEN {
            return Err(VolumeInfoError::Long { len: json.len() });
        }
        if json.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let root: Value = serde_json::from_slice(json)?;
        let Value::Object(_) = root else {
            return Err(VolumeInfoError::field("the whole", "an object", &root));
        };
        let width = number(&root, "bytesOffset")?;
        Ok(Self {
            offset_width: u32::try_from(width)
                .ok()
                .and_then(OffsetWidth::from_bytes_offset),
            tiered: match &root["files"] {
                Value::Null => false,
                Value::Array(files) => !files.is_empty(),
                other => return Err(VolumeInfoError::field("files", "a list", other)),
            },
            read_only: match &root["readOnly"] {
                Value::Null => false,
                Value::Bool(yes) => *yes,
                other => return Err(VolumeInfoError::field("readOnly", "true or false", other)),
            },
            dat_file_size: number(&root, "datFileSize")?,
            expire_at: number(&root, "expireAtSec")?,
            erasure_coded: !root["ecShardConfig"].is_null(),
        })
    }
}

/// Why a `.vif` file cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum VolumeInfoError {
    /// No JSON.
    #[error("no JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Longer than any real one.
    #[error("it has {len} bytes, at most {} are read", VolumeInfo::MAX_LEN)]
    Long {
        /// Bytes of the file.
        len: usize,
    },
    /// Something else stands where a value is expected.
    #[error("{field} is {found}, expected {expected}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
        /// The start of what it is.
        found: String,
    },
}

impl VolumeInfoError {
    fn field(field: &'static str, expected: &'static str, found: &Value) -> Self {
        let found = found.to_string().chars().take(EXCERPT).collect();
        Self::Field {
            field,
            expected,
            found,
        }
    }
}

/// Longest piece of bad input that an error repeats.
const EXCERPT: usize = 60;

/// A number, or the decimal text of one; a missing one is 0, as protobuf has it.
fn number(root: &Value, field: &'static str) -> Result<u64, VolumeInfoError> {
    let value = &root[field];
    let number = match value {
        Value::Null => Some(0),
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| VolumeInfoError::field(field, "a number", value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_file_of_a_real_volume() {
        let real = br#"{ "files":  [], "version":  3, "replication":  "", "bytesOffset":  5,
            "datFileSize":  "0", "expireAtSec":  "1795602647", "readOnly":  false,
            "ecShardConfig":  null, "readOnlyCanDelete":  false }"#;
        let info = VolumeInfo::parse(real).unwrap();
        let expected = VolumeInfo {
            offset_width: Some(OffsetWidth::Five),
            expire_at: 1_795_602_647,
            ..VolumeInfo::default()
        };
        assert_eq!(info, expected);
        assert_eq!(VolumeInfo::parse(b" \n").unwrap(), VolumeInfo::default());
        assert_eq!(VolumeInfo::parse(b"{}").unwrap(), VolumeInfo::default());
    }

    #[test]
    fn other_kinds_are_told_apart() {
        let tiered = VolumeInfo::parse(br#"{"files":[{"backendType":"s3"}],"readOnly":true}"#);
        let tiered = tiered.unwrap();
        assert!(tiered.tiered && tiered.read_only && tiered.offset_width.is_none());
        let coded = br#"{"bytesOffset":0,"datFileSize":"77","ecShardConfig":{"dataShards":10}}"#;
        let coded = VolumeInfo::parse(coded).unwrap();
        assert!(coded.erasure_coded && coded.dat_file_size == 77);
    }

    #[test]
    fn a_field_of_another_type_is_named() {
        for (json, field) in [
            (r#"{"files":3}"#, "files"),
            (r#"{"readOnly":"yes"}"#, "readOnly"),
            (r#"{"bytesOffset":-5}"#, "bytesOffset"),
            (r#"{"datFileSize":"1e3"}"#, "datFileSize"),
            ("[]", "the whole"),
        ] {
            let error = VolumeInfo::parse(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(field), "{error}");
        }
        let long = vec![b' '; VolumeInfo::MAX_LEN + 1];
        assert!(VolumeInfo::parse(&long).is_err());
        assert!(VolumeInfo::parse(b"{").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = VolumeInfo::parse(&bytes);
        }
    }
}
