use std::time::Duration;

use super::*;
use crate::client::{Config, Nearness, Peer};

const VOLUME: u32 = 7;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

struct Site {
    policy: Arc<Policy>,
    candidates: Vec<Candidate>,
    now: Instant,
}

/// Sidecars that are asked in the order of their numbers, for at most a second.
fn site(count: usize) -> Site {
    let config = Config {
        timeout: ms(1000),
        max_concurrent: 1,
        ..Config::default()
    };
    let nearness = [Nearness::Local, Nearness::Rack];
    Site {
        candidates: (0..count)
            .map(|at| Candidate {
                peer: Arc::new(Peer::new(format!("sidecar {at}"), &config, at as u64)),
                nearness: nearness[at],
            })
            .collect(),
        policy: Arc::new(Policy::new(config, 1)),
        now: Instant::now(),
    }
}

impl Site {
    fn posting(&self) -> Posting {
        let candidates = self.candidates.clone();
        let deadline = self.now + ms(60_000);
        Posting::new(
            self.policy.clone(),
            candidates,
            VOLUME,
            100,
            deadline,
            self.now,
        )
    }

    fn is_left_alone(&self, at: usize) -> bool {
        self.candidates[at].peer.is_left_alone(self.now)
    }

    /// One write to which the sidecars answer so, one after the other.
    fn sent(&self, outcomes: &[Outcome]) -> Sent {
        let mut posting = self.posting();
        for (at, outcome) in outcomes.iter().enumerate() {
            assert_eq!(started(posting.next(self.now)), at);
            posting.answered(*outcome, self.now);
        }
        finished(posting.next(self.now))
    }
}

fn started(turn: Turn) -> usize {
    match turn {
        Turn::Start { candidate, .. } => candidate,
        turn => panic!("{turn:?} instead of a start"),
    }
}

fn finished(turn: Turn) -> Sent {
    match turn {
        Turn::Finish(sent) => sent,
        turn => panic!("{turn:?} instead of the end"),
    }
}

#[test]
fn what_the_volume_server_says_ends_it() {
    for outcome in [Outcome::Kept, Outcome::Refused] {
        assert_eq!(site(2).sent(&[outcome]), Sent::Answered);
        assert_eq!(site(2).sent(&[Outcome::Busy, outcome]), Sent::Answered);
    }
}

#[test]
fn what_no_volume_server_has_said_goes_to_the_next_and_then_elsewhere() {
    for (outcome, reason) in [
        (Outcome::Unreachable, Reason::Failed),
        (Outcome::Declined, Reason::Declined),
        (Outcome::Busy, Reason::Busy),
        (Outcome::Corrupt, Reason::Corrupt),
        (Outcome::Late, Reason::Timeout),
    ] {
        let site = site(2);
        assert_eq!(site.sent(&[outcome; 2]), Sent::Fallback(reason));
        assert!(!site.is_left_alone(0), "{outcome:?}: it is alive");
    }
}

#[test]
fn who_does_not_take_the_volume_is_not_asked_for_it_for_a_moment() {
    for (outcome, reason) in [
        (Outcome::Unreachable, Reason::Failed),
        (Outcome::Declined, Reason::Declined),
        (Outcome::Busy, Reason::Busy),
    ] {
        let mut site = site(1);
        site.sent(&[outcome]);
        assert_eq!(site.sent(&[]), Sent::Fallback(reason));
        site.now += ms(2001);
        assert_eq!(site.sent(&[Outcome::Kept]), Sent::Answered);
    }
}

#[test]
fn a_sidecar_that_fails_is_left_alone_and_tried_by_one() {
    let mut site = site(1);
    let mut posting = site.posting();
    started(posting.next(site.now));
    posting.broken(Reason::Unreachable, site.now);
    let unreachable = Sent::Fallback(Reason::Unreachable);
    assert_eq!(finished(posting.next(site.now)), unreachable);
    assert!(site.is_left_alone(0));
    assert_eq!(site.sent(&[]), Sent::Fallback(Reason::OpenBreaker));
    site.now += ms(251);
    assert_eq!(site.sent(&[Outcome::Kept]), Sent::Answered);
    assert!(!site.is_left_alone(0));
}

#[test]
fn silence_ends_with_the_time_and_counts_against_the_sidecar() {
    let mut site = site(2);
    let mut posting = site.posting();
    started(posting.next(site.now));
    let until = site.now + ms(1000);
    assert_eq!(posting.next(site.now + ms(999)), Turn::Wait { until });
    assert_eq!(posting.next(until), Turn::Abandon);
    let sent = finished(posting.next(until));
    assert_eq!(sent, Sent::Fallback(Reason::Timeout));
    site.now = until;
    assert!(site.is_left_alone(0) && !site.is_left_alone(1));
    // A late answer changes nothing.
    posting.answered(Outcome::Kept, site.now);
    assert_eq!(finished(posting.next(site.now)), sent);
}

#[test]
fn a_probe_makes_way_after_a_quarter_of_the_time() {
    let mut site = site(1);
    let mut posting = site.posting();
    started(posting.next(site.now));
    posting.broken(Reason::Refused, site.now);
    drop(posting);
    site.now += ms(251);
    let mut posting = site.posting();
    let until = site.now + ms(250);
    let probe = Turn::Start {
        candidate: 0,
        until,
    };
    assert_eq!(posting.next(site.now), probe);
    assert_eq!(posting.next(until), Turn::Abandon);
    let timeout = Sent::Fallback(Reason::Timeout);
    assert_eq!(finished(posting.next(until)), timeout);
}

#[test]
fn the_callers_deadline_counts_and_blames_nobody() {
    let site = site(1);
    let deadline = site.now + ms(100);
    let candidates = site.candidates.clone();
    let policy = site.policy.clone();
    let mut posting = Posting::new(policy, candidates, VOLUME, 1, deadline, site.now);
    started(posting.next(site.now));
    assert_eq!(posting.next(deadline), Turn::Abandon);
    let timeout = Sent::Fallback(Reason::Timeout);
    assert_eq!(finished(posting.next(deadline)), timeout);
    assert!(!site.is_left_alone(0));
}

#[test]
fn no_more_are_under_way_than_there_are_permits_and_all_come_back() {
    let site = site(1);
    let mut first = site.posting();
    started(first.next(site.now));
    assert_eq!(site.policy.writes_in_flight(), 1);
    assert_eq!(site.sent(&[]), Sent::Fallback(Reason::NoPermit));
    drop(first);
    assert_eq!(site.policy.writes_in_flight(), 0);
    assert_eq!(site.candidates[0].peer.in_flight(), 0);
    assert_eq!(site.policy.in_flight(), 0, "those of reads are others");
    assert_eq!(site.sent(&[Outcome::Kept]), Sent::Answered);
    let none = Posting::new(
        site.policy.clone(),
        Vec::new(),
        VOLUME,
        1,
        site.now + ms(1),
        site.now,
    )
    .next(site.now);
    assert_eq!(finished(none), Sent::Fallback(Reason::NoSidecar));
}

#[test]
fn a_lane_that_does_not_fit_says_nothing_about_the_sidecar() {
    let site = site(1);
    let mut posting = site.posting();
    started(posting.next(site.now));
    posting.passed_over(Reason::Declined);
    let declined = Sent::Fallback(Reason::Declined);
    assert_eq!(finished(posting.next(site.now)), declined);
    assert!(!site.is_left_alone(0));
    assert_eq!(site.sent(&[Outcome::Kept]), Sent::Answered);
}
