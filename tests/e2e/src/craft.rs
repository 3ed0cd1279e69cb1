//! Entries made by hand over the filer's gRPC: overlapping and shortened
//! chunks, manifests, sparse files, contents inside the entry, SSE marks.
//! Chunks are real: uploaded to a volume server that the filer assigned.

use std::fmt;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cluster::{Cluster, Http};
use filer::{Filer, FilerConfig, RawClient};
use prost::Message;
use seaweed::{FileId, cipher, pb};
use tokio::runtime::Runtime;

/// A hand for crafting entries.
pub struct Craft {
    filer: Filer,
    runtime: Runtime,
    http: Http,
}

impl fmt::Debug for Craft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Craft({})", self.filer.current().http())
    }
}

impl Craft {
    /// Connects to a cluster's first filer.
    ///
    /// # Panics
    /// When it cannot.
    #[must_use]
    pub fn connect(cluster: &Cluster) -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime starts");
        // The whole path of the settings, from security.toml on, is the mount's own.
        let security = seaweed::Security::load(Some(cluster.home()));
        let tls = security.expect("a cluster's security.toml parses").grpc;
        let config = FilerConfig {
            addresses: vec![
                cluster
                    .filer_http()
                    .parse()
                    .expect("a cluster's address parses"),
            ],
            client_name: "riptide-e2e".to_owned(),
            tls,
            retry: Duration::from_secs(10),
            data_center: String::new(),
        };
        let filer = runtime
            .block_on(Filer::connect(config))
            .expect("the filer answers");
        Self {
            filer,
            runtime,
            http: cluster.http().clone(),
        }
    }

    /// Makes a call of the filer's gRPC.
    ///
    /// # Panics
    /// When it fails.
    pub fn call<T, E: fmt::Display, F>(&self, ask: impl FnOnce(RawClient) -> F) -> T
    where
        F: Future<Output = Result<T, E>>,
    {
        self.runtime
            .block_on(ask(self.filer.client()))
            .unwrap_or_else(|e| panic!("gRPC: {e}"))
    }

    /// Uploads bytes exactly as they are, and returns a chunk that shows all of them at `offset`.
    ///
    /// # Panics
    /// When that fails.
    #[must_use]
    pub fn chunk(&self, offset: u64, bytes: &[u8]) -> pb::FileChunk {
        let fid = self.upload(bytes, &[]);
        chunk_of(fid, offset, bytes.len())
    }

    /// The same, stored compressed.
    ///
    /// # Panics
    /// When that fails.
    #[must_use]
    pub fn gzipped(&self, offset: u64, bytes: &[u8]) -> pb::FileChunk {
        let fid = self.upload(&gzip(bytes), &[("Content-Encoding", "gzip")]);
        pb::FileChunk {
            is_compressed: true,
            ..chunk_of(fid, offset, bytes.len())
        }
    }

    /// The same, stored encrypted, and compressed before that if wanted.
    ///
    /// # Panics
    /// When that fails.
    #[must_use]
    pub fn sealed(&self, offset: u64, bytes: &[u8], compressed: bool) -> pb::FileChunk {
        let key = [offset as u8 ^ 0x5a; 32];
        let packed = if compressed {
            gzip(bytes)
        } else {
            bytes.to_vec()
        };
        let stored = cipher::seal(&seaweed::CipherKey::new(key), &packed).expect("sealing works");
        let fid = self.upload(&stored, &[]);
        let mut chunk = chunk_of(fid, offset, bytes.len());
        chunk.cipher_key = key.to_vec().into();
        chunk.is_compressed = compressed;
        chunk
    }

    /// A manifest of these chunks, as a chunk that covers them.
    ///
    /// # Panics
    /// When the upload fails.
    #[must_use]
    pub fn manifest(&self, chunks: Vec<pb::FileChunk>) -> pb::FileChunk {
        let start = chunks.iter().map(|c| c.offset).min().unwrap_or(0);
        let end = chunks
            .iter()
            .map(|c| c.offset + c.size as i64)
            .max()
            .unwrap_or(0);
        let stamp = chunks.iter().map(|c| c.modified_ts_ns).max().unwrap_or(0);
        let bytes = pb::FileChunkManifest { chunks }.encode_to_vec();
        let fid = self.upload(&bytes, &[]);
        pb::FileChunk {
            is_chunk_manifest: true,
            modified_ts_ns: stamp,
            ..chunk_of(fid, start as u64, (end - start) as usize)
        }
    }

    /// Makes a regular file of these chunks, `size` bytes long.
    ///
    /// # Panics
    /// When the filer refuses.
    pub fn file(&self, path: &str, size: u64, chunks: Vec<pb::FileChunk>) {
        self.entry(
            path,
            pb::Entry {
                chunks,
                ..regular(size)
            },
        );
    }

    /// Makes a regular file whose bytes are inside its entry; `size` is what its attribute says.
    ///
    /// # Panics
    /// When the filer refuses.
    pub fn inline(&self, path: &str, size: u64, content: &[u8]) {
        let content = content.to_vec().into();
        self.entry(
            path,
            pb::Entry {
                content,
                ..regular(size)
            },
        );
    }

    /// Makes, or overwrites, an entry; its name is set from the path.
    ///
    /// # Panics
    /// When the filer refuses.
    pub fn entry(&self, path: &str, mut entry: pb::Entry) {
        let (directory, name) = split(path);
        name.clone_into(&mut entry.name);
        let request = pb::CreateEntryRequest {
            directory: directory.to_owned(),
            entry: Some(entry),
            ..Default::default()
        };
        let answer = self.call(|mut c| async move { c.create_entry(request).await });
        let answer = answer.into_inner();
        assert!(answer.error.is_empty(), "create {path}: {}", answer.error);
    }

    /// Makes many empty regular files in a directory, several at a time.
    ///
    /// # Panics
    /// When the filer refuses one.
    pub fn crowd(&self, directory: &str, names: impl Iterator<Item = String>) {
        self.crowd_with(directory, names, b"");
    }

    /// The same with bytes in their entries.
    ///
    /// # Panics
    /// When the filer refuses one.
    pub fn crowd_with(
        &self,
        directory: &str,
        names: impl Iterator<Item = String>,
        content: &'static [u8],
    ) {
        let mut names = names.peekable();
        while names.peek().is_some() {
            let part: Vec<String> = names.by_ref().take(500).collect();
            self.runtime.block_on(async {
                let mut tasks = tokio::task::JoinSet::new();
                for name in part {
                    let request = pb::CreateEntryRequest {
                        directory: directory.to_owned(),
                        entry: Some(pb::Entry {
                            name,
                            content: content.into(),
                            ..regular(content.len() as u64)
                        }),
                        ..Default::default()
                    };
                    let mut client = self.filer.client();
                    tasks.spawn(async move { client.create_entry(request).await });
                }
                for answer in tasks.join_all().await {
                    let answer = answer
                        .unwrap_or_else(|e| panic!("create: {e}"))
                        .into_inner();
                    assert!(answer.error.is_empty(), "create: {}", answer.error);
                }
            });
        }
    }

    /// Changes an entry that exists.
    ///
    /// # Panics
    /// When there is none, or the filer refuses.
    pub fn change(&self, path: &str, change: impl FnOnce(&mut pb::Entry)) {
        let mut entry = self
            .lookup(path)
            .unwrap_or_else(|| panic!("no entry {path}"));
        change(&mut entry);
        let request = pb::UpdateEntryRequest {
            directory: split(path).0.to_owned(),
            entry: Some(entry),
            ..Default::default()
        };
        self.call(|mut c| async move { c.update_entry(request).await });
    }

    /// The filer's entry of a path.
    ///
    /// # Panics
    /// When the filer does not answer.
    #[must_use]
    pub fn lookup(&self, path: &str) -> Option<pb::Entry> {
        let (directory, name) = split(path);
        match self.runtime.block_on(self.filer.lookup(directory, name)) {
            Ok(stamped) => Some(stamped.value),
            Err(filer::FilerError::NotFound { .. }) => None,
            Err(error) => panic!("look up {path}: {error}"),
        }
    }

    /// Moves an entry.
    ///
    /// # Panics
    /// When the filer refuses.
    pub fn rename(&self, from: &str, to: &str) {
        let ((old_directory, old_name), (new_directory, new_name)) = (split(from), split(to));
        let request = pb::AtomicRenameEntryRequest {
            old_directory: old_directory.to_owned(),
            old_name: old_name.to_owned(),
            new_directory: new_directory.to_owned(),
            new_name: new_name.to_owned(),
            signatures: Vec::new(),
        };
        self.call(|mut c| async move { c.atomic_rename_entry(request).await });
    }

    /// Stores bytes in a volume that the filer chooses.
    ///
    /// # Panics
    /// When that fails.
    #[must_use]
    pub fn upload(&self, bytes: &[u8], headers: &[(&str, &str)]) -> FileId {
        let request = pb::AssignVolumeRequest {
            count: 1,
            ..Default::default()
        };
        let assigned = self.call(|mut c| async move { c.assign_volume(request).await });
        let assigned = assigned.into_inner();
        assert!(assigned.error.is_empty(), "assign: {}", assigned.error);
        let location = assigned.location.expect("an assignment has a location");
        let token = format!("Bearer {}", assigned.auth);
        let mut headers = headers.to_vec();
        headers.push(("Content-Type", "application/octet-stream"));
        if !assigned.auth.is_empty() {
            headers.push(("Authorization", &token));
        }
        let target = format!("{}/{}", location.url, assigned.file_id);
        let answer = self.http.send("PUT", &target, &headers, bytes);
        let stored = answer.and_then(cluster::Response::ok);
        stored.unwrap_or_else(|e| panic!("upload {}: {e:#}", assigned.file_id));
        assigned
            .file_id
            .parse()
            .expect("an assigned file id parses")
    }
}

/// A regular file of `size` bytes without any, mode 0644, made now.
fn regular(size: u64) -> pb::Entry {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let seconds = now.as_secs() as i64;
    pb::Entry {
        attributes: Some(pb::FuseAttributes {
            file_size: size,
            mtime: seconds,
            mtime_ns: now.subsec_nanos() as i32,
            crtime: seconds,
            file_mode: 0o644,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn chunk_of(fid: FileId, offset: u64, size: usize) -> pb::FileChunk {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    pb::FileChunk {
        fid: Some(pb::FileId {
            volume_id: fid.volume,
            file_key: fid.key,
            cookie: fid.cookie,
        }),
        offset: offset as i64,
        size: size as u64,
        modified_ts_ns: now.as_nanos() as i64,
        ..Default::default()
    }
}

/// Directory and name of an absolute path.
fn split(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some(parts) => parts,
        None => panic!("{path} is not absolute"),
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .expect("writing to memory works")
}
