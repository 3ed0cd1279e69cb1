//! What HTTP promises, over a shelf in memory and a real socket.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fabric::serve::Miss;
use flate2::Compression;
use flate2::write::GzEncoder;
use seaweed::crc::crc32c;
use seaweed::jwt::SigningKey;
use seaweed::{FileId, Security, ServerAddress};
use serde_json::Value;

use crate::Daemon;

use crate::config::Config;
use crate::memory::{MemoryNeedle, MemoryShelf};
use crate::reading::PIECE;

/// A sidecar over needles in memory.
struct Scene {
    runtime: tokio::runtime::Runtime,
    daemon: Option<Daemon>,
    address: SocketAddr,
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Scene {
    fn new(fill: impl Fn(&MemoryShelf) + Send + Sync + 'static) -> Self {
        Self::with(Security::default(), |_| {}, fill)
    }

    fn with(
        security: Security,
        change: impl Fn(&mut Config),
        fill: impl Fn(&MemoryShelf) + Send + Sync + 'static,
    ) -> Self {
        let mut config = Config {
            volume_servers: vec!["127.0.0.1:1".parse::<ServerAddress>().unwrap()],
            dirs: vec!["/in/memory".into()],
            ..Config::for_tests()
        };
        change(&mut config);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let open = move |_: &[_], _: Option<&Path>| {
            let shelf = MemoryShelf::default();
            fill(&shelf);
            Ok(shelf)
        };
        let started = Daemon::start(config, security, Arc::new(open));
        let daemon = runtime.block_on(started).unwrap();
        let address = daemon.address();
        Self {
            runtime,
            daemon: Some(daemon),
            address,
        }
    }

    fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "")
    }

    fn send(&self, method: &str, path: &str, headers: &str) -> Answer {
        self.try_send(method, path, headers).unwrap()
    }

    /// The answer, unless the connection broke before it was here.
    fn try_send(&self, method: &str, path: &str, headers: &str) -> Option<Answer> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        // A request that is too long is answered before all of it was sent.
        let _ = write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n"
        );
        let mut all = Vec::new();
        // A connection that breaks off may end with an error; what came counts.
        let _ = stream.read_to_end(&mut all);
        let at = all.windows(4).position(|w| w == b"\r\n\r\n")?;
        let head = String::from_utf8(all[..at].to_vec())
            .unwrap()
            .to_lowercase();
        Some(Answer {
            status: head[9..12].parse().unwrap(),
            head,
            body: all[at + 4..].to_vec(),
        })
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.get(path).body).unwrap()
    }

    fn metric(&self, name: &str, labels: &str) -> u64 {
        let text = String::from_utf8(self.get("/metrics").body).unwrap();
        let line = format!("{name}{labels} ");
        let value = text.lines().find_map(|l| l.strip_prefix(&line));
        value
            .unwrap_or_else(|| panic!("{line} in {text}"))
            .parse()
            .unwrap()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            self.runtime.block_on(daemon.stop());
        }
    }
}

impl Answer {
    #[track_caller]
    fn says(&self, status: u16, reason: &str) {
        assert_eq!(self.status, status, "{self:?}");
        let line = format!("x-riptide-reason: {reason}");
        assert!(self.head.contains(&line), "{}", self.head);
    }
}

fn id(key: u64) -> FileId {
    FileId {
        volume: 3,
        key,
        cookie: 0x6370_37d6,
    }
}

/// Bytes of no pattern that a page or a piece could hide.
fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * i / 7 + i / 251) as u8).collect()
}

fn gzip(clear: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(clear).unwrap();
    encoder.finish().unwrap()
}

fn needle(stored: Vec<u8>, is_gzip: bool) -> MemoryNeedle {
    MemoryNeedle {
        crc: crc32c(&stored),
        stored: stored.into(),
        is_gzip,
    }
}

#[test]
fn both_forms_give_raw_bytes_and_say_where_from() {
    let scene = Scene::new(|shelf| shelf.put(id(1), b"0123456789"));
    for path in [
        "/read?volume=3&needle=1&cookie=1668298710&offset=2&size=5",
        "/read?file_id=3,01637037d6&offset=2&size=5&volume_server=http://127.0.0.1:8080",
        "/read?file_id=3%2C01637037d6&offset=2&size=5&volume_server=http%3A%2F%2F127.0.0.1%3A8080",
    ] {
        let answer = scene.get(path);
        assert_eq!((answer.status, &answer.body[..]), (200, &b"23456"[..]));
        for line in [
            "content-length: 5",
            "content-type: application/octet-stream",
            "x-rdma-used: true",
            "x-source: riptide-rdma-sidecar",
        ] {
            assert!(answer.head.contains(line), "{line} in {}", answer.head);
        }
    }
    assert_eq!(
        scene.metric("riptide_sidecar_reads_total", "{carrier=\"http\"}"),
        3
    );
    assert_eq!(
        scene.metric("riptide_sidecar_read_bytes_total", "{carrier=\"http\"}"),
        15
    );
}

#[test]
fn ranges_are_cut_at_the_end_and_refused_beyond_it() {
    let scene = Scene::new(|shelf| {
        shelf.put(id(1), b"0123456789");
        shelf.put(id(2), b"");
    });
    let read = |rest: &str| scene.get(&format!("/read?file_id=3,01637037d6{rest}"));
    for (rest, body) in [
        ("", "0123456789"),
        ("&size=0", "0123456789"),
        ("&offset=9", "9"),
        ("&offset=8&size=100", "89"),
        ("&offset=3&size=18446744073709551615", "3456789"),
    ] {
        assert_eq!(read(rest).body, body.as_bytes(), "{rest}");
    }
    for rest in [
        "&offset=10",
        "&offset=10&size=1",
        "&offset=18446744073709551615&size=1",
    ] {
        let answer = read(rest);
        answer.says(416, "past-end");
        assert!(
            answer.head.contains("content-range: bytes */10"),
            "{}",
            answer.head
        );
    }
    let empty = scene.get("/read?file_id=3,02637037d6");
    assert_eq!((empty.status, empty.body.len()), (200, 0));
    scene
        .get("/read?file_id=3,02637037d6&size=1")
        .says(416, "past-end");
}

#[test]
fn head_tells_the_length_and_nothing_else() {
    let clear = bytes(100_000);
    let (stored, length) = (gzip(&clear), clear.len());
    let scene = Scene::new(move |shelf| {
        shelf.put(id(1), b"0123456789");
        shelf.put_needle(id(2), needle(stored.clone(), true));
    });
    for (path, length) in [
        ("/read?file_id=3,01637037d6&offset=4", 6),
        ("/read?file_id=3,02637037d6", length),
    ] {
        let answer = scene.send("HEAD", path, "");
        assert_eq!((answer.status, answer.body.len()), (200, 0));
        let line = format!("content-length: {length}");
        assert!(answer.head.contains(&line), "{}", answer.head);
    }
    scene
        .send("HEAD", "/read?file_id=3,09637037d6", "")
        .says(404, "absent");
}

#[test]
fn a_compressed_needle_is_given_clear_whole_and_in_parts() {
    let clear = bytes(3 * PIECE + 17);
    let (stored, plain) = (gzip(&clear), b"not gzip at all".to_vec());
    let mut two = gzip(&clear[..1000]);
    two.extend(gzip(&clear[1000..5000]));
    let scene = Scene::new(move |shelf| {
        shelf.put_needle(id(1), needle(stored.clone(), true));
        shelf.put_needle(id(2), needle(two.clone(), true));
        shelf.put_needle(id(3), needle(plain.clone(), true));
    });
    let read = |key: u64, rest: &str| scene.get(&format!("/read?file_id={}{rest}", id(key))).body;
    assert!(read(1, "") == clear);
    let at = 2 * PIECE - 3;
    assert!(read(1, &format!("&offset={at}&size=70000")) == clear[at..at + 70_000]);
    assert!(read(1, &format!("&offset={}", clear.len() - 1)) == clear[clear.len() - 1..]);
    let past = scene.get(&format!("/read?file_id={}&offset={}", id(1), clear.len()));
    past.says(416, "past-end");
    assert!(read(2, "") == clear[..5000]);
    assert!(read(2, "&offset=999&size=2") == clear[999..1001]);
    // The volume server gives what it has when the mark is wrong.
    assert_eq!(read(3, "&offset=4&size=4"), b"gzip");
}

#[test]
fn large_needles_come_in_pieces_and_are_checked_when_whole() {
    let all = bytes(5 * PIECE + 4097);
    let kept = all.clone();
    let scene = Scene::new(move |shelf| shelf.put(id(1), &kept));
    assert!(scene.get("/read?file_id=3,01637037d6").body == all);
    let part = scene.get(&format!(
        "/read?file_id=3,01637037d6&offset=5&size={}",
        2 * PIECE
    ));
    assert!(part.body == all[5..2 * PIECE + 5]);
}

#[test]
fn damaged_bytes_are_never_all_given() {
    let damaged = |len: usize| MemoryNeedle {
        stored: bytes(len).into(),
        is_gzip: false,
        crc: crc32c(&bytes(len)) ^ 1,
    };
    let broken_gzip = {
        let mut stored = gzip(&bytes(10_000));
        let middle = stored.len() / 2;
        stored[middle] ^= 0x55;
        needle(stored, true)
    };
    let wrong_sum = MemoryNeedle {
        crc: 1,
        ..needle(gzip(b"clear"), true)
    };
    let large = 2 * PIECE + 100;
    let scene = Scene::new(move |shelf| {
        shelf.put_needle(id(1), damaged(1000));
        shelf.put_needle(id(2), damaged(large));
        shelf.put_needle(id(3), broken_gzip.clone());
        shelf.put_needle(id(4), wrong_sum.clone());
    });
    for key in [1, 3, 4] {
        scene
            .get(&format!("/read?file_id={}", id(key)))
            .says(500, "corrupt");
    }
    let broken = scene.get(&format!("/read?file_id={}", id(2)));
    assert_eq!(broken.status, 200);
    assert!(broken.head.contains(&format!("content-length: {large}")));
    assert!(broken.body.len() < large, "the connection broke off");
    assert_eq!(scene.metric("riptide_sidecar_broken_off_total", ""), 1);
}

#[test]
fn each_miss_has_its_status_and_its_word() {
    let all = [
        (2, Miss::Declined, 503, "declined"),
        (3, Miss::Loading, 503, "loading"),
        (4, Miss::Corrupt, 500, "corrupt"),
        (5, Miss::Failed, 500, "failed"),
    ];
    let scene = Scene::new(move |shelf| {
        shelf.put(id(1), b"x");
        all.iter()
            .for_each(|(key, miss, ..)| shelf.miss(id(*key), *miss));
    });
    for (key, _, status, reason) in all {
        scene
            .get(&format!("/read?file_id={}", id(key)))
            .says(status, reason);
        let label = format!("{{reason=\"{reason}\"}}");
        assert_eq!(scene.metric("riptide_sidecar_denied_total", &label), 1);
    }
    scene.get("/read?file_id=3,07637037d6").says(404, "absent");
    scene.get("/read?file_id=3,0100000001").says(404, "absent");
    scene
        .get("/read?file_id=4,01637037d6")
        .says(404, "not-here");
}

#[test]
fn nonsense_is_answered_with_what_is_wrong() {
    let scene = Scene::new(|shelf| shelf.put(id(1), b"x"));
    for (path, told) in [
        ("/read", "volume is missing"),
        (
            "/read?file_id=nonsense",
            "file_id=\"nonsense\" is not allowed",
        ),
        (
            "/read?file_id=3,01637037d6&offset=x",
            "offset=\"x\" is not allowed",
        ),
        (
            "/read?file_id=3,01637037d6&size=1&size=2",
            "size is given twice",
        ),
    ] {
        let answer = scene.get(path);
        answer.says(400, "bad-request");
        let text = String::from_utf8(answer.body).unwrap();
        assert!(text.contains(told), "{text}");
    }
    assert_eq!(
        scene.send("POST", "/read?file_id=3,01637037d6", "").status,
        405
    );
    assert_eq!(scene.get("/other").status, 404);
    let long = format!("/read?file_id=3,01637037d6&x={}", "y".repeat(9000));
    scene.get(&long).says(400, "bad-request");
    let endless = format!("/read?file_id=3,01637037d6&x={}", "y".repeat(100_000));
    // What was not read of it may break the connection before the answer is through.
    if let Some(answer) = scene.try_send("GET", &endless, "") {
        assert!(matches!(answer.status, 414 | 431), "{}", answer.status);
    }
    scene.get(&long).says(400, "bad-request");
}

#[test]
fn a_protected_cluster_gives_needles_to_those_with_a_token_only() {
    let key = || SigningKey::new(b"read", Some(Duration::from_secs(60)));
    let security = Security {
        read_key: Some(key()),
        ..Security::default()
    };
    let scene = Scene::with(security, |_| {}, |shelf| shelf.put(id(1), b"secret"));
    let path = "/read?file_id=3,01637037d6";
    let token = key().mint(id(1), SystemTime::now());
    for headers in [
        format!("Authorization: Bearer {token}\r\n"),
        format!("Cookie: AT={token}\r\n"),
    ] {
        assert_eq!(scene.send("GET", path, &headers).body, b"secret");
        assert_eq!(scene.send("HEAD", path, &headers).status, 200);
    }
    assert_eq!(scene.get(&format!("{path}&jwt={token}")).body, b"secret");
    let other = key().mint(id(2), SystemTime::now());
    let stranger = SigningKey::new(b"other", None).mint(id(1), SystemTime::now());
    let old = key().mint(id(1), SystemTime::now() - Duration::from_secs(61));
    scene.get(path).says(401, "unauthorized");
    scene.send("HEAD", path, "").says(401, "unauthorized");
    for bad in [other, stranger, old] {
        let answer = scene.get(&format!("{path}&jwt={bad}"));
        answer.says(401, "unauthorized");
        assert!(!answer.body.windows(6).any(|w| w == b"secret"));
    }
    // What is there is not told either.
    scene
        .get("/read?file_id=3,09637037d6")
        .says(401, "unauthorized");
}

#[test]
fn health_is_what_a_stock_mount_and_ours_look_for() {
    let scene = Scene::new(|shelf| shelf.put(id(1), b"x"));
    // Volumes are looked for each second.
    let mut health = scene.json("/health");
    for _ in 0..50 {
        if health["volumes"] == serde_json::json!([3]) {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
        health = scene.json("/health");
    }
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["rdma"]["enabled"], true);
    assert_eq!(health["rdma"]["connected"], false);
    let reason = health["rdma"]["reason"].as_str().unwrap();
    let reasons = ["no RDMA device", "libibverbs.so.1 cannot be loaded"];
    assert!(reasons.iter().any(|one| reason.contains(one)), "{reason}");
    assert!(health["timestamp"].as_str().unwrap().ends_with('Z'));
    let announced: fabric::announce::Announcement = serde_json::from_value(health.clone()).unwrap();
    assert_eq!(
        announced.http,
        format!("127.0.0.1:{}", scene.address.port())
    );
    assert_eq!((announced.volumes, announced.generation), (vec![3], 1));
    assert_eq!(announced.volume_servers, ["127.0.0.1:1"]);
    assert_eq!(
        (announced.data_center.as_str(), announced.rack.as_str()),
        ("dc", "r")
    );
    assert_eq!(health["volume_states"][0]["state"], "serving");

    let stats = scene.json("/stats");
    for field in [
        "enabled",
        "total_reads",
        "rdma_reads",
        "http_fallbacks",
        "rdma_ratio_pct",
    ] {
        assert!(!stats[field].is_null(), "{field}");
    }
    assert_eq!(stats["rdma_enabled"], true);
    let cleaned = scene.send("DELETE", "/cleanup?temp_file=/etc/passwd", "");
    assert_eq!(cleaned.status, 200);
    assert!(Path::new("/etc/passwd").exists());
}

#[test]
fn a_volume_server_that_is_away_is_waited_for_and_told_of() {
    let change = |config: &mut Config| config.dirs.clear();
    let scene = Scene::with(Security::default(), change, |_| {});
    std::thread::sleep(Duration::from_millis(300));
    let answer = scene.get("/health");
    assert_eq!(answer.status, 503);
    let health: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(
        (&health["status"], &health["rdma"]["enabled"]),
        (&"starting".into(), &false.into())
    );
    let reason = health["reasons"][0].as_str().unwrap();
    assert!(reason.contains("127.0.0.1:1"), "{reason}");
    scene
        .get("/read?file_id=3,01637037d6")
        .says(404, "not-here");
}

#[test]
fn memory_that_is_not_there_is_not_waited_for() {
    let stored = gzip(&vec![0; 40 << 20]);
    let scene = Scene::with(
        Security::default(),
        |config| config.memory_limit = 16 << 20,
        move |shelf| {
            shelf.put_needle(id(1), needle(stored.clone(), true));
            shelf.put(id(2), b"small");
        },
    );
    scene.get("/read?file_id=3,01637037d6").says(503, "busy");
    assert_eq!(scene.get("/read?file_id=3,02637037d6").body, b"small");
}

#[test]
fn too_many_connections_are_closed_and_those_that_are_there_are_served() {
    let change = |config: &mut Config| config.max_clients = 4;
    let scene = Scene::with(Security::default(), change, |shelf| shelf.put(id(1), b"x"));
    let idle: Vec<_> = (0..4)
        .map(|_| TcpStream::connect(scene.address).unwrap())
        .collect();
    // Accepted in order, so the fifth is one too many.
    let mut fifth = TcpStream::connect(scene.address).unwrap();
    fifth
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut rest = Vec::new();
    assert!(matches!(fifth.read_to_end(&mut rest), Ok(0) | Err(_)) && rest.is_empty());
    let mut first = &idle[0];
    write!(first, "GET /read?file_id=3,01637037d6 HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    first.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.0 200") && answer.ends_with('x'),
        "{answer}"
    );
    drop(idle);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let error = runtime
        .block_on(crate::daemon::listen(Some([127, 0, 0, 1].into()), port))
        .unwrap_err();
    let text = format!("{error:#}");
    assert!(
        text.contains(&format!("127.0.0.1:{port}")) && text.contains("-port"),
        "{text}"
    );
}
