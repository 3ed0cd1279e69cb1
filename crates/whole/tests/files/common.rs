//! A source of bytes that counts, waits and fails as it is told, and files made from it.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use context::Context;
use parking_lot::Mutex;
use reader::Sink;
use seaweed::ContentKey;
use whole::{Config, Files, Source, State, Want, Whole};

/// Called before each run is read.
type Hook = Box<dyn Fn() + Send + Sync>;

/// A file that could be brought in.
pub(crate) struct Origin {
    pub(crate) key: ContentKey,
    pub(crate) bytes: Vec<u8>,
    runs: Vec<Range<u64>>,
    /// Runs that were read.
    pub(crate) reads: AtomicU64,
    /// While set, reading waits.
    pub(crate) closed: AtomicBool,
    pub(crate) failing: AtomicBool,
    pub(crate) hook: Mutex<Option<Hook>>,
}

impl Origin {
    /// A file of `runs` times `run` bytes with a hole before each of them.
    pub(crate) fn new(number: u8, runs: u64, run: u64) -> Arc<Self> {
        let size = (runs * 2 * run) as usize;
        let mut bytes = vec![0; size];
        let mut ranges = Vec::new();
        for at in 0..runs {
            let start = (2 * at + 1) * run;
            for offset in start..start + run {
                bytes[offset as usize] = (offset * 31 + u64::from(number)) as u8 | 1;
            }
            ranges.push(start..start + run);
        }
        Arc::new(Self {
            key: ContentKey::from_bytes([number; 32]),
            bytes,
            runs: ranges,
            reads: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            hook: Mutex::new(None),
        })
    }

    pub(crate) fn name(&self) -> String {
        format!("/files/{}", self.key.as_bytes()[0])
    }
}

impl Source for Origin {
    fn runs(&self, _: &Context<'_>) -> Result<Vec<Range<u64>>, String> {
        Ok(self.runs.clone())
    }

    fn read(&self, ctx: &Context<'_>, run: Range<u64>, out: &mut dyn Sink) -> Result<(), String> {
        if let Some(hook) = &*self.hook.lock() {
            hook();
        }
        while self.closed.load(Ordering::SeqCst) {
            ctx.sleep(Duration::from_millis(2))
                .map_err(|e| e.to_string())?;
        }
        self.reads.fetch_add(1, Ordering::SeqCst);
        let bytes = &self.bytes[run.start as usize..run.end as usize];
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        out.fill(head.len()).copy_from_slice(head);
        out.share(tail.to_vec().into());
        match self.failing.load(Ordering::SeqCst) {
            true => Err("no such luck".to_owned()),
            false => Ok(()),
        }
    }
}

pub(crate) fn config(dir: &Path) -> Config {
    Config {
        dir: dir.to_owned(),
        cluster: "c".to_owned(),
        capacity_bytes: 64 << 20,
        min_free_bytes: 0,
        fillers: 3,
        ..Config::default()
    }
}

pub(crate) fn open(dir: &Path) -> Files {
    Files::open(&config(dir)).unwrap()
}

pub(crate) fn want(files: &Files, origin: &Arc<Origin>) -> Want {
    let (key, size) = (origin.key, origin.bytes.len() as u64);
    let source = Arc::clone(origin) as Arc<dyn Source>;
    files.want(key, size, &origin.name(), source, true)
}

/// Has a file brought in, and waits for it.
pub(crate) fn bring(files: &Files, origin: &Arc<Origin>) {
    want(files, origin);
    until("it is here", || files.state(&origin.key) == State::Complete);
}

pub(crate) fn find(files: &Files, origin: &Origin) -> Option<Whole> {
    files.find(&origin.key, Some(&origin.name()))
}

/// Fails unless the file has exactly the bytes of its origin.
pub(crate) fn assert_same(whole: &Whole, origin: &Origin) {
    assert_eq!(whole.size(), origin.bytes.len() as u64);
    assert_eq!(whole.file().metadata().unwrap().len(), whole.size());
    let mut bytes = vec![0xee; origin.bytes.len()];
    whole.file().read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes == origin.bytes, "other bytes");
}

pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "not in a minute: {what}"
        );
        thread::sleep(Duration::from_millis(1));
    }
}

/// Files below a folder whose names end like that.
pub(crate) fn paths(dir: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(paths(&path, end));
        } else if path.to_string_lossy().ends_with(end) {
            found.push(path);
        }
    }
    found
}
