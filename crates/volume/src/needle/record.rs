//! The record of a needle, opened and checked.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use seaweed::FileId;
use seaweed::crc::crc32c;
use seaweed::volume::{Layout, NeedleHeader, NeedleMeta, Ttl, proves};

use crate::Damage;
use crate::index::Size;
use crate::pair::Pair;
use crate::raw::{self, FillError, Wait};

/// All of a record but, if it is large, the data.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) id: FileId,
    pub(crate) offset: u64,
    pub(crate) head: [u8; Layout::HEAD],
    pub(crate) layout: Layout,
    pub(crate) flags: u8,
    pub(crate) checksum: u32,
    pub(crate) last_modified: Option<u64>,
    pub(crate) append_at_ns: Option<u64>,
    pub(crate) ttl: Option<Ttl>,
    /// As the header says.
    size: u32,
    held: Held,
}

/// What is in memory.
#[derive(Debug)]
enum Held {
    /// The whole record up to its padding; the data was checked and has this sum.
    Whole { record: Box<[u8]>, crc: u32 },
    /// What stands behind the data.
    Tail(Box<[u8]>),
}

/// Why a record cannot be used.
#[derive(Debug)]
pub(crate) enum Flaw {
    /// It is not the one that is looked for, or damaged.
    Other(Damage),
    /// It has another cookie.
    Cookie {
        /// The one it has.
        found: u32,
    },
    /// It is not in the page cache.
    WouldWait,
    /// The kernel's answer.
    Io(io::Error),
}

/// Records up to this length are read whole when they are found: to copy them costs less than
/// the second system call.
const SMALL: u64 = 8 << 10;

impl Record {
    /// Reads a record where the index says it is.
    pub(crate) fn open(
        pair: &Pair,
        id: FileId,
        offset: u64,
        size: Size,
        wait: Wait,
    ) -> Result<Self, Flaw> {
        let version = pair.super_block().version;
        let small = match size {
            Size::Exactly(size) => Some(Layout::unpadded_len_of(version, size)),
            Size::Large => None,
        };
        match small.filter(|len| *len <= SMALL) {
            Some(len) => {
                let mut record = vec![0; len as usize].into_boxed_slice();
                read(pair, offset, &mut record, wait)?;
                Self::small(pair, id, offset, size, record)
            }
            None => Self::large(pair, id, offset, size, wait),
        }
    }

    fn small(
        pair: &Pair,
        id: FileId,
        offset: u64,
        size: Size,
        record: Box<[u8]>,
    ) -> Result<Self, Flaw> {
        let layout = check(pair, id, offset, size, &record)?;
        let mut head = [0; Layout::HEAD];
        let some = record.len().min(head.len());
        head[..some].copy_from_slice(&record[..some]);
        let (data, tail) = parts(&layout, &record);
        let meta = meta(&layout, offset, tail)?;
        let crc = crc32c(data);
        if !vouched(&layout, &meta, crc) {
            return Err(Flaw::Other(Damage::Checksum {
                offset,
                stored: meta.checksum,
                computed: crc,
            }));
        }
        let made = Self::new(id, offset, head, layout, &meta);
        let held = Held::Whole { record, crc };
        Ok(Self { held, ..made })
    }

    fn large(pair: &Pair, id: FileId, offset: u64, size: Size, wait: Wait) -> Result<Self, Flaw> {
        let mut head = [0; Layout::HEAD];
        read(pair, offset, &mut head, wait)?;
        let layout = check(pair, id, offset, size, &head)?;
        let mut tail = vec![0; layout.tail_len()].into_boxed_slice();
        read(pair, offset + layout.tail_start(), &mut tail, wait)
            .map_err(|flaw| at_record(flaw, offset))?;
        let meta = meta(&layout, offset, &tail)?;
        let made = Self::new(id, offset, head, layout, &meta);
        let held = Held::Tail(tail);
        Ok(Self { held, ..made })
    }

    fn new(
        id: FileId,
        offset: u64,
        head: [u8; Layout::HEAD],
        layout: Layout,
        meta: &NeedleMeta<'_>,
    ) -> Self {
        Self {
            id,
            offset,
            head,
            layout,
            flags: meta.flags,
            checksum: meta.checksum,
            last_modified: meta.last_modified,
            append_at_ns: meta.append_at_ns,
            ttl: meta.ttl,
            size: NeedleHeader::parse(&head).map_or(0, |header| header.size.max(0) as u32),
            held: Held::Tail(Box::default()),
        }
    }

    /// Whether this is the record of that name, as the index describes it.
    pub(crate) fn is_of(&self, id: FileId, size: Size) -> bool {
        self.id == id && size.admits(self.size)
    }

    /// The data, if it is in memory; then it was checked.
    pub(crate) fn data(&self) -> Option<&[u8]> {
        match &self.held {
            Held::Whole { record, .. } => Some(parts(&self.layout, record).0),
            Held::Tail(_) => None,
        }
    }

    /// The sum of the data, if it is in memory.
    pub(crate) fn whole_crc(&self) -> Option<u32> {
        match &self.held {
            Held::Whole { crc, .. } => Some(*crc),
            Held::Tail(_) => None,
        }
    }

    pub(crate) fn meta(&self) -> Option<NeedleMeta<'_>> {
        let tail = match &self.held {
            Held::Whole { record, .. } => parts(&self.layout, record).1,
            Held::Tail(tail) => tail,
        };
        self.layout.meta(tail).ok()
    }

    /// Whether a volume server would say that its time is over. It counts from the time of
    /// writing, and only for needles that have a time of modification as well.
    pub(crate) fn is_expired(&self) -> bool {
        let (Some(ttl), Some(_)) = (self.ttl, self.last_modified) else {
            return false;
        };
        let written = self.append_at_ns.unwrap_or(0);
        let ends = u128::from(written) + ttl.duration().as_nanos();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.is_ok_and(|now| now.as_nanos() >= ends)
    }
}

/// Without data nothing is vouched for: in a needle without any, the checksum is 0, in the record
/// of a deletion it is that of what was deleted.
fn vouched(layout: &Layout, meta: &NeedleMeta<'_>, crc: u32) -> bool {
    layout.data_len() == 0 || proves(meta.checksum, crc)
}

/// Whether the record at `offset` is the one that is looked for.
fn check(pair: &Pair, id: FileId, offset: u64, size: Size, head: &[u8]) -> Result<Layout, Flaw> {
    let cut_off = Flaw::Other(Damage::CutOff { offset });
    let header = NeedleHeader::parse(head).ok_or(cut_off)?;
    let fits = u32::try_from(header.size).is_ok_and(|found| size.admits(found));
    if header.id != id.key || !fits {
        return Err(Flaw::Other(Damage::OtherRecord {
            offset,
            key: header.id,
            size: header.size,
        }));
    }
    if header.cookie != id.cookie {
        return Err(Flaw::Cookie {
            found: header.cookie,
        });
    }
    Layout::of(pair.super_block().version, head)
        .map_err(|error| Flaw::Other(Damage::Malformed { offset, error }))
}

fn meta<'a>(layout: &Layout, offset: u64, tail: &'a [u8]) -> Result<NeedleMeta<'a>, Flaw> {
    layout
        .meta(tail)
        .map_err(|error| Flaw::Other(Damage::Malformed { offset, error }))
}

/// Data and tail of a whole record; both are empty where it is too short, which it never is.
fn parts<'a>(layout: &Layout, record: &'a [u8]) -> (&'a [u8], &'a [u8]) {
    let (start, end) = (layout.data_start() as usize, layout.tail_start() as usize);
    let data = record.get(start..end).unwrap_or_default();
    let tail = record.get(end..end + layout.tail_len());
    (data, tail.unwrap_or_default())
}

fn read(pair: &Pair, offset: u64, to: &mut [u8], wait: Wait) -> Result<(), Flaw> {
    raw::read(pair.dat(), offset, to, wait).map_err(|error| match error {
        FillError::WouldWait => Flaw::WouldWait,
        FillError::End => Flaw::Other(Damage::CutOff { offset }),
        FillError::Io(error) => Flaw::Io(error),
    })
}

fn at_record(flaw: Flaw, offset: u64) -> Flaw {
    match flaw {
        Flaw::Other(Damage::CutOff { .. }) => Flaw::Other(Damage::CutOff { offset }),
        flaw => flaw,
    }
}
