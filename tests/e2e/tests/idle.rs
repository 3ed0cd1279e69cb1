//! What a mount and its sidecar cost when nobody wants anything of them.

use std::fs;
use std::thread;
use std::time::Duration;

use e2e::{Scene, Sidecar, needs_fuse, noise};

/// How long it is looked at.
const WATCHED: Duration = Duration::from_secs(5);
/// Processor time that each may take in it: 2 %. It is around 0.1 % on an idle machine.
const MOST: Duration = Duration::from_millis(100);

#[test]
fn a_mount_and_a_sidecar_with_open_lanes_leave_the_processors_alone() {
    needs_fuse!();
    let scene = Scene::start();
    let bytes = noise(1, 3_000_000);
    scene.put("/file", &bytes);
    let mut sidecar = Sidecar::start(&scene, 0, &[]);
    let address = format!("-rdma.sidecar={}", sidecar.address());
    let flags = ["-rdma.enabled", &address, "-rdma.shortCircuit=false"];
    let mut mount = scene.mount(&flags);
    assert!(mount.read("/file") == bytes);
    assert!(
        mount.stat("fabric_lanes_opened") >= 1.0,
        "it came by another way"
    );
    let (mount, sidecar) = (mount.process().id(), sidecar.process().id());
    // What follows a read, such as reading ahead, is over.
    thread::sleep(Duration::from_secs(2));
    let before = [mount, sidecar].map(processor_time);
    thread::sleep(WATCHED);
    for ((name, process), before) in [("mount", mount), ("sidecar", sidecar)].iter().zip(before) {
        let took = processor_time(*process) - before;
        println!("in {WATCHED:?} the idle {name} took {took:?} of a processor");
        assert!(took <= MOST, "the idle {name} took {took:?} in {WATCHED:?}");
    }
}

/// A tick, in which Linux tells programs of processor time (USER_HZ) on every architecture but Alpha.
const TICK: Duration = Duration::from_millis(10);

/// What a process has used, in user and in system mode (proc_pid_stat(5): fields 14 and 15).
fn processor_time(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name before may hold anything but `)`, after which field 3 follows.
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let fields = rest.split(' ').skip(11).take(2);
    let ticks: u32 = fields.map(|field| field.parse::<u32>().unwrap()).sum();
    TICK * ticks
}
