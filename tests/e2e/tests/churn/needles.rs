//! Needles, and all that each of them ever held.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard};

use e2e::{noise, text};
use flate2::Compression;
use flate2::write::GzEncoder;
use seaweed::FileId;

/// A kind of needle.
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// What assignment and upload say of it.
    pub(super) place: &'static str,
    form: Form,
}

enum Form {
    /// Stored as it comes.
    Noise,
    /// The client compresses it.
    Gzip,
    /// The volume server does.
    Text,
    /// The filer does, and encrypts it then.
    Sealed,
}

pub(super) const KINDS: [Kind; 6] = [
    Kind::of("plain", "", Form::Noise),
    Kind::of("gzip", "", Form::Gzip),
    Kind::of("ttl", "ttl=1h", Form::Noise),
    Kind::of("collection one", "collection=one", Form::Noise),
    Kind::of("collection two", "collection=two", Form::Text),
    Kind::of("encrypted", "", Form::Sealed),
];
/// Those before it are uploaded to the volume server itself.
pub(super) const ENCRYPTED: usize = KINDS.len() - 1;
/// Its time is over before the test is.
pub(super) const BRIEF: Kind = Kind::of("brief", "ttl=1m", Form::Noise);

/// What is uploaded.
pub(super) struct Upload {
    pub(super) headers: Vec<(&'static str, &'static str)>,
    pub(super) sent: Vec<u8>,
    /// What there is to read afterwards.
    pub(super) clear: Arc<[u8]>,
}

impl Kind {
    const fn of(name: &'static str, place: &'static str, form: Form) -> Self {
        Self { name, place, form }
    }

    /// Whether the volume server knows it as compressed.
    pub(super) fn is_compressed(&self) -> bool {
        matches!(self.form, Form::Gzip | Form::Text)
    }

    /// Something to upload, of 1 byte to some MiB.
    pub(super) fn upload(&self, seed: u64) -> Upload {
        let len = match seed % 40 {
            0 => 2_000_000 + (seed as usize * 7919) % 2_000_000,
            1..=4 => (seed as usize * 7919) % 300_000 + 1,
            5..=8 => seed as usize % 16 + 1,
            _ => (seed as usize * 797) % 9_000 + 1,
        };
        let (clear, mime) = match self.form {
            Form::Noise => (noise(seed, len), "application/octet-stream"),
            _ => (text(seed, len), "text/plain"),
        };
        let mut headers = vec![("Content-Type", mime)];
        let mut sent = clear.clone();
        if let Form::Gzip = self.form {
            headers.push(("Content-Encoding", "gzip"));
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&clear).unwrap();
            sent = encoder.finish().unwrap();
        }
        let clear = clear.into();
        Upload {
            headers,
            sent,
            clear,
        }
    }
}

/// What a needle held at some time: bytes, or it was absent.
pub(super) type Version = Option<Arc<[u8]>>;

/// A needle. One thread at a time changes it.
pub(super) struct Needle {
    pub(super) id: FileId,
    pub(super) kind: &'static Kind,
    changing: Mutex<()>,
    history: Mutex<History>,
}

/// Every version is noted before the server hears of it.
struct History {
    versions: Vec<Version>,
    /// The last one that the server has acknowledged.
    settled: usize,
}

impl Needle {
    pub(super) fn new(id: FileId, kind: &'static Kind, version: Version) -> Self {
        Self {
            id,
            kind,
            changing: Mutex::default(),
            history: Mutex::new(History {
                versions: vec![version],
                settled: 0,
            }),
        }
    }

    /// The right to change it, unless somebody has it.
    pub(super) fn change(&self) -> Option<MutexGuard<'_, ()>> {
        self.changing.try_lock().ok()
    }

    /// From now on it may be this.
    pub(super) fn begin(&self, version: Version) {
        self.history.lock().unwrap().versions.push(version);
    }

    /// Now it is what was begun last.
    pub(super) fn settle(&self) {
        let mut history = self.history.lock().unwrap();
        history.settled = history.versions.len() - 1;
    }

    /// The version that it has, or a later one.
    pub(super) fn settled(&self) -> (usize, Version) {
        let history = self.history.lock().unwrap();
        (history.settled, history.versions[history.settled].clone())
    }

    /// What it may have been since then.
    pub(super) fn since(&self, settled: usize) -> Vec<Version> {
        self.history.lock().unwrap().versions[settled..].to_vec()
    }
}
