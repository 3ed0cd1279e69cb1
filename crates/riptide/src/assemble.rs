//! From options to a file system: every room is built and joined here, and nowhere else.

mod fabric_parts;

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context as _;
use direct::{ShortCircuit, Sidecars, Volumes};
use fabric::carrier::Dialer;
use fabric::{
    Access, FabricRoute, FabricStore, HttpConfig, HttpRoute, HttpStats, Locate, Route, TieredRoute,
    TieredStore, WriteStats,
};
use filer::{Filer, FilerConfig, VolumeMap};
use fuse::Negotiated;
use ledger::{Holder, Ledger, Machine};
use mount::{FilerLocator, IdMap, Mount, MountConfig, MountStats, RootAttr};
use reader::{DiskConfig, Reader, ReaderConfig, ReaderStats};
use seaweed::security::{HttpsClient, Security};
use serde_json::json;
use stats::{Export, Exporter, Health, Registry, Summary};
use writer::{FilerUpload, Placement, UploadConfig, Writer, WriterConfig};

use crate::memory::{Parts, Watch};
use crate::options::{MountOptions, VolumeServerAccess};
use crate::sidecars::Place;

/// A file system ready to be mounted, and its numbers.
#[derive(Debug)]
pub struct Assembled {
    /// The file system.
    pub mount: Arc<Mount>,
    /// What the operations count.
    pub stats: Arc<MountStats>,
    /// Everything there is to show.
    pub registry: Arc<Registry>,
    /// Looks after the memory.
    pub watch: Watch,
    /// The first column of `/proc/mounts`.
    pub source: String,
}

/// Connects to the filer and builds the file system on top of it. `over` are the attributes of
/// the directory that will be mounted over. The options keep to the ledger's shares already.
///
/// # Errors
/// Names what is missing: the filer that does not answer, the certificate that cannot be read,
/// the cache directory that cannot be used.
pub async fn assemble(
    options: &MountOptions,
    ledger: &Ledger,
    over: Over,
) -> anyhow::Result<Assembled> {
    let security = Security::load(options.config_dir.as_deref())?;
    if let Some(source) = &security.source {
        tracing::info!(file = %source.display(), "using security settings");
    }
    let filer = Filer::connect(FilerConfig {
        addresses: options.tree.filers.clone(),
        client_name: "riptide".to_owned(),
        tls: security.grpc.clone(),
        retry: options.data.retry,
        data_center: options.data.data_center.clone(),
    })
    .await?;
    let configuration = filer.configuration();
    tracing::info!(
        filer = %configuration.filer,
        version = configuration.version,
        "connected"
    );

    let http_stats = Arc::new(HttpStats::new());
    let runtime = tokio::runtime::Handle::current();
    let locator = FilerLocator::new(VolumeMap::new(filer.clone()), runtime);
    let locate: Arc<dyn Locate> = Arc::new(locator);
    let http_config = http_config(options, &security)?;
    let tls = http_config.tls.clone();
    let http = HttpRoute::new(http_config, Arc::clone(&locate), Arc::clone(&http_stats));
    let fabric = match &options.fabric {
        Some(wanted) => {
            let place = Place {
                sidecars: wanted.sidecars.clone(),
                filer: filer.clone(),
                tls,
            };
            let read_key = security.read_key.clone();
            Some(fabric_parts::start(options, wanted, place, read_key, locate).await?)
        }
        None => None,
    };
    let Ways { route, volumes } = ways(&fabric, options, http)?;
    let fabric = fabric.map(|(fabric, _)| fabric);
    let cluster = cluster_name(&configuration);
    let reader = Reader::open(reader_config(options, ledger, cluster), route)
        .context("opening the caches")?;
    let reader_stats = Arc::clone(reader.stats());

    let stats = Arc::new(MountStats::default());
    let config = mount_config(options, ledger, over);
    let upload = upload(options, &security, &filer, fabric.as_ref())?;
    let store = Arc::clone(upload.store());
    let writer = writer(options, ledger, upload);
    let writer_stats = writer.stats();
    let whole = whole_files(options, &stats, cluster_name(&configuration))?;
    let counted = Arc::clone(&stats);
    let (looked, written) = (reader.clone(), writer.clone());
    let mount = Mount::open(config, filer.clone(), reader, writer, whole, counted).await?;
    let mount = Arc::new(mount);
    let parts = Parts {
        reader: looked,
        writer: written,
        mount: Arc::clone(&mount),
        arena: fabric.as_ref().and_then(|fabric| fabric.arena_stats()),
        volumes: volumes.clone(),
    };
    let watch = Watch::start(ledger.clone(), Machine::default(), parts)
        .context("starting to look after memory")?;

    let registry = Arc::new(registry(
        options,
        &stats,
        &reader_stats,
        fabric.clone(),
        Arc::clone(&store),
    ));
    registry.add(Arc::clone(&stats) as Arc<dyn Export>);
    registry.add(reader_stats);
    registry.add(Arc::new(ledger.clone()));
    if let Some(numbers) = mount.whole_numbers() {
        registry.add(numbers);
    }
    if let Some(volumes) = volumes {
        registry.add(volumes);
    }
    if let Some(fabric) = fabric {
        registry.add(fabric);
    }
    registry.add(writer_stats);
    registry.add(store);
    registry.add(http_stats);
    registry.add(Arc::new(FilerNumbers(filer)));
    Ok(Assembled {
        mount,
        stats,
        registry,
        watch,
        source: source(options),
    })
}

impl Over {
    /// Those of a directory.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        }
    }
}

/// Attributes of the directory that is mounted over.
#[derive(Debug, Clone, Copy)]
pub struct Over {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change.
    pub mtime: SystemTime,
}

/// How needles are read.
struct Ways {
    /// All ways there are, the fastest first.
    route: Arc<dyn Route>,
    /// The volumes that are read without the sidecar, if any may be.
    volumes: Option<Arc<Volumes>>,
}

fn ways(
    fabric: &Option<(Arc<FabricRoute>, Arc<Dialer>)>,
    options: &MountOptions,
    http: HttpRoute,
) -> anyhow::Result<Ways> {
    let without = |route: Arc<dyn Route>| Ways {
        route,
        volumes: None,
    };
    let (Some((fabric, dialer)), Some(wanted)) = (fabric, &options.fabric) else {
        return Ok(without(Arc::new(http)));
    };
    let tiered = TieredRoute::new(Arc::clone(fabric), http, wanted.fallback);
    let Some(index_bytes) = wanted.short_circuit else {
        return Ok(without(Arc::new(tiered)));
    };
    let sidecars = Sidecars::new(Arc::clone(fabric), Arc::clone(dialer));
    let volumes = fabric_parts::volumes(sidecars, index_bytes)?;
    let suspects = Arc::clone(tiered.suspects());
    let route = ShortCircuit::new(Arc::clone(&volumes), tiered, suspects);
    Ok(Ways {
        route: Arc::new(route),
        volumes: Some(volumes),
    })
}

fn http_config(options: &MountOptions, security: &Security) -> anyhow::Result<HttpConfig> {
    let access = match options.data.access {
        VolumeServerAccess::Direct => Access::Direct,
        VolumeServerAccess::PublicUrl => Access::PublicUrl,
        VolumeServerAccess::FilerProxy => {
            let filers = options.tree.filers.iter();
            Access::FilerProxy(filers.map(|filer| filer.http()).collect())
        }
    };
    let tls = security.https.as_ref().map(https_config).transpose()?;
    Ok(HttpConfig {
        access,
        retry: options.data.retry,
        read_key: security.read_key.clone(),
        filer_read_key: security.filer_read_key.clone(),
        tls,
        ..HttpConfig::default()
    })
}

fn https_config(settings: &HttpsClient) -> anyhow::Result<Arc<fabric::http::ClientConfig>> {
    fabric::http::client_config(settings).context("https.client in security.toml")
}

fn reader_config(options: &MountOptions, ledger: &Ledger, cluster: String) -> ReaderConfig {
    let disk = (options.data.disk_bytes > 0).then(|| DiskConfig {
        dir: options.data.cache_dir.clone(),
        capacity_bytes: options.data.disk_bytes,
        cluster,
    });
    ReaderConfig {
        memory_bytes: usize::try_from(options.data.memory_bytes).unwrap_or(usize::MAX),
        account: ledger.account(Holder::Reads).clone(),
        disk,
        concurrent: options.data.concurrent_readers,
        ..ReaderConfig::default()
    }
}

fn whole_files(
    options: &MountOptions,
    stats: &Arc<MountStats>,
    cluster: String,
) -> anyhow::Result<Option<whole::Files>> {
    let Some(wanted) = &options.whole else {
        return Ok(None);
    };
    let stats = Arc::clone(stats);
    let config = whole::Config {
        dir: options.data.cache_dir.clone(),
        cluster,
        capacity_bytes: wanted.capacity_bytes,
        min_free_bytes: wanted.min_free_bytes,
        fillers: wanted.fillers,
        bytes_per_second: wanted.bytes_per_second,
        foreground: Arc::new(move || stats.bytes_read.get()),
        ..whole::Config::default()
    };
    let files = whole::Files::open(&config);
    let dir = options.data.cache_dir.display();
    files
        .map(Some)
        .with_context(|| format!("-cacheDir={dir}: keeping whole files there"))
}

/// No larger chunk is made, whatever `-chunkSizeLimitMB` says: volume servers refuse files of more
/// than 256 MiB unless they are told otherwise, and readers fetch chunks whole.
pub(crate) const CHUNK_MAX: usize = 128 << 20;

/// The largest chunk that is made.
pub(crate) fn chunk_bytes(options: &MountOptions) -> usize {
    usize::try_from(options.data.chunk_bytes)
        .unwrap_or(usize::MAX)
        .min(CHUNK_MAX)
}

fn upload(
    options: &MountOptions,
    security: &Security,
    filer: &Filer,
    fabric: Option<&Arc<FabricRoute>>,
) -> anyhow::Result<FilerUpload> {
    let placement = Placement {
        collection: options.tree.collection.clone(),
        replication: options.tree.replication.clone(),
        disk_type: options.tree.disk.clone(),
        ttl_sec: i32::try_from(options.tree.ttl_seconds).unwrap_or(i32::MAX),
        data_center: options.data.data_center.clone(),
    };
    let runtime = tokio::runtime::Handle::current();
    let http = http_config(options, security)?;
    let wanted = options.fabric.as_ref().filter(|wanted| !wanted.read_only);
    let fabric = wanted.zip(fabric).map(|(wanted, route)| writer::Fabric {
        route: Arc::clone(route),
        fallback: wanted.fallback,
    });
    let config = UploadConfig {
        placement,
        access: http.access,
        store: fabric::http::StoreConfig {
            tls: http.tls,
            ..fabric::http::StoreConfig::default()
        },
        write_key: security.write_key.clone(),
        fabric,
        uploads: options.data.concurrent_writers,
    };
    Ok(FilerUpload::new(filer.clone(), runtime, config))
}

fn writer(options: &MountOptions, ledger: &Ledger, upload: FilerUpload) -> Writer {
    let data = &options.data;
    let config = WriterConfig {
        chunk_bytes: chunk_bytes(options),
        account: ledger.account(Holder::Writes).clone(),
        uploads: data.concurrent_writers,
        swap_dir: data.swap_dir.clone(),
        ..WriterConfig::default()
    };
    let config = config.with_buffer(data.write_buffer_mib);
    let most = usize::try_from(options.memory.write_bytes).unwrap_or(usize::MAX);
    let config = config.with_memory(most);
    Writer::new(config, Arc::new(upload))
}

/// What tells the file ids of one cluster from those of another. A filer's signature is kept in
/// its store, so it survives restarts; filers that say more say the cluster's own identity.
fn cluster_name(configuration: &filer::Configuration) -> String {
    if configuration.cluster_id.is_empty() {
        format!("filer-{:08x}", configuration.signature)
    } else {
        configuration.cluster_id.clone()
    }
}

fn mount_config(options: &MountOptions, ledger: &Ledger, over: Over) -> MountConfig {
    MountConfig {
        filer_path: options.tree.path.clone(),
        meta_ttl: options.metadata.ttl,
        long_meta_ttl: options.metadata.long_ttl,
        dir_max_entries: options.metadata.dir_max_entries,
        dir_idle_evict: options.metadata.dir_idle_evict,
        account: ledger.account(Holder::Metadata).clone(),
        uid_map: IdMap::new(options.point.uid_map.clone()),
        gid_map: IdMap::new(options.point.gid_map.clone()),
        include_system_entries: options.tree.include_system_entries,
        disable_xattr: options.point.disable_xattr,
        dir_nlink: options.metadata.dir_nlink,
        df_logical: options.tree.df_logical,
        read_only: options.point.read_only,
        default_permissions: options.point.default_permissions,
        save_later: options.data.save_later,
        flush_every: options.data.flush_every,
        keep_atime: options.metadata.keep_atime,
        direct_io: options.kernel.direct_io,
        keep_decrypted: options.whole.is_some_and(|whole| whole.decrypted),
        shared_locks: options.data.shared_locks,
        whole_files: options.data.whole_files,
        lock_waiters: options.kernel.max_threads / 2,
        ttl_seconds: options.tree.ttl_seconds,
        collection: options.tree.collection.clone(),
        quota_bytes: options.tree.quota_bytes,
        replication: options.tree.replication.clone(),
        disk_type: options.tree.disk.clone(),
        ttl: match options.tree.ttl_seconds {
            0 => String::new(),
            seconds => format!("{}m", seconds.div_ceil(60)),
        },
        root: RootAttr {
            perm: 0o777 & !options.point.umask,
            uid: over.uid,
            gid: over.gid,
            mtime: over.mtime,
        },
        retry: options.data.retry,
    }
}

fn registry(
    options: &MountOptions,
    stats: &Arc<MountStats>,
    reader: &Arc<ReaderStats>,
    fabric: Option<Arc<FabricRoute>>,
    store: Arc<TieredStore>,
) -> Registry {
    let info = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "dir": options.point.dir,
        "filers": options.tree.filers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "filer_path": options.tree.path,
    });
    let (summary, health) = (Arc::clone(stats), Arc::clone(stats));
    let reader = Arc::clone(reader);
    let is_strict = options.fabric.as_ref().is_some_and(|it| !it.fallback);
    let fallbacks = fabric.clone().filter(|_| !is_strict);
    let needed = fabric.clone().filter(|_| is_strict);
    Registry::new(
        info,
        move || {
            let reads = summary.read_time.snapshot();
            let short_circuit = reader.short_circuit_latency.snapshot().count();
            let over_fabric = short_circuit + reader.fabric_latency.snapshot().count();
            let writes = store.fabric().map(FabricStore::stats);
            Summary {
                enabled: fabric.is_some(),
                total_reads: reads.count(),
                rdma_reads: over_fabric,
                short_circuit_reads: short_circuit,
                http_fallbacks: fallbacks.as_ref().map_or(0, |it| it.stats().missed()),
                rdma_ratio_pct: match reads.count() {
                    0 => 0.0,
                    all => 100.0 * over_fabric.min(all) as f64 / all as f64,
                },
                total_bytes_read: summary.bytes_read.get(),
                avg_latency_ns: reads.mean_ns(),
                rdma_writes: writes.map_or(0, WriteStats::writes),
                rdma_bytes_written: writes.map_or(0, WriteStats::bytes),
                write_fallbacks: writes.filter(|_| !is_strict).map_or(0, WriteStats::missed),
            }
        },
        move || {
            let mut reasons = Vec::new();
            if !health.is_trusted() {
                reasons.push("the filer's events are not being received".to_owned());
            }
            if needed.as_ref().is_some_and(|it| it.peers().is_empty()) {
                reasons.push("no sidecar answers, and -rdma.fallback is off".to_owned());
            }
            Health::from_reasons(reasons)
        },
    )
}

/// As `weed mount` shows it: the filers, and the path.
fn source(options: &MountOptions) -> String {
    let filers: Vec<String> = options
        .tree
        .filers
        .iter()
        .map(|filer| filer.http())
        .collect();
    let default = || format!("{}:{}", filers.join("+"), options.tree.path);
    options.point.volume_name.clone().unwrap_or_else(default)
}

/// How the filers answer.
struct FilerNumbers(Filer);

impl Export for FilerNumbers {
    fn export(&self, to: &mut dyn Exporter) {
        let seen = self.0.stats();
        let help = "Times another filer took over.";
        to.counter("filer_fail_overs", help, &[], seen.fail_overs);
        for peer in seen.peers {
            let address = peer.address.to_string();
            let labels = [("filer", address.as_str())];
            to.counter("filer_calls", "Calls answered.", &labels, peer.calls);
            to.counter("filer_errors", "Calls refused.", &labels, peer.errors);
            to.counter(
                "filer_failures",
                "Calls not answered.",
                &labels,
                peer.failures,
            );
        }
    }
}

/// What was agreed with the kernel.
pub(crate) struct KernelNumbers(pub(crate) Negotiated);

impl Export for KernelNumbers {
    fn export(&self, to: &mut dyn Exporter) {
        let agreed = &self.0;
        let minor = agreed.minor.to_string();
        let (transport, reason) = match &agreed.uring {
            Ok(()) => ("uring", "the kernel offers it"),
            Err(reason) => ("dev", reason.as_str()),
        };
        let labels = [
            ("protocol_minor", minor.as_str()),
            ("transport", transport),
            ("reason", reason),
        ];
        to.gauge(
            "fuse_session",
            "What was agreed with the kernel.",
            &labels,
            1.0,
        );
        let max_read = f64::from(agreed.max_read);
        to.gauge("fuse_max_read_bytes", "Largest READ.", &[], max_read);
        if let Some(Ok(kib)) = agreed.read_ahead_kb {
            let bytes = f64::from(kib) * 1024.0;
            to.gauge(
                "fuse_read_ahead_bytes",
                "The kernel's read-ahead.",
                &[],
                bytes,
            );
        }
    }
}
