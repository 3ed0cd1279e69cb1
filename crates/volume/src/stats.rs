//! What a store counts.

use stats::{Counter, Export, Exporter};

use crate::saved::Refused;
use crate::{Absent, Miss};

/// The numbers of a store.
#[derive(Debug, Default)]
pub struct VolumeStats {
    /// Needles found.
    pub found: Counter,
    /// Misses: the key was never written.
    pub unknown: Counter,
    /// Misses: deleted.
    pub deleted: Counter,
    /// Misses: wrong cookie.
    pub cookie: Counter,
    /// Misses: the volume is not here.
    pub not_here: Counter,
    /// Misses: the volume is not served out of its files.
    pub declined: Counter,
    /// Misses: the index is still being read.
    pub loading: Counter,
    /// Misses: expired.
    pub expired: Counter,
    /// Misses: the kernel refused something.
    pub io: Counter,
    /// Look-ups and reads that were not to wait, and would have.
    pub would_wait: Counter,
    /// Records and blocks that are not what was written.
    pub corrupt: Counter,
    /// Reads done.
    pub reads: Counter,
    /// Bytes they returned.
    pub read_bytes: Counter,
    /// Reads that failed.
    pub read_errors: Counter,
    /// Bytes read only to know the sums of a needle's blocks.
    pub verified_bytes: Counter,
    /// Index entries read.
    pub index_entries: Counter,
    /// Pairs of files opened, the first ones of each volume included.
    pub opened: Counter,
    /// Pairs that took the place of others.
    pub reopened: Counter,
    /// Folders listed.
    pub scans: Counter,
    /// Indexes that were opened as they were saved.
    pub index_from_saved: Counter,
    /// Indexes that were read from the start.
    pub index_from_start: Counter,
    /// Saved indexes that were thrown away: made of another `.idx`, or of one that is shorter now.
    pub index_outdated: Counter,
    /// Saved indexes that were thrown away: damaged, unreadable, or of another version.
    pub index_damaged: Counter,
    /// Indexes saved.
    pub index_saves: Counter,
    /// Indexes that could not be saved.
    pub index_save_failures: Counter,
}

impl VolumeStats {
    pub(crate) fn refused(&self, why: &Refused) {
        match why {
            Refused::Foreign(_) | Refused::Shorter { .. } => self.index_outdated.inc(),
            _ => self.index_damaged.inc(),
        }
    }

    pub(crate) fn count(&self, miss: &Miss) {
        let counter = match miss {
            Miss::Absent(Absent::Unknown) => &self.unknown,
            Miss::Absent(Absent::Deleted) => &self.deleted,
            Miss::Absent(Absent::Cookie) => &self.cookie,
            Miss::NotHere => &self.not_here,
            Miss::Declined(_) => &self.declined,
            Miss::Loading => &self.loading,
            Miss::Expired => &self.expired,
            Miss::Corrupt(_) => &self.corrupt,
            Miss::WouldWait => &self.would_wait,
            Miss::Io(_) => &self.io,
        };
        counter.inc();
    }
}

impl Export for VolumeStats {
    fn export(&self, to: &mut dyn Exporter) {
        let misses = [
            ("unknown", &self.unknown),
            ("deleted", &self.deleted),
            ("cookie", &self.cookie),
            ("not_here", &self.not_here),
            ("declined", &self.declined),
            ("loading", &self.loading),
            ("expired", &self.expired),
            ("io", &self.io),
        ];
        for (kind, counter) in misses {
            let labels = [("kind", kind)];
            to.counter("volume_misses", "Needles not found", &labels, counter.get());
        }
        let indexes = [
            (
                "volume_index_opened",
                "Indexes opened",
                [
                    (("from", "saved"), &self.index_from_saved),
                    (("from", "start"), &self.index_from_start),
                ],
            ),
            (
                "volume_index_refused",
                "Saved indexes thrown away",
                [
                    (("reason", "outdated"), &self.index_outdated),
                    (("reason", "damaged"), &self.index_damaged),
                ],
            ),
            (
                "volume_index_saves",
                "Indexes written to be opened the next time",
                [
                    (("outcome", "done"), &self.index_saves),
                    (("outcome", "failed"), &self.index_save_failures),
                ],
            ),
        ];
        for (name, help, counters) in indexes {
            for (label, counter) in counters {
                to.counter(name, help, &[label], counter.get());
            }
        }
        let plain = [
            ("volume_found", "Needles found", &self.found),
            (
                "volume_would_wait",
                "Look-ups and reads given up because the disk would be waited for",
                &self.would_wait,
            ),
            (
                "volume_corrupt",
                "Records and blocks that are not what was written",
                &self.corrupt,
            ),
            ("volume_reads", "Reads done", &self.reads),
            ("volume_read_bytes", "Bytes returned", &self.read_bytes),
            ("volume_read_errors", "Reads failed", &self.read_errors),
            (
                "volume_verified_bytes",
                "Bytes read only to check ranges by them later",
                &self.verified_bytes,
            ),
            (
                "volume_index_entries",
                "Index entries read",
                &self.index_entries,
            ),
            ("volume_opened", "Pairs of files opened", &self.opened),
            (
                "volume_reopened",
                "Pairs of files that replaced others",
                &self.reopened,
            ),
            ("volume_scans", "Folders listed", &self.scans),
        ];
        for (name, help, counter) in plain {
            to.counter(name, help, &[], counter.get());
        }
    }
}
