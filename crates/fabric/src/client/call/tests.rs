use super::*;
use crate::client::{Config, HedgeConfig, Nearness, Peer};

const VOLUME: u32 = 7;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn config() -> Config {
    Config {
        timeout: ms(1000),
        max_concurrent: 2,
        hedge: HedgeConfig {
            unknown: ms(20),
            percent: 10,
            ..HedgeConfig::default()
        },
        ..Config::default()
    }
}

struct Site {
    policy: Arc<Policy>,
    candidates: Vec<Candidate>,
    now: Instant,
}

/// Sidecars that are asked in the order of their numbers.
fn site(config: Config, count: usize) -> Site {
    let nearness = [Nearness::Local, Nearness::Rack, Nearness::DataCenter];
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
    fn call(&self) -> Call {
        let candidates = self.candidates.clone();
        Call::new(self.policy.clone(), candidates, VOLUME, 100, self.now)
    }

    fn is_left_alone(&self, at: usize) -> bool {
        self.candidates[at].peer.is_left_alone(self.now)
    }
}

fn answer(status: Status) -> Answer {
    Answer {
        item: 0,
        status,
        is_inline: false,
        is_gzip: false,
        len: 100,
        stored: 100,
        crc: 0,
    }
}

fn start(attempt: u32, candidate: usize) -> Step {
    Step::Start { attempt, candidate }
}

/// One call to which every sidecar answers the same.
fn verdict_of(site: &Site, outcomes: &[Status]) -> Verdict {
    let mut call = site.call();
    for (at, status) in outcomes.iter().enumerate() {
        assert_eq!(call.next(site.now), start(at as u32, at));
        call.answered(at as u32, &answer(*status), true, site.now);
    }
    match call.next(site.now) {
        Step::Finish(verdict) => verdict,
        step => panic!("{step:?} after {outcomes:?}"),
    }
}

#[test]
fn the_first_delivers_and_everything_is_given_back() {
    let site = site(config(), 2);
    let mut call = site.call();
    assert_eq!(call.next(site.now), start(0, 0));
    let until = site.now + ms(20);
    assert_eq!(call.next(site.now), Step::Wait { until });
    assert_eq!(
        (site.policy.in_flight(), site.candidates[0].peer.in_flight()),
        (1, 1)
    );
    call.answered(0, &answer(Status::Done), true, site.now + ms(3));
    let done = Step::Finish(Verdict::Delivered { attempt: 0 });
    assert_eq!(call.next(site.now + ms(3)), done);
    assert_eq!(call.next(site.now + ms(9000)), done);
    assert_eq!(
        (site.policy.in_flight(), site.candidates[0].peer.in_flight()),
        (0, 0)
    );
    assert_eq!(site.candidates[0].peer.mean(100, site.now), Some(ms(3)));
}

#[test]
fn every_status_has_its_consequence() {
    let two = || site(config(), 2);
    let fallback = |reason| Verdict::Fallback(reason);
    for (outcomes, expected) in [
        (
            &[Status::Absent, Status::Done][..],
            Verdict::Delivered { attempt: 1 },
        ),
        (&[Status::Absent, Status::Absent], Verdict::Absent),
        (
            &[Status::Absent, Status::NotHere],
            fallback(Reason::NotHere),
        ),
        (&[Status::Failed, Status::Absent], fallback(Reason::Failed)),
        (
            &[Status::Busy, Status::Done],
            Verdict::Delivered { attempt: 1 },
        ),
        (
            &[Status::Declined, Status::Loading],
            fallback(Reason::Loading),
        ),
        (&[Status::Loading, Status::Busy], fallback(Reason::Busy)),
        (&[Status::Corrupt], Verdict::Suspect),
        (&[Status::NotHere, Status::Corrupt], Verdict::Suspect),
        (&[Status::Gzip], Verdict::Told { attempt: 0 }),
        (&[Status::TooLarge], Verdict::Told { attempt: 0 }),
        (
            &[Status::Absent, Status::PastEnd],
            Verdict::Told { attempt: 1 },
        ),
    ] {
        assert_eq!(verdict_of(&two(), outcomes), expected, "{outcomes:?}");
    }
}

#[test]
fn wrong_bytes_are_suspect_and_nobody_else_is_asked() {
    let site = site(config(), 2);
    let mut call = site.call();
    call.next(site.now);
    call.answered(0, &answer(Status::Done), false, site.now);
    assert_eq!(call.next(site.now), Step::Finish(Verdict::Suspect));
}

#[test]
fn who_does_not_serve_the_volume_is_not_asked_for_it_for_a_moment() {
    let mut site = site(config(), 2);
    verdict_of(&site, &[Status::NotHere, Status::Done]);
    assert_eq!(site.call().next(site.now), start(0, 1));
    let others = Call::new(site.policy.clone(), site.candidates.clone(), 8, 1, site.now);
    let mut others = others;
    assert_eq!(
        others.next(site.now),
        start(0, 0),
        "other volumes are served"
    );
    drop(others);
    site.now += config().forget_after;
    assert_eq!(site.call().next(site.now), start(0, 0));
}

#[test]
fn a_busy_sidecar_is_left_in_peace_for_a_moment() {
    let mut site = site(config(), 1);
    assert_eq!(
        verdict_of(&site, &[Status::Busy]),
        Verdict::Fallback(Reason::Busy)
    );
    let step = site.call().next(site.now);
    assert_eq!(step, Step::Finish(Verdict::Fallback(Reason::Busy)));
    site.now += config().busy_pause * 2;
    assert_eq!(site.call().next(site.now), start(0, 0));
    assert!(!site.is_left_alone(0));
}

#[test]
fn a_slow_one_is_hedged_and_the_faster_wins() {
    let site = site(config(), 3);
    let mut call = site.call();
    assert_eq!(call.next(site.now), start(0, 0));
    let late = site.now + ms(20);
    assert_eq!(call.next(late), start(1, 1));
    assert_eq!(
        site.policy.in_flight(),
        2,
        "a hedge has a permit of its own"
    );
    let until = site.now + ms(500);
    assert_eq!(
        call.next(late),
        Step::Wait { until },
        "and there is only one"
    );
    call.answered(1, &answer(Status::Done), true, late + ms(1));
    assert_eq!(call.next(late + ms(1)), Step::Abandon { attempt: 0 });
    let done = Step::Finish(Verdict::Delivered { attempt: 1 });
    assert_eq!(call.next(late + ms(1)), done);
    // It would have taken at least as long as it was waited for.
    assert_eq!(site.candidates[0].peer.mean(100, late), Some(ms(21)));
    call.answered(0, &answer(Status::Corrupt), true, late + ms(2));
    assert_eq!(call.next(late + ms(2)), done);
}

#[test]
fn a_hedge_that_loses_is_not_to_blame() {
    let site = site(config(), 2);
    let mut call = site.call();
    call.next(site.now);
    let late = site.now + ms(20);
    assert_eq!(call.next(late), start(1, 1));
    call.answered(0, &answer(Status::Done), true, late);
    assert_eq!(call.next(late), Step::Abandon { attempt: 1 });
    assert_eq!(site.candidates[1].peer.mean(100, late), None);
}

#[test]
fn a_hedge_comes_after_most_reads_of_the_size_are_done() {
    let site = site(config(), 2);
    for _ in 0..100 {
        let mut call = site.call();
        call.next(site.now);
        call.answered(0, &answer(Status::Done), true, site.now + ms(8));
    }
    let mut call = site.call();
    call.next(site.now);
    let Step::Wait { until } = call.next(site.now) else {
        panic!("nothing to wait for");
    };
    assert!((ms(8)..ms(10)).contains(&(until - site.now)));
}

#[test]
fn hedges_keep_to_their_budget_and_to_the_permits() {
    let site = site(config(), 2);
    let late = site.now + ms(20);
    let mut hedges = 0;
    for _ in 0..200 {
        let mut call = site.call();
        call.next(site.now);
        if call.next(late) == start(1, 1) {
            hedges += 1;
        }
        call.answered(0, &answer(Status::Done), true, site.now + ms(3));
    }
    // One to begin with, and a tenth.
    assert_eq!(hedges, 1 + 20);

    let mut call = site.call();
    call.next(site.now);
    let mut other = site.call();
    assert_eq!(other.next(site.now), start(0, 0));
    assert!(matches!(call.next(late), Step::Wait { .. }));
    let step = site.call().next(site.now);
    assert_eq!(step, Step::Finish(Verdict::Fallback(Reason::NoPermit)));
}

#[test]
fn no_hedging_means_none() {
    let mut config = config();
    config.hedge.percent = 0;
    let site = site(config, 2);
    let mut call = site.call();
    call.next(site.now);
    let until = site.now + ms(500);
    assert_eq!(call.next(site.now + ms(499)), Step::Wait { until });
}

#[test]
fn a_silent_one_makes_way_and_is_left_alone() {
    let mut config = config();
    config.hedge.percent = 0;
    let mut site = site(config, 2);
    let mut call = site.call();
    call.next(site.now);
    let half = site.now + ms(500);
    assert_eq!(call.next(half), Step::Abandon { attempt: 0 });
    assert_eq!(call.next(half), start(1, 1));
    let until = site.now + ms(1000);
    assert_eq!(call.next(half), Step::Wait { until });
    assert_eq!(call.next(until), Step::Abandon { attempt: 1 });
    let timeout = Step::Finish(Verdict::Fallback(Reason::Timeout));
    assert_eq!(call.next(until), timeout);
    site.now = until;
    assert!(site.is_left_alone(1));
    let step = site.call().next(half);
    assert_eq!(step, Step::Finish(Verdict::Fallback(Reason::OpenBreaker)));
}

#[test]
fn who_is_asked_just_before_the_end_is_not_to_blame() {
    let mut config = config();
    config.hedge.percent = 0;
    let mut site = site(config, 2);
    let mut call = site.call();
    call.next(site.now);
    let late = site.now + ms(999);
    call.broken(0, Reason::Broken, late);
    assert_eq!(call.next(late), start(1, 1));
    site.now += ms(1000);
    assert_eq!(call.next(site.now), Step::Abandon { attempt: 1 });
    assert!(!site.is_left_alone(1));
}

#[test]
fn a_broken_lane_is_followed_by_the_next_and_a_lone_one_by_the_fallback() {
    let site = site(config(), 2);
    let mut call = site.call();
    call.next(site.now);
    call.broken(0, Reason::Refused, site.now);
    assert!(site.is_left_alone(0));
    assert_eq!(call.next(site.now), start(1, 1));
    call.broken(1, Reason::Broken, site.now);
    assert!(!site.is_left_alone(1));
    let broken = Step::Finish(Verdict::Fallback(Reason::Broken));
    assert_eq!(call.next(site.now), broken);

    let mut nobody = Call::new(site.policy.clone(), vec![], VOLUME, 1, site.now);
    let none = Step::Finish(Verdict::Fallback(Reason::NoSidecar));
    assert_eq!(nobody.next(site.now), none);
}

#[test]
fn a_hedge_that_breaks_is_replaced() {
    let mut config = config();
    config.hedge.percent = 100;
    let site = site(config, 3);
    let mut call = site.call();
    call.next(site.now);
    let late = site.now + ms(20);
    assert_eq!(call.next(late), start(1, 1));
    call.broken(1, Reason::Broken, late);
    assert_eq!(call.next(late), start(2, 2));
}

#[test]
fn a_call_that_is_dropped_gives_everything_back() {
    let mut site = site(config(), 1);
    let mut call = site.call();
    call.next(site.now);
    call.broken(0, Reason::Unreachable, site.now);
    drop(call);
    site.now += config().breaker.first_pause;
    let mut probe = site.call();
    assert_eq!(probe.next(site.now), start(0, 0));
    let until = site.now + ms(250);
    assert_eq!(
        probe.next(site.now),
        Step::Wait { until },
        "a probe has less time"
    );
    assert!(site.is_left_alone(0));
    drop(probe);
    assert_eq!(site.policy.in_flight(), 0);
    assert_eq!(site.candidates[0].peer.in_flight(), 0);
    assert_eq!(
        site.call().next(site.now),
        start(0, 0),
        "the next may probe"
    );
}

#[test]
fn a_hedge_that_has_no_lane_yet_costs_nothing_and_may_be_made_later() {
    let site = site(config(), 2);
    let at = |millis| site.now + ms(millis);
    let mut call = site.call();
    assert_eq!(call.next(at(0)), start(0, 0));
    // More often than the budget would pay for.
    for (number, later) in (1..100).zip((20u64..).step_by(2)) {
        assert_eq!(call.next(at(later)), start(number, 1));
        call.unready(number, Some(at(later + 2)));
        let until = at(later + 2);
        assert_eq!(call.next(at(later)), Step::Wait { until });
        assert_eq!(
            (site.policy.in_flight(), site.candidates[1].peer.in_flight()),
            (1, 0)
        );
    }
    assert_eq!(call.next(at(220)), start(100, 1));
    // Without a prospect of one it is still asked when the first is of no use.
    call.unready(100, None);
    let until = at(500);
    assert_eq!(call.next(at(220)), Step::Wait { until });
    call.broken(0, Reason::Broken, at(230));
    assert_eq!(call.next(at(230)), start(101, 1));
    assert!(!site.is_left_alone(1));
}

#[test]
fn a_part_of_a_read_ends_with_the_read() {
    let site = site(config(), 1);
    let mut call = site.call().by(site.now + ms(300));
    assert_eq!(call.next(site.now), start(0, 0));
    assert_eq!(call.patience(0), site.now + ms(300));
    let timeout = Verdict::Fallback(Reason::Timeout);
    assert_eq!(call.next(site.now + ms(300)), Step::Abandon { attempt: 0 });
    assert_eq!(call.next(site.now + ms(300)), Step::Finish(timeout));
}
