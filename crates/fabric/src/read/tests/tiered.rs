//! The fabric first, and what is done when it is no help.

use super::*;
use crate::{Route, RouteError, TieredRoute};

/// What HTTP would deliver.
struct Web {
    bytes: Vec<u8>,
    verified: bool,
    ranges: std::sync::atomic::AtomicUsize,
    wholes: std::sync::atomic::AtomicUsize,
}

impl Web {
    fn of(bytes: &[u8], verified: bool) -> Self {
        Self {
            bytes: bytes.to_vec(),
            verified,
            ranges: Default::default(),
            wholes: Default::default(),
        }
    }
}

impl Route for Arc<Web> {
    fn name(&self) -> &'static str {
        "web"
    }

    fn read_at(
        &self,
        _: &Context<'_>,
        _: FileId,
        offset: u64,
        dst: &mut [u8],
    ) -> Result<Way, RouteError> {
        self.ranges.fetch_add(1, Ordering::Relaxed);
        dst.copy_from_slice(&self.bytes[offset as usize..][..dst.len()]);
        Ok(Way::Http)
    }

    fn read_whole(
        &self,
        _: &Context<'_>,
        needle: FileId,
        _: Stored,
        to: &mut dyn Destination,
    ) -> Result<Whole, RouteError> {
        self.wholes.fetch_add(1, Ordering::Relaxed);
        let len = self.bytes.len() as u64;
        let memory = to.memory(len);
        let memory = memory.map_err(|_| RouteError::Refused { needle, len })?;
        memory.copy_from_slice(&self.bytes);
        Ok(Whole {
            len: memory.len(),
            verified: self.verified,
            way: Way::Http,
            near: false,
        })
    }
}

#[test]
fn what_the_fabric_does_not_deliver_comes_over_http_and_is_counted() {
    let scene = Scene::new(1, true);
    let bytes = noise(1, 40_000);
    scene.store(needle(1), &bytes);
    let web = Arc::new(Web::of(&bytes, true));
    let tiered = TieredRoute::new(Arc::clone(&scene.route), Arc::clone(&web), true);
    let mut dst = vec![0; 9000];
    let mut read = || {
        dst.fill(0);
        let way = tiered.read_at(&patient(), needle(1), 5, &mut dst).unwrap();
        assert!(dst == bytes[5..9005]);
        way
    };
    assert_eq!(read(), Way::Fabric);
    scene.sidecar(0).mood(Mood::Says(Status::Busy));
    assert_eq!(read(), Way::Http);
    assert_eq!(scene.route.stats().missed_for("busy"), 1);
    assert_eq!(web.ranges.load(Ordering::Relaxed), 1);
    // What is absent here may be there: HTTP has the last word.
    std::thread::sleep(Duration::from_millis(100));
    scene.sidecar(0).mood(Mood::Says(Status::Absent));
    assert_eq!(read(), Way::Http);
    assert_eq!(scene.route.stats().missed_for("absent"), 1);
    let mut to = Kept::default();
    let whole = tiered.read_whole(&patient(), needle(1), Stored::Plain, &mut to);
    assert_eq!(whole.unwrap().way, Way::Http);
}

#[test]
fn after_a_damaged_copy_was_seen_a_range_is_cut_out_of_a_verified_needle() {
    let scene = Scene::new(1, true);
    let bytes = noise(1, 40_000);
    scene.store(needle(1), &bytes);
    scene.sidecar(0).mood(Mood::Says(Status::Corrupt));
    for verified in [true, false] {
        let web = Arc::new(Web::of(&bytes, verified));
        let tiered = TieredRoute::new(Arc::clone(&scene.route), Arc::clone(&web), true);
        let mut dst = vec![0; 100];
        let read = tiered.read_at(&patient(), needle(1), 39_900, &mut dst);
        let mut to = Kept::default();
        let whole = tiered.read_whole(&patient(), needle(1), Stored::Plain, &mut to);
        match verified {
            true => {
                assert_eq!(read.unwrap(), Way::Http);
                assert!(dst == bytes[39_900..]);
                assert!(whole.unwrap().verified);
                let past = tiered.read_at(&patient(), needle(1), 39_901, &mut dst);
                assert!(matches!(past, Err(RouteError::PastEnd { .. })));
            }
            false => {
                let said = read.unwrap_err().to_string();
                assert!(said.contains("a copy is known to be damaged"), "{said}");
                whole.unwrap_err();
            }
        }
        assert_eq!(web.ranges.load(Ordering::Relaxed), 0, "no unchecked range");
    }
}

#[test]
fn a_part_goes_the_ways_that_a_range_goes() {
    let scene = Scene::new(1, true);
    let bytes = noise(1, 200_000);
    scene.store(needle(1), &bytes);
    let web = Arc::new(Web::of(&bytes, true));
    let lenient = TieredRoute::new(Arc::clone(&scene.route), Arc::clone(&web), true);
    let strict = TieredRoute::new(Arc::clone(&scene.route), Arc::clone(&web), false);
    let read = |tiered: &TieredRoute<Arc<Web>>, offset: usize| {
        let mut to = Kept::expecting(0);
        let way = tiered.read_part(&patient(), needle(1), offset as u64, 100_000, &mut to)?;
        let got = to.adopted.as_deref().unwrap_or(&to.bytes);
        assert!(got == &bytes[offset..offset + 100_000]);
        Ok::<_, RouteError>(way)
    };
    for tiered in [&lenient, &strict] {
        assert_eq!(read(tiered, 5).unwrap(), Way::Fabric);
    }
    scene.sidecar(0).mood(Mood::Says(Status::Failed));
    assert_eq!(read(&lenient, 5).unwrap(), Way::Http);
    assert_eq!(web.ranges.load(Ordering::Relaxed), 1);
    assert!(matches!(read(&strict, 5), Err(RouteError::Fabric { .. })));
    // After a damaged copy was seen only what is compared will do.
    lenient.suspects().add(needle(1));
    assert_eq!(read(&lenient, 5).unwrap(), Way::Http);
    assert_eq!(read(&lenient, 100_000).unwrap(), Way::Http);
    let loads = (&web.ranges, &web.wholes);
    let loads = (
        loads.0.load(Ordering::Relaxed),
        loads.1.load(Ordering::Relaxed),
    );
    assert_eq!(loads, (1, 2), "ranges and whole needles over HTTP");
}

#[test]
fn where_a_volume_is_gets_asked_anew_when_it_may_have_moved() {
    for (fallback, status, times) in [
        (true, Status::NotHere, 1),
        (true, Status::Failed, 0),
        (false, Status::NotHere, 1),
        (false, Status::Failed, 1),
        (false, Status::Corrupt, 0),
    ] {
        let scene = Scene::new(1, true);
        let bytes = noise(1, 1000);
        scene.store(needle(1), &bytes);
        scene.sidecar(0).mood(Mood::Says(status));
        let web = Arc::new(Web::of(&bytes, true));
        let tiered = TieredRoute::new(Arc::clone(&scene.route), web, fallback);
        for _ in 0..3 {
            let read = tiered.read_at(&patient(), needle(1), 7, &mut [0; 100]);
            assert_eq!(read.is_ok(), fallback);
        }
        assert_eq!(scene.forgotten(), times, "{fallback} {status:?}");
    }
}

#[test]
fn a_needle_that_was_seen_damaged_is_never_read_unverified_again() {
    let scene = Scene::new(1, true);
    let bytes = noise(1, 40_000);
    scene.store(needle(1), &bytes);
    scene.store(needle(2), &bytes);
    let web = Arc::new(Web::of(&bytes, true));
    let tiered = TieredRoute::new(Arc::clone(&scene.route), Arc::clone(&web), true);
    let mut dst = vec![0; 100];
    // Found by a whole read, whose bytes have another checksum.
    scene.sidecar(0).mood(Mood::Flips);
    let mut to = Kept::default();
    let whole = tiered.read_whole(&patient(), needle(1), Stored::Plain, &mut to);
    assert!(whole.unwrap().verified);
    // Then the sidecar is no help, as when it is left alone for what it sent.
    scene.sidecar(0).mood(Mood::Says(Status::Failed));
    tiered.read_at(&patient(), needle(1), 7, &mut dst).unwrap();
    assert!(dst == bytes[7..107]);
    assert_eq!(web.ranges.load(Ordering::Relaxed), 0);
    assert_eq!(web.wholes.load(Ordering::Relaxed), 2);
    tiered.read_at(&patient(), needle(2), 7, &mut dst).unwrap();
    assert_eq!(
        web.ranges.load(Ordering::Relaxed),
        1,
        "nothing is held against others"
    );
}

#[test]
fn without_fallback_nothing_goes_over_http_and_the_reason_is_told() {
    let scene = Scene::new(1, true);
    let bytes = noise(1, 40_000);
    scene.store(needle(1), &bytes);
    let web = Arc::new(Web::of(&bytes, true));
    let tiered = TieredRoute::new(Arc::clone(&scene.route), Arc::clone(&web), false);
    let read = || tiered.read_at(&patient(), needle(1), 0, &mut [0; 10]);
    assert_eq!(read().unwrap(), Way::Fabric);
    scene.sidecar(0).mood(Mood::Says(Status::Absent));
    assert!(matches!(read(), Err(RouteError::NotFound { .. })));
    scene.sidecar(0).mood(Mood::Says(Status::Failed));
    let said = read().unwrap_err().to_string();
    assert!(
        said.contains("the sidecar cannot read the volume"),
        "{said}"
    );
    assert_eq!(web.ranges.load(Ordering::Relaxed), 0);
    assert_eq!(web.wholes.load(Ordering::Relaxed), 0);
}

#[test]
fn a_sidecar_with_other_bytes_is_not_asked_again_and_without_fallback_nobody_is() {
    for fallback in [true, false] {
        let scene = Scene::new(1, true);
        let bytes = noise(1, 40_000);
        scene.store(needle(1), &bytes);
        let web = Arc::new(Web::of(&bytes, true));
        let tiered = TieredRoute::new(Arc::clone(&scene.route), Arc::clone(&web), fallback);
        let mut to = Kept::default();
        let whole = tiered.read_whole_from_server(&patient(), needle(1), Stored::Plain, &mut to);
        assert!(whole.is_ok(), "there is something to compare with");
        assert_eq!(tiered.disbelieve(needle(1)).is_ok(), fallback);
        let read = tiered.read_at(&patient(), needle(1), 0, &mut [0; 10]);
        match fallback {
            true => assert_eq!(read.unwrap(), Way::Http),
            false => assert!(read.is_err()),
        }
    }
}

#[test]
fn without_fallback_a_busy_sidecar_is_asked_again() {
    let scene = Scene::new(1, true);
    scene.store(needle(1), &noise(1, 100));
    let web = Arc::new(Web::of(&[], true));
    let tiered = TieredRoute::new(Arc::clone(&scene.route), web, false);
    scene.sidecar(0).mood(Mood::Says(Status::Busy));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(60));
            scene.sidecar(0).mood(Mood::Well);
        });
        let read = tiered.read_at(&patient(), needle(1), 0, &mut [0; 10]);
        assert_eq!(read.unwrap(), Way::Fabric);
    });
}
