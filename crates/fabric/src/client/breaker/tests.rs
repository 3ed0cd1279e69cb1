use super::*;

const FIRST: Duration = Duration::from_millis(100);
const MOST: Duration = Duration::from_millis(1500);

fn breaker() -> (Breaker, Instant) {
    let config = BreakerConfig {
        first_pause: FIRST,
        max_pause: MOST,
    };
    (Breaker::new(config, 1), Instant::now())
}

/// The pause, from half to all of `whole`.
fn opened(change: Option<Change>, why: Reason, whole: Duration) -> Duration {
    let Some(Change::Opened { reason, pause }) = change else {
        panic!("{change:?} is no opening");
    };
    assert_eq!(reason, why);
    assert!(
        (whole / 2..=whole).contains(&pause),
        "{pause:?} of {whole:?}"
    );
    pause
}

#[test]
fn it_opens_once_and_closes_after_a_probe() {
    let (mut breaker, now) = breaker();
    assert_eq!(breaker.enter(now), Entry::Pass);
    let pause = opened(
        breaker.failed(false, Reason::Timeout, now),
        Reason::Timeout,
        FIRST,
    );
    // Others that had passed before fail as well: nothing new.
    assert_eq!(breaker.failed(false, Reason::Timeout, now), None);
    assert_eq!(
        breaker.enter(now + pause - Duration::from_nanos(1)),
        Entry::Stop
    );
    // A late success of one that had passed before proves nothing about now.
    assert_eq!(breaker.succeeded(false), None);
    assert_eq!(breaker.enter(now), Entry::Stop);

    let later = now + pause;
    assert_eq!(breaker.enter(later), Entry::Probe);
    assert_eq!(breaker.enter(later), Entry::Stop, "one probe at a time");
    assert_eq!(breaker.succeeded(false), None, "not the probe's");
    assert_eq!(breaker.enter(later), Entry::Stop);
    assert_eq!(breaker.succeeded(true), Some(Change::Closed));
    assert_eq!(breaker.enter(later), Entry::Pass);
    // The next opening starts with the first pause again.
    opened(
        breaker.failed(false, Reason::Refused, later),
        Reason::Refused,
        FIRST,
    );
}

#[test]
fn pauses_double_up_to_the_longest_and_are_told_once() {
    let (mut breaker, mut now) = breaker();
    now += opened(
        breaker.failed(false, Reason::Unreachable, now),
        Reason::Unreachable,
        FIRST,
    );
    let mut whole = FIRST;
    for _ in 0..10 {
        whole = (whole * 2).min(MOST);
        assert_eq!(breaker.enter(now), Entry::Probe);
        assert_eq!(breaker.failed(true, Reason::Timeout, now), None);
        assert_eq!(
            breaker.peek(now + whole / 2 - Duration::from_nanos(1)),
            Entry::Stop
        );
        assert_eq!(breaker.peek(now + whole), Entry::Probe);
        now += whole;
    }
    assert_eq!(whole, MOST);
}

#[test]
fn small_failures_add_up_until_a_success() {
    let (mut breaker, now) = breaker();
    for _ in 0..10 {
        assert_eq!(breaker.failed(false, Reason::Broken, now), None);
        assert_eq!(breaker.failed(false, Reason::Broken, now), None);
        assert_eq!(breaker.succeeded(false), None);
    }
    for _ in 0..LIMIT - 1 {
        assert_eq!(breaker.outrun(false, now), None);
    }
    opened(breaker.outrun(false, now), Reason::Timeout, FIRST);
}

#[test]
fn a_probe_without_result_leaves_the_next_one_free_to_try() {
    let (mut breaker, now) = breaker();
    breaker.failed(false, Reason::Timeout, now);
    let later = now + FIRST;
    assert_eq!(breaker.enter(later), Entry::Probe);
    breaker.left(false, later);
    assert_eq!(breaker.enter(later), Entry::Stop, "that was somebody else");
    breaker.left(true, later);
    assert_eq!(breaker.enter(later), Entry::Probe);
    assert_eq!(breaker.outrun(true, later), None);
    assert_eq!(breaker.enter(later), Entry::Stop);
}
