//! Why a read did not come over the fabric.

use context::Stopped;

use crate::client::Reason;

/// Why a read did not come over the fabric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// It has to go another way.
    Fallback(Reason),
    /// The sidecar knows no such needle.
    Absent,
    /// The range does not lie within the needle.
    PastEnd,
    /// The needle has more bytes than are moved at a time.
    TooLarge,
    /// A damaged copy was seen, so that only a whole needle with the right checksum will do.
    Suspect,
    /// The destination does not take so many bytes: nobody else need be asked.
    Refused {
        /// How many.
        len: u64,
    },
    /// The caller gave up, or has no time left.
    Stopped(Stopped),
}

impl std::fmt::Display for Missed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.words())
    }
}

impl Missed {
    /// All that [`kind`](Missed::kind) says of reads that are worth another way.
    pub(crate) fn kinds() -> impl Iterator<Item = &'static str> {
        let told = [Self::Absent, Self::PastEnd, Self::TooLarge, Self::Suspect];
        let reasons = Reason::ALL.into_iter().map(Self::Fallback);
        reasons.chain(told).map(|missed| missed.kind())
    }

    /// One word for statistics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Fallback(reason) => reason.name(),
            Self::Absent => "absent",
            Self::PastEnd => "past_end",
            Self::TooLarge => "too_large",
            Self::Suspect => "suspect",
            Self::Refused { .. } => "refused_here",
            Self::Stopped(_) => "stopped",
        }
    }

    /// In words.
    pub fn words(&self) -> &'static str {
        match self {
            Self::Fallback(reason) => match reason {
                Reason::NoSidecar => "no replica of the volume has a sidecar",
                Reason::NoPermit => "too many reads are under way",
                Reason::OpenBreaker => "the sidecar failed lately and is left alone",
                Reason::Unreachable => "the sidecar cannot be reached",
                Reason::Refused => "the sidecar refuses us",
                Reason::Broken => "the connection to the sidecar broke",
                Reason::Timeout => "the sidecar does not answer in time",
                Reason::Busy => "the sidecar has too much to do",
                Reason::Corrupt => "what the sidecar sent is damaged",
                Reason::NotHere => "the volume is not there any more",
                Reason::Declined => "the sidecar does not serve the volume",
                Reason::Loading => "the sidecar is still reading the volume's index",
                Reason::Failed => "the sidecar cannot read the volume",
            },
            Self::Absent => "there is no such needle",
            Self::PastEnd => "the range does not lie within the needle",
            Self::TooLarge => "the needle is larger than is moved at a time",
            Self::Suspect => "a damaged copy was seen",
            Self::Refused { .. } => "there is no memory for it",
            Self::Stopped(_) => "the caller gave up",
        }
    }
}
