//! Tells sequential reading from random reading, and says how far to read ahead.
//!
//! What arrives here is not what the application asked for. The kernel's own readahead turns
//! one read(2) into several READs of up to 1 MiB which reach us from different threads, in any
//! order; several threads may share a handle; mmap asks in windows around each fault. So
//! instead of comparing a request with the one before, each handle keeps a few *trails*:
//! ranges of the file that were asked for without a gap. A request that touches a trail's end
//! (or its start) lengthens it, one that closes the gap between two joins them, any other
//! starts a new trail in place of the one unused for longest. Random requests hardly ever
//! touch; reordered neighbours always do, sooner or later.
//!
//! A trail that was lengthened often enough is sequential. Its reader is served in whole
//! pieces, and the pieces in front of it are fetched ahead: one at first, twice as many each
//! time the reader has passed as much as is ahead of it, up to a limit.
//!
//! Offsets in, verdicts out: no time, no locks, no I/O.

/// Trails of a handle: two or three streams and the stray requests between them.
const TRAILS: usize = 8;
/// A trail this short is not sequential, however many requests made it: to fetch pieces of
/// megabytes for the sake of a few records would make them slow.
const ENOUGH: u64 = 128 << 10;
/// A trail this long is sequential even if just two requests made it.
const PLENTY: u64 = 1 << 20;
/// A trail nobody touched for this many requests has ended.
const LIFE: u64 = 64;

/// How the bytes of a request should be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Exactly what is asked.
    Random,
    /// In whole pieces, and what lies ahead as well.
    Sequential(Course),
}

/// Where a sequential reader comes from and goes to, in offsets of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Course {
    /// It has read everything from here on.
    pub(crate) since: u64,
    /// Nothing before this needs fetching ahead, it is asked for or being fetched already.
    pub(crate) from: u64,
    /// Nothing from here on needs fetching ahead yet. Equal to `from` if there is nothing to do.
    pub(crate) to: u64,
}

/// How far reading ahead goes, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reach {
    /// At first, and at least.
    pub(crate) first: u64,
    /// At most; 0 switches it off.
    pub(crate) most: u64,
}

/// The trails of one handle.
#[derive(Debug)]
pub(crate) struct Window {
    /// As of the last request.
    reach: Reach,
    trails: Vec<Trail>,
    requests: u64,
}

#[derive(Debug, Clone, Copy)]
struct Trail {
    start: u64,
    end: u64,
    /// Requests that lengthened it forwards and backwards.
    ups: u32,
    downs: u32,
    /// How far to read ahead of `end`; 0 until it is sequential.
    ahead: u64,
    /// The window doubles when `end` passes this.
    grow_at: u64,
    /// Up to here was fetched ahead.
    issued: u64,
    /// Number of the request that touched it last.
    used: u64,
}

impl Window {
    pub(crate) const fn new() -> Self {
        Self {
            reach: Reach { first: 0, most: 0 },
            trails: Vec::new(),
            requests: 0,
        }
    }

    /// Takes note of a request for `len` bytes at `offset` and judges it.
    pub(crate) fn note(&mut self, reach: Reach, offset: u64, len: u64) -> Access {
        let end = offset + len;
        self.reach = reach;
        self.requests += 1;
        let Some(index) = self.touched(offset, end) else {
            self.start(offset, end);
            // Whoever begins at the beginning and lets the kernel ask for this much is about
            // to read on. No more than the piece itself is staked on that.
            let opening = (offset == 0 && len >= ENOUGH).then_some(0);
            return match self.overtaken(offset).or(opening) {
                Some(since) => Access::Sequential(Course {
                    since,
                    from: end,
                    to: end,
                }),
                None => Access::Random,
            };
        };
        let trail = &mut self.trails[index];
        trail.used = self.requests;
        if end > trail.end {
            trail.end = end;
            trail.ups += 1;
        } else {
            trail.start = offset;
            trail.downs += 1;
        }
        let index = self.join(index);
        self.judge(index)
    }

    /// Tells that nothing was fetched from `offset` on: the next request tries again.
    pub(crate) fn postpone(&mut self, offset: u64) {
        for trail in self.reaching(offset) {
            trail.issued = offset;
        }
    }

    /// The same because there was no memory for it, so that less should be hoped for.
    pub(crate) fn shrink(&mut self, offset: u64) {
        let first = self.reach.first;
        for trail in self.reaching(offset) {
            trail.issued = offset;
            trail.ahead = (trail.ahead / 2).max(first);
            trail.grow_at = trail.end + trail.ahead;
        }
    }

    /// Whether a sequential reader is in `[from, until)` or may still come to it, whoever else
    /// has passed it: a second pass follows the trail of the first.
    pub(crate) fn expects(&self, from: u64, until: u64) -> bool {
        self.trails.iter().any(|trail| {
            self.is_alive(trail)
                && until > trail.start
                && from < trail.end.max(trail.issued) + self.reach.first
                && !trail.has_passed(from, until)
        })
    }

    fn reaching(&mut self, offset: u64) -> impl Iterator<Item = &mut Trail> {
        let trails = self.trails.iter_mut();
        trails.filter(move |trail| trail.end <= offset && offset < trail.issued)
    }

    /// The trail that `[offset, end)` lengthens: sequential ones first.
    fn touched(&self, offset: u64, end: u64) -> Option<usize> {
        let touches = |trail: &Trail| {
            let forwards = trail.start <= offset && offset <= trail.end && end > trail.end;
            let backwards = offset < trail.start && end == trail.start;
            forwards || backwards
        };
        let mut found = None;
        for (index, trail) in self.trails.iter().enumerate() {
            if touches(trail) {
                if trail.is_sequential() {
                    return Some(index);
                }
                found = found.or(Some(index));
            }
        }
        found
    }

    /// Where the sequential reader began whose requests arrive out of order, so that one for
    /// `offset` got here before those in front of it: what it wants is being fetched ahead.
    fn overtaken(&self, offset: u64) -> Option<u64> {
        let ahead_of = |trail: &&Trail| trail.end < offset && offset < trail.issued;
        let mut alive = self.trails.iter().filter(|trail| self.is_alive(trail));
        alive.find(ahead_of).map(|trail| trail.start)
    }

    fn is_alive(&self, trail: &Trail) -> bool {
        trail.is_promising() && trail.used + LIFE > self.requests
    }

    fn start(&mut self, start: u64, end: u64) {
        let trail = Trail {
            start,
            end,
            ups: 0,
            downs: 0,
            ahead: 0,
            grow_at: 0,
            issued: end,
            used: self.requests,
        };
        if self.trails.len() < TRAILS {
            self.trails.push(trail);
            return;
        }
        let requests = self.requests;
        let worth = |trail: &&mut Trail| {
            let alive = trail.is_promising() && trail.used + LIFE > requests;
            (alive, trail.used)
        };
        if let Some(least) = self.trails.iter_mut().min_by_key(worth) {
            *least = trail;
        }
    }

    /// Appends the trail that starts where this one ends, and this one to the trail that ends
    /// where it starts. Returns where the result is.
    fn join(&mut self, mut index: usize) -> usize {
        while let Some((first, second)) = self.adjacent(index) {
            let after = self.trails[second];
            let before = &mut self.trails[first];
            before.end = after.end;
            before.ups += after.ups + 1;
            before.ahead = before.ahead.max(after.ahead);
            before.grow_at = before.grow_at.max(after.grow_at);
            before.issued = before.issued.max(after.issued);
            before.used = self.requests;
            self.trails.swap_remove(second);
            // The last trail took the place of the second.
            index = if first == self.trails.len() {
                second
            } else {
                first
            };
        }
        index
    }

    fn adjacent(&self, index: usize) -> Option<(usize, usize)> {
        let own = self.trails[index];
        self.trails.iter().enumerate().find_map(|(other, trail)| {
            if other == index {
                None
            } else if trail.start == own.end {
                Some((index, other))
            } else if trail.end == own.start {
                Some((other, index))
            } else {
                None
            }
        })
    }

    fn judge(&mut self, index: usize) -> Access {
        let Reach { first, most } = self.reach;
        let trail = &mut self.trails[index];
        if trail.is_backwards() {
            // Whole pieces serve it well: it finds the rest of each in memory.
            return Access::Sequential(Course {
                since: 0,
                from: trail.end,
                to: trail.end,
            });
        }
        if !trail.is_sequential() {
            return Access::Random;
        }
        // It may reach less far than before.
        trail.ahead = trail.ahead.min(most);
        if trail.ahead == 0 {
            trail.ahead = first.min(most);
            trail.grow_at = trail.end + trail.ahead;
        } else if trail.end >= trail.grow_at {
            trail.ahead = (trail.ahead * 2).min(most);
            trail.grow_at = trail.end + trail.ahead;
        }
        let from = trail.issued.max(trail.end);
        let to = (trail.end + trail.ahead).max(from);
        trail.issued = to;
        Access::Sequential(Course {
            since: trail.start,
            from,
            to,
        })
    }
}

impl Trail {
    fn is_sequential(&self) -> bool {
        let len = self.end - self.start;
        let requests = self.ups + self.downs;
        self.ups >= 1 && (len >= PLENTY || (requests >= 2 && len >= ENOUGH))
    }

    /// Sequential, or about to be.
    fn is_promising(&self) -> bool {
        let opening = self.start == 0 && self.end >= ENOUGH;
        self.is_sequential() || self.is_backwards() || opening
    }

    /// Whether it has asked for all it will want of `[from, until)`.
    fn has_passed(&self, from: u64, until: u64) -> bool {
        let forwards = self.is_sequential() && self.start < until;
        let backwards = self.is_backwards() && self.start <= from;
        (forwards || backwards) && until <= self.end
    }

    fn is_backwards(&self) -> bool {
        self.ups == 0 && self.downs >= 3 && self.end - self.start >= ENOUGH
    }
}

#[cfg(test)]
mod tests;
