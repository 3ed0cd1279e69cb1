//! `riptide needle` and `riptide doctor`, as a person would run them.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::process::{Command, Output};

use cluster::Cluster;
use e2e::{Scene, Sidecar, all_needles, data_folder, noise, put_on_every_server, riptide, text};
use seaweed::FileId;
use serde_json::Value;

fn run(scene: &Scene, args: &[&str]) -> Output {
    let home = scene.cluster.home();
    let mut command = Command::new(riptide());
    let command = command.args(args).current_dir(home).env("HOME", home);
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

fn id_of(scene: &Scene, path: &str) -> FileId {
    let entry = scene.craft().lookup(path).unwrap();
    entry.chunks[0].file_id.parse().unwrap()
}

#[test]
fn needles_are_got_shown_and_checked_without_a_server() {
    let mut scene = Scene::start();
    let (plain, clear) = (noise(1, 300_000), text(2, 200_000));
    scene.put("/a.bin", &plain);
    scene.put("/b.txt", &clear);
    let ids = [id_of(&scene, "/a.bin"), id_of(&scene, "/b.txt")].map(|id| id.to_string());
    scene.cluster.kill_volume(0).unwrap();
    let folder = data_folder(&scene.cluster, 0);
    let dir = format!("-dir={}", folder.display());

    for (id, bytes) in ids.iter().zip([&plain, &clear]) {
        let got = run(&scene, &["needle", "get", id, &dir]);
        assert!(got.status.success() && got.stdout == *bytes, "{id}");
        let shown = run(&scene, &["needle", "stat", id, &dir, "-json"]);
        let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
        assert_eq!(
            (&shown["file_id"], &shown["damage"]),
            (&id.as_str().into(), &Value::Null)
        );
        assert!(
            run(&scene, &["needle", "verify", id, &dir])
                .status
                .success()
        );
    }
    let raw = run(&scene, &["needle", "get", &ids[1], &dir, "-raw"]);
    assert!(raw.stdout.starts_with(&[0x1f, 0x8b]) && raw.stdout.len() < clear.len());
    let file = scene.path("out");
    let to = format!("-output={}", file.display());
    assert!(
        run(&scene, &["needle", "get", &ids[0], &dir, &to])
            .status
            .success()
    );
    assert!(fs::read(&file).unwrap() == plain);

    let missing = run(&scene, &["needle", "get", "4000000,01637037d6", &dir]);
    assert!(!missing.status.success() && said(&missing).contains("4000000"));
    let nonsense = run(&scene, &["needle", "shred", &ids[0]]);
    assert_eq!(nonsense.status.code(), Some(2));
    assert!(
        said(&nonsense).contains("get, stat or verify"),
        "{}",
        said(&nonsense)
    );
}

#[test]
fn a_flipped_bit_is_found_by_name() {
    let mut scene = Scene::start();
    scene.put("/a.bin", &noise(1, 300_000));
    let id = id_of(&scene, "/a.bin");
    scene.cluster.kill_volume(0).unwrap();
    let folder = data_folder(&scene.cluster, 0);
    let place = folder.to_str().unwrap();
    let clean = run(&scene, &["needle", "verify", place, "-json"]);
    assert!(clean.status.success(), "{}", said(&clean));
    let lines: Vec<Value> = clean
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let good: u64 = lines
        .iter()
        .filter_map(|line| line["good_needles"].as_u64())
        .sum();
    assert_eq!(good, all_needles(&folder).len() as u64);

    let dat = folder.join(format!("{}.dat", id.volume));
    let dat = OpenOptions::new().read(true).write(true).open(dat).unwrap();
    let shown = run(
        &scene,
        &[
            "needle",
            "stat",
            &id.to_string(),
            &format!("-dir={place}"),
            "-json",
        ],
    );
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let at = shown["record_offset"].as_u64().unwrap() + 1000;
    let mut byte = [0];
    dat.read_exact_at(&mut byte, at).unwrap();
    dat.write_all_at(&[byte[0] ^ 1], at).unwrap();

    let found = run(&scene, &["needle", "verify", place]);
    assert_eq!(found.status.code(), Some(1));
    let text = said(&found);
    assert!(text.contains(&format!("volumes {}", id.volume)), "{text}");
    assert!(text.contains(&format!("{:x}", id.key)), "{text}");
    let one = run(
        &scene,
        &["needle", "get", &id.to_string(), &format!("-dir={place}")],
    );
    assert!(
        !one.status.success() && one.stdout.is_empty(),
        "{}",
        said(&one)
    );
}

#[test]
fn doctor_sees_which_servers_have_a_sidecar_and_over_what_it_is_reached() {
    let scene = Scene::of(Cluster::builder().volume_servers(2).jwt(true));
    put_on_every_server(&scene, 2);
    let sidecar = Sidecar::start(&scene, 0, &[]);
    let filer = format!("-filer={}", scene.cluster.filer_http());
    let path = format!("{}/{}", fabric::announce::FOLDER, sidecar.address());
    for _ in 0..600 {
        if scene.craft().lookup(&path).is_some() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let seen = run(&scene, &["doctor", &filer]);
    let text = said(&seen);
    let has = |level: &str, about: &str| {
        text.lines()
            .any(|line| line.starts_with(level) && line.contains(about))
    };
    assert!(
        has("ok", "kernel") && has("ok", "filer") && has("ok", "clock"),
        "{text}"
    );
    assert!(has("ok", &format!("shm {}", sidecar.address())), "{text}");
    assert!(has("ok", &format!("tcp {}", sidecar.address())), "{text}");
    let covered = format!("volumes {}", scene.cluster.volume_http(0));
    assert!(has("ok", &covered), "{text}");
    let bare = format!("volumes {}", scene.cluster.volume_http(1));
    assert!(
        has("warn", &bare) && text.contains("over HTTP only"),
        "{text}"
    );

    let nobody = run(&scene, &["doctor", "-sidecar=127.0.0.1:1"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(
        said(&nobody).contains("fail  sidecar 127.0.0.1:1"),
        "{}",
        said(&nobody)
    );
}
