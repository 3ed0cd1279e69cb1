//! What is asked, and what is answered.

use std::io::Read;

use flate2::read::GzDecoder;
use seaweed::crc::crc32c;

/// How the sidecar is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    Http,
    SharedMemory,
    Tcp,
}

pub(super) const WAYS: [Way; 3] = [Way::Http, Way::SharedMemory, Way::Tcp];

/// Which bytes: all, or so many from an offset on.
pub(super) type Part = Option<(usize, usize)>;

/// What somebody says, in the volume server's statuses; a part that was given is 200 too. The sidecar's 503 leaves
/// the question to the volume server.
#[derive(PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The bytes are a gzip stream, as they are stored.
    pub(super) is_gzip: bool,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn new(status: u16, is_gzip: bool, body: Vec<u8>) -> Self {
        match status {
            200 | 206 => Self {
                status: 200,
                is_gzip,
                body,
            },
            _ => Self {
                status,
                is_gzip: false,
                body: Vec::new(),
            },
        }
    }

    /// Part of the bytes. HTTP cuts one that leads past the end, the fabric refuses it.
    pub(super) fn cut(bytes: &[u8], part: Part, way: Way) -> Self {
        let Some((offset, len)) = part else {
            return Self::new(200, false, bytes.to_vec());
        };
        let end = bytes.len().min(offset + len);
        if offset >= bytes.len() || (end < offset + len && way != Way::Http) {
            return Self::new(416, false, Vec::new());
        }
        Self::new(200, false, bytes[offset..end].to_vec())
    }

    /// Whether it is what a needle with these bytes gives.
    pub(super) fn shows(&self, version: Option<&[u8]>, part: Part, way: Way) -> bool {
        let Some(clear) = version else {
            return self.status == 404;
        };
        let expected = Self::cut(clear, part, way);
        match self.is_gzip {
            true => inflate(&self.body) == expected.body,
            false => *self == expected,
        }
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (len, crc) = (self.body.len(), crc32c(&self.body));
        write!(f, "{} ", self.status)?;
        write!(f, "gzip {}, {len} bytes, {crc:08x}", self.is_gzip)
    }
}

pub(super) fn inflate(bytes: &[u8]) -> Vec<u8> {
    let mut clear = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut clear).unwrap();
    clear
}
