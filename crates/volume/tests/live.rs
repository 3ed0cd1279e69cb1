//! A store beside a real volume server: whatever the server answers, the files say as well.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use cluster::{Cluster, Response};
use common::{config, data, flip, open};
use seaweed::FileId;
use seaweed::crc::{crc32c, etag_of};
use volume::{Absent, Damage, Miss, Needle, ReadError, Reason, Store, VolumeState};

/// What a test needs of the volume server.
struct Server {
    cluster: Cluster,
}

impl Server {
    fn start() -> Result<Self> {
        let cluster = Cluster::builder().start()?;
        Ok(Self { cluster })
    }

    fn store(&self) -> Arc<Store> {
        open(config(&self.dir()))
    }

    fn dir(&self) -> std::path::PathBuf {
        self.cluster.root().join("volume0")
    }

    fn assign(&self, query: &str) -> Result<FileId> {
        let target = format!("{}/dir/assign?{query}", self.cluster.master_http());
        let start = Instant::now();
        let mut answer = self.cluster.http().send("GET", &target, &[], b"")?;
        while answer.status == 503 && start.elapsed() < Duration::from_secs(2) {
            // While volumes are made or vacuumed there may be none to write to.
            thread::sleep(Duration::from_millis(20));
            answer = self.cluster.http().send("GET", &target, &[], b"")?;
        }
        let answer: serde_json::Value = serde_json::from_slice(&answer.ok()?.body)?;
        let Some(id) = answer["fid"].as_str() else {
            bail!("assign answered {answer}");
        };
        Ok(id.parse()?)
    }

    fn send(
        &self,
        method: &str,
        id: FileId,
        query: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response> {
        let target = format!("{}/{id}{query}", self.cluster.volume_http(0));
        self.cluster.http().send(method, &target, headers, body)
    }

    fn upload(&self, id: FileId, body: &[u8]) -> Result<Response> {
        let headers = [("Content-Type", "application/octet-stream")];
        self.send("PUT", id, "", &headers, body)
    }

    /// What the server has stored, without inflating it.
    fn stored(&self, id: FileId) -> Result<Response> {
        self.send("GET", id, "?cm=false", &[("Accept-Encoding", "gzip")], b"")
    }

    /// Begins a vacuum of all volumes. The master goes from volume to volume, with pauses in between
    /// that no test can wait for.
    fn vacuum(&self) -> Result<()> {
        let mut master = TcpStream::connect(self.cluster.master_http())?;
        master.write_all(b"GET /vol/vacuum?garbageThreshold=0.0001 HTTP/1.0\r\n\r\n")?;
        master.set_read_timeout(Some(Duration::from_secs(1)))?;
        let _ = master.read(&mut [0; 1000]);
        Ok(())
    }
}

fn whole(needle: &Needle) -> Result<(Vec<u8>, u32), ReadError> {
    let mut bytes = Vec::new();
    let crc = needle.read_whole(&mut bytes)?;
    Ok((bytes, crc))
}

/// Status, bytes and checksum are the server's.
fn same_as_server(server: &Server, store: &Store, id: FileId) -> Result<()> {
    let theirs = server.stored(id)?;
    match store.find(id) {
        Ok(needle) => {
            ensure!(
                theirs.status == 200,
                "{id}: the server says {}",
                theirs.status
            );
            let (bytes, crc) = whole(&needle).with_context(|| id.to_string())?;
            ensure!(bytes == theirs.body, "{id}: other bytes");
            let etag = theirs.header("etag").unwrap_or_default().trim_matches('"');
            ensure!(etag == etag_of(crc), "{id}: {etag} and {crc:08x}");
            let gzip = theirs.header("content-encoding") == Some("gzip");
            ensure!(gzip == needle.is_gzip(), "{id}: gzip {gzip}");
        }
        Err(Miss::Absent(_) | Miss::NotHere | Miss::Expired) => {
            ensure!(
                theirs.status == 404,
                "{id}: the server has it: {}",
                theirs.status
            );
        }
        Err(miss) => bail!("{id}: {miss}"),
    }
    Ok(())
}

#[test]
fn every_kind_of_needle_is_what_the_server_says() -> Result<()> {
    let server = Server::start()?;
    let store = server.store();
    let mut ids = Vec::new();
    let gzip = [("Content-Encoding", "gzip"), ("Content-Type", "text/plain")];
    // An empty stream of gzip, made by gzip(1).
    let compressed: &[u8] = &[
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 7, 0, 0x86, 0xa6, 0x10,
        0x36, 5, 0, 0, 0,
    ];
    for (at, query) in [
        "",
        "collection=some_pictures",
        "collection=b&ttl=5m",
        "ttl=3d",
    ]
    .into_iter()
    .enumerate()
    {
        for (n, len) in (0..).zip([1, 7, 100, 5000, 70_000, 3_000_000, 9_000_001]) {
            let id = server.assign(query)?;
            let ttl = query.split('&').find(|part| part.starts_with("ttl"));
            let ttl = ttl.map_or(String::new(), |ttl| format!("?{ttl}"));
            let body = data((at * 100 + n) as u64, len);
            server
                .send("PUT", id, &ttl, &[("Seaweed-Owner", "me")], &body)?
                .ok()?;
            // At once, also when the volume is a new one.
            let needle = store
                .find(id)
                .with_context(|| format!("{id} of {len} bytes"))?;
            ensure!(whole(&needle)?.0 == body);
            ensure!(needle.ttl().is_some() == query.contains("ttl"));
            ids.push(id);
        }
        let id = server.assign(query)?;
        server.send("PUT", id, "", &gzip, compressed)?.ok()?;
        ensure!(store.find(id)?.is_gzip());
        ids.push(id);
    }
    // An overwritten one, a deleted one, one with another cookie, one of no volume.
    server.upload(ids[0], b"another content")?.ok()?;
    ensure!(whole(&store.find(ids[0])?)?.0 == b"another content");
    ensure!(server.send("DELETE", ids[1], "", &[], b"")?.status == 202);
    ensure!(matches!(
        store.find(ids[1]),
        Err(Miss::Absent(Absent::Deleted))
    ));
    let guess = FileId {
        cookie: ids[2].cookie ^ 1,
        ..ids[2]
    };
    ensure!(matches!(
        store.find(guess),
        Err(Miss::Absent(Absent::Cookie))
    ));
    ids.push(guess);
    ids.push(FileId {
        key: 1 << 50,
        ..ids[2]
    });
    for id in &ids {
        same_as_server(&server, &store, *id)?;
    }
    let nowhere = FileId {
        volume: 4_000_000,
        ..ids[2]
    };
    ensure!(matches!(store.find(nowhere), Err(Miss::NotHere)));

    // Another process that begins now sees the same.
    let second = server.store();
    for id in &ids {
        same_as_server(&server, &second, *id)?;
    }
    let volumes = second.volumes();
    ensure!(
        volumes
            .iter()
            .all(|volume| volume.state == VolumeState::Serving)
    );
    ensure!(
        volumes
            .iter()
            .any(|volume| volume.collection == "some_pictures")
    );
    ensure!(
        volumes
            .iter()
            .any(|volume| volume.ttl.is_some_and(|ttl| ttl.to_string() == "5m"))
    );

    // Ranges, against the server's own.
    let id = ids[6];
    let needle = store.find(id)?;
    for (from, to) in [
        (0u64, 1u64),
        (4095, 4097),
        (1_000_000, 2_500_000),
        (9_000_000, 9_000_001),
    ] {
        let range = format!("bytes={from}-{}", to - 1);
        let theirs = server.send("GET", id, "", &[("Range", &range)], b"")?;
        ensure!(theirs.status == 206);
        let mut ours = vec![0; (to - from) as usize];
        let crc = needle.read_at(from, &mut ours)?;
        ensure!(ours == theirs.body && crc == crc32c(&ours), "{range}");
    }
    Ok(())
}

#[test]
fn chunks_that_an_encrypting_filer_wrote_are_the_servers() -> Result<()> {
    let cluster = Cluster::builder().encrypted(true).max_mb(1).start()?;
    let server = Server { cluster };
    let store = server.store();
    let mut seen = 0;
    for n in 0..5u64 {
        let path = format!("/secret/{n}.bin");
        server
            .cluster
            .put(&path, &data(n, 700_000 * (n as usize + 1)))?;
        let meta = server
            .cluster
            .filer(0, "GET", &path, "metadata=true", &[], b"")?
            .ok()?;
        let meta: serde_json::Value = serde_json::from_slice(&meta.body)?;
        for chunk in meta["chunks"].as_array().context("no chunks")? {
            let id = chunk["file_id"].as_str().context("no file id")?.parse()?;
            same_as_server(&server, &store, id)?;
            ensure!(store.find(id)?.name().is_empty());
            seen += 1;
        }
    }
    ensure!(seen > 8, "{seen} chunks");
    Ok(())
}

#[test]
fn a_damaged_needle_is_never_handed_out() -> Result<()> {
    let server = Server::start()?;
    let store = server.store();
    for len in [100, 50_000, 3_000_000] {
        let id = server.assign("")?;
        server.upload(id, &data(1, len))?.ok()?;
        let needle = store.find(id)?;
        let at = needle.record_offset() + 20 + len as u64 / 2;
        let volumes = store.volumes();
        let volume = volumes
            .iter()
            .find(|volume| volume.id == id.volume)
            .context("volume")?;
        let dat = volume.dir.join(format!("{}.dat", id.volume));
        flip(&dat, at);
        let theirs = server.stored(id)?;
        ensure!(
            theirs.status != 200,
            "the server notices: {}",
            theirs.status
        );
        match store.find(id) {
            Err(Miss::Corrupt(Damage::Checksum { .. })) if len < 1000 => {}
            Ok(needle) if len > 1000 => {
                let error = whole(&needle).unwrap_err();
                ensure!(
                    matches!(error, ReadError::Corrupt(Damage::Checksum { .. })),
                    "{error}"
                );
                ensure!(needle.read_at(3, &mut [0; 50]).is_err());
            }
            other => bail!("{len}: {other:?}"),
        }
        flip(&dat, at);
        ensure!(whole(&store.find(id)?)?.0 == data(1, len));
    }
    Ok(())
}

/// What all threads of the churn share.
struct Churn {
    server: Server,
    store: Arc<Store>,
    over: AtomicBool,
    /// Never deleted or changed: found at any time.
    settled: Mutex<Vec<(FileId, u64, usize)>>,
    counts: Mutex<HashMap<&'static str, u64>>,
    seed: AtomicU64,
}

impl Churn {
    fn count(&self, what: &'static str) {
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
    }

    fn new_data(&self) -> (u64, usize) {
        let seed = self.seed.fetch_add(1, Ordering::Relaxed);
        // Some empty ones as well as some of several pieces.
        let len = match seed % 16 {
            0 => 400_000,
            1 => 60_000,
            n => (seed as usize * 797) % (1000 * n as usize) + 1,
        };
        (seed, len)
    }

    /// Uploads and looks: what was answered is there.
    fn upload(&self, id: FileId) -> Result<Option<(u64, usize)>> {
        let (seed, len) = self.new_data();
        let body = data(seed, len);
        let answer = self.server.upload(id, &body)?;
        if !(200..300).contains(&answer.status) {
            // While a vacuum swaps the files, writes may be refused.
            self.count("refused");
            return Ok(None);
        }
        let needle = self
            .store
            .find(id)
            .with_context(|| format!("{id} right after its upload"))?;
        let (bytes, _) = whole(&needle).with_context(|| format!("{id} after its upload"))?;
        ensure!(bytes == body, "{id}: other bytes right after the upload");
        self.count("uploaded");
        Ok(Some((seed, len)))
    }

    /// Uploads, overwrites, deletes; leaves some.
    fn write(&self) -> Result<()> {
        while !self.over.load(Ordering::Relaxed) {
            // At full speed a vacuum is not over before the test is.
            thread::sleep(Duration::from_millis(2));
            let seed = self.seed.load(Ordering::Relaxed);
            let query = ["", "collection=c_1", "collection=c_2"][seed as usize % 3];
            let id = match self.server.assign(query) {
                Ok(id) => id,
                // With every volume in a vacuum there may be none to write to.
                Err(_) => {
                    self.count("not assigned");
                    continue;
                }
            };
            let Some(mut last) = self.upload(id)? else {
                continue;
            };
            for _ in 0..seed % 3 {
                if let Some(next) = self.upload(id)? {
                    last = next;
                    self.count("overwritten");
                }
            }
            if seed.is_multiple_of(4) {
                self.settled.lock().unwrap().push((id, last.0, last.1));
                continue;
            }
            let answer = self.server.send("DELETE", id, "", &[], b"")?;
            if answer.status != 202 {
                self.count("delete refused");
                continue;
            }
            match self.store.find(id) {
                Err(Miss::Absent(_)) => self.count("deleted"),
                Ok(_) => bail!("{id} is found after its deletion"),
                Err(miss) => bail!("{id} after its deletion: {miss}"),
            }
        }
        Ok(())
    }

    fn read(&self) -> Result<()> {
        let mut at = 7usize;
        let mut whole = Vec::new();
        while !self.over.load(Ordering::Relaxed) {
            at = at.wrapping_mul(31).wrapping_add(17);
            let picked = {
                let settled = self.settled.lock().unwrap();
                match settled.len() {
                    0 => None,
                    len => Some(settled[at % len]),
                }
            };
            let Some((id, seed, len)) = picked else {
                thread::yield_now();
                continue;
            };
            let needle = self.store.find(id).with_context(|| id.to_string())?;
            let body = data(seed, len);
            let from = at % len;
            let mut part = vec![0; (len - from).min(10_000)];
            needle
                .read_at(from as u64, &mut part)
                .with_context(|| id.to_string())?;
            ensure!(
                part == body[from..from + part.len()],
                "{id}: other bytes in a range"
            );
            // Even when a vacuum replaced the files since.
            needle
                .read_whole(&mut whole)
                .with_context(|| id.to_string())?;
            ensure!(whole == body, "{id}: other bytes");
            self.count("read");
        }
        Ok(())
    }

    fn vacuum(&self) -> Result<()> {
        while !self.over.load(Ordering::Relaxed) {
            self.server.vacuum()?;
            self.count("vacuumed");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

#[test]
fn nothing_is_missed_or_found_wrongly_while_writers_deleters_and_vacuums_run() -> Result<()> {
    const TIME: Duration = Duration::from_secs(8);
    let server = Server::start()?;
    let store = server.store();
    let churn = Churn {
        server,
        store,
        over: AtomicBool::new(false),
        settled: Mutex::default(),
        counts: Mutex::default(),
        seed: AtomicU64::new(1),
    };
    let failure = thread::scope(|scope| {
        type Work = fn(&Churn) -> Result<()>;
        let all: [Work; 6] = [
            Churn::write,
            Churn::write,
            Churn::write,
            Churn::read,
            Churn::read,
            Churn::vacuum,
        ];
        let threads = all.map(|work| {
            let churn = &churn;
            scope.spawn(move || {
                let result = work(churn);
                churn.over.fetch_or(result.is_err(), Ordering::Relaxed);
                result
            })
        });
        let end = Instant::now() + TIME;
        while Instant::now() < end && !churn.over.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(20));
        }
        churn.over.store(true, Ordering::Relaxed);
        let results = threads.map(|thread| thread.join().unwrap());
        results.into_iter().find_map(Result::err)
    });
    let stats = churn.store.stats();
    println!(
        "{:?}; {} pairs replaced, {} scans, misses while loading {}, declined {}",
        churn.counts.lock().unwrap(),
        stats.reopened.get(),
        stats.scans.get(),
        stats.loading.get(),
        stats.declined.get(),
    );
    if let Some(error) = failure {
        return Err(error);
    }
    let settled = churn.settled.lock().unwrap();
    for (id, _, _) in settled.iter() {
        same_as_server(&churn.server, &churn.store, *id)?;
    }
    ensure!(settled.len() > 20 && stats.corrupt.get() == 0);
    ensure!(
        stats.reopened.get() > 0,
        "{} vacuums were noticed",
        stats.reopened.get()
    );
    // Whoever begins now comes to the same.
    let second = churn.server.store();
    for (id, _, _) in settled.iter() {
        same_as_server(&churn.server, &second, *id)?;
    }
    let counted = |store: &Store| -> Vec<_> {
        store.rescan();
        let volumes = store.volumes();
        volumes
            .iter()
            .map(|v| (v.id, v.needles, v.deleted))
            .collect()
    };
    // A vacuum that nobody waits for any more may still go on.
    let start = Instant::now();
    while counted(&churn.store) != counted(&second) {
        let pairs = counted(&churn.store).into_iter().zip(counted(&second));
        let differ: Vec<_> = pairs.filter(|(ours, theirs)| ours != theirs).collect();
        ensure!(start.elapsed() < common::WAIT, "{differ:?}");
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

#[test]
fn a_restarted_server_and_an_erasure_coded_volume() -> Result<()> {
    let mut server = Server::start()?;
    let store = server.store();
    let id = server.assign("collection=ec")?;
    server.upload(id, &data(1, 100_000))?.ok()?;
    server.cluster.kill_volume(0)?;
    // The files are there without the server.
    ensure!(whole(&store.find(id)?)?.0 == data(1, 100_000));
    server.cluster.restart_volume(0)?;
    let next = FileId {
        key: id.key + 1000,
        ..id
    };
    let start = Instant::now();
    while server.upload(next, b"after the restart")?.status != 201 {
        ensure!(
            start.elapsed() < common::WAIT,
            "no upload after the restart"
        );
        thread::sleep(Duration::from_millis(100));
    }
    ensure!(whole(&store.find(next)?)?.0 == b"after the restart");

    let base = server.dir().join(format!("ec_{}", id.volume));
    std::fs::write(base.with_extension("ecx"), b"")?;
    store.rescan();
    let declined = store.find(id);
    ensure!(
        matches!(declined, Err(Miss::Declined(Reason::ErasureCoded))),
        "{declined:?}"
    );
    std::fs::remove_file(base.with_extension("ecx"))?;
    thread::sleep(Duration::from_millis(50));
    same_as_server(&server, &store, id)
}
