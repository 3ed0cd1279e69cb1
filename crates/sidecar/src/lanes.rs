//! The fabric's server, as the settings want it.
//!
//! Shared memory is reached by a unix socket, everything else by TCP. Both serve from the same
//! shelves as HTTP and let in by the same key: here the proof of the handshake takes the place of
//! the token. Writes carry a token of their own, at which the volume server looks.

use std::fs::{self, Permissions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use fabric::announce::{Endpoints, this_host};
use fabric::serve::{self, Shelf};
use fabric::server::{Server, ServerConfig, ServerStats};
use fabric::wire::VERSION;
use seaweed::jwt::SigningKey;

use crate::budget::{Budget, Loan};
use crate::config::Config;
use crate::courier::Courier;
use crate::rdma;

/// Where sockets of services belong.
const RUN: &str = "/run/riptide";
/// A worker serves what is in memory at several gigabytes a second; more would only take cores
/// from the volume server.
const MAX_WORKERS: usize = 8;
/// The part of the memory limit that may be registered for RDMA.
const BUFFERS_PART: u64 = 4;
/// Reads under way when the daemon ends may take this long.
const DRAIN: Duration = Duration::from_secs(3);
/// Whoever may connect by TCP may connect here: what guards needles is the handshake.
const SOCKET_MODE: u32 = 0o666;

/// The carriers that are offered.
pub struct Lanes<S: Shelf> {
    server: Option<Server<S>>,
    unix: Option<PathBuf>,
    tcp: Option<u16>,
    tls: bool,
    takes_writes: bool,
    lends: bool,
    /// Why there is no RDMA.
    no_rdma: Option<String>,
    /// The memory of its buffers, which is nobody else's while they may be registered.
    _buffers: Option<Loan>,
}

impl<S: Shelf> Lanes<S> {
    /// Listens where the settings say. `port` is that of HTTP.
    ///
    /// # Errors
    /// What cannot be listened on, by its flag.
    pub fn start(
        config: &Config,
        port: u16,
        key: Option<SigningKey>,
        tls: Option<Arc<rustls::ServerConfig>>,
        shelf: Arc<S>,
        courier: Option<Arc<Courier>>,
        budget: &Budget,
    ) -> anyhow::Result<Self> {
        let unix = unix_path(config, port)?;
        let takes_writes = courier.is_some();
        let has_tls = tls.is_some();
        let mut wanted = ServerConfig {
            name: "lanes".to_owned(),
            unix: unix.clone(),
            read_key: key,
            tls,
            max_lanes: config.max_clients,
            busy_bytes: config.memory_limit,
            rdma_buffers: config.memory_limit / BUFFERS_PART,
            memory: Some(Arc::new(budget.clone())),
            lends: config.short_circuit,
            courier: courier.map(|courier| courier as Arc<dyn serve::Courier>),
            workers: thread::available_parallelism().map_or(1, |n| n.get().min(MAX_WORKERS)),
            ..ServerConfig::default()
        };
        let mut no_rdma = None;
        match rdma::rails(config) {
            Ok(rails) => {
                wanted.rdma = rails;
                // A write of more would always be busy, and never too large.
                wanted.busy_bytes -= wanted.rdma_buffers;
            }
            Err(why) => no_rdma = Some(why),
        }
        if !config.transports.tcp && unix.is_none() && wanted.rdma.is_empty() {
            return Ok(Self {
                no_rdma,
                server: None,
                unix,
                tcp: None,
                tls: has_tls,
                takes_writes,
                lends: false,
                _buffers: None,
            });
        }
        let server = match listen(config, &mut wanted, Arc::clone(&shelf)) {
            Err(error) if !wanted.rdma.is_empty() => {
                // Without the rails it shows whether it was they.
                no_rdma = Some(format!("{error:#}"));
                wanted.rdma.clear();
                wanted.busy_bytes = config.memory_limit;
                listen(config, &mut wanted, shelf)?
            }
            started => started?,
        };
        if let Some(path) = &unix {
            let opened = fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE));
            opened.with_context(|| format!("flag -socket: {}", path.display()))?;
        }
        Ok(Self {
            unix,
            tcp: server.tcp_address().map(|address| address.port()),
            tls: has_tls,
            takes_writes,
            lends: config.short_circuit,
            _buffers: match no_rdma {
                None => budget.lend(config.memory_limit / BUFFERS_PART),
                Some(_) => None,
            },
            no_rdma,
            server: Some(server),
        })
    }

    /// How mounts reach them, but for TCP, which needs this machine's name.
    pub fn endpoints(&self) -> Endpoints {
        Endpoints {
            version: VERSION,
            // Without /proc no client takes the unix socket for its own.
            host: this_host().unwrap_or_default(),
            unix: self.unix.as_ref().map(|path| path.display().to_string()),
            tcp: None,
            tls: self.tls && self.tcp.is_some(),
            rdma: self.rails(),
            writes: self.takes_writes,
            lends: self.lends && self.unix.is_some(),
        }
    }

    /// Where RDMA is offered.
    pub fn rails(&self) -> Vec<String> {
        let server = self.server.as_ref();
        let rails = server.map(Server::rdma_addresses).unwrap_or_default();
        rails.iter().map(ToString::to_string).collect()
    }

    /// Why RDMA is not offered, if it is not.
    pub fn no_rdma(&self) -> Option<&str> {
        self.no_rdma.as_deref()
    }

    /// The port of TCP, where it is offered.
    pub fn tcp(&self) -> Option<u16> {
        self.tcp
    }

    /// What was done, where anything is offered.
    pub fn stats(&self) -> Option<Arc<ServerStats>> {
        self.server
            .as_ref()
            .map(|server| Arc::clone(server.stats()))
    }

    /// Answers what is under way, and ends. Blocks for that long.
    pub fn stop(self) {
        if let Some(server) = self.server {
            server.stop(DRAIN);
        }
    }
}

fn listen<S: Shelf>(
    config: &Config,
    wanted: &mut ServerConfig,
    shelf: Arc<S>,
) -> anyhow::Result<Server<S>> {
    let told = || "starting the fabric, by -bind, -fabric-port and -socket";
    if !config.transports.tcp {
        return Server::start(wanted.clone(), shelf).with_context(told);
    }
    let at = |ip: IpAddr| Some(SocketAddr::new(ip, config.fabric_port));
    wanted.tcp = at(config.bind.unwrap_or(Ipv6Addr::UNSPECIFIED.into()));
    match Server::start(wanted.clone(), Arc::clone(&shelf)) {
        // A machine without IPv6.
        Err(error) if config.bind.is_none() && error.kind() != io::ErrorKind::AddrInUse => {
            wanted.tcp = at(Ipv4Addr::UNSPECIFIED.into());
            Server::start(wanted.clone(), shelf).with_context(told)
        }
        started => started.with_context(told),
    }
}

/// Where the unix socket goes, with its folder made; nowhere when it is not wanted, or when the
/// usual places cannot be written, which is said and does not keep TCP from being served.
fn unix_path(config: &Config, port: u16) -> anyhow::Result<Option<PathBuf>> {
    if !config.transports.shm {
        return Ok(None);
    }
    if let Some(path) = &config.socket {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder {
            let made = fs::create_dir_all(folder);
            made.with_context(|| format!("flag -socket: {}", folder.display()))?;
        }
        return Ok(Some(std::path::absolute(path)?));
    }
    let name = format!("sidecar-{port}.sock");
    let user = rustix::process::geteuid().as_raw();
    let own = std::env::temp_dir().join(format!("riptide-{user}"));
    for folder in [Path::new(RUN), &own] {
        match usable(folder) {
            Ok(()) => return Ok(Some(folder.join(&name))),
            Err(error) => {
                tracing::debug!(folder = %folder.display(), %error, "no place for the socket");
            }
        }
    }
    tracing::warn!("no folder for the unix socket: mounts of this machine use TCP; see -socket");
    Ok(None)
}

/// Makes a folder of our own that others can enter and not write, if it is not there.
fn usable(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    match fs::DirBuilder::new().mode(0o755).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(folder)?;
    // In a folder that everybody may write to, somebody else could have made it.
    let ours = found.is_dir() && found.uid() == rustix::process::geteuid().as_raw();
    let closed = found.mode() & 0o022 == 0;
    if !ours || !closed {
        return Err(io::Error::other(
            "it belongs to somebody else, or others may write to it",
        ));
    }
    rustix::fs::access(
        folder,
        rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK,
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_others_may_write_to_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let fresh = dir.path().join("fresh");
        usable(&fresh).unwrap();
        usable(&fresh).unwrap();
        fs::set_permissions(&fresh, Permissions::from_mode(0o777)).unwrap();
        assert!(usable(&fresh).is_err());
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        assert!(usable(&link).is_err());
        assert!(usable(Path::new("/nonexistent/below")).is_err());
    }
}
