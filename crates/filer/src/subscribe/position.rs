//! How far a feed has come, and whether it still moves. No I/O, no clock.

use std::time::Duration;

use tokio::time::Instant;

/// How much of the log is asked for again when a feed is resumed. Events of
/// the merged log are ordered by clocks of different filers and arrive up to a
/// second out of order; what is told again is dropped as already seen.
pub(crate) const OVERLAP_NS: i64 = 10_000_000_000;

/// After a longer absence the backlog is skipped: the receiver distrusts
/// everything anyway, and replaying hours of old events would only delay the
/// new ones.
const REPLAY_NS: i64 = 300_000_000_000;

/// Silence that counts as loss: two heartbeats of 5 s, and a little.
pub(crate) const SILENCE: Duration = Duration::from_secs(12);

/// The progress of one feed.
#[derive(Debug, Clone)]
pub(crate) struct Position {
    /// Latest event, by the filer's clock.
    event_ns: i64,
    /// Latest moment that the filer spoke of.
    newest_ns: i64,
    moved: Instant,
}

impl Position {
    /// A feed that starts at `since_ns`.
    pub(crate) fn new(since_ns: i64, now: Instant) -> Self {
        Self {
            event_ns: since_ns,
            newest_ns: since_ns,
            moved: now,
        }
    }

    /// The filer told of an event.
    pub(crate) fn event(&mut self, ts_ns: i64, now: Instant) {
        self.event_ns = self.event_ns.max(ts_ns);
        self.heartbeat(ts_ns, now);
    }

    /// The filer said that it has nothing up to `ts_ns`. What it said before,
    /// said again, is no progress: a held-back feed repeats itself.
    pub(crate) fn heartbeat(&mut self, ts_ns: i64, now: Instant) {
        if ts_ns > self.newest_ns {
            self.newest_ns = ts_ns;
            self.moved = now;
        }
    }

    /// A feed was opened: silence counts from now.
    pub(crate) fn opened(&mut self, now: Instant) {
        self.moved = now;
    }

    /// When the feed counts as lost unless it moves.
    pub(crate) fn deadline(&self) -> Instant {
        self.moved + SILENCE
    }

    /// The latest moment that the filer spoke of.
    pub(crate) fn newest_ns(&self) -> i64 {
        self.newest_ns
    }

    /// Whether so much was missed that it is skipped.
    pub(crate) fn is_behind(&self, clock_ns: i64) -> bool {
        clock_ns.saturating_sub(self.newest_ns) > REPLAY_NS
    }

    /// Where to go on, given what the filer's clock says. A heartbeat is not a
    /// position: an event may have been stamped just before and logged just
    /// after it, hence the overlap.
    pub(crate) fn resume_ns(&self, clock_ns: i64) -> i64 {
        if self.is_behind(clock_ns) {
            return clock_ns - OVERLAP_NS;
        }
        let seen = self.event_ns.max(self.newest_ns - OVERLAP_NS);
        seen.min(clock_ns) - OVERLAP_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    #[test]
    fn a_feed_that_repeats_itself_does_not_move() {
        let start = Instant::now();
        let mut position = Position::new(100 * S, start);
        let later = start + Duration::from_secs(5);
        position.event(101 * S, later);
        assert_eq!(position.deadline(), later + SILENCE);
        position.event(101 * S, later + Duration::from_secs(2));
        position.heartbeat(99 * S, later + Duration::from_secs(3));
        assert_eq!(position.deadline(), later + SILENCE);
        position.heartbeat(106 * S, later + Duration::from_secs(5));
        assert_eq!(
            position.deadline(),
            later + Duration::from_secs(5) + SILENCE
        );
    }

    #[test]
    fn a_short_absence_is_replayed_with_an_overlap() {
        let mut position = Position::new(100 * S, Instant::now());
        position.event(1000 * S, Instant::now());
        assert_eq!(position.resume_ns(1003 * S), 990 * S);
        // A quiet hour before does not make it go back an hour.
        position.heartbeat(4600 * S, Instant::now());
        assert_eq!(position.resume_ns(4602 * S), 4580 * S);
    }

    #[test]
    fn a_long_absence_is_skipped() {
        let mut position = Position::new(100 * S, Instant::now());
        position.event(1000 * S, Instant::now());
        assert_eq!(position.resume_ns(9000 * S), 8990 * S);
    }

    #[test]
    fn a_filer_whose_clock_is_behind_is_not_asked_for_its_future() {
        let mut position = Position::new(100 * S, Instant::now());
        position.event(1000 * S, Instant::now());
        assert_eq!(position.resume_ns(940 * S), 930 * S);
    }
}
