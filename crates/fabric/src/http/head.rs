//! The head of an answer, from bytes to a typed value, without I/O.
//!
//! Only the fields a read depends on are kept. Whatever is ambiguous about where the body ends
//! (RFC 9112 §6.3) is an error, because a wrong guess would hand one needle's bytes to the
//! reader of the next.

/// Longest head accepted. Volume servers send about 400 bytes.
pub(crate) const MAX_HEAD: usize = 16 * 1024;

/// Most header fields accepted. Volume servers send about ten.
const MAX_FIELDS: usize = 64;

/// Looks for a complete head at the front of `bytes`.
///
/// # Errors
/// [`HeadError`] as soon as the bytes cannot become an acceptable head.
pub fn parse_head(bytes: &[u8]) -> Result<Parsed, HeadError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut answer = httparse::Response::new(&mut fields);
    let window = &bytes[..bytes.len().min(MAX_HEAD)];
    let len = match answer.parse(window) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Ok(Parsed::NeedMore),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err(HeadError("its head is too long"));
        }
        Err(_) => return Err(HeadError("its head is not HTTP/1")),
    };
    let status = answer.code.unwrap_or(0);
    let mut draft = Draft::default();
    for field in answer.headers.iter() {
        draft.add(field.name, field.value.trim_ascii())?;
    }
    // 1.0 closes unless told otherwise; 1.1 keeps unless told otherwise.
    let keep_alive = draft.keep_alive.unwrap_or(answer.version == Some(1));
    let framing = match (draft.chunked, draft.length) {
        _ if status < 200 || status == 204 || status == 304 => Framing::Length(0),
        (true, Some(_)) => return Err(HeadError("it has both a length and chunks")),
        (true, None) => Framing::Chunked,
        (false, Some(len)) => Framing::Length(len),
        (false, None) => Framing::UntilClose,
    };
    Ok(Parsed::Complete {
        head: Head {
            status,
            framing,
            keep_alive: keep_alive && framing != Framing::UntilClose,
            content_range: draft.content_range,
            crc: draft.crc,
            gzip: draft.gzip,
            location: draft.location,
        },
        len,
    })
}

/// What [`parse_head`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// The head goes on after the given bytes.
    NeedMore,
    /// A head, and the number of bytes it takes; the body starts after them.
    Complete {
        /// The head.
        head: Head,
        /// Its length.
        len: usize,
    },
}

/// The head of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Three digits, 100 to 999.
    pub status: u16,
    /// Where the body ends.
    pub framing: Framing,
    /// Whether another request may follow on the connection.
    pub keep_alive: bool,
    /// `Content-Range: bytes a-b/c`.
    pub content_range: Option<ContentRange>,
    /// The checksum of the stored bytes, when the ETag has a volume server's form.
    pub crc: Option<u32>,
    /// The body is a gzip stream.
    pub gzip: bool,
    /// Where a redirection points.
    pub location: Option<String>,
}

/// How a body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// This many bytes.
    Length(u64),
    /// Chunks, each with its size in front.
    Chunked,
    /// Until the server closes; such a body cannot be told from a broken one.
    UntilClose,
}

/// Which bytes of how many a 206 carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// First byte.
    pub first: u64,
    /// Last byte, inclusive, not before `first`.
    pub last: u64,
    /// Length of the whole, unless the server does not say.
    pub total: Option<u64>,
}

/// What makes a head unacceptable, as the end of "the answer is refused because …".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HeadError(pub(crate) &'static str);

#[derive(Default)]
struct Draft {
    length: Option<u64>,
    chunked: bool,
    keep_alive: Option<bool>,
    content_range: Option<ContentRange>,
    crc: Option<u32>,
    gzip: bool,
    location: Option<String>,
}

impl Draft {
    fn add(&mut self, name: &str, value: &[u8]) -> Result<(), HeadError> {
        // The length decides first, so that most names cost one comparison.
        match name.len() {
            4 if name.eq_ignore_ascii_case("etag") => {
                let text = std::str::from_utf8(value).ok();
                self.crc = text.and_then(seaweed::crc::parse_etag);
            }
            8 if name.eq_ignore_ascii_case("location") => {
                self.location = std::str::from_utf8(value).ok().map(str::to_owned);
            }
            10 if name.eq_ignore_ascii_case("connection") => {
                for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                    if option.eq_ignore_ascii_case(b"close") {
                        self.keep_alive = Some(false);
                    } else if option.eq_ignore_ascii_case(b"keep-alive") {
                        self.keep_alive.get_or_insert(true);
                    }
                }
            }
            13 if name.eq_ignore_ascii_case("content-range") => {
                self.content_range = parse_content_range(value)?;
            }
            14 if name.eq_ignore_ascii_case("content-length") => {
                let len = parse_number(value).ok_or(HeadError("its length is no number"))?;
                if self.length.replace(len).is_some_and(|other| other != len) {
                    return Err(HeadError("it has two lengths"));
                }
            }
            16 if name.eq_ignore_ascii_case("content-encoding") => {
                if value.eq_ignore_ascii_case(b"gzip") {
                    self.gzip = true;
                } else if !value.eq_ignore_ascii_case(b"identity") {
                    return Err(HeadError("its content encoding was not asked for"));
                }
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(HeadError("its transfer encoding is not plain chunks"));
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }
}

/// `bytes 0-4095/300000` or `bytes 0-4095/*`; `bytes */300000`, which a 416 has, is none.
fn parse_content_range(value: &[u8]) -> Result<Option<ContentRange>, HeadError> {
    const NONSENSE: HeadError = HeadError("its content range makes no sense");
    let value = value.strip_prefix(b"bytes ").ok_or(NONSENSE)?;
    let slash = value
        .iter()
        .position(|byte| *byte == b'/')
        .ok_or(NONSENSE)?;
    let (range, total) = (&value[..slash], &value[slash + 1..]);
    let total = match total {
        b"*" => None,
        digits => Some(parse_number(digits).ok_or(NONSENSE)?),
    };
    if range == b"*" {
        return Ok(None);
    }
    let dash = range
        .iter()
        .position(|byte| *byte == b'-')
        .ok_or(NONSENSE)?;
    let first = parse_number(&range[..dash]).ok_or(NONSENSE)?;
    let last = parse_number(&range[dash + 1..]).ok_or(NONSENSE)?;
    if last < first || total.is_some_and(|total| last >= total) {
        return Err(NONSENSE);
    }
    Ok(Some(ContentRange { first, last, total }))
}

/// Digits only: `str::parse` would take a plus sign.
fn parse_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
