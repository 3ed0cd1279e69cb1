//! Random sequences of operations do on a mount what they do on a local file system: the same results,
//! the same bytes, the same errors, the same tree afterwards (docs/SEMANTICS.md, sections 8 to 10).
//!
//! A sequence that does otherwise is made shorter until every operation in it is needed.
//! `RIPTIDE_REFERENCE_CASES` says how many are tried, other ones in each run; without it, always
//! the same few.

mod apply;
mod operation;

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::{Mount, Scene, eventually, needs_fuse, walk};
use proptest::collection::vec;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use apply::World;
use operation::{Operation, operation};

/// Sequences in `make test`.
const CASES: u32 = 48;
/// Operations of the longest.
const LONGEST: usize = 60;
/// Another mount knows of a change after this time at the latest, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn one_mount_does_what_a_local_file_system_does() {
    needs_fuse!();
    let scene = Scene::start();
    let mount = scene.mount(&FLAGS);
    check(&scene, &[&mount], CASES, true);
}

#[test]
fn two_mounts_in_turn_do_what_a_local_file_system_does() {
    needs_fuse!();
    let scene = Scene::start();
    let (one, other) = (
        scene.mount_at("one", &FLAGS),
        scene.mount_at("other", &FLAGS),
    );
    // Each operation waits for the other mount to have seen the one before.
    check(&scene, &[&one, &other], CASES / 4, false);
}

/// Link counts of directories as local file systems have them.
const FLAGS: [&str; 1] = ["-posix.dirNLink"];

/// With `handles`, files stay open over several operations too.
fn check(scene: &Scene, mounts: &[&Mount], cases: u32, handles: bool) {
    let wanted = env::var("RIPTIDE_REFERENCE_CASES").ok();
    let config = Config {
        cases: wanted.as_ref().map_or(cases, |text| {
            text.parse()
                .unwrap_or_else(|e| panic!("RIPTIDE_REFERENCE_CASES={text}: {e}"))
        }),
        max_shrink_iters: 400,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = match wanted {
        Some(_) => TestRunner::new(config),
        None => {
            let seed = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
            TestRunner::new_with_rng(config, seed)
        }
    };
    let case = std::cell::Cell::new(0_u32);
    let ran = runner.run(&vec(operation(handles), 1..LONGEST), |operations| {
        case.set(case.get() + 1);
        let name = format!("case{}", case.get());
        compare(scene, mounts, &name, &operations).map_err(TestCaseError::fail)
    });
    match ran {
        Ok(()) => {}
        Err(TestError::Fail(why, operations)) => panic!("{why}\nby {operations:#?}"),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

/// Does all of them on a local directory and on the mounts in turn; in what they differ, if so.
fn compare(
    scene: &Scene,
    mounts: &[&Mount],
    name: &str,
    operations: &[Operation],
) -> Result<(), String> {
    let local = scene.path("local").join(name);
    fs::create_dir_all(&local).unwrap();
    fs::create_dir(mounts[0].dir().join(name)).unwrap();
    let times = mounts.len() == 1;
    let mut reference = World::new(&local, times);
    let mut ours: Vec<World> = mounts
        .iter()
        .map(|mount| World::new(&mount.dir().join(name), times))
        .collect();
    let mut acted = 0;
    for (step, operation) in operations.iter().enumerate() {
        let turn = step % mounts.len();
        if turn != acted {
            meet(mounts[acted], mounts[turn], &format!("{name}.{step}"));
        }
        acted = turn;
        let want = reference.act(operation);
        let got = ours[turn].act(operation);
        if got != want {
            return Err(format!(
                "step {step}, {operation:?}: {} instead of {}",
                told(&got),
                told(&want)
            ));
        }
    }
    drop(ours);
    drop(reference);
    for (index, mount) in mounts.iter().enumerate() {
        if index != acted {
            meet(mounts[acted], mount, &format!("{name}.end{index}"));
        }
        let there = mount.dir().join(name);
        // When names came or went in a directory may be in its entry a moment later only.
        let late = mounts.len() > 1;
        let (got, want) = (shape(&there, !late), shape(&local, !late));
        if got == want && late {
            let times = shape(&local, true);
            eventually("the times of directories", SOON, || {
                shape(&there, true) == times
            });
        }
        if got != want {
            return Err(format!(
                "afterwards, mount {index}: {got:#?}\nlocally: {want:#?}"
            ));
        }
    }
    Ok(())
}

/// Waits until `to` has seen everything that was done at `from`: changes arrive in their order. A name that
/// nobody has asked for would be looked up at the filer, past that order; one that is known to be missing
/// comes with its event.
fn meet(from: &Mount, to: &Mount, marker: &str) {
    let there = to.dir().join(marker);
    assert!(!there.exists());
    File::create_new(from.dir().join(marker)).unwrap();
    eventually("the other mount sees a change", SOON, || there.exists());
}

fn told(result: &Result<Vec<u8>, i32>) -> String {
    match result {
        Ok(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) if text.len() < 200 && !text.contains('\0') => text.to_owned(),
            _ => format!("{} bytes", bytes.len()),
        },
        Err(errno) => std::io::Error::from_raw_os_error(*errno).to_string(),
    }
}

/// What must be alike of each node.
fn shape(root: &Path, dir_times: bool) -> BTreeMap<PathBuf, String> {
    let nodes = walk(root, &[]).into_iter();
    nodes
        .map(|(path, node)| {
            // S_IFMT and S_IFDIR: a directory's size is the file system's own.
            let directory = node.mode & 0o170_000 == 0o040_000;
            let size = (!directory).then_some(node.size);
            let bytes = node
                .bytes
                .map(|bytes| bytes.map(|bytes| (bytes.len(), seaweed::crc::crc32c(&bytes))));
            let xattrs: Vec<_> = node
                .xattrs
                .iter()
                .map(|(name, value)| (name, value.len()))
                .collect();
            // Only `utimens` makes times of long ago.
            let mtime = Some(node.mtime)
                .filter(|(seconds, _)| *seconds < operation::LONG_AGO)
                .filter(|_| dir_times || !directory);
            let shape = format!(
                "mode {:o} nlink {} owner {:?} size {size:?} mtime {mtime:?} target {:?} xattrs {xattrs:?} bytes {bytes:?}",
                node.mode, node.nlink, node.owner, node.target
            );
            (path, shape)
        })
        .collect()
}
