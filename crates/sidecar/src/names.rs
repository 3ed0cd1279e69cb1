//! By which names others reach the sidecar, and its volume servers, and how they are learnt.
//!
//! An administrator tells what is at hand, such as `localhost:8080`. The filer knows the names
//! that mounts hear. So as soon as there is a filer the names are asked for, and with the first of
//! them the sidecar's own host is known as well, for it stands beside that volume server.

use std::sync::Arc;
use std::time::Duration;

use fabric::announce::{Announcement, Endpoints};
use filer::{Filer, FilerConfig};
use seaweed::{Security, ServerAddress};
use tokio::sync::{Notify, OnceCell};
use tokio::time::sleep;

use crate::config::{Advertise, Config, host_port};
use crate::counters::Counters;
use crate::ending::Ending;
use crate::register::Registration;
use crate::spelling::spelling;
use crate::view::View;

/// How long a call to the filers is repeated.
const FILER_RETRY: Duration = Duration::from_secs(10);
/// How often filers that are away are tried, and names that are unknown are asked for.
const FILER_PAUSE: Duration = Duration::from_secs(5);

/// The names that others reach us by.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    told: Option<Advertise>,
    server: Option<String>,
    http: u16,
    tcp: Option<u16>,
    fabric: Endpoints,
}

impl Names {
    /// `http` is the port listened on, `tcp` that of the fabric; `fabric` is what is reached
    /// without a name.
    pub(crate) fn new(config: &Config, http: u16, tcp: Option<u16>, fabric: Endpoints) -> Self {
        let first = config.volume_servers.first();
        Self {
            told: config.advertise.clone(),
            server: first.map(|server| server.host().to_owned()),
            http,
            tcp,
            fabric,
        }
    }

    /// Writes them down: the host as told by `-advertise`, else the volume server's as `learnt`
    /// from the filer or as told, else the machine's name.
    pub(crate) fn tell(&self, learnt: Option<&str>, to: &mut Announcement) {
        let told = self.told.as_ref();
        let host = match told.map(|told| told.host.as_str()).or(learnt) {
            Some(host) => host.to_owned(),
            None => self.server.clone().unwrap_or_else(|| {
                let machine = rustix::system::uname();
                machine.nodename().to_string_lossy().into_owned()
            }),
        };
        let port = told.and_then(|told| told.port).unwrap_or(self.http);
        to.http = host_port(&host, port);
        to.fabric = Endpoints {
            tcp: self.tcp.map(|port| host_port(&host, port)),
            ..self.fabric.clone()
        };
    }
}

/// Connecting to the filers, learning names from them, and registering.
pub(crate) struct Joining {
    pub(crate) config: Config,
    pub(crate) names: Names,
    /// Where others find the filer once it is there.
    pub(crate) cell: Arc<OnceCell<Filer>>,
    pub(crate) view: Arc<View>,
    pub(crate) changed: Arc<Notify>,
    pub(crate) counters: Arc<Counters>,
}

impl Joining {
    /// Runs until the daemon ends.
    pub(crate) async fn run(self, security: Security, mut ending: Ending) {
        let filer = tokio::select! {
            filer = self.connect(&security) => filer,
            () = ending.wait() => return,
        };
        let _ = self.cell.set(filer.clone());
        let registration = Registration {
            filer: filer.clone(),
            view: Arc::clone(&self.view),
            changed: Arc::clone(&self.changed),
            counters: Arc::clone(&self.counters),
        };
        let learning = async {
            self.learn(&filer).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = registration.run(ending) => {}
            () = learning => {}
        }
    }

    async fn connect(&self, security: &Security) -> Filer {
        let mut told = false;
        loop {
            let settings = FilerConfig {
                addresses: self.config.filers.clone(),
                client_name: "riptide-sidecar".to_owned(),
                tls: security.grpc.clone(),
                retry: FILER_RETRY,
                data_center: self.config.data_center.clone(),
            };
            match Filer::connect(settings).await {
                Ok(filer) => {
                    self.view.warn("filer", None);
                    return filer;
                }
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(%error, "no filer: mounts have to be told of this sidecar");
                    }
                    self.view.warn("filer", Some(format!("no filer: {error}")));
                }
            }
            sleep(FILER_PAUSE).await;
        }
    }

    /// Replaces the names of volume servers by the filer's own, one by one as they become known.
    async fn learn(&self, filer: &Filer) {
        let mut open: Vec<_> = self.config.volume_servers.iter().enumerate().collect();
        while !open.is_empty() {
            let volumes = self.view.announcement().volumes.clone();
            let mut unknown = Vec::new();
            for (at, server) in open {
                let Some(found) = spelling(filer, server, &volumes).await else {
                    unknown.push((at, server));
                    continue;
                };
                let host = found.server.parse::<ServerAddress>();
                let host = host.ok().map(|server| server.host().to_owned());
                let changed = self.view.announce(|told| {
                    if let Some(name) = told.volume_servers.get_mut(at) {
                        name.clone_from(&found.server);
                    }
                    if told.data_center.is_empty() {
                        told.data_center.clone_from(&found.data_center);
                    }
                    if at == 0 {
                        self.names.tell(host.as_deref(), told);
                    }
                });
                if changed {
                    self.changed.notify_one();
                }
            }
            open = unknown;
            sleep(FILER_PAUSE).await;
        }
    }
}
