//! The daemon: everything joined, from the first socket to the last farewell.
//!
//! What cannot be used ends the start with an error: a port that is taken, a certificate
//! that cannot be read, a folder that was named and is not there. What may yet come is waited
//! for while the daemon runs: volume servers that do not answer, filers that are away.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use fabric::announce::Endpoints;
use filer::{Filer, FilerConfig};
use seaweed::Security;
use serde_json::json;
use stats::{Export, Exporter, Health, Registry, Summary};
use tokio::net::TcpListener;
use tokio::sync::{Notify, OnceCell, Semaphore};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

use crate::budget::Budget;
use crate::client::Client;
use crate::config::{Config, host_port};
use crate::counters::Counters;
use crate::discovery::{Discovery, OpenShelf};
use crate::ending::{Ender, Ending, ending};
use crate::gate::Gate;
use crate::http::{App, Limits, MAX_READERS, Server, router};
use crate::peers::Peers;
use crate::rdma::RdmaProvider;
use crate::register::Registration;
use crate::shelves::{Shelves, Stock, VolumeState};
use crate::spelling::spelling;
use crate::tls;
use crate::view::View;

/// How often the shelves are asked for their volumes.
const VOLUMES_EVERY: Duration = Duration::from_secs(1);
/// How long a call to the filers is repeated.
const FILER_RETRY: Duration = Duration::from_secs(10);
/// How often filers that are away are tried.
const FILER_PAUSE: Duration = Duration::from_secs(5);
/// Time for everything to end; then it is cut off.
const GOODBYE: Duration = Duration::from_secs(8);

/// A sidecar that runs.
pub struct Daemon {
    address: SocketAddr,
    view: Arc<View>,
    ending: Ender,
    /// End by themselves when told to.
    polite: JoinSet<()>,
    /// End when they are dropped.
    endless: JoinSet<()>,
}

impl Daemon {
    /// Starts it. Shelves are opened by `open`; `rdma` says what becomes of RDMA.
    ///
    /// # Errors
    /// What cannot be used, by its flag or file.
    pub async fn start<S: Stock>(
        config: Config,
        security: Security,
        open: OpenShelf<S>,
        rdma: RdmaProvider,
    ) -> anyhow::Result<Self> {
        let tls = security
            .https_volume
            .as_ref()
            .map(tls::acceptor)
            .transpose()?;
        let client = Client::new(security.https.as_ref())?;
        let listener = listen(config.bind, config.port).await?;
        let address = listener.local_addr()?;
        let (ending, ended) = ending();
        let view = Arc::new(View::new(
            advertised(&config, None, address.port()),
            Endpoints::default(),
            rdma,
        ));
        view.announce(|told| {
            told.volume_servers = config.volume_servers.iter().map(|s| s.http()).collect();
            told.data_center.clone_from(&config.data_center);
            told.rack.clone_from(&config.rack);
        });

        let shelves: Arc<Shelves<S>> = Arc::default();
        let discovery = Discovery {
            shelves: Arc::clone(&shelves),
            open,
            idx_dir: config.idx_dir.clone(),
            client: client.clone(),
            view: Arc::clone(&view),
        };
        let (mut polite, mut endless) = (JoinSet::new(), JoinSet::new());
        if config.dirs.is_empty() {
            for server in &config.volume_servers {
                endless.spawn(discovery.clone().follow(server.clone()));
            }
        } else {
            let name = match config.volume_servers.first() {
                Some(server) => server.http(),
                None => config.dirs[0].display().to_string(),
            };
            discovery.put_up(&name, config.dirs.clone()).await?;
        }

        let changed = Arc::new(Notify::new());
        endless.spawn(watch_volumes(
            Arc::clone(&shelves),
            Arc::clone(&view),
            Arc::clone(&changed),
        ));
        let counters: Arc<Counters> = Arc::default();
        let filer: Arc<OnceCell<Filer>> = Arc::default();
        if !config.filers.is_empty() {
            let joining = Joining {
                config: config.clone(),
                port: address.port(),
                cell: Arc::clone(&filer),
                view: Arc::clone(&view),
                changed,
                counters: Arc::clone(&counters),
            };
            polite.spawn(joining.run(security.clone(), ended.clone()));
        }

        let peers = (!config.filers.is_empty())
            .then(|| Peers::new(filer, client, Arc::clone(&counters), Arc::clone(&view)));
        let app = app(
            &config,
            security,
            shelves,
            Arc::clone(&counters),
            Arc::clone(&view),
            peers,
        );
        let server = server(&config, listener, tls, router(app), counters);
        polite.spawn(server.run(ended));
        Ok(Self {
            address,
            view,
            ending,
            polite,
            endless,
        })
    }

    /// Where HTTP is served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it says about itself.
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// Answers what is under way, takes the entry at the filer away, and ends.
    pub async fn stop(mut self) {
        self.endless.abort_all();
        self.ending.end();
        let ended = async { while self.polite.join_next().await.is_some() {} };
        if timeout(GOODBYE, ended).await.is_err() {
            tracing::warn!("not everything ended in time");
        }
    }
}

fn app<S: Stock>(
    config: &Config,
    security: Security,
    shelf: Arc<Shelves<S>>,
    counters: Arc<Counters>,
    view: Arc<View>,
    peers: Option<Peers>,
) -> Arc<App<Shelves<S>>> {
    let budget = Budget::new(config.memory_limit);
    let registry = registry(config, &counters, &view);
    registry.add(Arc::clone(&counters) as Arc<dyn Export>);
    registry.add(Arc::new(MemoryNumbers(budget.clone())));
    registry.add(Arc::new(ShelfNumbers(Arc::clone(&shelf))));
    Arc::new(App {
        shelf,
        gate: Gate::new(security.read_key),
        budget,
        readers: Semaphore::new(MAX_READERS),
        counters,
        registry,
        view,
        peers,
    })
}

fn server(
    config: &Config,
    listener: TcpListener,
    tls: Option<tokio_rustls::TlsAcceptor>,
    router: Router,
    counters: Arc<Counters>,
) -> Server {
    Server {
        listener,
        tls,
        router,
        limits: Limits {
            max_clients: config.max_clients,
        },
        counters,
    }
}

/// Connecting to the filers, learning our name from them, and registering.
struct Joining {
    config: Config,
    port: u16,
    cell: Arc<OnceCell<Filer>>,
    view: Arc<View>,
    changed: Arc<Notify>,
    counters: Arc<Counters>,
}

impl Joining {
    async fn run(self, security: Security, mut ending: Ending) {
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
            self.learn_names(&filer).await;
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
    async fn learn_names(&self, filer: &Filer) {
        let mut open: Vec<_> = self.config.volume_servers.iter().enumerate().collect();
        while !open.is_empty() {
            let volumes = self.view.announcement().volumes.clone();
            let mut unknown = Vec::new();
            for (at, server) in open {
                let Some(found) = spelling(filer, server, &volumes).await else {
                    unknown.push((at, server));
                    continue;
                };
                let host = found.server.parse::<seaweed::ServerAddress>();
                let host = host.ok().map(|server| server.host().to_owned());
                let changed = self.view.announce(|told| {
                    if let Some(name) = told.volume_servers.get_mut(at) {
                        name.clone_from(&found.server);
                    }
                    if told.data_center.is_empty() {
                        told.data_center.clone_from(&found.data_center);
                    }
                    if at == 0 {
                        told.http = advertised(&self.config, host.as_deref(), self.port);
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

async fn watch_volumes<S: Stock>(shelves: Arc<Shelves<S>>, view: Arc<View>, changed: Arc<Notify>) {
    loop {
        let asked = Arc::clone(&shelves);
        if let Ok(reports) = spawn_blocking(move || asked.volumes()).await
            && view.announce_volumes(&reports)
        {
            let told = view.announcement();
            tracing::info!(volumes = told.volumes.len(), "volumes changed");
            changed.notify_one();
        }
        sleep(VOLUMES_EVERY).await;
    }
}

/// `host:port` that others reach us by: as told, else the volume server's host as `learnt` from
/// the filer or as told, else the machine's name.
fn advertised(config: &Config, learnt: Option<&str>, port: u16) -> String {
    if let Some(told) = &config.advertise {
        return host_port(&told.host, told.port.unwrap_or(port));
    }
    let server = config.volume_servers.first().map(|server| server.host());
    match learnt.or(server) {
        Some(host) => host_port(host, port),
        None => {
            let machine = rustix::system::uname();
            host_port(&machine.nodename().to_string_lossy(), port)
        }
    }
}

pub(crate) async fn listen(bind: Option<IpAddr>, port: u16) -> anyhow::Result<TcpListener> {
    let wanted = |ip: IpAddr| SocketAddr::new(ip, port);
    let listen = |address: SocketAddr| async move {
        TcpListener::bind(address).await.map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::AddrInUse => "; does another sidecar run there?",
                _ => "",
            };
            anyhow::Error::new(error).context(format!(
                "cannot listen on {address}, by -bind and -port{hint}"
            ))
        })
    };
    match bind {
        Some(ip) => listen(wanted(ip)).await,
        None => match listen(wanted(Ipv6Addr::UNSPECIFIED.into())).await {
            // A machine without IPv6.
            Err(error) if !is_in_use(&error) => listen(wanted(Ipv4Addr::UNSPECIFIED.into())).await,
            other => other,
        },
    }
}

fn is_in_use(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

fn registry(config: &Config, counters: &Arc<Counters>, view: &Arc<View>) -> Registry {
    let info = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "volume_servers": config.volume_servers.iter().map(|s| s.http()).collect::<Vec<_>>(),
        "transports": config.transports.to_string(),
    });
    let (summary, health) = (Arc::clone(counters), Arc::clone(view));
    let serving = Arc::clone(view);
    Registry::new(
        info,
        move || Summary {
            enabled: serving.is_serving(),
            total_reads: summary.reads.get(),
            total_bytes_read: summary.bytes.get(),
            avg_latency_ns: summary.time.snapshot().mean_ns(),
            ..Summary::default()
        },
        move || Health::from_reasons(health.problems()),
    )
}

struct ShelfNumbers<S>(Arc<Shelves<S>>);

impl<S: Stock> Export for ShelfNumbers<S> {
    fn export(&self, to: &mut dyn Exporter) {
        for state in [
            VolumeState::Serving,
            VolumeState::Loading,
            VolumeState::Declined,
        ] {
            let volumes = self.0.volumes();
            let count = volumes
                .iter()
                .filter(|volume| volume.state == state)
                .count();
            let labels = [("state", state.word())];
            to.gauge(
                "sidecar_volumes",
                "Volumes by state.",
                &labels,
                count as f64,
            );
        }
        self.0.export(to);
    }
}

struct MemoryNumbers(Budget);

impl Export for MemoryNumbers {
    fn export(&self, to: &mut dyn Exporter) {
        let (lent, limit) = (self.0.lent() as f64, self.0.limit() as f64);
        let help = "Bytes of needles in memory for HTTP.";
        to.gauge("sidecar_memory_bytes", help, &[], lent);
        let help = "Most of them, by -memory-limit.";
        to.gauge("sidecar_memory_limit_bytes", help, &[], limit);
    }
}
