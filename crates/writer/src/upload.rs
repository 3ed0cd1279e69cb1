//! Storing one chunk: a file id of the filer, and a POST to its volume server.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use context::Context;
use filer::Filer;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use md5::{Digest as _, Md5};
use seaweed::FileId;
use seaweed::pb::{AssignVolumeRequest, FileChunk};

use crate::WriteError;

/// Stores chunks. Blocking; called from many threads at once.
pub trait Upload: Send + Sync {
    /// Stores `data` for the file at `path`, on disk when `durable`; its chunk, of which the
    /// place in the file is not known yet.
    ///
    /// # Errors
    /// [`WriteError`].
    fn upload(
        &self,
        ctx: &Context<'_>,
        path: &str,
        data: &[u8],
        durable: bool,
    ) -> Result<FileChunk, WriteError>;
}

/// Where new chunks shall go; what is empty the filer decides.
#[derive(Debug, Clone, Default)]
pub struct Placement {
    /// `-collection`.
    pub collection: String,
    /// `-replication`.
    pub replication: String,
    /// `-disk`.
    pub disk_type: String,
    /// `-ttl`, seconds.
    pub ttl_sec: i32,
    /// `-dataCenter`.
    pub data_center: String,
}

/// Uploads over HTTP to where the filer says.
pub struct FilerUpload {
    filer: Filer,
    runtime: tokio::runtime::Handle,
    placement: Placement,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// Tries before an upload has failed.
const ATTEMPTS: usize = 3;

impl FilerUpload {
    /// Asks `filer` on `runtime`.
    pub fn new(filer: Filer, runtime: tokio::runtime::Handle, placement: Placement) -> Self {
        Self {
            filer,
            runtime,
            placement,
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    async fn store(&self, path: &str, data: Bytes, durable: bool) -> Result<FileChunk, WriteError> {
        let request = AssignVolumeRequest {
            count: 1,
            collection: self.placement.collection.clone(),
            replication: self.placement.replication.clone(),
            ttl_sec: self.placement.ttl_sec,
            data_center: self.placement.data_center.clone(),
            path: path.to_owned(),
            disk_type: self.placement.disk_type.clone(),
            expected_data_size: data.len() as u64,
            ..AssignVolumeRequest::default()
        };
        let assigned = self.filer.assign_volume(request).await;
        let assigned = assigned.map_err(|error| unassigned(&error.to_string()))?;
        if !assigned.error.is_empty() {
            return Err(unassigned(&assigned.error));
        }
        let failed = |reason: String| WriteError::Upload(format!("{}: {reason}", assigned.file_id));
        let file_id: FileId = assigned
            .file_id
            .parse()
            .map_err(|error| failed(format!("{error}")))?;
        let location = assigned.location.clone().unwrap_or_default();
        let digest = STANDARD.encode(Md5::digest(&data));
        let sync = if durable || assigned.fsync {
            "?fsync=true"
        } else {
            ""
        };
        let mut post = Request::post(format!(
            "http://{}/{}{sync}",
            location.url, assigned.file_id
        ))
        .header(
            "content-type",
            format!("multipart/form-data; boundary={BOUNDARY}"),
        );
        if !assigned.auth.is_empty() {
            post = post.header("authorization", format!("Bearer {}", assigned.auth));
        }
        let mut body = Vec::with_capacity(data.len() + 512);
        body.extend_from_slice(
            format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"chunk\"\r\n\
                 Content-Type: application/octet-stream\r\nContent-MD5: {digest}\r\n\r\n"
            )
            .as_bytes(),
        );
        body.extend_from_slice(&data);
        body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
        let post = post
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| failed(error.to_string()))?;
        let answer = self.client.request(post).await;
        let answer = answer.map_err(|error| failed(error.to_string()))?;
        let status = answer.status();
        let text = answer.into_body().collect().await;
        let text = text.map_err(|error| failed(error.to_string()))?.to_bytes();
        if !status.is_success() {
            let text = String::from_utf8_lossy(&text[..text.len().min(200)]).into_owned();
            return Err(failed(format!("{status}: {text}")));
        }
        Ok(FileChunk {
            file_id: assigned.file_id.clone(),
            fid: Some(file_id.into()),
            e_tag: digest,
            ..FileChunk::default()
        })
    }
}

/// Separates the parts of a body; the server looks for it only after a line break.
const BOUNDARY: &str = "----riptide-6c1f0b5e2a7d4938b1d7";

impl Upload for FilerUpload {
    fn upload(
        &self,
        ctx: &Context<'_>,
        path: &str,
        data: &[u8],
        durable: bool,
    ) -> Result<FileChunk, WriteError> {
        let data = Bytes::copy_from_slice(data);
        let mut last = WriteError::TimedOut;
        for _ in 0..ATTEMPTS {
            let stored = self.store(path, data.clone(), durable);
            match self.runtime.block_on(ctx.run(stored))? {
                Ok(chunk) => return Ok(chunk),
                Err(error @ (WriteError::NoSpace(_) | WriteError::Refused(_))) => {
                    return Err(error);
                }
                Err(error) => {
                    tracing::debug!(%error, path, "chunk not stored, trying elsewhere");
                    last = error;
                }
            }
        }
        Err(last)
    }
}

impl std::fmt::Debug for FilerUpload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FilerUpload")
            .field("placement", &self.placement)
            .finish_non_exhaustive()
    }
}

/// What the filer says when it gives no file id.
fn unassigned(text: &str) -> WriteError {
    let full = [
        "no writable volumes",
        "no free volumes",
        "No writable",
        "No free",
    ];
    if full.iter().any(|phrase| text.contains(phrase)) {
        WriteError::NoSpace(text.to_owned())
    } else if text.contains("read only") || text.contains("read-only") {
        WriteError::Refused(text.to_owned())
    } else {
        WriteError::Upload(text.to_owned())
    }
}

/// A shared uploader is one too.
impl<T: Upload + ?Sized> Upload for Arc<T> {
    fn upload(
        &self,
        ctx: &Context<'_>,
        path: &str,
        data: &[u8],
        durable: bool,
    ) -> Result<FileChunk, WriteError> {
        (**self).upload(ctx, path, data, durable)
    }
}
