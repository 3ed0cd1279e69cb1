use super::*;
use crate::client::Config;

fn peers(nearness: &[Nearness]) -> Vec<Candidate> {
    let config = Config::default();
    let candidate = |(at, nearness): (usize, &Nearness)| Candidate {
        peer: Arc::new(Peer::new(format!("sidecar {at}"), &config, at as u64)),
        nearness: *nearness,
    };
    nearness.iter().enumerate().map(candidate).collect()
}

fn first(candidates: &[Candidate], random: &mut Random) -> usize {
    let order = rank(candidates, 100, 3, random, Instant::now());
    let mut all = order.clone();
    all.sort_unstable();
    assert_eq!(all, (0..candidates.len()).collect::<Vec<_>>(), "each once");
    order[0]
}

#[test]
fn the_nearest_is_asked_first_unless_it_is_overloaded() {
    use Nearness::{DataCenter, Local, Other, Rack};
    let candidates = peers(&[Other, Rack, Local, DataCenter]);
    let mut random = Random::new(1);
    let now = Instant::now();
    assert_eq!(rank(&candidates, 1, 3, &mut random, now), [2, 1, 3, 0]);
    let local = &candidates[2].peer;
    let passes: Vec<_> = (0..3).map(|_| local.enter(1, true, now).unwrap()).collect();
    assert_eq!(rank(&candidates, 1, 3, &mut random, now), [1, 3, 0, 2]);
    drop(passes);
    assert_eq!(first(&candidates, &mut random), 2);
}

#[test]
fn of_equals_the_one_with_less_to_do_is_asked() {
    let candidates = peers(&[Nearness::Rack; 2]);
    let mut random = Random::new(1);
    let now = Instant::now();
    let pass = candidates[0].peer.enter(1, true, now).unwrap();
    assert_eq!(first(&candidates, &mut random), 1);
    drop(pass);
    let pass = candidates[1].peer.enter(1, true, now).unwrap();
    pass.delivered(100, now + Duration::from_millis(9));
    assert_eq!(first(&candidates, &mut random), 0);
}

#[test]
fn of_many_equals_all_but_the_worst_are_asked() {
    let candidates = peers(&[Nearness::Rack; 4]);
    let mut random = Random::new(7);
    let now = Instant::now();
    // From idle to two in flight more than the one before.
    let mut passes = Vec::new();
    for (at, candidate) in candidates.iter().enumerate() {
        passes.extend((0..at.min(2)).map(|_| candidate.peer.enter(1, true, now).unwrap()));
    }
    let mut counts = [0; 4];
    for _ in 0..6000 {
        counts[first(&candidates, &mut random)] += 1;
    }
    // Of two out of four, the best is drawn in 3 of 6 pairs, and so on: 3, 2, 1, 0.
    for (count, pairs) in counts.iter().zip([3, 2, 1, 0]) {
        assert!((count - pairs * 1000i32).abs() < 200, "{counts:?}");
    }
}

#[test]
fn nearness_needs_names() {
    let between = Nearness::between;
    assert_eq!(between(("dc", "r"), ("dc", "r")), Nearness::Rack);
    assert_eq!(between(("dc", "r"), ("dc", "s")), Nearness::DataCenter);
    assert_eq!(between(("dc", ""), ("dc", "")), Nearness::DataCenter);
    assert_eq!(between(("dc", "r"), ("ec", "r")), Nearness::Other);
    assert_eq!(between(("", "r"), ("", "r")), Nearness::Other);
}
