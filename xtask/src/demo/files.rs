//! The files of the demo.

use std::time::Instant;

use anyhow::Result;
use bench::Pattern;
use cluster::Cluster;
use md5::{Digest, Md5};

use super::table::Table;

/// A file of the demo: its path on the filer, its size, and the MD5 of its bytes.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) size: usize,
    pub(crate) md5: String,
}

/// All files, large and small.
#[derive(Debug)]
pub(crate) struct Planted {
    pub(crate) large: Vec<File>,
    pub(crate) small: Vec<File>,
}

impl Planted {
    /// Uploads them through the filer.
    pub(crate) fn upload(cluster: &Cluster, table: &mut Table) -> Result<Self> {
        let start = Instant::now();
        let mut planted = Self {
            large: Vec::new(),
            small: Vec::new(),
        };
        for n in 0..4 {
            let path = format!("/large/movie-{n}.bin");
            planted
                .large
                .push(put(cluster, path, pattern(n, 32 << 20))?);
        }
        let text = "Every tide comes in twice.\n".repeat(300_000);
        planted.large.push(put(
            cluster,
            "/large/tides.txt".to_owned(),
            text.into_bytes(),
        )?);
        for n in 0..300 {
            let path = format!("/small/{}/note-{n:03}", n % 10);
            planted
                .small
                .push(put(cluster, path, pattern(1000 + n, n * 137 % 40_000))?);
        }
        table.moved(
            "put in through the filer",
            planted.len(),
            planted.bytes(),
            start.elapsed(),
        );
        Ok(planted)
    }

    /// How many files.
    pub(crate) fn len(&self) -> usize {
        self.large.len() + self.small.len()
    }

    /// How many bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.large.iter().chain(&self.small).map(|f| f.size).sum()
    }

    /// How many MiB.
    pub(crate) fn mebibytes(&self) -> usize {
        self.bytes() >> 20
    }
}

/// The MD5 of bytes, in hex.
pub(crate) fn md5(bytes: &[u8]) -> String {
    Md5::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn put(cluster: &Cluster, path: String, bytes: Vec<u8>) -> Result<File> {
    cluster.put(&path, &bytes)?;
    Ok(File {
        path,
        size: bytes.len(),
        md5: md5(&bytes),
    })
}

/// Bytes that do not compress.
fn pattern(number: usize, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    Pattern::of(&number.to_string()).fill(0, &mut bytes);
    bytes
}
