use proptest::prelude::*;

use super::*;

const K: u64 = 1 << 10;
const M: u64 = 1 << 20;

const REACH: Reach = Reach {
    first: 4 * M,
    most: 32 * M,
};

/// A window that always reaches equally far.
struct Fixed(Window, Reach);

impl Fixed {
    fn note(&mut self, offset: u64, len: u64) -> Access {
        self.0.note(self.1, offset, len)
    }
}

impl std::ops::Deref for Fixed {
    type Target = Window;

    fn deref(&self) -> &Window {
        &self.0
    }
}

fn window() -> Fixed {
    Fixed(Window::new(), REACH)
}

/// How far ahead of the request the window reaches, `None` for random.
fn ahead(access: Access) -> Option<u64> {
    match access {
        Access::Random => None,
        Access::Sequential(course) => Some(course.to - course.from),
    }
}

/// The bytes asked to be fetched ahead by a run of requests, which must follow each other.
fn course(window: &mut Fixed, requests: impl IntoIterator<Item = (u64, u64)>) -> (u64, u64) {
    let mut first = u64::MAX;
    let mut last = 0;
    for (offset, len) in requests {
        if let Access::Sequential(course) = window.note(offset, len)
            && course.from < course.to
        {
            assert!(first == u64::MAX || course.from >= last, "{course:?}");
            first = first.min(course.from);
            last = course.to;
        }
    }
    (first, last)
}

#[test]
fn a_sequential_reader_gets_a_growing_window() {
    let mut window = window();
    assert_eq!(ahead(window.note(0, 256 * K)), Some(0), "the piece alone");
    assert_eq!(window.note(256 * K, 256 * K), Access::Random);
    assert_eq!(ahead(window.note(512 * K, 256 * K)), Some(4 * M));
    let mut reach = Vec::new();
    for at in (768 * K..200 * M).step_by(256 << 10) {
        let Access::Sequential(course) = window.note(at, 256 * K) else {
            panic!("{at}");
        };
        assert_eq!(course.since, 0);
        reach.push(course.to - at);
    }
    assert!(reach.iter().max() <= Some(&(32 * M + 256 * K)));
    assert!(reach[reach.len() - 1] >= 32 * M);
    assert!(reach[..8].iter().all(|reach| *reach <= 9 * M), "{reach:?}");
}

#[test]
fn random_requests_stay_random() {
    let mut window = window();
    let mut at = 12_345u64;
    for round in 0..10_000u64 {
        at = (at ^ (at << 13)).wrapping_mul(6_364_136_223_846_793_005) % (1 << 40);
        let len = [4, 16, 64, 128][round as usize % 4] * K;
        assert_eq!(window.note(at / 4096 * 4096, len), Access::Random);
    }
}

#[test]
fn short_runs_of_records_are_not_sequential() {
    let mut window = window();
    for run in 1..100 {
        for record in 0..8 {
            assert_eq!(
                window.note(run * 3 * M + record * 4 * K, 4 * K),
                Access::Random
            );
        }
    }
}

#[test]
fn reordered_requests_are_still_one_trail() {
    let mut window = window();
    let order = [1, 0, 3, 2, 5, 7, 4, 6, 9, 8, 11, 10];
    let verdicts: Vec<_> = order
        .iter()
        .map(|number| ahead(window.note(64 * M + number * M, M)))
        .collect();
    assert!(verdicts[3..].iter().all(Option::is_some), "{verdicts:?}");
    assert_eq!(window.trails.len(), 1);
    assert_eq!(
        (window.trails[0].start, window.trails[0].end),
        (64 * M, 76 * M)
    );
}

#[test]
fn two_interleaved_streams_both_get_ahead() {
    let mut window = window();
    let mut got = [0; 2];
    for step in 0..64 {
        for (stream, base) in [0, 500 * M].into_iter().enumerate() {
            if let Some(bytes) = ahead(window.note(base + step * M, M)) {
                got[stream] += bytes;
            }
        }
    }
    assert!(got[0] >= 64 * M, "{got:?}");
    assert!(got[1] >= 64 * M, "{got:?}");
}

#[test]
fn a_second_stream_inside_of_what_the_first_has_read_is_seen() {
    let mut window = window();
    course(&mut window, (0..64).map(|step| (step * M, M)));
    let (from, to) = course(&mut window, (0..8).map(|step| (10 * M + step * M, M)));
    assert!(from >= 12 * M && to > 18 * M, "{from} {to}");
}

#[test]
fn backward_reading_fetches_pieces_but_nothing_ahead() {
    let mut window = window();
    for step in (0..100).rev() {
        let verdict = ahead(window.note(step * 64 * K, 64 * K));
        let want = (step <= 96).then_some(0);
        assert_eq!(verdict, want, "{step}");
    }
}

#[test]
fn a_refusal_halves_the_window_and_is_tried_again() {
    let mut window = window();
    course(&mut window, (0..40).map(|step| (step * M, M)));
    window.0.shrink(44 * M);
    let Access::Sequential(course) = window.note(40 * M, M) else {
        panic!("still sequential");
    };
    assert_eq!((course.from, course.to), (44 * M, 57 * M));
}

#[test]
fn a_second_pass_is_expected_where_the_first_has_been() {
    let mut window = window();
    for step in 0..64 {
        window.note(step * M, M);
    }
    assert!(!window.expects(8 * M, 10 * M));
    for step in 0..6 {
        window.note(step * M, M);
    }
    assert!(window.expects(6 * M, 8 * M), "just ahead");
    assert!(!window.expects(2 * M, 4 * M), "passed by both");
}

#[test]
fn a_stray_request_does_not_disturb_a_stream() {
    let mut window = window();
    let mut random = 0;
    for step in 0..200u64 {
        let verdict = window.note(step * 128 * K, 128 * K);
        random += u32::from(step > 2 && verdict == Access::Random);
        window.note(1000 * M + (step * 7919 % 1000) * 4 * M, 4 * K);
    }
    assert_eq!(random, 0);
    assert!(window.expects(200 * 128 * K, 201 * 128 * K));
    assert!(!window.expects(3 << 40, (3 << 40) + 1));
    assert!(!window.expects(99 * 128 * K, 100 * 128 * K), "passed");
    assert!(window.expects(199 * 128 * K, 201 * 128 * K), "being read");
}

#[test]
fn no_reach_means_nothing_ahead() {
    let mut window = Fixed(Window::new(), Reach { most: 0, ..REACH });
    assert_eq!(
        course(&mut window, (0..64).map(|step| (step * M, M))),
        (u64::MAX, 0)
    );
}

proptest! {
    /// Whatever is asked, in any order: what is fetched ahead lies ahead, within the reach.
    #[test]
    fn verdicts_are_always_bounded(requests in prop::collection::vec((0u64..64, 1u64..5), 1..200)) {
        let mut window = window();
        for (at, len) in requests {
            let (offset, len) = (at * 128 * K, len * 128 * K);
            if let Access::Sequential(course) = window.note(offset, len) {
                prop_assert!(course.from <= course.to);
                prop_assert!(course.from == course.to || course.from >= offset + len);
                prop_assert!(course.to - course.from <= 32 * M);
            }
            prop_assert!(window.trails.len() <= TRAILS);
            prop_assert!(window.trails.iter().all(|trail| trail.start < trail.end));
        }
    }
}
