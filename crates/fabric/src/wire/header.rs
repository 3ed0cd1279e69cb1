//! The head of a frame: everything that can be refused before a byte of the body is waited for.

use std::ops::RangeInclusive;

use seaweed::crc::Crc;

use super::{
    HEADER, MAX_BODY, MAX_ITEMS, MAX_NAME, MAX_READ, MAX_REASON, MAX_REGIONS, MAX_SERVER, MAX_TEXT,
    MAX_TOKEN, Message, VERSION, WireError,
};

/// First bytes of every frame.
pub(super) const MAGIC: [u8; 2] = *b"RT";
/// Bytes of a region in a Memory.
pub(super) const REGION: usize = 20;
/// Bytes of a Hello before the name.
pub(super) const HELLO: usize = 17;
/// Bytes of an item in a Read.
pub(super) const ITEM: usize = 40;
/// Bytes of an Answer.
pub(super) const ANSWER: usize = 20;
/// Bytes of a Write before the server.
pub(super) const WRITE: usize = 48;
/// Bytes of a Written before the text.
pub(super) const WRITTEN: usize = 8;

/// Bytes of a Borrow.
pub(super) const BORROW: usize = 36;
/// Bytes of a Lent.
pub(super) const LENT: usize = 5;

/// What a frame is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Hello = 1,
    Challenge,
    Proof,
    Welcome,
    Refusal,
    Read,
    Answer,
    Ping,
    Pong,
    Bye,
    Write,
    Written,
    Borrow,
    Lent,
    Memory,
    Ready,
}

impl Kind {
    /// All, in the order of their numbers.
    const ALL: [Self; 16] = [
        Self::Hello,
        Self::Challenge,
        Self::Proof,
        Self::Welcome,
        Self::Refusal,
        Self::Read,
        Self::Answer,
        Self::Ping,
        Self::Pong,
        Self::Bye,
        Self::Write,
        Self::Written,
        Self::Borrow,
        Self::Lent,
        Self::Memory,
        Self::Ready,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Hello => "Hello",
            Self::Challenge => "Challenge",
            Self::Proof => "Proof",
            Self::Welcome => "Welcome",
            Self::Refusal => "Refusal",
            Self::Read => "Read",
            Self::Answer => "Answer",
            Self::Ping => "Ping",
            Self::Pong => "Pong",
            Self::Bye => "Bye",
            Self::Write => "Write",
            Self::Written => "Written",
            Self::Borrow => "Borrow",
            Self::Lent => "Lent",
            Self::Memory => "Memory",
            Self::Ready => "Ready",
        }
    }

    /// That of a message.
    pub(super) fn of(message: &Message) -> Self {
        match message {
            Message::Hello(_) => Self::Hello,
            Message::Challenge(_) => Self::Challenge,
            Message::Proof(_) => Self::Proof,
            Message::Welcome(_) => Self::Welcome,
            Message::Refusal(_) => Self::Refusal,
            Message::Read(_) => Self::Read,
            Message::Answer(_) => Self::Answer,
            Message::Ping => Self::Ping,
            Message::Pong => Self::Pong,
            Message::Bye => Self::Bye,
            Message::Write(_) => Self::Write,
            Message::Written(_) => Self::Written,
            Message::Borrow(_) => Self::Borrow,
            Message::Lent(_) => Self::Lent,
            Message::Memory(_) => Self::Memory,
            Message::Ready => Self::Ready,
        }
    }

    pub(super) fn malformed(self, what: &'static str) -> WireError {
        WireError::Malformed {
            kind: self.name(),
            what,
        }
    }

    fn parse(number: u8) -> Result<Self, WireError> {
        let kind = usize::from(number).checked_sub(1);
        let kind = kind.and_then(|at| Self::ALL.get(at));
        kind.copied().ok_or(WireError::Kind(number))
    }

    /// How long a body may be.
    fn body(self) -> RangeInclusive<usize> {
        match self {
            Self::Hello => HELLO..=HELLO + MAX_NAME,
            Self::Challenge => 17..=17,
            Self::Proof => 32..=32,
            Self::Welcome => 42..=42,
            Self::Refusal => 0..=MAX_REASON,
            Self::Read => 2 + ITEM..=2 + MAX_ITEMS * ITEM,
            Self::Answer => ANSWER..=ANSWER,
            Self::Ping | Self::Pong | Self::Bye | Self::Ready => 0..=0,
            Self::Write => WRITE + 1..=WRITE + MAX_SERVER + MAX_TOKEN,
            Self::Written => WRITTEN..=WRITTEN + MAX_TEXT,
            Self::Borrow => BORROW..=BORROW,
            Self::Lent => LENT..=LENT,
            Self::Memory => REGION..=MAX_REGIONS * REGION,
        }
    }

    /// Whether data may follow.
    fn has_data(self) -> bool {
        matches!(self, Self::Answer | Self::Write)
    }
}

// The longest body of any kind fits.
const _: () = assert!(2 + MAX_ITEMS * ITEM <= MAX_BODY);
const _: () = assert!(WRITE + MAX_SERVER + MAX_TOKEN <= MAX_BODY);

/// A header whose lengths are within their limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) body: usize,
    pub(super) id: u64,
    pub(super) data: u32,
    checksum: u32,
}

impl Header {
    /// Reads the header at the front of `bytes`; nothing as long as it is not all there.
    /// A stranger is refused by its first bytes, though, for it may not send as many as a header has.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, WireError> {
        if let Some(magic) = bytes.first_chunk()
            && *magic != MAGIC
        {
            return Err(WireError::Magic(*magic));
        }
        if let Some(version) = bytes.get(2)
            && *version != VERSION
        {
            return Err(WireError::Version(*version));
        }
        let Some(head) = bytes.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let kind = Kind::parse(head[3])?;
        let [_, len, id_low, id_high, data, checksum] = words(head);
        if !kind.body().contains(&(len as usize)) {
            return Err(WireError::Length {
                kind: kind.name(),
                len,
            });
        }
        if data > 0 && (!kind.has_data() || u64::from(data) > MAX_READ) {
            return Err(WireError::Data {
                kind: kind.name(),
                len: data,
            });
        }
        Ok(Some(Self {
            kind,
            body: len as usize,
            id: u64::from(id_high) << 32 | u64::from(id_low),
            data,
            checksum,
        }))
    }

    /// The header of a frame with this body.
    pub(super) fn write(kind: Kind, id: u64, data: u32, body: &[u8]) -> [u8; HEADER] {
        let mut head = [0; HEADER];
        head[..2].copy_from_slice(&MAGIC);
        head[2] = VERSION;
        head[3] = kind as u8;
        head[4..8].copy_from_slice(&(body.len() as u32).to_le_bytes());
        head[8..16].copy_from_slice(&id.to_le_bytes());
        head[16..20].copy_from_slice(&data.to_le_bytes());
        let checksum = checksum(&head, body);
        head[20..].copy_from_slice(&checksum.to_le_bytes());
        head
    }

    /// Compares the checksum; `head` are the header's own bytes.
    pub(super) fn verify(&self, head: &[u8], body: &[u8]) -> Result<(), WireError> {
        let got = checksum(head, body);
        match got == self.checksum {
            true => Ok(()),
            false => Err(WireError::Checksum {
                expected: self.checksum,
                got,
            }),
        }
    }
}

fn checksum(head: &[u8], body: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(&head[..20]);
    crc.update(&[0; 4]);
    crc.update(body);
    crc.value()
}

fn words(head: &[u8; HEADER]) -> [u32; 6] {
    let (words, _) = head.as_chunks::<4>();
    std::array::from_fn(|at| u32::from_le_bytes(words[at]))
}
