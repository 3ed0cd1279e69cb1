//! Bits that flip between the sidecar's disk and the program: on a network, and in the memory that is shared.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use e2e::{Meddler, Proxy, Readers, Sample, Scene, Sidecar, eventually, needs_fuse};
use serde_json::Value;

use super::{SOON, STRICT, TIMEOUT, is_eio, metric, missed, mount, samples, tell};

#[test]
fn bits_that_flip_on_the_way_are_noticed() {
    needs_fuse!();
    let scene = Scene::start();
    let samples = samples(&scene);
    let sidecar = Sidecar::start(&scene, 0, &["-transports=tcp"]);
    let proxy = Proxy::to(&sidecar.address());
    let address = by_way_of(&sidecar, |fabric| fabric["tcp"] = proxy.above().into());
    let flip = |is_on: bool| proxy.flip_every(if is_on { 1_500_001 } else { 0 });
    bits_flip((&scene, &samples), "on the way", &address, flip, || {
        proxy.flipped()
    });
}

#[test]
fn bits_that_flip_in_shared_memory_are_noticed() {
    needs_fuse!();
    let scene = Scene::start();
    let samples = samples(&scene);
    let sidecar = Sidecar::start(&scene, 0, &["-transports=shm"]);
    let health = sidecar.health().unwrap();
    let socket = health["fabric"]["unix"].as_str().unwrap();
    let meddler = Meddler::to(Path::new(socket), scene.path("meddler.sock"));
    let unix = meddler.path().to_str().unwrap();
    let address = by_way_of(&sidecar, |fabric| fabric["unix"] = unix.into());
    let flip = |is_on: bool| meddler.flip_every(if is_on { 20 } else { 0 });
    bits_flip(
        (&scene, &samples),
        "in shared memory",
        &address,
        flip,
        || meddler.flipped(),
    );
}

/// Lets readers read while bits flip, with fallback and without.
fn bits_flip(
    (scene, samples): (&Scene, &[Sample]),
    place: &str,
    address: &str,
    flip: impl Fn(bool),
    flipped: impl Fn() -> u64,
) {
    for (name, flags) in [("falls", &[][..]), ("strict", &[STRICT])] {
        let mount = mount(scene, name, address, flags);
        let readers = Readers::mixed(&mount, samples, 3);
        readers.recovered(50, SOON);
        let before = flipped();
        flip(true);
        eventually("bits flip", SOON, || flipped() >= before + 20);
        flip(false);
        readers.recovered(50, SOON);
        let flipped = flipped() - before;
        let tally = readers.finish();
        tell(
            &format!("{flipped} bits flipped {place}, {name}"),
            &mount,
            &tally,
            TIMEOUT,
        );
        assert!(mount.stat("fabric_corrupt") > 0.0);
        assert!(missed(&mount, &["suspect"]) > 0);
        // Without fallback a read may fail; but what failed for the kernel's read-ahead only is
        // asked for once more.
        let may_fail = name == "strict" && is_eio(&tally);
        assert!(tally.errors == 0 || may_fail, "{tally}");
        assert!(name == "falls" || metric(&mount, "http_requests") == 0);
    }
}

/// Serves a sidecar's `/health` with another way to its fabric; at what address.
fn by_way_of(sidecar: &Sidecar, change: impl FnOnce(&mut Value)) -> String {
    let mut health = sidecar.health().unwrap();
    change(&mut health["fabric"]);
    let body = health.to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    says([head.into_bytes(), body.into_bytes()].concat())
}

/// Says `body` to whoever asks over HTTP; ends with the test's process.
pub(super) fn says(body: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let _ = client.read(&mut [0; 4096]);
            let _ = client.write_all(&body);
        }
    });
    address
}
