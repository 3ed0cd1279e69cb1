//! Bytes on the disk that are not those that were written.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use cluster::Cluster;
use e2e::{Readers, Sample, Scene, Sidecar, data_folder, needs_fuse};
use rustix::io::Errno;
use seaweed::FileId;
use volume::DataDir;
use volume::inspect::{Inspection, volumes};

use super::{SHORT, STRICT, TIMEOUT, is_eio, metric, missed, mount, samples, tell};

/// A busy machine must not make a read go over HTTP before the fabric has seen the damage: a range
/// of a needle that nobody knows to be damaged is not checked there.
const PATIENT: &str = "-rdma.timeoutMs=20000";

/// Flips a bit in the third page of the needles of these files, in a data folder.
fn damage(scene: &Scene, folder: &Path, damaged: &[Sample]) {
    let mut wanted: Vec<FileId> = Vec::new();
    for sample in damaged {
        let entry = scene.craft().lookup(&sample.path).unwrap();
        assert_eq!(entry.chunks.len(), 1, "{}", sample.path);
        wanted.push(entry.chunks[0].file_id.parse().unwrap());
    }
    let dir = DataDir::new(folder);
    let mut done = 0;
    for found in volumes(&dir).unwrap() {
        let file = folder.join(format!("{}.dat", found.id));
        let file = File::options().read(true).write(true).open(file).unwrap();
        for live in Inspection::open(&dir, &found).unwrap().needles() {
            let is_it = |id: &FileId| (id.volume, id.key) == (found.id, live.key);
            if wanted.iter().any(is_it) {
                let (at, mut byte) = (live.offset + 10_000, [0]);
                file.read_exact_at(&mut byte, at).unwrap();
                file.write_all_at(&[byte[0] ^ 4], at).unwrap();
                done += 1;
            }
        }
    }
    assert_eq!(done, damaged.len());
}

#[test]
fn a_damaged_page_is_read_from_the_other_replica() {
    needs_fuse!();
    let scene = Scene::of(Cluster::builder().volume_servers(2).replication("001"));
    let samples = samples(&scene);
    damage(&scene, &data_folder(&scene.cluster, 0), &samples[3..6]);
    let sidecar = Sidecar::start(&scene, 0, &[]);
    let mount = mount(&scene, "mnt", &sidecar.address(), &[PATIENT]);
    let readers = Readers::mixed(&mount, &samples, 3);
    readers.recovered(400, super::SOON);
    let tally = readers.finish();
    tell("damaged page, two copies", &mount, &tally, TIMEOUT);
    assert_eq!(tally.errors, 0, "{tally}");
    assert!(missed(&mount, &["suspect"]) > 0 && mount.stat("fabric_reads") > 0.0);
}

#[test]
fn a_damaged_page_without_another_copy_is_an_error_and_never_wrong_bytes() {
    needs_fuse!();
    let scene = Scene::start();
    let samples = samples(&scene);
    let (damaged, sound) = samples.split_at(3);
    damage(&scene, &data_folder(&scene.cluster, 0), damaged);
    let sidecar = Sidecar::start(&scene, 0, &[]);
    // The volume server is asked again and again for as long as this; it might have been the way.
    let soon = "-readRetryTime=300ms";
    for (name, flags) in [
        ("falls", &[PATIENT, soon][..]),
        ("strict", &[PATIENT, soon, STRICT]),
        ("itself", &[PATIENT, soon, SHORT]),
        ("itself-strict", &[PATIENT, soon, SHORT, STRICT]),
    ] {
        let mount = mount(&scene, name, &sidecar.address(), flags);
        let readers = Readers::mixed(&mount, &samples, 3);
        e2e::eventually("readers meet the damage", super::SOON, || {
            readers.errors() > 5 && readers.reads() > 100
        });
        let tally = readers.finish();
        tell(
            &format!("damaged page, one copy, {name}"),
            &mount,
            &tally,
            TIMEOUT,
        );
        assert!(is_eio(&tally), "{tally}");
        assert!(missed(&mount, &["suspect"]) > 0);
        if flags.contains(&STRICT) {
            assert_eq!(metric(&mount, "http_requests"), 0);
        }
        if flags.contains(&SHORT) {
            assert!(metric(&mount, "short_circuit_reads") > 50);
        }
        for sample in damaged {
            let error = fs::read(mount.path(&sample.path)).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(Errno::IO.raw_os_error()));
        }
        for sample in sound {
            assert!(mount.read(&sample.path) == sample.bytes, "{}", sample.path);
        }
    }
}
