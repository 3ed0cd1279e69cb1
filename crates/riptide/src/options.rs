//! What `riptide mount` needs to know, with types.
//!
//! [`MountOptions::from_values`] is the border: behind it nothing is a text
//! that still has to be read. What depends on the machine (does the folder
//! exist, may it be written to) is checked later, by
//! [`lifecycle`](crate::lifecycle), right before it matters.

mod background;
mod bench;
mod cache;
mod ping;
mod read;
mod sidecar;
#[cfg(test)]
mod tests;
mod users;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use fuse::Transport;
use mount::DirectIo;
use seaweed::ServerAddress;

use crate::flags::{FlagError, Values};
pub use background::BackgroundOptions;
pub use bench::{BenchOptions, BenchPlace};
pub use cache::{cache_options, warmup_options};
pub use ping::PingOptions;
pub use sidecar::{doctor_options, needle_options, sidecar_config};

use read::{filer_path, folder, id_pairs, metrics, replication, short_circuit, sidecars, umask};
use users::users;

/// Whose sidecars are trusted; a flag of `mount` and of `doctor`.
const SIDECAR_USER: &str = "rdma.sidecarUser";
/// More chunk fetches at a time than this are not allowed, as with `weed`.
const MAX_CONCURRENT_READERS: usize = 128;
/// A read is tried again for at least this long, as with `weed`.
const MIN_READ_RETRY: Duration = Duration::from_secs(1);

/// For how long the kernel keeps names and attributes that it can be made to drop at any time: long
/// enough that asking again costs nothing, short enough to end what nobody has thought of.
const LONG_META_TTL: Duration = Duration::from_secs(3600);

/// Everything about one mount.
#[derive(Debug, Clone)]
pub struct MountOptions {
    /// What is mounted.
    pub tree: TreeOptions,
    /// Where and as whose it appears.
    pub point: PointOptions,
    /// How much memory all of it may take.
    pub memory: MemoryOptions,
    /// How file data is found and kept.
    pub data: DataOptions,
    /// How data comes over the fabric; none without `-rdma.enabled`.
    pub fabric: Option<FabricOptions>,
    /// How files are kept whole; none without `-cache.aggressive`.
    pub whole: Option<WholeOptions>,
    /// How names and attributes are kept.
    pub metadata: MetadataOptions,
    /// How the kernel talks to the mount.
    pub kernel: KernelOptions,
    /// `-metricsIp` and `-metricsPort`: where to serve metrics; nowhere by default.
    pub metrics: Option<SocketAddr>,
    /// `-config_dir`: the folder with security.toml.
    pub config_dir: Option<PathBuf>,
}

/// What is mounted.
#[derive(Debug, Clone)]
pub struct TreeOptions {
    /// `-filer`: at least one.
    pub filers: Vec<ServerAddress>,
    /// `-filer.path`: absolute, without a slash at its end unless it is `/`.
    pub path: String,
    /// `-includeSystemEntries`.
    pub include_system_entries: bool,
    /// `-collection`, for new files and df; empty for the filer's choice, and all.
    pub collection: String,
    /// `-collectionQuotaMB`, in bytes; 0 for none.
    pub quota_bytes: u64,
    /// `-replication`, for new files and df; empty or three digits.
    pub replication: String,
    /// `-disk`, for new files and df.
    pub disk: String,
    /// `-ttl` in seconds, for new files and df; 0 for none.
    pub ttl_seconds: u32,
    /// `-df.logical`.
    pub df_logical: bool,
}

/// Where and as whose it appears.
#[derive(Debug, Clone)]
pub struct PointOptions {
    /// `-dir`, with `~` replaced.
    pub dir: PathBuf,
    /// `-dirAutoCreate`.
    pub auto_create: bool,
    /// `-nonempty`.
    pub nonempty: bool,
    /// `-autofs`.
    pub autofs: bool,
    /// `-allowOthers`.
    pub allow_others: bool,
    /// `-defaultPermissions`.
    pub default_permissions: bool,
    /// `-readOnly`.
    pub read_only: bool,
    /// `-noexec`.
    pub no_exec: bool,
    /// `-map.uid`: pairs of a local and a filer's number.
    pub uid_map: Vec<(u32, u32)>,
    /// `-map.gid`, likewise.
    pub gid_map: Vec<(u32, u32)>,
    /// `-umask`, for the modes of cache folders.
    pub umask: u32,
    /// `-volumeName`: the source shown in the list of mounts.
    pub volume_name: Option<String>,
    /// `-disableXAttr`.
    pub disable_xattr: bool,
    /// `-localSocket`: where `weed shell` is to find the mount.
    pub local_socket: Option<PathBuf>,
}

/// How file data is found and kept.
#[derive(Debug, Clone)]
pub struct DataOptions {
    /// `-readerCacheSizeMB`, in bytes.
    pub memory_bytes: u64,
    /// `-cacheDir`, with `~` replaced.
    pub cache_dir: PathBuf,
    /// `-cacheCapacityMB`, in bytes; 0 for no disk cache.
    pub disk_bytes: u64,
    /// `-concurrentReaders`, from 1 to 128.
    pub concurrent_readers: usize,
    /// `-readRetryTime`, at least a second.
    pub retry: Duration,
    /// `-volumeServerAccess`.
    pub access: VolumeServerAccess,
    /// `-dataCenter`; empty for no preference.
    pub data_center: String,
    /// `-chunkSizeLimitMB`, in bytes.
    pub chunk_bytes: u64,
    /// `-concurrentWriters`, at least one.
    pub concurrent_writers: usize,
    /// `-cacheDirWrite`, or `-cacheDir` where that is empty.
    pub swap_dir: PathBuf,
    /// `-writebackCache`: close does not wait.
    pub save_later: bool,
    /// `-dlm`: locks hold across mounts.
    pub shared_locks: bool,
    /// `-dlm` without `-dlm.shareFiles` and `-writebackCache`: one mount writes a file at a time.
    pub whole_files: bool,
    /// `-metadataFlushSeconds`; zero for never.
    pub flush_every: Duration,
    /// `-writeBufferSizeMB`; 0 for the default.
    pub write_buffer_mib: u64,
}

/// How much memory a mount may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryOptions {
    /// `-memoryLimitMB`, in bytes; 0 for what the machine gives.
    pub limit_bytes: u64,
    /// Which of the flags that say how much of it goes where were given, so that they are obeyed.
    pub given: Vec<&'static str>,
    /// Most of it that written bytes may take; no flag says so.
    pub write_bytes: u64,
}

/// How volume servers are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeServerAccess {
    /// By the address the master knows.
    Direct,
    /// By their public address.
    PublicUrl,
    /// Through the filer.
    FilerProxy,
}

/// How data comes over the fabric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FabricOptions {
    /// `-rdma.sidecar`.
    pub sidecars: Sidecars,
    /// `-rdma.sidecarUser`: numbers of users whose sidecars of this host are trusted with memory.
    pub sidecar_users: Vec<u32>,
    /// `-peer.rack`; may be empty.
    pub rack: String,
    /// `-rdma.fallback`: whether HTTP delivers what the fabric does not.
    pub fallback: bool,
    /// `-rdma.readOnly`: whether chunks are written over HTTP alone.
    pub read_only: bool,
    /// `-rdma.hugePages`: whether memory for chunks is of the system's reserved huge pages.
    pub huge_pages: bool,
    /// `-rdma.shortCircuit` and `-rdma.shortCircuitIndexMB`: whether volume files of this host are read
    /// without the sidecar, with so many bytes for their indexes.
    pub short_circuit: Option<u64>,
    /// `-rdma.maxConcurrent`, from 1 to 4096.
    pub max_concurrent: usize,
    /// `-rdma.timeoutMs`, at least a millisecond.
    pub timeout: Duration,
}

/// How sidecars are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sidecars {
    /// They register at the filer.
    Registered,
    /// At these addresses, each `host:port`; at least one.
    Listed(Vec<String>),
}

/// How files are kept whole on the local disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WholeOptions {
    /// `-cache.filesMB`, in bytes.
    pub capacity_bytes: u64,
    /// `-cache.minFreeMB`, in bytes.
    pub min_free_bytes: u64,
    /// `-cache.fillMBps`, in bytes a second; 0 for no limit.
    pub bytes_per_second: u64,
    /// `-cache.fillers`, from 1 to 128.
    pub fillers: usize,
    /// `-cache.decrypted`.
    pub decrypted: bool,
}

/// How names and attributes are kept.
#[derive(Debug, Clone)]
pub struct MetadataOptions {
    /// `-cacheMetaTtlSec`.
    pub ttl: Duration,
    /// What it is when it is not given, while the kernel can be kept right.
    pub long_ttl: Option<Duration>,
    /// `-cacheDirMaxEntries`; 0 for no limit.
    pub dir_max_entries: usize,
    /// `-dirIdleEvictSec`; zero for never.
    pub dir_idle_evict: Duration,
    /// `-posix.dirNLink`.
    pub dir_nlink: bool,
    /// `-atime`: whether times of last access are kept.
    pub keep_atime: bool,
    /// `-cacheSymlink`.
    pub cache_symlinks: bool,
}

/// How the kernel talks to the mount.
#[derive(Debug, Clone)]
pub struct KernelOptions {
    /// `-fuse.maxBackground`.
    pub max_background: u16,
    /// `-fuse.congestionThreshold`; 0 for three quarters of that.
    pub congestion_threshold: u16,
    /// `-fuse.readAheadKB`; none leaves what the kernel chose.
    pub read_ahead_kb: Option<u32>,
    /// `-fuse.transport`.
    pub transport: Transport,
    /// `-fuse.maxThreads`.
    pub max_threads: usize,
    /// `-asyncDio`.
    pub async_dio: bool,
    /// `-directIO`.
    pub direct_io: DirectIo,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOptions {
    /// `-v`, from 0 to 4.
    pub verbosity: u8,
    /// `-debug.fuse`.
    pub wire: bool,
}

impl MountOptions {
    /// Reads what the flags say.
    ///
    /// # Errors
    /// Names the flag, its value and what is allowed.
    pub fn from_values(values: &Values) -> Result<Self, FlagError> {
        Ok(Self {
            tree: TreeOptions::from_values(values)?,
            point: PointOptions::from_values(values)?,
            memory: MemoryOptions::from_values(values),
            data: DataOptions::from_values(values)?,
            fabric: FabricOptions::from_values(values)?,
            whole: WholeOptions::from_values(values),
            metadata: MetadataOptions {
                ttl: Duration::from_secs(values.count("cacheMetaTtlSec")),
                long_ttl: (!values.is_given("cacheMetaTtlSec")).then_some(LONG_META_TTL),
                dir_max_entries: values.count("cacheDirMaxEntries"),
                dir_idle_evict: Duration::from_secs(values.count("dirIdleEvictSec")),
                dir_nlink: values.switch("posix.dirNLink"),
                keep_atime: values.text("atime")? == "relative",
                cache_symlinks: values.switch("cacheSymlink"),
            },
            kernel: KernelOptions {
                max_background: values.count("fuse.maxBackground"),
                congestion_threshold: values.count("fuse.congestionThreshold"),
                read_ahead_kb: Some(values.count("fuse.readAheadKB")).filter(|kb| *kb > 0),
                transport: match values.text("fuse.transport")? {
                    "uring" => Transport::Uring,
                    "dev" => Transport::Device,
                    _ => Transport::Auto,
                },
                max_threads: values.count("fuse.maxThreads"),
                async_dio: values.switch("asyncDio"),
                direct_io: match values.text("directIO")? {
                    "always" => DirectIo::Always,
                    "never" => DirectIo::Never,
                    _ => DirectIo::Auto,
                },
            },
            metrics: metrics(values)?,
            config_dir: values.path("config_dir"),
        })
    }
}

impl TreeOptions {
    fn from_values(values: &Values) -> Result<Self, FlagError> {
        let filer = values.text("filer")?;
        Ok(Self {
            filers: ServerAddress::parse_list(filer).map_err(|error| {
                let expected = format!("host:port[.grpcPort], separated by commas ({error})");
                FlagError::bad("filer", filer, expected)
            })?,
            path: filer_path(values.text("filer.path")?)?,
            include_system_entries: values.switch("includeSystemEntries"),
            collection: values.text("collection")?.to_owned(),
            quota_bytes: values.mib("collectionQuotaMB"),
            replication: replication(values.text("replication")?)?,
            disk: values.text("disk")?.to_owned(),
            ttl_seconds: values.count("ttl"),
            df_logical: values.switch("df.logical"),
        })
    }
}

impl PointOptions {
    fn from_values(values: &Values) -> Result<Self, FlagError> {
        let volume_name = values.text("volumeName")?;
        Ok(Self {
            dir: folder("dir", values)?,
            auto_create: values.switch("dirAutoCreate"),
            nonempty: values.switch("nonempty"),
            autofs: values.switch("autofs"),
            allow_others: values.switch("allowOthers"),
            default_permissions: values.switch("defaultPermissions"),
            read_only: values.switch("readOnly"),
            no_exec: values.switch("noexec"),
            uid_map: id_pairs("map.uid", values.text("map.uid")?)?,
            gid_map: id_pairs("map.gid", values.text("map.gid")?)?,
            umask: umask(values.text("umask")?)?,
            volume_name: (!volume_name.is_empty()).then(|| volume_name.to_owned()),
            disable_xattr: values.switch("disableXAttr"),
            local_socket: values.path("localSocket"),
        })
    }
}

impl DataOptions {
    fn from_values(values: &Values) -> Result<Self, FlagError> {
        Ok(Self {
            memory_bytes: values.mib("readerCacheSizeMB"),
            cache_dir: folder("cacheDir", values)?,
            disk_bytes: values.mib("cacheCapacityMB"),
            concurrent_readers: values
                .count::<usize>("concurrentReaders")
                .min(MAX_CONCURRENT_READERS),
            retry: values.duration("readRetryTime").max(MIN_READ_RETRY),
            access: match values.text("volumeServerAccess")? {
                "publicUrl" => VolumeServerAccess::PublicUrl,
                "filerProxy" => VolumeServerAccess::FilerProxy,
                _ => VolumeServerAccess::Direct,
            },
            data_center: values.text("dataCenter")?.to_owned(),
            chunk_bytes: values.mib("chunkSizeLimitMB"),
            concurrent_writers: values.count("concurrentWriters"),
            swap_dir: match values.os("cacheDirWrite").is_empty() {
                true => folder("cacheDir", values)?,
                false => folder("cacheDirWrite", values)?,
            },
            save_later: values.switch("writebackCache"),
            shared_locks: values.switch("dlm"),
            whole_files: values.switch("dlm")
                && !values.switch("dlm.shareFiles")
                && !values.switch("writebackCache"),
            flush_every: Duration::from_secs(values.count("metadataFlushSeconds")),
            write_buffer_mib: values.count("writeBufferSizeMB"),
        })
    }
}

impl MemoryOptions {
    fn from_values(values: &Values) -> Self {
        let lends = values.switch("rdma.enabled") && values.switch("rdma.shortCircuit");
        let parts = [
            "readerCacheSizeMB",
            "chunkSizeLimitMB",
            "concurrentWriters",
            "fuse.maxThreads",
        ];
        let parts = parts
            .into_iter()
            .chain(lends.then_some("rdma.shortCircuitIndexMB"));
        Self {
            limit_bytes: values.mib("memoryLimitMB"),
            given: parts.filter(|name| values.is_given(name)).collect(),
            write_bytes: u64::MAX,
        }
    }
}

impl FabricOptions {
    fn from_values(values: &Values) -> Result<Option<Self>, FlagError> {
        let options = Self {
            sidecars: sidecars(values.text("rdma.sidecar")?)?,
            sidecar_users: users(SIDECAR_USER, values.text(SIDECAR_USER)?)?,
            rack: values.text("peer.rack")?.to_owned(),
            fallback: values.switch("rdma.fallback"),
            read_only: values.switch("rdma.readOnly"),
            huge_pages: values.switch("rdma.hugePages"),
            short_circuit: short_circuit(values)?,
            max_concurrent: values.count("rdma.maxConcurrent"),
            timeout: Duration::from_millis(values.count("rdma.timeoutMs")),
        };
        // A value that is not allowed is an error even where it would have no effect.
        Ok(values.switch("rdma.enabled").then_some(options))
    }
}

impl WholeOptions {
    fn from_values(values: &Values) -> Option<Self> {
        values.switch("cache.aggressive").then(|| Self {
            capacity_bytes: values.mib("cache.filesMB"),
            min_free_bytes: values.mib("cache.minFreeMB"),
            bytes_per_second: values.mib("cache.fillMBps"),
            fillers: values.count("cache.fillers"),
            decrypted: values.switch("cache.decrypted"),
        })
    }
}

impl LogOptions {
    /// Reads what the flags say; `-debug.fuse` exists for `mount` only.
    pub fn from_values(values: &Values) -> Self {
        Self {
            verbosity: u8::try_from(values.int("v").clamp(0, 4)).unwrap_or_default(),
            wire: values.switch("debug.fuse"),
        }
    }
}
