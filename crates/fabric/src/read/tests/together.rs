//! Several needles in one exchange, ahead of their readers.

use super::*;

/// What comes of needles that are asked for together.
fn together(scene: &Scene, ids: &[FileId], likely: u64) -> (Vec<Option<Vec<u8>>>, Vec<FileId>) {
    let mut kept: Vec<_> = ids.iter().map(|_| Kept::expecting(likely)).collect();
    let mut wanted: Vec<_> = ids
        .iter()
        .zip(&mut kept)
        .map(|(id, to)| crate::Ahead::new(*id, to))
        .collect();
    let suspects = scene.route.read_together(&patient(), &mut wanted);
    let done: Vec<_> = wanted.into_iter().map(|one| one.done).collect();
    let bytes = kept.into_iter().zip(done).map(|(kept, done)| {
        let whole: Whole = done?;
        assert_eq!(
            (whole.len, whole.verified, whole.way),
            (kept.bytes.len(), true, Way::Fabric)
        );
        Some(kept.bytes)
    });
    (bytes.collect(), suspects)
}

#[test]
fn small_needles_come_together_each_with_its_checksum() {
    let scene = Scene::new(1, true);
    let ids: Vec<_> = (1..=40).map(needle).collect();
    for (seed, id) in (1..).zip(&ids) {
        scene.store(*id, &noise(seed, 100 * seed as usize));
    }
    let clear = vec![b'x'; 4000];
    scene.store_gzip(ids[7], &clear);
    let absent = needle(99);
    let all: Vec<_> = ids.iter().copied().chain([absent]).collect();
    let (got, suspects) = together(&scene, &all, 4000);
    assert!(suspects.is_empty());
    for (seed, got) in (1..=40).zip(&got) {
        match seed {
            8 => assert_eq!(got.as_ref(), Some(&clear)),
            _ => assert_eq!(got.as_ref(), Some(&noise(seed, 100 * seed as usize))),
        }
    }
    assert_eq!(got[40], None);
    let stats = scene.route.stats();
    // 32 and 9, and this lane takes 8 at a time.
    assert_eq!(
        (stats.together.get(), stats.together_needles.get()),
        (6, 40)
    );
    assert_eq!(scene.sidecar(0).dialed(), 1, "one lane serves them all");
    assert_eq!((stats.reads(), stats.missed()), (0, 0));
    assert_eq!(scene.route.policy().in_flight(), 0);
    // One that is longer than expected is left to its reader, and so is what would be long.
    scene.store(needle(50), &noise(5, 5000));
    assert_eq!(together(&scene, &[needle(50)], 4000).0, [None]);
    let asked = scene.sidecar(0).asked();
    assert_eq!(together(&scene, &[needle(50)], 70_000).0, [None]);
    assert_eq!(scene.sidecar(0).asked(), asked);
}

#[test]
fn a_sidecar_that_fails_is_not_asked_twice_for_what_nobody_waits_for() {
    let ids = [needle(1), needle(2)];
    for mood in [
        Mood::Breaks,
        Mood::Away,
        Mood::Refuses,
        Mood::Says(Status::Busy),
    ] {
        let scene = Scene::new(2, false);
        ids.iter().for_each(|id| scene.store(*id, b"bytes"));
        for at in 0..2 {
            scene.sidecar(at).mood(mood);
        }
        assert_eq!(
            together(&scene, &ids, 100),
            (vec![None, None], Vec::new()),
            "{mood:?}"
        );
        let dialed = scene.sidecar(0).dialed() + scene.sidecar(1).dialed();
        assert!(dialed <= 1, "{mood:?}");
        assert_eq!(scene.route.policy().in_flight(), 0);
    }
}

#[test]
fn damaged_bytes_are_told_and_not_delivered() {
    let scene = Scene::new(1, false);
    let ids = [needle(1), needle(2)];
    ids.iter().for_each(|id| scene.store(*id, &noise(1, 300)));
    scene.sidecar(0).mood(Mood::Flips);
    assert_eq!(
        together(&scene, &ids, 300),
        (vec![None, None], ids.to_vec())
    );
    assert_eq!(scene.route.stats().corrupt.get(), 2);
    let scene = Scene::new(1, false);
    ids.iter().for_each(|id| scene.store(*id, &noise(1, 300)));
    scene.sidecar(0).mood(Mood::Says(Status::Corrupt));
    assert_eq!(
        together(&scene, &ids, 300),
        (vec![None, None], ids.to_vec())
    );
}

#[test]
fn who_gives_up_gets_nothing_and_leaves_nothing_behind() {
    let scene = Scene::new(1, true);
    scene.store(needle(1), b"bytes");
    scene.sidecar(0).mood(Mood::Slow(Duration::from_secs(2)));
    let interrupt = Interrupt::new().unwrap();
    interrupt.raise();
    let ctx = Context::new(PATIENT, &interrupt);
    let mut to = Kept::expecting(10);
    let mut wanted = [crate::Ahead::new(needle(1), &mut to)];
    let began = Instant::now();
    assert!(scene.route.read_together(&ctx, &mut wanted).is_empty());
    assert!(wanted[0].done.is_none() && began.elapsed() < Duration::from_secs(2));
    assert_eq!(scene.route.policy().in_flight(), 0);
}
