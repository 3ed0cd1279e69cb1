use proptest::prelude::*;

use super::*;

fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

#[test]
fn a_percentile_is_known_after_a_few_reads_and_per_size() {
    let mut latency = Latency::default();
    let now = Instant::now();
    assert_eq!(latency.mean(1, now), None);
    for n in 1..=FEW {
        assert_eq!(latency.percentile(1, 95), None);
        latency.record(1, micros(if n == FEW { 5000 } else { 100 }), now);
    }
    let (half, most) = (latency.percentile(1, 50), latency.percentile(1, 100));
    assert!(
        (micros(100)..micros(125)).contains(&half.unwrap()),
        "{half:?}"
    );
    assert_eq!(
        latency.percentile(4096, 95),
        half,
        "one in twenty is slower"
    );
    assert!(
        (micros(5000)..micros(6250)).contains(&most.unwrap()),
        "{most:?}"
    );
    assert_eq!(latency.percentile(4097, 95), None);
    assert_eq!(latency.mean(1 << 20, now), None);
}

#[test]
fn it_follows_what_is_going_on() {
    let mut latency = Latency::default();
    let now = Instant::now();
    for _ in 0..20_000 {
        latency.record(1, micros(100), now);
    }
    for _ in 0..2000 {
        latency.record(1, micros(1000), now);
    }
    assert!(latency.percentile(1, 50).unwrap() >= micros(1000));
    assert!((latency.mean(1, now).unwrap().as_micros()).abs_diff(1000) < 10);
}

#[test]
fn a_mean_that_nobody_renews_fades() {
    let mut latency = Latency::default();
    let now = Instant::now();
    latency.record(1, micros(800), now);
    assert_eq!(latency.mean(1, now), Some(micros(800)));
    assert_eq!(latency.mean(1, now + HALF_LIFE * 3), Some(micros(100)));
    assert!(latency.mean(1, now + HALF_LIFE * 4000).unwrap() < micros(1));
    latency.record(1, micros(800), now + HALF_LIFE * 4000);
    assert_eq!(latency.mean(1, now + HALF_LIFE * 4000), Some(micros(800)));
}

proptest! {
    #[test]
    fn a_step_is_less_than_a_quarter_wider_than_what_is_in_it(shift in 0u32..27, low: u64) {
        let took = micros((low % (1 << shift)) | 1 << shift);
        let bound = upper_bound(step(took));
        if step(took) < STEPS - 1 {
            prop_assert!(took < bound && bound <= took + took / 4 + micros(1), "{:?} {:?}", took, bound);
        }
    }
}

#[test]
fn the_longest_reads_share_the_last_step() {
    assert_eq!(step(Duration::MAX), STEPS - 1);
    assert_eq!(step(Duration::ZERO), 0);
    assert!(upper_bound(STEPS - 1) > Duration::from_secs(100));
}
