//! A cluster that is written to, deleted from and vacuumed while every needle is asked for: the sidecar says what the
//! volume server says.

mod answer;
mod asking;
mod changes;
mod comparing;
mod needles;
mod tally;
mod vacuum;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use cluster::Cluster;
use e2e::{Random, Scene, Sidecar, data_folder, eventually};
use seaweed::volume::SuperBlock;
use volume::DataDir;
use volume::inspect::Found;

use answer::WAYS;
use asking::Asker;
use needles::{BRIEF, ENCRYPTED, KINDS, Needle};
use tally::{Outcome, Tally};

/// At least; a busy machine gets longer to compare enough.
const TIME: Duration = Duration::from_secs(15);
const LONGEST: Duration = Duration::from_secs(90);
/// Needles made last that are picked as often as all others together.
const LATE: usize = 6;

/// What all threads share.
struct Churn<'a> {
    scene: &'a Scene,
    /// All that there ever were, by kind.
    needles: [Mutex<Vec<Arc<Needle>>>; KINDS.len()],
    tally: Mutex<Tally>,
    /// What was done to them.
    changes: Mutex<BTreeMap<&'static str, u64>>,
    seed: AtomicU64,
    is_over: AtomicBool,
}

#[test]
fn every_needle_is_the_servers_while_writers_deleters_and_vacuums_run() {
    let scene = Scene::of(Cluster::builder().encrypted(true).max_mb(1));
    let churn = Churn {
        scene: &scene,
        needles: Default::default(),
        tally: Mutex::default(),
        changes: Mutex::default(),
        seed: AtomicU64::new(1),
        is_over: AtomicBool::new(false),
    };
    let brief: Vec<_> = (0..6).map(|_| churn.planted(&BRIEF)).collect();
    brief.iter().for_each(|needle| needle.begin(None));
    for (kind, all) in KINDS.iter().zip(&churn.needles).take(ENCRYPTED) {
        all.lock().unwrap().push(churn.planted(kind));
    }
    let sidecar = Sidecar::start(&scene, 0, &[]);
    let mut asker = Asker::new(&scene, &sidecar);
    for (needle, way) in brief.iter().flat_map(|one| WAYS.map(|way| (one, way))) {
        let outcome = churn.compare(&mut asker, needle, None, way);
        assert_eq!(outcome, Outcome::Equal);
    }
    let before = volumes(&scene);
    churn.run(&sidecar);
    churn.assert_vacuumed(&before);
    churn.conclude("while all ran");

    // Every needle there ever was; also by a sidecar that has seen nothing of it.
    let late = Sidecar::start(&scene, 0, &[]);
    thread::scope(|scope| {
        for sidecar in [&sidecar, &late] {
            let (churn, asker) = (&churn, Asker::new(&scene, sidecar));
            scope.spawn(move || churn.compare_all(asker));
        }
    });
    churn.conclude("afterwards, by two sidecars");

    // Each is there for a minute; then it is gone, in all ways at the same moment.
    let mut asker = Asker::new(&scene, &sidecar);
    eventually("the time of all is over", LONGEST, || {
        thread::sleep(Duration::from_millis(20));
        let mut is_gone = |needle: &Arc<Needle>| {
            WAYS.map(|way| churn.compare(&mut asker, needle, None, way)) == [Outcome::Absent; 3]
        };
        brief.iter().filter(|needle| is_gone(needle)).count() == brief.len()
    });
    churn.conclude("until their time was over");
}

impl Churn<'_> {
    fn run(&self, sidecar: &Sidecar) {
        let start = Instant::now();
        thread::scope(|scope| {
            let compare = |number| {
                let asker = Asker::new(self.scene, sidecar);
                scope.spawn(move || self.compare_some(asker, Random::new(number)))
            };
            let comparers = [1, 2, 3, 4].map(compare);
            for seed in [11, 12] {
                scope.spawn(move || self.write(Random::new(seed)));
            }
            scope.spawn(|| self.write_files(Random::new(13)));
            scope.spawn(|| self.delete(Random::new(14)));
            scope.spawn(|| self.vacuum());
            let is_enough = || self.tally.lock().unwrap().is_enough();
            while start.elapsed() < TIME || (!is_enough() && start.elapsed() < LONGEST) {
                thread::sleep(Duration::from_millis(100));
                if comparers.iter().any(|comparer| comparer.is_finished()) {
                    break;
                }
            }
            self.is_over.store(true, Ordering::Relaxed);
        });
        let tally = self.tally.lock().unwrap();
        println!("{:.1} s", start.elapsed().as_secs_f64());
        assert!(tally.is_enough(), "{tally}");
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// One of a kind, if there is any yet.
    fn pick(&self, kind: usize, random: &mut Random) -> Option<Arc<Needle>> {
        let all = self.needles[kind].lock().unwrap();
        let some = match random.below(2) {
            0 => all.len().min(LATE),
            _ => all.len(),
        };
        let back = random.below(some.max(1) as u64) as usize + 1;
        all.get(all.len().wrapping_sub(back)).map(Arc::clone)
    }

    /// Volumes of every collection, and those with a time to live, have been replaced.
    fn assert_vacuumed(&self, before: &BTreeMap<(String, u32), Volume>) {
        let mut times: BTreeMap<_, u16> = BTreeMap::new();
        for (name, Volume { block, .. }) in volumes(self.scene) {
            let then = before.get(&name).map_or(0, |then| then.block.revision);
            let group = (name.0, block.ttl.map(|ttl| ttl.to_string()));
            *times.entry(group).or_default() += block.revision - then;
        }
        println!("{:?}\nvacuums: {times:?}", self.changes.lock().unwrap());
        let groups = [("", None), ("", Some("1h")), ("one", None), ("two", None)];
        for (collection, ttl) in groups {
            let group = (collection.to_owned(), ttl.map(str::to_owned));
            assert!(
                times.get(&group).is_some_and(|times| *times > 0),
                "{group:?}"
            );
        }
    }

    /// Prints what was compared since the last time.
    fn conclude(&self, when: &str) {
        let tally = std::mem::take(&mut *self.tally.lock().unwrap());
        println!("{when}:\n{tally}");
        tally.check();
    }
}

/// What the files of a volume say.
struct Volume {
    block: SuperBlock,
    index_bytes: u64,
}

/// All volumes, by collection and id.
fn volumes(scene: &Scene) -> BTreeMap<(String, u32), Volume> {
    let dir = DataDir::new(data_folder(&scene.cluster, 0));
    let found = volume::inspect::volumes(&dir).unwrap().into_iter();
    // One whose time is over may be removed any moment.
    let read = |Found { collection, id, .. }| {
        let base = match collection.as_str() {
            "" => dir.data.join(id.to_string()),
            _ => dir.data.join(format!("{collection}_{id}")),
        };
        let mut start = [0; SuperBlock::LEN];
        let mut dat = File::open(base.with_extension("dat")).ok()?;
        dat.read_exact(&mut start).ok()?;
        let volume = Volume {
            block: SuperBlock::parse(&start).unwrap(),
            index_bytes: base.with_extension("idx").metadata().ok()?.len(),
        };
        Some(((collection, id), volume))
    };
    found.filter_map(read).collect()
}
