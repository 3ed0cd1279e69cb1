//! Range requests to the volume server without any mount: what HTTP itself takes, which a mount
//! that reads over HTTP can at best come near to.
//!
//! The client is as fast as one can be: a kept connection for each reader, a request made once but for
//! its range, and looking for the answer all the time instead of sleeping until it comes.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;

use anyhow::{Context, Result};
use bench::{Error, File, Latencies, random_by};
use cluster::Cluster;

/// The chunks of the large file and who has them.
#[derive(Debug)]
pub(crate) struct Bare {
    server: String,
    chunks: Vec<Chunk>,
}

#[derive(Debug)]
struct Chunk {
    needle: String,
    start: u64,
    len: u64,
}

impl Bare {
    /// Asks the filer for the chunks of `path`.
    pub(crate) fn find(cluster: &Cluster, path: &str) -> Result<Self> {
        let answer = cluster.filer(0, "GET", path, "metadata=true", &[], b"")?;
        let entry: serde_json::Value = serde_json::from_slice(&answer.ok()?.body)?;
        let chunk = |chunk: &serde_json::Value| {
            Some(Chunk {
                needle: chunk["file_id"].as_str()?.to_owned(),
                // What is zero is left out.
                start: chunk["offset"].as_u64().unwrap_or(0),
                len: chunk["size"].as_u64()?,
            })
        };
        let chunks = entry["chunks"].as_array().into_iter().flatten().map(chunk);
        let mut chunks: Vec<_> = chunks
            .collect::<Option<_>>()
            .with_context(|| format!("the filer names chunks of {path} in an unknown way"))?;
        chunks.sort_by_key(|chunk| chunk.start);
        let server = cluster.volume_http(0);
        Ok(Self {
            server: server.trim_start_matches("http://").to_owned(),
            chunks,
        })
    }

    /// Reads as [`bench::random`] does.
    pub(crate) fn random(
        &self,
        file: &File,
        readers: usize,
        reads: usize,
        seed: u64,
    ) -> Result<Latencies, Error> {
        let open = || {
            let mut connection = Connection::open(&self.server).map_err(failed)?;
            Ok(move |offset, to: &mut [u8]| {
                let chunk = self.chunk(offset, to.len()).map_err(failed)?;
                connection.get(chunk, offset, to).map_err(failed)
            })
        };
        random_by(Path::new("/"), file, open, readers, reads, seed)
    }

    fn chunk(&self, offset: u64, len: usize) -> io::Result<&Chunk> {
        let next = self.chunks.partition_point(|chunk| chunk.start <= offset);
        next.checked_sub(1)
            .map(|at| &self.chunks[at])
            .filter(|chunk| offset + len as u64 <= chunk.start + chunk.len)
            .ok_or_else(|| io::Error::other(format!("no chunk has {len} bytes at {offset}")))
    }
}

/// One connection, and room for an answer.
struct Connection {
    stream: TcpStream,
    server: String,
    request: String,
    answer: Vec<u8>,
}

impl Connection {
    fn open(server: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            server: server.to_owned(),
            request: String::new(),
            answer: vec![0; 64 << 10],
        })
    }

    fn get(&mut self, chunk: &Chunk, offset: u64, to: &mut [u8]) -> io::Result<()> {
        let from = offset - chunk.start;
        let last = from + to.len() as u64 - 1;
        self.request.clear();
        let _ = write!(
            self.request,
            "GET /{} HTTP/1.1\r\nHost: {}\r\nRange: bytes={from}-{last}\r\n\r\n",
            chunk.needle, self.server
        );
        self.stream.write_all(self.request.as_bytes())?;
        let mut have = 0;
        loop {
            have += self.look(have)?;
            let head = self.answer[..have]
                .windows(4)
                .position(|end| end == b"\r\n\r\n");
            if let Some(body) = head.map(|at| at + 4)
                && have >= body + to.len()
            {
                if !self.answer.starts_with(b"HTTP/1.1 206") || have > body + to.len() {
                    return Err(io::Error::other("not the answer to a range request"));
                }
                to.copy_from_slice(&self.answer[body..have]);
                return Ok(());
            }
        }
    }

    /// Looks until something comes; how much.
    fn look(&mut self, have: usize) -> io::Result<usize> {
        loop {
            match self.stream.read(&mut self.answer[have..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    rustix::thread::sched_yield();
                }
                other => return other,
            }
        }
    }
}

fn failed(source: io::Error) -> Error {
    Error::Io {
        what: "ask the volume server for a part of",
        path: "the large file".into(),
        source,
    }
}
