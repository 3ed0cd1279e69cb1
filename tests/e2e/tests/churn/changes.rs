//! What happens to the needles: uploads, overwriting, deletions, vacuums.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use cluster::Response;
use e2e::{Random, noise, text};
use seaweed::FileId;

use super::Churn;
use super::needles::{ENCRYPTED, KINDS, Kind, Needle};
use super::vacuum::Vacuum;

/// At full speed a vacuum is not over before the test is.
const PAUSE: Duration = Duration::from_millis(2);
/// Files of the filer that are written again and again.
const FILES: usize = 40;

impl Churn<'_> {
    /// Makes needles, overwrites some, and some that were deleted come back with another cookie.
    pub(super) fn write(&self, mut random: Random) {
        while !self.is_over() {
            thread::sleep(PAUSE);
            let at = random.below(ENCRYPTED as u64) as usize;
            match random.below(5) {
                0 | 1 => self.overwrite(at, &mut random),
                2 => self.revive(at, &mut random),
                _ => self.make(at),
            }
        }
    }

    /// A new one, uploaded before anything else runs.
    pub(super) fn planted(&self, kind: &'static Kind) -> Arc<Needle> {
        let start = Instant::now();
        loop {
            if let Some(id) = self.assign(kind) {
                let needle = Arc::new(Needle::new(id, kind, None));
                assert!(self.upload(&needle), "{id}");
                return needle;
            }
            assert!(start.elapsed() < Duration::from_secs(30));
        }
    }

    fn make(&self, at: usize) {
        // With every volume in a vacuum there may be none to write to.
        let Some(id) = self.assign(&KINDS[at]) else {
            return self.count("not assigned");
        };
        let needle = Arc::new(Needle::new(id, &KINDS[at], None));
        let _turn = needle.change();
        self.needles[at].lock().unwrap().push(Arc::clone(&needle));
        if self.upload(&needle) {
            self.count("made");
        }
    }

    fn overwrite(&self, at: usize, random: &mut Random) {
        if let Some(needle) = self.pick(at, random)
            && let Some(_turn) = needle.change()
            && needle.settled().1.is_some()
            && self.upload(&needle)
        {
            self.count("overwritten");
        }
    }

    /// The key of a deleted one gets another cookie. A volume server takes that when it has forgotten the first one: after
    /// a vacuum.
    fn revive(&self, at: usize, random: &mut Random) {
        let Some(old) = self
            .pick(at, random)
            .filter(|old| old.settled().1.is_none())
        else {
            return;
        };
        let cookie = random.number() as u32;
        let id = FileId { cookie, ..old.id };
        let needle = Arc::new(Needle::new(id, &KINDS[at], None));
        // One that is refused was never a needle.
        if self.upload(&needle) {
            self.needles[at].lock().unwrap().push(needle);
            self.count("revived");
        }
    }

    /// Whether the server has taken it.
    fn upload(&self, needle: &Needle) -> bool {
        let upload = needle
            .kind
            .upload(self.seed.fetch_add(1, Ordering::Relaxed));
        needle.begin(Some(upload.clear));
        let sent = self.send("PUT", needle, &upload.headers, &upload.sent);
        // Without an answer nobody knows.
        let is_taken = sent.is_ok_and(|answer| (200..300).contains(&answer.status));
        match is_taken {
            true => needle.settle(),
            false => self.count("refused"),
        }
        is_taken
    }

    fn send(
        &self,
        method: &str,
        needle: &Needle,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> anyhow::Result<Response> {
        let cluster = &self.scene.cluster;
        let (id, place) = (needle.id, needle.kind.place);
        let target = format!("{}/{id}?{place}", cluster.volume_http(0));
        cluster.http().send(method, &target, headers, body)
    }

    fn assign(&self, kind: &Kind) -> Option<FileId> {
        let cluster = &self.scene.cluster;
        let target = format!("{}/dir/assign?{}", cluster.master_http(), kind.place);
        let answer = cluster.http().send("GET", &target, &[], b"").unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
        answer["fid"].as_str()?.parse().ok()
    }

    /// Deletes more slowly than is written, so that there is always something to read.
    pub(super) fn delete(&self, mut random: Random) {
        while !self.is_over() {
            thread::sleep(2 * PAUSE);
            let at = random.below(ENCRYPTED as u64) as usize;
            if let Some(needle) = self.pick(at, &mut random)
                && let Some(_turn) = needle.change()
                && needle.settled().1.is_some()
            {
                needle.begin(None);
                match self.send("DELETE", &needle, &[], b"") {
                    Ok(answer) if answer.status == 202 => {
                        needle.settle();
                        self.count("deleted");
                    }
                    _ => self.count("not deleted"),
                }
            }
        }
    }

    /// Writes and deletes files by the filer, which encrypts what it stores, and deletes it some time later.
    pub(super) fn write_files(&self, mut random: Random) {
        let mut files: Vec<Vec<Arc<Needle>>> = vec![Vec::new(); FILES];
        while !self.is_over() {
            thread::sleep(PAUSE);
            let seed = self.seed.fetch_add(1, Ordering::Relaxed);
            let file = random.below(FILES as u64) as usize;
            let had_chunks = !files[file].is_empty();
            for needle in files[file].drain(..) {
                needle.begin(None);
            }
            let (bytes, extension) = match file % 2 {
                0 => (noise(seed, random.below(1_500_000) as usize + 1), "bin"),
                _ => (text(seed, random.below(60_000) as usize + 1), "txt"),
            };
            let path = format!("/churn/{file}.{extension}");
            if had_chunks && random.below(3) == 0 {
                self.scene.cluster.delete(&path).unwrap();
                self.count("files deleted");
                continue;
            }
            self.scene.put(&path, &bytes);
            self.count("files written");
            for chunk in self.scene.craft().lookup(&path).unwrap().chunks {
                assert_eq!(chunk.cipher_key.len(), 32, "{path} is encrypted");
                let needle = Arc::new(self.stored(chunk.file_id.parse().unwrap()));
                files[file].push(Arc::clone(&needle));
                self.needles[ENCRYPTED].lock().unwrap().push(needle);
            }
        }
    }

    /// An encrypted one that was stored a moment ago.
    fn stored(&self, id: FileId) -> Needle {
        let kind = &KINDS[ENCRYPTED];
        let asked = Needle::new(id, kind, None);
        let ask = |_| self.send("GET", &asked, &[], b"").ok();
        let stored = (0..3).find_map(ask).unwrap().ok().unwrap();
        Needle::new(id, kind, Some(stored.body.into()))
    }

    /// Vacuums one volume after the other, but none that is empty: when the index is empty and something is written during
    /// a vacuum, SeaweedFS 4.48 fails to end it ("offset -17 for index file is invalid"), and has the volume closed, with
    /// all that it has acknowledged, until it is started again.
    pub(super) fn vacuum(&self) {
        let mut vacuum = Vacuum::connect(&self.scene.cluster.volume_http(0));
        while !self.is_over() {
            let volumes = super::volumes(self.scene).into_iter();
            for ((_, id), _) in volumes.filter(|(_, volume)| volume.index_bytes > 0) {
                thread::sleep(10 * PAUSE);
                match vacuum.run(id) {
                    Ok(()) => self.count("vacuums"),
                    Err(why) => {
                        println!("vacuum of {id}: {why}");
                        self.count("vacuums refused");
                    }
                }
            }
        }
    }

    fn count(&self, what: &'static str) {
        *self.changes.lock().unwrap().entry(what).or_default() += 1;
    }
}
