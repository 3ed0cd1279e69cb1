//! 4 KiB of sorted keys and their places.
//!
//! ```text
//!  0  checksum of all that follows   4  keys n   6  bytes of a key k   7  bytes of a place p
//!  8  first key    16  n differences to the first key, k bytes each    then  n places, p bytes each
//! ```
//!
//! A place is the word of the index in memory: its low 3 bytes are the size, the others the offset. Offsets of
//! 32 bits leave the highest byte zero, so that it need not be written.

use seaweed::crc::crc32c;

use super::Refused;

/// A page, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    bytes: &'a [u8; Page::LEN],
    count: usize,
    key_len: usize,
    place_len: usize,
    first: u64,
}

/// Where the keys begin.
const HEAD: usize = 16;

impl<'a> Page<'a> {
    /// Bytes of a page.
    pub const LEN: usize = 4096;

    /// Keys that fit at most, at 8 bytes each.
    pub const MOST: usize = (Self::LEN - HEAD) / 8;

    /// Reads what the page says of itself; nothing of what follows can be outside of it.
    ///
    /// # Errors
    /// When it says what cannot be.
    pub fn parse(bytes: &'a [u8; Page::LEN]) -> Result<Self, Refused> {
        let page = Self {
            bytes,
            count: usize::from(u16::from_le_bytes([bytes[4], bytes[5]])),
            key_len: usize::from(bytes[6]),
            place_len: usize::from(bytes[7]),
            first: word(bytes, 8),
        };
        let fits = page.count >= 1
            && (1..=8).contains(&page.key_len)
            && (7..=8).contains(&page.place_len)
            && page.count * (page.key_len + page.place_len) <= Self::LEN - HEAD;
        match fits {
            true => Ok(page),
            false => Err(Refused::Shape("a page")),
        }
    }

    /// Compares the content with the checksum.
    ///
    /// # Errors
    /// When it is not what was written.
    pub fn verify(bytes: &[u8; Page::LEN]) -> Result<(), Refused> {
        match bytes[..4] == crc32c(&bytes[4..]).to_le_bytes() {
            true => Ok(()),
            false => Err(Refused::Checksum { what: "a page" }),
        }
    }

    /// The place of a key.
    pub fn find(&self, key: u64) -> Option<u64> {
        let wanted = key.wrapping_sub(self.first);
        let (mut from, mut len) = (0, self.count);
        while len > 1 {
            let half = len / 2;
            from = if self.difference(from + half) <= wanted {
                from + half
            } else {
                from
            };
            len -= half;
        }
        (self.difference(from) == wanted).then(|| self.place(from))
    }

    /// All keys with their places.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (u64, u64)> + use<'a> {
        let page = *self;
        (0..self.count).map(move |at| {
            let key = page.first.wrapping_add(page.difference(at));
            (key, page.place(at))
        })
    }

    fn difference(&self, at: usize) -> u64 {
        // Eight bytes from any key on are in the page: a place follows the last one, of 7 bytes at least.
        let bytes = word(self.bytes, HEAD + at * self.key_len);
        bytes & (u64::MAX >> (64 - 8 * self.key_len))
    }

    fn place(&self, at: usize) -> u64 {
        let end = HEAD + self.count * self.key_len + (at + 1) * self.place_len;
        word(self.bytes, end - 8) >> (64 - 8 * self.place_len)
    }
}

/// Fills a page from pairs in ascending order of keys; nothing when they do not fit.
pub(super) fn encode(pairs: &[(u64, u64)]) -> Option<[u8; Page::LEN]> {
    let (first, last) = (pairs.first()?.0, pairs.last()?.0);
    let mut widths = Widths::new(first);
    for (key, place) in pairs {
        widths = widths.with(*key, *place);
    }
    debug_assert!(first <= last);
    if pairs.len() > widths.capacity() {
        return None;
    }
    let mut page = [0; Page::LEN];
    page[4..6].copy_from_slice(&(pairs.len() as u16).to_le_bytes());
    page[6] = widths.key as u8;
    page[7] = widths.place as u8;
    page[8..16].copy_from_slice(&first.to_le_bytes());
    let (keys, places) = page[HEAD..].split_at_mut(pairs.len() * widths.key);
    let keys = keys.chunks_exact_mut(widths.key);
    let places = places.chunks_exact_mut(widths.place);
    for ((to_key, to_place), (key, place)) in keys.zip(places).zip(pairs) {
        to_key.copy_from_slice(&(key - first).to_le_bytes()[..widths.key]);
        to_place.copy_from_slice(&place.to_le_bytes()[..widths.place]);
    }
    let sum = crc32c(&page[4..]);
    page[..4].copy_from_slice(&sum.to_le_bytes());
    Some(page)
}

/// How many bytes keys and places of a page need.
#[derive(Debug, Clone, Copy)]
pub(super) struct Widths {
    first: u64,
    key: usize,
    place: usize,
}

impl Widths {
    pub(super) fn new(first: u64) -> Self {
        Self {
            first,
            key: 1,
            place: 7,
        }
    }

    /// With a pair more.
    pub(super) fn with(self, key: u64, place: u64) -> Self {
        Self {
            first: self.first,
            key: self.key.max(bytes_of(key - self.first)),
            place: self.place.max(bytes_of(place)),
        }
    }

    /// Pairs of these widths in a page.
    pub(super) fn capacity(self) -> usize {
        (Page::LEN - HEAD) / (self.key + self.place)
    }
}

fn bytes_of(number: u64) -> usize {
    (64 - number.leading_zeros()).div_ceil(8) as usize
}

fn word(bytes: &[u8; Page::LEN], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(field)
}
