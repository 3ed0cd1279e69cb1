//! Whether the cluster is full, or only away.
//!
//! Of a cluster without room the master says at once that no volume can be written to, or nothing at all for
//! ten seconds and more, in which it tries to make volumes. It does both as well when a volume server is
//! away that will be back. What tells the two apart are the volumes that were written to last: a server
//! that is away has taken its copies of them out of the filer's map, a server without room has not.
//!
//! A volume server whose disk is full says so itself when it is sent something, until within a minute it
//! tells the master. Others may have room, so several are tried.
//!
//! A verdict holds for a while: whoever writes more meanwhile is not kept waiting as long as the first.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use filer::Filer;
use parking_lot::Mutex;

use super::assign::Assignment;

/// How long the master may have nothing while filer, master and volume servers are all there: making volumes
/// takes a second, on a slow disk two; and a call that a filer's restart broke is made again within two.
const SUSPICION: Duration = Duration::from_secs(3);
/// How long an assignment may take before it is asked whether they are, and between two such looks: one that can
/// be had comes in milliseconds.
pub(super) const LOOK: Duration = Duration::from_millis(500);
/// How long a verdict holds. Somebody may have made room.
const VERDICT: Duration = Duration::from_secs(5);
/// Volumes looked at: those of two rounds of growth by default.
const RECENT: usize = 14;
/// A server that is away for longer will not be back soon, and a volume may have been deleted.
const BACK: Duration = Duration::from_secs(600);
/// How many times volume servers have to refuse for want of room: each of them some times, since
/// which one comes next is chance, ...
const TRIES_EACH: usize = 4;
/// ...and in all.
const TRIES: usize = 8;

/// What is known of the room in the cluster.
pub(super) struct Fullness {
    filer: Filer,
    /// Volumes that were assigned last.
    recent: Mutex<VecDeque<Recent>>,
    since: Mutex<Option<Instant>>,
}

#[derive(Debug, Clone, Copy)]
struct Recent {
    volume: u32,
    /// How many servers have to have it.
    copies: usize,
    at: Instant,
}

/// Since when everybody has been there, and nothing could be had nevertheless.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    since: Option<Instant>,
}

/// Volume servers that refused one chunk for want of room.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    servers: HashSet<String>,
    tries: usize,
}

impl Fullness {
    pub(super) fn new(filer: Filer) -> Self {
        Self {
            filer,
            recent: Mutex::default(),
            since: Mutex::default(),
        }
    }

    /// There was room on a volume with so many copies.
    pub(super) fn assigned(&self, assignment: &Assignment) {
        let volume = assignment.base.volume;
        let mut recent = self.recent.lock();
        recent.retain(|one| one.volume != volume);
        recent.push_back(Recent {
            volume,
            copies: assignment.copies,
            at: Instant::now(),
        });
        if recent.len() > RECENT {
            recent.pop_front();
        }
    }

    /// A chunk was stored.
    pub(super) fn stored(&self) {
        *self.since.lock() = None;
    }

    /// The verdict on a cluster that has no room; asked again and again, with what was found before.
    pub(super) async fn no_room(&self, doubt: &mut Doubt) -> bool {
        if self.holds() {
            return true;
        }
        if !self.all_are_there().await {
            doubt.since = None;
            return false;
        }
        let since = *doubt.since.get_or_insert_with(Instant::now);
        since.elapsed() >= SUSPICION && self.verdict()
    }

    /// The verdict on volume servers that have refused a chunk since `began`.
    pub(super) fn refused(&self, refusals: &Refusals, began: Instant) -> bool {
        let each = refusals.servers.len();
        if self.holds() {
            return refusals.tries >= each * 2;
        }
        let enough = TRIES.max(each * TRIES_EACH);
        refusals.tries >= enough && began.elapsed() >= SUSPICION && self.verdict()
    }

    fn holds(&self) -> bool {
        self.since.lock().is_some_and(|at| at.elapsed() < VERDICT)
    }

    fn verdict(&self) -> bool {
        *self.since.lock() = Some(Instant::now());
        true
    }

    /// Whether there are volume servers, and none is known to be away.
    async fn all_are_there(&self) -> bool {
        match self.filer.statistics("", "", "", "").await {
            Ok(seen) if seen.total_size > 0 => {}
            // No volume server, no master, or no filer.
            _ => return false,
        }
        let recent: Vec<_> = self.recent.lock().iter().copied().collect();
        for one in recent.iter().filter(|one| one.at.elapsed() < BACK) {
            match self.filer.copies(one.volume).await {
                Ok(found) if found >= one.copies => {}
                _ => return false,
            }
        }
        true
    }
}

impl Refusals {
    /// One more.
    pub(super) fn add(&mut self, server: &str) {
        if !self.servers.contains(server) {
            self.servers.insert(server.to_owned());
        }
        self.tries += 1;
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.tries == 0
    }
}

/// How many servers have a volume of a replica placement such as `001`.
pub(super) fn copies(placement: &str) -> usize {
    let digits = placement.chars().filter_map(|digit| digit.to_digit(10));
    1 + digits.sum::<u32>() as usize
}

/// Whether a volume server says that its disk is full.
pub(super) fn disk_is_full(text: &str) -> bool {
    text.contains("no space left on device")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placement_counts_the_copies_beside_the_first() {
        assert_eq!(
            ["", "000", "001", "110", "200"].map(copies),
            [1, 1, 2, 3, 3]
        );
    }

    #[test]
    fn what_a_volume_server_says_is_known() {
        let said = "failed to write to local disk: append to volume 5 size 2097152 actualSize 2097232: failed to write \
            2097232 bytes to /data/5.dat at offset 33556200: write /data/5.dat: no space left on device";
        assert!(disk_is_full(said));
        assert!(!disk_is_full("volume 3 is read only"));
    }
}
