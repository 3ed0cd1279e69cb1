//! Sidecars that go, freeze, stutter and come back, have too much to do, or are none.

use std::thread;
use std::time::Duration;

use e2e::{Mount, Readers, Scene, Sidecar, Tally, eventually, needs_fuse};
use fabric::announce::{Announcement, FOLDER};
use rustix::process::Signal;

use super::flips::says;
use super::{SOON, STRICT, TIMEOUT, fallbacks, is_eio, missed, mount, samples, tell};

/// What is done to a sidecar under readers.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// SIGKILL, and after a while another process.
    Killed,
    /// SIGSTOP, and after a while SIGCONT.
    Frozen,
    /// SIGTERM, upon which it takes its leave, and another process at once.
    Restarted,
}

#[test]
fn readers_see_no_error_while_the_sidecar_is_killed_frozen_and_restarted() {
    needs_fuse!();
    ordeal("falls back", &[], |mount, tally| {
        assert_eq!(tally.errors, 0, "{tally}");
        assert!(mount.stat("http_fallbacks") > 0.0);
        let quarantined = || {
            let stats = mount.stats();
            let series = stats["metrics"]["arena_bytes"].as_array().unwrap().clone();
            let one = series
                .iter()
                .find(|one| one["labels"]["state"] == "quarantined");
            one.unwrap()["value"].as_f64().unwrap()
        };
        eventually("nothing stays in quarantine", SOON, || quarantined() == 0.0);
    });
}

#[test]
fn without_fallback_reads_fail_while_the_sidecar_is_away_and_recover_by_themselves() {
    needs_fuse!();
    ordeal("strict", &[STRICT], |mount, tally| {
        assert!(tally.errors > 0, "nobody else was to be asked");
        assert!(is_eio(tally), "{tally}");
        assert_eq!(mount.stat("http_requests"), 0.0);
        let log = mount.log();
        assert!(log.contains("the fabric does not deliver needle"), "{log}");
    });
}

fn ordeal(mode: &str, flags: &[&str], check: impl FnOnce(&Mount, &Tally)) {
    let scene = Scene::start();
    let samples = samples(&scene);
    let mut sidecar = Sidecar::start(&scene, 0, &[]);
    let second = ["-rdma.timeoutMs=1000"];
    let mount = mount(
        &scene,
        "mnt",
        &sidecar.address(),
        &[&second, flags].concat(),
    );
    let readers = Readers::mixed(&mount, &samples, 3);
    readers.recovered(40, SOON);
    let over = || mount.stat("fabric_reads");
    for fault in [Fault::Killed, Fault::Frozen, Fault::Restarted] {
        assert!(over() > 0.0);
        let process = sidecar.process();
        match fault {
            Fault::Killed => {
                process.kill().unwrap();
                thread::sleep(Duration::from_secs(2));
                process.restart().unwrap();
            }
            Fault::Frozen => {
                process.signal(Signal::STOP).unwrap();
                thread::sleep(Duration::from_secs(4));
                process.signal(Signal::CONT).unwrap();
            }
            Fault::Restarted => {
                process.terminate(SOON).unwrap();
                process.restart().unwrap();
            }
        }
        let (before, reads, errors) = (over(), readers.reads(), readers.errors());
        let took = eventually("the fabric is used again", SOON, || over() > before + 40.0);
        println!(
            "{fault:?}, {mode}: {reads} reads and {errors} errors so far, used again after {took:?}"
        );
        readers.recovered(40, SOON);
    }
    let tally = readers.finish();
    let what = format!("sidecar killed, frozen, restarted, {mode}");
    tell(&what, &mount, &tally, Duration::from_secs(1));
    check(&mount, &tally);
}

#[test]
fn a_sidecar_with_more_clients_than_it_takes_turns_them_to_http() {
    needs_fuse!();
    let scene = Scene::start();
    let samples = samples(&scene);
    let sidecar = Sidecar::start(&scene, 0, &["-max-clients=2", "-memory-limit=16MiB"]);
    let mount = mount(&scene, "mnt", &sidecar.address(), &[]);
    let readers = Readers::mixed(&mount, &samples, 12);
    readers.recovered(300, SOON);
    let tally = readers.finish();
    tell("overload, falls back", &mount, &tally, TIMEOUT);
    assert_eq!(tally.errors, 0, "{tally}");
    assert!(
        missed(&mount, &["refused", "busy"]) > 0,
        "{:?}",
        fallbacks(&mount)
    );
    assert!(mount.stat("fabric_reads") > 0.0);
}

#[test]
fn a_sidecar_that_stutters_delays_reads_by_no_more_than_the_timeout() {
    needs_fuse!();
    stutter("falls back", &[], |_, tally| {
        assert_eq!(tally.errors, 0, "{tally}")
    });
}

#[test]
fn without_fallback_reads_that_a_stutter_takes_too_long_fail_and_others_do_not() {
    needs_fuse!();
    stutter("strict", &[STRICT], |mount, tally| {
        assert!(tally.errors > 0 && is_eio(tally), "{tally}");
        assert_eq!(mount.stat("http_requests"), 0.0);
    });
}

fn stutter(mode: &str, flags: &[&str], check: impl FnOnce(&Mount, &Tally)) {
    let scene = Scene::start();
    let samples = samples(&scene);
    let mut sidecar = Sidecar::start(&scene, 0, &[]);
    let timeout = Duration::from_millis(150);
    let flags = [&["-rdma.timeoutMs=150"], flags].concat();
    let mount = mount(&scene, "mnt", &sidecar.address(), &flags);
    let readers = Readers::mixed(&mount, &samples, 3);
    readers.recovered(40, SOON);
    for _ in 0..8 {
        sidecar.process().signal(Signal::STOP).unwrap();
        thread::sleep(Duration::from_millis(400));
        sidecar.process().signal(Signal::CONT).unwrap();
        thread::sleep(Duration::from_millis(300));
    }
    readers.recovered(40, SOON);
    let tally = readers.finish();
    let what = format!("sidecar stopped for 400 ms, 8 times, {mode}");
    tell(&what, &mount, &tally, timeout);
    assert!(missed(&mount, &["timeout"]) > 0, "{:?}", fallbacks(&mount));
    check(&mount, &tally);
}

#[test]
fn garbage_among_the_announcements_does_not_hide_the_sidecar_that_works() {
    needs_fuse!();
    let scene = Scene::start();
    let samples = samples(&scene);
    let sidecar = Sidecar::start(&scene, 0, &[]);
    let health = sidecar.health().unwrap();
    let real: Announcement = serde_json::from_value(health).unwrap();
    // Plausible, and beside the same volume server; but what listens there is no sidecar.
    let mut liar = real.clone();
    liar.http = "127.0.0.1:1".to_owned();
    liar.fabric.unix = None;
    liar.fabric.tcp = Some(says(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()));
    let mut future = real.clone();
    future.http = "127.0.0.1:2".to_owned();
    future.fabric.version = 200;
    let json = |announced: &Announcement| serde_json::to_vec(announced).unwrap();
    for (name, content) in [
        ("garbage", b"\0\xff\xfe not json".to_vec()),
        ("empty", Vec::new()),
        ("deep", vec![b'['; 100_000]),
        ("127.0.0.1:3", json(&real)),
        ("127.0.0.1:2", json(&future)),
        ("127.0.0.1:1", json(&liar)),
    ] {
        let size = content.len() as u64;
        scene
            .craft()
            .inline(&format!("{FOLDER}/{name}"), size, &content);
    }
    scene.cluster.mkdir(&format!("{FOLDER}/folder")).unwrap();
    let mount = mount(&scene, "mnt", "auto", &[]);
    let readers = Readers::mixed(&mount, &samples, 3);
    readers.recovered(200, SOON);
    let tally = readers.finish();
    tell("garbage announcements, falls back", &mount, &tally, TIMEOUT);
    assert_eq!(tally.errors, 0, "{tally}");
    assert!(mount.stat("fabric_reads") > 0.0);
    let log = mount.log();
    for name in ["garbage", "127.0.0.1:2", "127.0.0.1:3"] {
        let told = |line: &str| line.contains("cannot be used") && line.contains(name);
        assert!(log.lines().any(told), "{name}: {log}");
    }
}

#[test]
fn whatever_answers_at_the_address_of_a_sidecar_reads_go_on() {
    needs_fuse!();
    let scene = Scene::start();
    let samples = samples(&scene);
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: ".to_vec();
    let nonsense = [
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc".to_vec(),
        [&head[..], b"15\r\n\r\n<html>no</html>"].concat(),
        [&head[..], b"99999999999999\r\n\r\n{"].concat(),
        [&head[..], b"2\r\n\r\n{}"].concat(),
        b"HTTP/1.1 500 Internal Server Error\r\n\r\n".to_vec(),
    ];
    let addresses: Vec<String> = nonsense.into_iter().map(says).collect();
    let mount = mount(&scene, "mnt", &addresses.join(","), &[]);
    let readers = Readers::mixed(&mount, &samples, 3);
    readers.recovered(200, SOON);
    let tally = readers.finish();
    tell(
        "nonsense instead of sidecars, falls back",
        &mount,
        &tally,
        TIMEOUT,
    );
    assert_eq!(tally.errors, 0, "{tally}");
    assert!(missed(&mount, &["no_sidecar"]) > 0);
    let log = mount.log();
    for address in &addresses {
        let told = |line: &str| line.contains("cannot be used") && line.contains(address);
        assert!(log.lines().any(told), "{address}: {log}");
    }
}
