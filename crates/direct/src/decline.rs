//! Why a read goes another way.

/// Why a read is left to the next route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decline {
    /// No sidecar of this host that lends files stands beside a server of the volume.
    NoSidecar,
    /// The sidecar does not answer.
    Unreachable,
    /// The sidecar lends nothing to our user.
    Refused,
    /// The volume is not there.
    NotHere,
    /// The volume is there in a form that is not served, or is no volume.
    Declined,
    /// Indexes and descriptors of other volumes have used up what may be used.
    Budget,
    /// The files were asked for and are not here yet.
    Opening,
    /// The sidecar has not confirmed for too long that the files are the right ones.
    Lease,
    /// The files were replaced by a vacuum, or are gone.
    Replaced,
    /// The index is still being read.
    Loading,
    /// The needle is not there, as far as can be told here.
    Absent,
    /// The range does not lie within the needle.
    PastEnd,
    /// The needle is stored in a form that has to be put together.
    Form,
    /// The bytes are not in memory: the sidecar waits for its disks better.
    Disk,
    /// The needle is damaged, or was once seen damaged.
    Suspect,
    /// The system failed.
    Failed,
}

impl Decline {
    /// All reasons, for whoever counts them.
    pub const ALL: [Self; 16] = [
        Self::NoSidecar,
        Self::Unreachable,
        Self::Refused,
        Self::NotHere,
        Self::Declined,
        Self::Budget,
        Self::Opening,
        Self::Lease,
        Self::Replaced,
        Self::Loading,
        Self::Absent,
        Self::PastEnd,
        Self::Form,
        Self::Disk,
        Self::Suspect,
        Self::Failed,
    ];

    /// One word for statistics; it does not change from version to version.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoSidecar => "no_sidecar",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::NotHere => "not_here",
            Self::Declined => "declined",
            Self::Budget => "budget",
            Self::Opening => "opening",
            Self::Lease => "lease",
            Self::Replaced => "replaced",
            Self::Loading => "loading",
            Self::Absent => "absent",
            Self::PastEnd => "past_end",
            Self::Form => "form",
            Self::Disk => "disk",
            Self::Suspect => "suspect",
            Self::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_place_and_its_word() {
        let words: std::collections::HashSet<_> = Decline::ALL.map(Decline::name).into();
        assert_eq!(words.len(), Decline::ALL.len());
        for (at, reason) in Decline::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at, "{reason:?}");
        }
    }
}
