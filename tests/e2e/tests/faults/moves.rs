//! Volume servers that hand their volumes over to another one.

use std::fs;

use cluster::Cluster;
use e2e::{
    Readers, Sample, Scene, Sidecar, data_folder, eventually, grow_on_every_server, needs_fuse,
    noise,
};
use seaweed::FileId;
use volume::DataDir;
use volume::inspect::{Found, volumes};

use super::servers::inodes;
use super::{SHORT, SOON, STRICT, TIMEOUT, is_eio, metric, mount, samples, tell};

#[test]
fn volumes_move_to_another_server_under_readers() {
    needs_fuse!();
    volumes_move(&[]);
}

#[test]
fn volumes_move_to_another_server_under_who_reads_their_files() {
    needs_fuse!();
    volumes_move(&[SHORT]);
}

#[test]
fn without_fallback_volumes_that_move_are_read_by_way_of_their_new_sidecar_or_not_at_all() {
    needs_fuse!();
    volumes_move(&[STRICT]);
}

fn volumes_move(flags: &[&str]) {
    let scene = Scene::of(Cluster::builder().volume_servers(2));
    grow_on_every_server(&scene, 2);
    // So many that those of either server are more than a mount keeps.
    let samples = [samples(&scene), more_samples(&scene)].concat();
    let sidecars = [0, 1].map(|i| Sidecar::start(&scene, i, &[]));
    let both = format!("{},{}", sidecars[0].address(), sidecars[1].address());
    let two = mount(&scene, "both", &both, flags);
    let one = mount(&scene, "one", &sidecars[0].address(), flags);
    let mounts = [
        (&two, "a sidecar at both"),
        (&one, "a sidecar at the old one only"),
    ];
    let folder = data_folder(&scene.cluster, 0);
    let found = volumes(&DataDir::new(&folder)).unwrap();
    let moving = samples_in(&scene, &samples, &found);
    let readers = [(&two, &samples), (&one, &moving)];
    let readers = readers.map(|(mount, samples)| Readers::mixed(mount, samples, 2));
    readers
        .iter()
        .for_each(|readers| readers.recovered(40, SOON));
    let said = hand_over(&scene, &found);
    let left = inodes(&folder).len();
    assert_eq!((found.is_empty(), left), (false, 0), "{said}");
    if flags.contains(&SHORT) {
        let before = metric(&two, "short_circuit_reads");
        eventually("the files at the new server are read", SOON, || {
            metric(&two, "short_circuit_reads") > before + 100
        });
        let one_reads = || metric(&one, "short_circuit_reads");
        let before = one_reads();
        readers
            .iter()
            .for_each(|readers| readers.recovered(100, SOON));
        assert_eq!(one_reads(), before, "who has no sidecar there has no files");
    }
    // Without fallback who has no sidecar there reads nothing any more.
    let is_strict = flags.contains(&STRICT);
    match is_strict {
        false => readers[1].recovered(100, SOON),
        true => {
            let errors = readers[1].errors();
            eventually("reads fail", SOON, || readers[1].errors() > errors + 20);
        }
    }
    eventually("nothing goes over HTTP any more", SOON, || {
        let before = metric(&two, "http_requests");
        readers[0].recovered(100, SOON);
        metric(&two, "http_requests") == before
    });
    for (readers, (mount, what)) in readers.into_iter().zip(mounts) {
        let tally = readers.finish();
        tell(
            &format!("{} volumes moved, {what}, {flags:?}", found.len()),
            mount,
            &tally,
            TIMEOUT,
        );
        match is_strict {
            false => assert_eq!(tally.errors, 0, "{tally}\n{said}"),
            true => {
                assert!(tally.errors == 0 || is_eio(&tally), "{tally}\n{said}");
                assert_eq!(metric(mount, "http_requests"), 0);
            }
        }
    }
    let by_http = metric(&one, "http_requests");
    assert!(is_strict || by_http > 0, "nobody else has them");
}

/// Moves volumes from the first server to the second as `volume.move` does: marked read-only, their
/// files copied, mounted there and deleted here. That command itself refuses servers on a loopback
/// address, so the copy is made by hand.
fn hand_over(scene: &Scene, found: &[Found]) -> String {
    let [from, to] = [0, 1].map(|i| scene.cluster.volume_http(i));
    let [old, new] = [0, 1].map(|i| data_folder(&scene.cluster, i));
    let each = |command: &str| -> String {
        let line = |volume: &Found| format!("{command} -volumeId {}\n", volume.id);
        let lines: String = found.iter().map(line).collect();
        scene.shell(&format!("lock\n{lines}unlock"))
    };
    let mut said = each(&format!("volume.mark -readonly -node {from}"));
    for volume in found {
        for extension in ["vif", "idx", "dat"] {
            let name = format!("{}.{extension}", volume.id);
            fs::copy(old.join(&name), new.join(&name)).unwrap();
        }
    }
    said += &each(&format!("volume.mount -node {to}"));
    said += &each(&format!("volume.delete -node {from}"));
    said
}

fn more_samples(scene: &Scene) -> Vec<Sample> {
    let plant = |n: u64| {
        let (path, bytes) = (format!("/more/{n}"), noise(200 + n, 400_001));
        scene.put(&path, &bytes);
        Sample { path, bytes }
    };
    (0..30).map(plant).collect()
}

/// Those of the samples that lie in these volumes.
fn samples_in(scene: &Scene, samples: &[Sample], found: &[Found]) -> Vec<Sample> {
    let is_there = |sample: &&Sample| {
        let entry = scene.craft().lookup(&sample.path).unwrap();
        let id: FileId = entry.chunks[0].file_id.parse().unwrap();
        found.iter().any(|volume| volume.id == id.volume)
    };
    samples.iter().filter(is_there).cloned().collect()
}
