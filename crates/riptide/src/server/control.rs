//! What `weed shell` can change of a running mount: `mount.configure -dir=DIR -quotaMB=N`.
//!
//! The shell finds the mount by a socket in /tmp with the hash of DIR in its name. It takes DIR as it is
//! written, so a mount that was given a path with symbolic links in it listens under both of its names. The
//! folder is everybody's: who puts something else in the place of a socket keeps the shell away from
//! the mount, and not the mount from starting. A path given by `-localSocket` is another matter.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::DuplexStream;
use tokio::net::UnixListener;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::ServerError;
use super::authority::relay;
use super::socket::{Bound, mount_hash};
use schema::seaweed_mount_server::{SeaweedMount, SeaweedMountServer};
use schema::{ConfigureRequest, ConfigureResponse};

/// The messages and the service, from `proto/mount.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod schema {
    tonic::include_proto!("messaging_pb");
}

/// Sets the quota of the mount, in bytes; or says why not.
pub type SetQuota = Arc<dyn Fn(u64) -> Result<(), String> + Send + Sync>;

/// A request is a number; who sends more means something else.
const REQUEST_MAX: usize = 1024;
/// Connections at a time: a shell has one.
const CONNECTIONS: usize = 8;
/// How long one may last; the shell closes its connection after the answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Before the next try when none could be accepted.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes on their way between a connection and the server.
const BETWEEN: usize = 16 << 10;

/// Sockets for `weed shell`. Dropping it closes and removes them.
#[derive(Debug)]
pub struct ControlServer {
    tasks: Vec<JoinHandle<()>>,
    // Behind the tasks, which have the listeners.
    _sockets: Vec<Bound>,
}

impl ControlServer {
    /// Listens at `path`; when there is none, where the shell looks for a mount at `given`, the path as
    /// it was written, and at `real`, the same without symbolic links.
    ///
    /// # Errors
    /// When `path` cannot be listened on.
    pub fn start(
        runtime: &Handle,
        path: Option<&Path>,
        given: &Path,
        real: &Path,
        set_quota: SetQuota,
    ) -> Result<Self, ServerError> {
        let mut server = Self {
            tasks: Vec::new(),
            _sockets: Vec::new(),
        };
        if let Some(path) = path {
            let failed = |source| ServerError::LocalSocket {
                path: path.to_owned(),
                source,
            };
            server.listen(runtime, path, set_quota).map_err(failed)?;
            return Ok(server);
        }
        let mut paths = vec![shell_path(given), shell_path(real)];
        paths.dedup();
        for path in paths {
            if let Err(error) = server.listen(runtime, &path, Arc::clone(&set_quota)) {
                tracing::warn!(path = %path.display(), %error, "weed shell will not find this mount");
            }
        }
        Ok(server)
    }

    fn listen(&mut self, runtime: &Handle, path: &Path, set_quota: SetQuota) -> io::Result<()> {
        let _guard = runtime.enter();
        let (socket, listener) = Bound::bind(path)?;
        let listener = UnixListener::from_std(listener)?;
        let service = SeaweedMountServer::new(Control(set_quota));
        let service = service.max_decoding_message_size(REQUEST_MAX);
        let (arrived, connections) = mpsc::channel(1);
        let serving = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(ReceiverStream::new(connections).map(Ok::<_, io::Error>));
        self.tasks.push(runtime.spawn(accept(listener, arrived)));
        self.tasks.push(runtime.spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the socket for weed shell ended");
            }
        }));
        self._sockets.push(socket);
        Ok(())
    }
}

/// Gives the server one end of a pipe for each client.
async fn accept(listener: UnixListener, arrived: mpsc::Sender<DuplexStream>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let client = match listener.accept().await {
            Ok((client, _)) => client,
            Err(error) => {
                tracing::warn!(%error, "weed shell cannot connect");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (ours, servers) = tokio::io::duplex(BETWEEN);
        if arrived.send(servers).await.is_err() {
            return;
        }
        tokio::spawn(async move {
            let _place = place;
            match tokio::time::timeout(PATIENCE, relay(client, ours)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a client of the socket for weed shell"),
                Err(_) => {
                    tracing::debug!("a client of the socket for weed shell has stayed too long")
                }
            }
        });
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Where `weed shell` looks for the mount at `dir`.
fn shell_path(dir: &Path) -> PathBuf {
    format!("/tmp/seaweedfs-mount-{}.sock", mount_hash(dir)).into()
}

struct Control(SetQuota);

#[tonic::async_trait]
impl SeaweedMount for Control {
    async fn configure(
        &self,
        request: Request<ConfigureRequest>,
    ) -> Result<Response<ConfigureResponse>, Status> {
        let bytes = request.into_inner().collection_capacity;
        let bytes = u64::try_from(bytes).map_err(|_| {
            Status::invalid_argument(format!("the quota cannot be negative: {bytes} bytes"))
        })?;
        (self.0)(bytes).map_err(Status::failed_precondition)?;
        Ok(Response::new(ConfigureResponse {}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(bytes: i64) -> Result<(), Status> {
        let set: SetQuota = Arc::new(|bytes| match bytes {
            7 => Err("not seven".to_owned()),
            _ => Ok(()),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let request = ConfigureRequest {
            collection_capacity: bytes,
        };
        let answer = runtime.block_on(Control(set).configure(Request::new(request)));
        answer.map(drop)
    }

    #[test]
    fn a_quota_is_a_number_of_bytes_that_the_mount_takes() {
        ask(0).unwrap();
        ask(1 << 40).unwrap();
        assert_eq!(ask(-1).unwrap_err().code(), tonic::Code::InvalidArgument);
        assert_eq!(ask(7).unwrap_err().message(), "not seven");
    }

    #[test]
    fn a_place_that_is_taken_stops_a_mount_only_if_it_was_named() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let taken = dir.path().join("taken");
        std::fs::write(&taken, "precious").unwrap();
        let set: SetQuota = Arc::new(|_| Ok(()));
        let start = |path: Option<&Path>| {
            let set = Arc::clone(&set);
            ControlServer::start(runtime.handle(), path, dir.path(), dir.path(), set)
        };
        let error = start(Some(&taken)).unwrap_err().to_string();
        assert!(error.contains("-localSocket"), "{error}");
        let socket = shell_path(dir.path());
        std::fs::write(&socket, "precious").unwrap();
        let server = start(None).unwrap();
        assert_eq!(std::fs::read(&socket).unwrap(), b"precious");
        drop(server);
        std::fs::remove_file(&socket).unwrap();
        let server = start(None).unwrap();
        assert!(socket.exists());
        drop(server);
        assert!(!socket.exists());
    }
}
