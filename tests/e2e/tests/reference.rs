//! Random sequences of operations do on a mount what they do on a local file system: the same results,
//! the same bytes, the same errors, the same tree afterwards (docs/SEMANTICS.md, sections 8 to 10).
//!
//! A sequence that does otherwise is made shorter until every operation in it is needed. What the stock mount
//! makes of them is counted by `make conformance`.
//! `RIPTIDE_REFERENCE_CASES` says how many are tried, other ones in each run; without it, always
//! the same few.

mod apply;
mod operation;

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::{Scene, eventually, needs_fuse, walk};
use proptest::collection::vec;
use proptest::strategy::{Strategy as _, ValueTree as _};
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
    check(&scene, &[mount.dir()], CASES, true);
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
    check(&scene, &[one.dir(), other.dir()], CASES / 4, false);
}

/// Run by `make conformance`: the same sequences on the stock mount, to compare with.
#[test]
#[ignore = "it measures another program"]
fn the_stock_mount_in_the_same_sequences() {
    needs_fuse!();
    let scene = Scene::start();
    let (mount, stock) = (scene.mount(&FLAGS), scene.stock(&FLAGS));
    let (config, mut runner) = runner(CASES);
    let mut ended: BTreeMap<String, usize> = BTreeMap::new();
    let mut first = None;
    for case in 0..config.cases {
        let operations = vec(operation(true), 1..LONGEST).new_tree(&mut runner);
        let operations = operations.unwrap().current();
        let ours = compare(&scene, &[mount.dir()], &format!("ours{case}"), &operations);
        assert_eq!(ours, Ok(()), "by {operations:#?}");
        let theirs = compare(&scene, &[stock.dir()], &format!("stock{case}"), &operations);
        if let Err(why) = theirs {
            *ended.entry(why.at.clone()).or_default() += 1;
            first.get_or_insert(why);
        }
    }
    let (cases, others) = (config.cases, ended.values().sum::<usize>());
    println!(
        "weed mount: {others} of {cases} sequences go another way than on a local file system,"
    );
    println!("  by what it first does otherwise: {ended:?}");
    if let Some(first) = first {
        println!("  the first of them: {first}");
    }
}

/// Link counts of directories as local file systems have them.
const FLAGS: [&str; 1] = ["-posix.dirNLink"];

/// With `handles`, files stay open over several operations too.
fn check(scene: &Scene, mounts: &[&Path], cases: u32, handles: bool) {
    let (_, mut runner) = runner(cases);
    let case = std::cell::Cell::new(0_u32);
    let ran = runner.run(&vec(operation(handles), 1..LONGEST), |operations| {
        case.set(case.get() + 1);
        let name = format!("case{}", case.get());
        compare(scene, mounts, &name, &operations)
            .map_err(|differs| TestCaseError::fail(differs.to_string()))
    });
    match ran {
        Ok(()) => {}
        Err(TestError::Fail(why, operations)) => panic!("{why}\nby {operations:#?}"),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

/// For as many cases as the environment says, or `cases` of the same each time.
fn runner(cases: u32) -> (Config, TestRunner) {
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
    let runner = match wanted {
        Some(_) => TestRunner::new(config.clone()),
        None => {
            let seed = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
            TestRunner::new_with_rng(config.clone(), seed)
        }
    };
    (config, runner)
}

/// In what a mount does otherwise.
#[derive(Debug, PartialEq)]
struct Differs {
    /// The kind of the operation, or that it is seen afterwards only.
    at: String,
    how: String,
}

impl std::fmt::Display for Differs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.how)
    }
}

/// Does all of them on a local directory and on the mounts in turn; in what they differ, if so.
fn compare(
    scene: &Scene,
    mounts: &[&Path],
    name: &str,
    operations: &[Operation],
) -> Result<(), Differs> {
    let local = scene.path("local").join(name);
    fs::create_dir_all(&local).unwrap();
    fs::create_dir(mounts[0].join(name)).unwrap();
    let times = mounts.len() == 1;
    let mut reference = World::new(&local, times);
    let mut ours: Vec<World> = mounts
        .iter()
        .map(|mount| World::new(&mount.join(name), times))
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
            let kind = format!("{operation:?}");
            let kind = kind.split_once(' ').map_or(kind.as_str(), |(kind, _)| kind);
            let (got, want) = (told(&got), told(&want));
            return Err(Differs {
                at: kind.to_owned(),
                how: format!("step {step}, {operation:?}: {got} instead of {want}"),
            });
        }
    }
    drop(ours);
    drop(reference);
    for (index, mount) in mounts.iter().enumerate() {
        if index != acted {
            meet(mounts[acted], mount, &format!("{name}.end{index}"));
        }
        let there = mount.join(name);
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
            return Err(Differs {
                at: "afterwards".to_owned(),
                how: format!("afterwards, mount {index}: {got:#?}\nlocally: {want:#?}"),
            });
        }
    }
    Ok(())
}

/// Waits until `to` has seen everything that was done at `from`: changes arrive in their order. A name that
/// nobody has asked for would be looked up at the filer, past that order; one that is known to be missing
/// comes with its event.
fn meet(from: &Path, to: &Path, marker: &str) {
    let there = to.join(marker);
    assert!(!there.exists());
    File::create_new(from.join(marker)).unwrap();
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
