//! The daemon: everything joined, from the first socket to the last farewell.
//!
//! What cannot be used ends the start with an error: a port that is taken, a certificate
//! that cannot be read, a folder that was named and is not there. What may yet come is waited
//! for while the daemon runs: volume servers that do not answer, filers that are away.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use filer::Filer;
use seaweed::Security;
use tokio::net::TcpListener;
use tokio::sync::{Notify, OnceCell, Semaphore};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::budget::Budget;
use crate::client::Client;
use crate::config::Config;
use crate::counters::Counters;
use crate::courier::Courier;
use crate::discovery::{Discovery, OpenShelf};
use crate::ending::{Ender, ending};
use crate::gate::Gate;
use crate::http::{App, Limits, MAX_READERS, Server, router};
use crate::lanes::Lanes;
use crate::names::{Joining, Names};
use crate::numbers::{Sources, registry};
use crate::peers::Peers;
use crate::rdma;
use crate::shelves::{Shelves, Stock};
use crate::tls;
use crate::view::View;

/// How often the shelves are asked for their volumes.
const VOLUMES_EVERY: Duration = Duration::from_secs(1);
/// Time for everything to end; then it is cut off.
const GOODBYE: Duration = Duration::from_secs(8);

/// A sidecar that runs.
pub struct Daemon {
    address: SocketAddr,
    view: Arc<View>,
    ender: Ender,
    /// End by themselves when told to.
    polite: JoinSet<()>,
    /// End when they are dropped.
    endless: JoinSet<()>,
}

impl Daemon {
    /// Starts it. Shelves are opened by `open`.
    ///
    /// # Errors
    /// What cannot be used, by its flag or file.
    pub async fn start<S: Stock>(
        config: Config,
        security: Security,
        open: OpenShelf<S>,
    ) -> anyhow::Result<Self> {
        let https = security.https_volume.as_ref();
        let tls = https.map(tls::server_config).transpose()?;
        let client = Client::new(security.https.as_ref())?;
        let listener = listen(config.bind, config.port).await?;
        let address = listener.local_addr()?;
        let shelves: Arc<Shelves<S>> = Arc::default();
        let courier = Courier::new(&config, &security)?;
        let budget = Budget::new(config.memory_limit);
        let lanes = Lanes::start(
            &config,
            address.port(),
            security.read_key.clone(),
            tls.clone(),
            Arc::clone(&shelves),
            courier.clone(),
            &budget,
        )?;
        match lanes.no_rdma() {
            None => tracing::info!(rails = %lanes.rails().join(", "), "offering RDMA"),
            Some(reason) if config.transports.rdma => tracing::warn!(reason, "RDMA is off"),
            Some(_) => {}
        }
        let (ender, ending) = ending();
        let view = Arc::new(View::new(rdma::provider(lanes.no_rdma())));
        if let Some(courier) = &courier {
            courier.learn(&view);
        }
        let names = Names::new(&config, address.port(), lanes.tcp(), lanes.endpoints());
        view.announce(|told| {
            names.tell(None, told);
            told.volume_servers = config.volume_servers.iter().map(|s| s.http()).collect();
            told.data_center.clone_from(&config.data_center);
            told.rack.clone_from(&config.rack);
        });

        let (mut polite, mut endless) = (JoinSet::new(), JoinSet::new());
        let discovery = Discovery {
            shelves: Arc::clone(&shelves),
            open,
            idx_dir: config.idx_dir.clone(),
            client: client.clone(),
            view: Arc::clone(&view),
        };
        discover(&config, discovery, &mut endless).await?;
        let changed = Arc::new(Notify::new());
        let watching = watch_volumes(
            Arc::clone(&shelves),
            Arc::clone(&view),
            Arc::clone(&changed),
        );
        endless.spawn(watching);

        let counters: Arc<Counters> = Arc::default();
        let mut peers = None;
        if !config.filers.is_empty() {
            let filer: Arc<OnceCell<Filer>> = Arc::default();
            let joining = Joining {
                config: config.clone(),
                names,
                cell: Arc::clone(&filer),
                view: Arc::clone(&view),
                changed,
                counters: Arc::clone(&counters),
            };
            polite.spawn(joining.run(security.clone(), ending.clone()));
            let (counters, view) = (Arc::clone(&counters), Arc::clone(&view));
            let found = Peers::new(filer, client, &security, budget.clone(), counters, view)?;
            endless.spawn(found.tidying());
            peers = Some(found);
        }

        let sources = Sources {
            counters: Arc::clone(&counters),
            view: Arc::clone(&view),
            lanes: lanes.stats(),
            budget: budget.clone(),
            shelves: Arc::clone(&shelves),
        };
        let app = App {
            shelf: shelves,
            gate: Gate::new(security.read_key),
            budget,
            readers: Semaphore::new(MAX_READERS),
            counters: Arc::clone(&counters),
            registry: registry(&config, sources),
            view: Arc::clone(&view),
            peers,
        };
        let server = Server {
            listener,
            tls: tls.map(TlsAcceptor::from),
            router: router(Arc::new(app)),
            limits: Limits {
                max_clients: config.max_clients,
            },
            counters,
        };
        polite.spawn(server.run(ending.clone()));
        polite.spawn(async move {
            ending.clone().wait().await;
            // It blocks until all lanes are closed.
            let _ = spawn_blocking(move || lanes.stop()).await;
        });
        Ok(Self {
            address,
            view,
            ender,
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
        self.ender.end();
        let ended = async { while self.polite.join_next().await.is_some() {} };
        if timeout(GOODBYE, ended).await.is_err() {
            tracing::warn!("not everything ended in time");
        }
    }
}

async fn discover<S: Stock>(
    config: &Config,
    discovery: Discovery<S>,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<()> {
    if config.dirs.is_empty() {
        for server in &config.volume_servers {
            tasks.spawn(discovery.clone().follow(server.clone()));
        }
        return Ok(());
    }
    let name = match config.volume_servers.first() {
        Some(server) => server.http(),
        None => config.dirs[0].display().to_string(),
    };
    discovery.put_up(&name, config.dirs.clone()).await
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

/// Listens for HTTP.
pub(crate) async fn listen(bind: Option<IpAddr>, port: u16) -> anyhow::Result<TcpListener> {
    let listen = |ip: IpAddr| async move {
        let address = SocketAddr::new(ip, port);
        TcpListener::bind(address).await.map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::AddrInUse => "; does another sidecar run there?",
                _ => "",
            };
            let told = format!("cannot listen on {address}, by -bind and -port{hint}");
            (error.kind(), anyhow::Error::new(error).context(told))
        })
    };
    let listened = match bind {
        Some(ip) => listen(ip).await,
        None => match listen(Ipv6Addr::UNSPECIFIED.into()).await {
            // A machine without IPv6.
            Err((kind, _)) if kind != io::ErrorKind::AddrInUse => {
                listen(Ipv4Addr::UNSPECIFIED.into()).await
            }
            other => other,
        },
    };
    listened.map_err(|(_, error)| error)
}
