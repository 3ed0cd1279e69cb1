//! Needles out of the volume files, as the volume server itself gives them.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use cluster::{Cluster, READ_KEY};
use context::Context;
use e2e::{
    Scene, Sidecar, all_needles, data_folder, needs_fuse, noise, put_on_every_server, read_at, text,
};
use fabric::announce::{Announcement, Endpoints, FOLDER, this_host};
use fabric::carrier::{Dial, Dialer, DialerConfig};
use fabric::lane::{Answered, Inbox, Lane};
use fabric::wire::{self, Answer, Extent, Item, Outcome, Place, Status};
use seaweed::FileId;
use seaweed::jwt::SigningKey;

/// Files of every kind of needle: plain, compressed, in several chunks, empty, overwritten.
fn plant(scene: &Scene) {
    scene.put("/a.bin", &noise(1, 5 << 20));
    scene.put("/b.txt", &text(2, 700_000));
    scene.put("/c.txt", &text(3, 3_000_000));
    scene.put("/d", &noise(4, 1));
    scene.put("/over", &noise(5, 100_000));
    scene.put("/over", &noise(6, 90_000));
    for i in 0..20 {
        scene.put(&format!("/many/{i}"), &text(10 + i, 1 << (i % 18)));
    }
    let cluster = &scene.cluster;
    let put = |path, query| cluster.put_with(path, query, &[], &noise(7, 200_000));
    put("/pictures/one", "collection=pictures").unwrap();
    put("/short/lived", "ttl=1h").unwrap();
    let craft = scene.craft();
    let sealed = craft.sealed(0, &text(8, 300_000), true);
    craft.file("/sealed", 300_000, vec![sealed]);
}

/// Waits until there is something.
fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(30));
        thread::sleep(Duration::from_millis(50));
    }
}

fn token(id: FileId) -> String {
    let key = SigningKey::new(READ_KEY.as_bytes(), Some(Duration::from_secs(60)));
    key.mint(id, SystemTime::now())
}

/// Compares all of a needle, and parts of it, with what the volume server says.
fn compare(scene: &Scene, sidecar: &Sidecar, id: FileId, jwt: Option<&str>) -> usize {
    let server = scene.cluster.volume_http(0);
    let auth = jwt.map(|token| format!("Bearer {token}"));
    let headers: Vec<_> = auth.iter().map(|a| ("Authorization", a.as_str())).collect();
    let http = scene.cluster.http();
    let theirs = http
        .send("GET", &format!("{server}/{id}"), &headers, b"")
        .unwrap();
    let ours = sidecar.send("GET", &format!("/read?file_id={id}"), &headers);
    assert_eq!((ours.status, theirs.status), (200, 200), "{id}");
    assert!(ours.body == theirs.body, "{id}");
    assert_eq!(ours.header("x-rdma-used"), Some("true"));
    let len = theirs.body.len();
    for (offset, size) in [
        (0, 1),
        (len / 2, 4096),
        (len / 3, len),
        (len.saturating_sub(1), 10),
    ] {
        if offset >= len {
            continue;
        }
        let FileId {
            volume,
            key,
            cookie,
        } = id;
        let query =
            format!("volume={volume}&needle={key}&cookie={cookie}&offset={offset}&size={size}");
        let part = sidecar.send("GET", &format!("/read?{query}"), &headers);
        let end = len.min(offset + size);
        assert_eq!(part.status, 200, "{query}");
        assert!(part.body == theirs.body[offset..end], "{query}");
    }
    let past = sidecar.send(
        "GET",
        &format!("/read?file_id={id}&offset={len}&size=1"),
        &headers,
    );
    assert_eq!(past.status, 416, "{id}");
    len
}

#[test]
fn every_needle_is_given_as_the_volume_server_gives_it() {
    let scene = Scene::start();
    plant(&scene);
    let sidecar = Sidecar::start(&scene, 0, &[]);
    // Written after the start, so the index has to be followed.
    scene.put("/late.bin", &noise(9, 2 << 20));
    let needles = all_needles(&data_folder(&scene.cluster, 0));
    assert!(needles.len() >= 28, "{needles:?}");
    let bytes: usize = needles
        .iter()
        .map(|id| compare(&scene, &sidecar, *id, None))
        .sum();
    println!("{} needles of {bytes} bytes", needles.len());
    assert!(sidecar.metric("sidecar_reads") >= needles.len() as f64);

    let server = scene.cluster.volume_http(0);
    let id = needles[0];
    let wrong = FileId {
        cookie: !id.cookie,
        ..id
    };
    assert_eq!(sidecar.read(&format!("file_id={wrong}")).status, 404);
    let target = format!("{server}/{id}");
    let deleted = scene
        .cluster
        .http()
        .send("DELETE", &target, &[], b"")
        .unwrap();
    assert_eq!(deleted.status, 202);
    let gone = sidecar.read(&format!("file_id={id}"));
    assert_eq!(
        (gone.status, gone.header("x-riptide-reason")),
        (404, Some("absent"))
    );
    let elsewhere = FileId {
        volume: 4_000_000,
        ..id
    };
    let gone = sidecar.read(&format!("file_id={elsewhere}"));
    assert_eq!(
        (gone.status, gone.header("x-riptide-reason")),
        (404, Some("not-here"))
    );
}

#[test]
fn a_protected_cluster_gives_needles_to_those_with_a_token_only() {
    let scene = Scene::of(Cluster::builder().jwt(true));
    scene.put("/a.bin", &noise(1, 100_000));
    scene.put("/b.txt", &text(2, 100_000));
    let sidecar = Sidecar::start(&scene, 0, &[]);
    let needles = all_needles(&data_folder(&scene.cluster, 0));
    assert!(needles.len() >= 2);
    for id in needles {
        assert_eq!(sidecar.read(&format!("file_id={id}")).status, 401);
        let other = FileId {
            key: id.key + 1,
            ..id
        };
        let wrong = format!("file_id={id}&jwt={}", token(other));
        assert_eq!(sidecar.read(&wrong).status, 401);
        compare(&scene, &sidecar, id, Some(&token(id)));
    }
}

#[test]
fn where_volume_servers_speak_tls_so_does_the_sidecar() {
    let scene = Scene::of(Cluster::builder().tls(true).jwt(true));
    scene.put("/a.bin", &noise(1, 100_000));
    let sidecar = Sidecar::start(&scene, 0, &[]);
    for id in all_needles(&data_folder(&scene.cluster, 0)) {
        compare(&scene, &sidecar, id, Some(&token(id)));
    }
    let plain = cluster::Http::new(None).unwrap();
    let target = format!("{}/health", sidecar.address());
    assert!(plain.send("GET", &target, &[], b"").is_err());
}

#[test]
fn a_sidecar_passes_reads_on_to_the_one_that_has_the_volume() {
    let scene = Scene::of(Cluster::builder().volume_servers(2));
    put_on_every_server(&scene, 2);
    let sidecars = [
        Sidecar::start(&scene, 0, &[]),
        Sidecar::start(&scene, 1, &[]),
    ];
    let needles = all_needles(&data_folder(&scene.cluster, 1));
    assert!(!needles.is_empty(), "both servers have volumes");
    for id in needles {
        let server = scene.cluster.volume_http(1);
        let direct = scene
            .cluster
            .http()
            .send("GET", &format!("{server}/{id}"), &[], b"");
        let query = format!("file_id={id}&offset=0&size=0&volume_server=http://{server}");
        // Over the fabric, which on one host is shared memory, once the volume is announced; before that
        // the named server's sidecar is asked over HTTP.
        let over = "x-riptide-served-over";
        let passed = until(|| {
            let answer = sidecars[0].read(&query);
            let is_fabric = answer.header(over) == Some("fabric");
            (answer.status == 200 && is_fabric).then_some(answer)
        });
        let direct = direct.unwrap().body;
        assert!(passed.body == direct, "{id}");
        assert_eq!(passed.header("x-rdma-used"), Some("true"));
        let part = sidecars[0].read(&format!("file_id={id}&offset=1&size=1"));
        assert!(part.status == 200 && part.body == direct[1..2], "{id}");
        assert_eq!(part.header(over), Some("fabric"));
        // What is cut at the end, and what has no bytes, is left to HTTP.
        let cut = sidecars[0].read(&format!("file_id={id}&offset=1&size=100000000"));
        assert!(cut.status == 200 && cut.body == direct[1..], "{id}");
        assert_eq!(cut.header(over), Some("http"));
        let by = sidecars[1].address();
        assert_eq!(cut.header("x-riptide-served-by"), Some(by.as_str()));
        // What was passed on once is not passed on again.
        let marked = [("x-riptide-forwarded", "1")];
        let stopped = sidecars[0].send("GET", &format!("/read?{query}"), &marked);
        assert_eq!(
            (stopped.status, stopped.header("x-riptide-reason")),
            (404, Some("not-here"))
        );
    }
    assert!(sidecars[0].metric("sidecar_forwarded") > 0.0);
    assert!(sidecars[0].metric("sidecar_forwarded_over_fabric") > 0.0);
    assert!(sidecars[1].metric("sidecar_forwarded") == 0.0);
}

#[test]
fn where_no_lane_leads_a_read_is_passed_on_over_http() {
    let scene = Scene::of(Cluster::builder().volume_servers(2));
    put_on_every_server(&scene, 2);
    // The other one's socket is of no use to anybody, and it offers nothing else.
    let socket = scene.path("lonely.sock");
    let flag = format!("-socket={}", socket.display());
    let sidecars = [
        Sidecar::start(&scene, 0, &[]),
        Sidecar::start(&scene, 1, &["-transports=shm", &flag]),
    ];
    fs::remove_file(&socket).unwrap();
    let id = all_needles(&data_folder(&scene.cluster, 1))[0];
    let query = format!("file_id={id}");
    let passed = until(|| Some(sidecars[0].read(&query)).filter(|answer| answer.status == 200));
    assert_eq!(passed.header("x-riptide-served-over"), Some("http"));
    assert!(passed.body == sidecars[1].read(&query).body);
    assert_eq!(sidecars[0].metric("sidecar_forwarded_over_fabric"), 0.0);
}

#[test]
fn the_filer_lists_a_sidecar_with_its_volumes_until_it_ends() {
    let scene = Scene::start();
    scene.put("/a.bin", &noise(1, 100_000));
    // By another name than the cluster's own.
    let server = scene
        .cluster
        .volume_http(0)
        .replace("127.0.0.1", "localhost");
    let flag = format!("-volume-server={server}");
    let mut sidecar = Sidecar::start(&scene, 0, &[&flag, "-rack=r7"]);
    let path = format!("{FOLDER}/{}", sidecar.address());
    let announced = until(|| {
        let entry = scene.craft().lookup(&path)?;
        let announced: Announcement = serde_json::from_slice(&entry.content).unwrap();
        Some(announced).filter(|announced| !announced.volumes.is_empty())
    });
    assert_eq!(announced.http, sidecar.address());
    assert_eq!(announced.volume_servers, [scene.cluster.volume_http(0)]);
    assert_eq!(announced.rack, "r7");
    assert!(!announced.data_center.is_empty());

    let put = scene
        .cluster
        .put_with("/new/f", "collection=new", &[], &noise(2, 100_000));
    put.unwrap();
    until(|| {
        let entry = scene.craft().lookup(&path)?;
        let later: Announcement = serde_json::from_slice(&entry.content).unwrap();
        let more = later.generation > announced.generation;
        (more && later.volumes.len() > announced.volumes.len()).then_some(())
    });
    assert!(sidecar.terminate().success());
    assert!(scene.craft().lookup(&path).is_none(), "the entry is gone");
}

#[test]
fn it_starts_without_a_volume_server_and_without_rdma_and_says_so() {
    let mut scene = Scene::start();
    scene.put("/a.bin", &noise(1, 100_000));
    scene.cluster.kill_volume(0).unwrap();
    let mut sidecar = Sidecar::spawn(&scene, 0, &["-enable-rdma", "-debug"]);
    let server = scene.cluster.volume_http(0);
    let health = sidecar.wait_until(|health| !health["reasons"][0].is_null());
    assert_eq!(
        (&health["status"], &health["rdma"]["enabled"]),
        (&"starting".into(), &false.into())
    );
    let reason = health["reasons"][0].as_str().unwrap();
    assert!(reason.contains(&server), "{reason}");
    assert_eq!(sidecar.send("GET", "/health", &[]).status, 503);
    scene.cluster.restart_volume(0).unwrap();
    let health = sidecar.wait_until(|health| health["status"] == "healthy");
    assert_eq!(health["rdma"]["enabled"], true);
    assert_eq!(health["rdma"]["connected"], false);
    let why = health["rdma"]["reason"].as_str().unwrap().to_owned();
    assert!(!why.is_empty());
    let log = sidecar.log();
    assert!(log.contains("RDMA is off") && log.contains(&why), "{log}");
    assert_eq!(
        log.matches("needles are not served yet").count(),
        1,
        "{log}"
    );
    for id in all_needles(&data_folder(&scene.cluster, 0)) {
        compare(&scene, &sidecar, id, None);
    }
    assert!(sidecar.terminate().success());
}

#[test]
fn what_cannot_be_started_is_refused_with_a_reason() {
    let scene = Scene::start();
    let first = Sidecar::spawn(&scene, 0, &[]);
    until(|| first.health());
    let port = format!("-port={}", first.port());
    for (flags, told) in [
        (vec![port.as_str()], "does another sidecar run there?"),
        (vec!["-dir=/nonexistent"], "/nonexistent"),
        (vec!["-config=/nonexistent.toml"], "/nonexistent.toml"),
    ] {
        let mut refused = Sidecar::spawn(&scene, 0, &flags);
        let status = refused.process().wait(Duration::from_secs(30)).unwrap();
        let log = refused.log();
        assert!(!status.success() && log.contains(told), "{flags:?}: {log}");
    }
}

#[test]
fn a_thousand_silent_connections_do_not_stop_service() {
    let scene = Scene::start();
    scene.put("/a.bin", &noise(1, 100_000));
    let sidecar = Sidecar::start(&scene, 0, &[]);
    let silent: Vec<_> = (0..1000)
        .filter_map(|i| {
            let mut stream = TcpStream::connect(sidecar.address()).ok()?;
            // Some say nothing, some say half a request, some say nonsense.
            let said: &[u8] = [&b""[..], b"GET /read?", b"\x16\x03\x01\xff\xff\0\0\0"][i % 3];
            let _ = stream.write_all(said);
            Some(stream)
        })
        .collect();
    assert!(silent.len() > 900, "{}", silent.len());
    let needles = all_needles(&data_folder(&scene.cluster, 0));
    for id in &needles {
        compare(&scene, &sidecar, *id, None);
    }
    drop(silent);
}

#[test]
fn a_stock_mount_reads_through_it() {
    needs_fuse!();
    let Some(weed) = cluster::weed_with_rdma() else {
        println!("skipped: no weed 4.44 in .tools/weed-4.44, the last that has -rdma.enabled");
        return;
    };
    let scene = Scene::of(Cluster::builder().max_mb(1));
    // A stock mount cuts a read at the end of a chunk, so chunks have to be as the kernel reads.
    let files = [
        ("/one.bin", noise(1, 300_000)),
        ("/many.bin", noise(2, (5 << 20) + 12_345)),
        ("/text.txt", text(3, 900_000)),
    ];
    for (path, bytes) in &files {
        scene.put(path, bytes);
    }
    let sidecar = Sidecar::start(&scene, 0, &["-enable-rdma"]);
    let flags = [
        "-rdma.enabled=true".to_owned(),
        format!("-rdma.sidecar={}", sidecar.address()),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mount = scene
        .cluster
        .stock_mount_by(&weed, &scene.path("stock"), &flags)
        .unwrap();
    let before = sidecar.metric("sidecar_read_bytes");
    let mut total = 0;
    for (path, bytes) in &files {
        let read = fs::read(mount.dir().join(&path[1..])).unwrap();
        assert!(read == *bytes, "{path}");
        total += bytes.len();
    }
    let many = File::open(mount.dir().join("many.bin")).unwrap();
    let middle = read_at(&many, (2 << 20) + 4096, 4096).unwrap();
    assert!(middle[..] == files[1].1[(2 << 20) + 4096..][..4096]);
    let served = sidecar.metric("sidecar_read_bytes") - before;
    println!("{served} of {total} bytes came through the sidecar");
    assert!(served >= total as f64, "{served} of {total}");
    assert_eq!(sidecar.metric("sidecar_denied"), 0.0);
}

/// Takes answers whose bytes come inline.
#[derive(Default)]
struct Inline {
    bytes: Vec<u8>,
    answer: Option<Answer>,
}

impl Inbox for Inline {
    fn memory(&mut self, answer: &Answered) -> Option<&mut [u8]> {
        self.bytes.resize(answer.len as usize, 0);
        Some(&mut self.bytes)
    }

    fn done(&mut self, answer: &Answered) {
        self.answer = Some(Answer::clone(answer));
    }
}

fn fabric_read(lane: &mut dyn Lane, id: u64, needle: FileId, extent: Extent) -> Inline {
    let item = Item {
        needle,
        extent,
        place: Place::Inline,
    };
    lane.start(id, &[item]).unwrap();
    let mut inbox = Inline::default();
    let start = Instant::now();
    while !lane.advance(&mut inbox).unwrap() {
        assert!(start.elapsed() < Duration::from_secs(30));
        thread::sleep(Duration::from_millis(1));
    }
    inbox
}

#[test]
fn its_announced_lanes_give_the_same_bytes() {
    let scene = Scene::of(Cluster::builder().jwt(true));
    scene.put("/a.bin", &noise(1, 3 << 20));
    scene.put("/b.txt", &text(2, 100_000));
    let sidecar = Sidecar::start(&scene, 0, &[]);
    let announced: Announcement = serde_json::from_value(sidecar.health().unwrap()).unwrap();
    let all = announced.fabric;
    let dialer = |key: &str| {
        Dialer::new(DialerConfig {
            name: "e2e".to_owned(),
            host: this_host().unwrap(),
            read_key: Some(SigningKey::new(key.as_bytes(), None)),
            tls: None,
            arena: None,
            remote_reads: false,
            trusted: Vec::new(),
            patience: Duration::from_secs(10),
        })
    };
    let server = scene.cluster.volume_http(0);
    for (carrier, only) in [
        (
            "shm",
            Endpoints {
                tcp: None,
                ..all.clone()
            },
        ),
        (
            "tcp",
            Endpoints {
                unix: None,
                ..all.clone()
            },
        ),
    ] {
        let patience = Context::background(Duration::from_secs(10));
        let mut lane = dialer(READ_KEY).dial(&patience, &only).unwrap();
        assert_eq!(lane.carrier(), carrier);
        for (at, id) in all_needles(&data_folder(&scene.cluster, 0))
            .into_iter()
            .enumerate()
        {
            let auth = format!("Bearer {}", token(id));
            // As it is stored, also when it is compressed.
            let headers = [
                ("Authorization", auth.as_str()),
                ("Accept-Encoding", "gzip"),
            ];
            let target = format!("{server}/{id}");
            let theirs = scene
                .cluster
                .http()
                .send("GET", &target, &headers, b"")
                .unwrap();
            let ours = fabric_read(&mut *lane, at as u64, id, Extent::Whole { room: 8 << 20 });
            let answer = ours.answer.unwrap();
            assert_eq!(answer.status, Status::Done, "{carrier} {id}");
            assert_eq!(seaweed::crc::crc32c(&ours.bytes), answer.crc);
            let stored_gzip = theirs.header("content-encoding") == Some("gzip");
            assert_eq!(answer.is_gzip, stored_gzip, "{id}");
            if !stored_gzip {
                assert!(ours.bytes == theirs.body, "{carrier} {id}");
            }
        }
        let strange = dialer("another key").dial(&patience, &only);
        assert!(strange.is_err(), "{carrier}");
    }
    assert!(sidecar.metric("fabric_exchanges") > 0.0);
}

#[test]
fn a_write_without_a_good_token_is_refused_by_the_volume_server() {
    let scene = Scene::of(Cluster::builder().jwt(true));
    scene.put("/f", &noise(1, 1000));
    let sidecar = Sidecar::start(&scene, 0, &[]);
    let announced: Announcement = serde_json::from_value(sidecar.health().unwrap()).unwrap();
    assert!(announced.fabric.writes);
    let dialer = Dialer::new(DialerConfig {
        name: "e2e".to_owned(),
        host: this_host().unwrap(),
        read_key: Some(SigningKey::new(READ_KEY.as_bytes(), None)),
        tls: None,
        arena: None,
        remote_reads: false,
        trusted: Vec::new(),
        patience: Duration::from_secs(10),
    });
    let patience = Context::background(Duration::from_secs(10));
    let mut lane = dialer.dial(&patience, &announced.fabric).unwrap();
    let base: FileId = scene.craft().lookup("/f").unwrap().chunks[0]
        .file_id
        .parse()
        .unwrap();
    let body = noise(2, 1000);
    let foreign = FileId { key: 999, ..base };
    // A key for reading is none for writing, and a token is for one needle alone.
    for (at, token) in [
        String::new(),
        "a.b.c".to_owned(),
        token(base),
        token(foreign),
    ]
    .into_iter()
    .enumerate()
    {
        let write = wire::Write {
            base,
            delta: 0,
            gzip: false,
            fsync: false,
            place: Place::Inline,
            len: body.len() as u32,
            crc: seaweed::crc::crc32c(&body),
            patience: 10_000,
            server: announced.volume_servers[0].clone(),
            token,
        };
        let sent = lane.start_write(at as u64, &write, &body).unwrap();
        assert_eq!(sent, body.len());
        let start = Instant::now();
        let written = loop {
            if let Some(written) = lane.advance_write().unwrap() {
                break written;
            }
            assert!(start.elapsed() < Duration::from_secs(30));
            thread::sleep(Duration::from_millis(1));
        };
        assert_eq!((written.outcome, written.status), (Outcome::Refused, 401));
    }
    assert!(scene.cluster.get("/f").unwrap() == noise(1, 1000));
    assert_eq!(sidecar.metric("fabric_writes"), 0.0);
}
