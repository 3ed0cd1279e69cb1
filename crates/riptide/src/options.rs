//! What `riptide mount` needs to know, with types.
//!
//! [`MountOptions::from_values`] is the border: behind it nothing is a text
//! that still has to be read. What depends on the machine (does the folder
//! exist, may it be written to) is checked later, by
//! [`lifecycle`](crate::lifecycle), right before it matters.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use seaweed::ServerAddress;

use crate::flags::{FlagError, Values};

/// More chunk fetches at a time than this are not allowed, as with `weed`.
const MAX_CONCURRENT_READERS: usize = 128;
/// A read is tried again for at least this long, as with `weed`.
const MIN_READ_RETRY: Duration = Duration::from_secs(1);

/// Everything about one mount.
#[derive(Debug, Clone)]
pub struct MountOptions {
    /// What is mounted.
    pub tree: TreeOptions,
    /// Where and as whose it appears.
    pub point: PointOptions,
    /// How file data is found and kept.
    pub data: DataOptions,
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
    /// `-collection`, for df; empty for all.
    pub collection: String,
    /// `-replication`, for df; empty or three digits.
    pub replication: String,
    /// `-disk`, for df.
    pub disk: String,
    /// `-ttl` in seconds, for df; 0 for none.
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

/// How names and attributes are kept.
#[derive(Debug, Clone)]
pub struct MetadataOptions {
    /// `-cacheMetaTtlSec`.
    pub ttl: Duration,
    /// `-cacheDirMaxEntries`; 0 for no limit.
    pub dir_max_entries: usize,
    /// `-dirIdleEvictSec`; zero for never.
    pub dir_idle_evict: Duration,
    /// `-posix.dirNLink`.
    pub dir_nlink: bool,
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
    /// `-fuse.maxThreads`.
    pub max_threads: usize,
    /// `-asyncDio`.
    pub async_dio: bool,
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
            data: DataOptions::from_values(values)?,
            metadata: MetadataOptions {
                ttl: Duration::from_secs(values.count("cacheMetaTtlSec")),
                dir_max_entries: values.count("cacheDirMaxEntries"),
                dir_idle_evict: Duration::from_secs(values.count("dirIdleEvictSec")),
                dir_nlink: values.switch("posix.dirNLink"),
                cache_symlinks: values.switch("cacheSymlink"),
            },
            kernel: KernelOptions {
                max_background: values.count("fuse.maxBackground"),
                congestion_threshold: values.count("fuse.congestionThreshold"),
                read_ahead_kb: Some(values.count("fuse.readAheadKB")).filter(|kb| *kb > 0),
                max_threads: values.count("fuse.maxThreads"),
                async_dio: values.switch("asyncDio"),
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
            uid_map: id_pairs("map.uid", values.text("map.uid")?)?,
            gid_map: id_pairs("map.gid", values.text("map.gid")?)?,
            umask: umask(values.text("umask")?)?,
            volume_name: (!volume_name.is_empty()).then(|| volume_name.to_owned()),
            disable_xattr: values.switch("disableXAttr"),
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

/// Replaces a leading `~`, which a shell leaves alone in `-dir=~/x`.
pub fn expand_home(path: &Path, home: Option<OsString>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) if !home.is_empty() => PathBuf::from(home).join(rest),
        _ => path.to_owned(),
    }
}

fn folder(name: &'static str, values: &Values) -> Result<PathBuf, FlagError> {
    let path = values.os(name);
    if path.is_empty() {
        return Err(FlagError::bad(name, "", "the path of a folder"));
    }
    Ok(expand_home(Path::new(path), std::env::var_os("HOME")))
}

fn filer_path(text: &str) -> Result<String, FlagError> {
    let bad = || FlagError::bad("filer.path", text, "an absolute path without . or ..");
    if !text.starts_with('/') || text.contains('\0') {
        return Err(bad());
    }
    let mut path = String::with_capacity(text.len());
    for part in text.split('/').filter(|part| !part.is_empty()) {
        if part == "." || part == ".." {
            return Err(bad());
        }
        path.push('/');
        path.push_str(part);
    }
    Ok(if path.is_empty() { "/".into() } else { path })
}

fn replication(text: &str) -> Result<String, FlagError> {
    let three_digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !three_digits && !text.is_empty() {
        return Err(FlagError::bad(
            "replication",
            text,
            "three digits, such as 001",
        ));
    }
    Ok(text.to_owned())
}

fn umask(text: &str) -> Result<u32, FlagError> {
    let octal = text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mask| octal && *mask <= 0o777)
        .ok_or_else(|| FlagError::bad("umask", text, "an octal number from 000 to 0777"))
}

fn id_pairs(name: &'static str, text: &str) -> Result<Vec<(u32, u32)>, FlagError> {
    let mut pairs: Vec<(u32, u32)> = Vec::new();
    for word in text.split(',').filter(|word| !word.trim().is_empty()) {
        let (local, filer) = word
            .split_once(':')
            .and_then(|(local, filer)| {
                Some((local.trim().parse().ok()?, filer.trim().parse().ok()?))
            })
            .ok_or_else(|| {
                FlagError::bad(
                    name,
                    text,
                    "pairs local:filer of numbers, separated by commas",
                )
            })?;
        if pairs.iter().any(|pair| pair.0 == local || pair.1 == filer) {
            return Err(FlagError::bad(
                name,
                text,
                "each number only once on each side",
            ));
        }
        pairs.push((local, filer));
    }
    Ok(pairs)
}

fn metrics(values: &Values) -> Result<Option<SocketAddr>, FlagError> {
    let text = values.text("metricsIp")?;
    let ip: IpAddr = text
        .parse()
        .map_err(|_| FlagError::bad("metricsIp", text, "an IP address, such as 127.0.0.1 or ::"))?;
    let port: u16 = values.count("metricsPort");
    Ok((port > 0).then(|| SocketAddr::new(ip, port)))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::flags::mount::ALL;
    use crate::flags::{Kind, Origin, State, flags};

    fn options(given: &[(&str, &str)]) -> Result<MountOptions, FlagError> {
        let given = given.iter().map(|(name, text)| (*name, OsStr::new(*text)));
        MountOptions::from_values(&Values::new(&ALL, given)?)
    }

    /// A value other than the default for each honoured flag that a rule cannot make up.
    fn sample(name: &str) -> Option<&'static str> {
        Some(match name {
            "filer" => "a:1,b:2.3",
            "filer.path" => "/a",
            "replication" => "001",
            "map.uid" | "map.gid" => "1000:0,5:6",
            "umask" => "077",
            "readRetryTime" => "7s",
            "volumeServerAccess" => "filerProxy",
            "concurrentReaders" => "3",
            "metricsIp" => "::1",
            _ => return None,
        })
    }

    #[test]
    fn every_honoured_flag_changes_something_and_no_other_does() {
        // These are honoured elsewhere: by `invocation` and by `LogOptions`.
        let elsewhere = ["options", "v", "debug.fuse"];
        let port = ("metricsPort", "9");
        let plain = format!("{:?}", options(&[port]).unwrap());
        for flag in flags(&ALL).filter(|flag| !elsewhere.contains(&flag.name)) {
            let text = sample(flag.name).unwrap_or(match flag.kind {
                Kind::Bool if flag.default == "true" => "false",
                Kind::Bool => "true",
                Kind::Int(..) => "12",
                Kind::Duration => "12s",
                _ => "other",
            });
            let changed = format!("{:?}", options(&[port, (flag.name, text)]).unwrap());
            let honoured = flag.state == State::Honoured;
            assert_eq!(honoured, changed != plain, "-{}={text}", flag.name);
            let values = Values::new(&ALL, [(flag.name, OsStr::new(text))]).unwrap();
            match values.check_states(&ALL) {
                Ok(warnings) if honoured => assert_eq!(warnings, []),
                Ok(warnings) => assert_eq!(warnings[0].name, flag.name),
                Err(error) => assert!(matches!(flag.state, State::Refused { .. }), "{error}"),
            }
        }
    }

    #[test]
    fn defaults_are_those_of_weed() {
        let options = options(&[]).unwrap();
        assert_eq!(options.tree.filers[0].http(), "localhost:8888");
        assert_eq!(options.tree.filers[0].grpc_port(), 18888);
        assert_eq!(options.tree.path, "/");
        assert_eq!(options.point.dir, Path::new("."));
        assert_eq!(options.point.umask, 0o22);
        assert!(options.point.allow_others && options.point.default_permissions);
        assert_eq!(options.data.memory_bytes, 256 << 20);
        assert_eq!(options.data.disk_bytes, 128 << 20);
        assert_eq!(options.data.cache_dir, Path::new("/tmp"));
        assert_eq!(options.data.retry, Duration::from_secs(6));
        assert_eq!(options.data.access, VolumeServerAccess::Direct);
        assert_eq!(options.metadata.dir_max_entries, 100_000);
        assert_eq!(options.kernel.max_background, 128);
        assert_eq!(options.metrics, None);
    }

    #[test]
    fn values_are_brought_to_one_form() {
        let path = |text| options(&[("filer.path", text)]).unwrap().tree.path;
        assert_eq!(path("//a/b//"), "/a/b");
        assert_eq!(path("/"), "/");
        let metrics = |ip| {
            options(&[("metricsPort", "9"), ("metricsIp", ip)])
                .unwrap()
                .metrics
        };
        assert_eq!(metrics("::").unwrap().to_string(), "[::]:9");
        let many = options(&[("concurrentReaders", "1000")]).unwrap();
        assert_eq!(many.data.concurrent_readers, 128);
        let soon = options(&[("readRetryTime", "10ms")]).unwrap();
        assert_eq!(soon.data.retry, Duration::from_secs(1));
        let hinted = options(&[("fuse.readAheadKB", "0")]).unwrap();
        assert_eq!(hinted.kernel.read_ahead_kb, None);
    }

    #[test]
    fn a_bad_value_is_named_with_its_flag_and_what_is_allowed() {
        for (name, value, expected) in [
            ("umask", "999", "an octal number from 000 to 0777"),
            ("umask", "0o22", "an octal number from 000 to 0777"),
            ("umask", "+22", "an octal number from 000 to 0777"),
            ("umask", "", "an octal number from 000 to 0777"),
            ("filer.path", "a", "an absolute path without . or .."),
            ("filer.path", "/a/../b", "an absolute path without . or .."),
            (
                "map.uid",
                "5",
                "pairs local:filer of numbers, separated by commas",
            ),
            (
                "map.gid",
                "5:-1",
                "pairs local:filer of numbers, separated by commas",
            ),
            ("map.uid", "5:1,5:2", "each number only once on each side"),
            (
                "volumeServerAccess",
                "public",
                "one of direct, publicUrl, filerProxy",
            ),
            (
                "cacheCapacityMB",
                "-5",
                "a whole number from 0 to 1099511627776",
            ),
            (
                "readerCacheSizeMB",
                "0",
                "a whole number from 1 to 1099511627776",
            ),
            ("metricsPort", "65536", "a whole number from 0 to 65535"),
            (
                "metricsIp",
                "localhost",
                "an IP address, such as 127.0.0.1 or ::",
            ),
            (
                "fuse.maxBackground",
                "70000",
                "a whole number from 1 to 65535",
            ),
            ("replication", "01", "three digits, such as 001"),
            (
                "readRetryTime",
                "-1s",
                "a duration that is not negative, such as 6s or 1m30s",
            ),
            ("dir", "", "the path of a folder"),
        ] {
            let error = options(&[(name, value)]).unwrap_err().to_string();
            let wanted = format!("flag -{name}: {value:?} is not allowed: expected {expected}");
            assert_eq!(error, wanted);
        }
        for filer in ["", "localhost", "localhost:0", "a:1,b", "localhost:99999"] {
            let error = options(&[("filer", filer)]).unwrap_err().to_string();
            assert!(error.starts_with("flag -filer: "), "{error}");
            assert!(error.contains("expected host:port"), "{error}");
        }
    }

    #[test]
    fn a_strict_fabric_is_refused_and_a_lenient_one_warned_of() {
        let check = |given: &[(&str, &str)]| {
            let given = given.iter().map(|(name, text)| (*name, OsStr::new(*text)));
            Values::new(&ALL, given).unwrap().check_states(&ALL)
        };
        let error = check(&[("rdma.enabled", "true"), ("rdma.fallback", "false")]).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("flag -rdma.fallback=false cannot be honoured")
        );
        let warnings = check(&[("rdma.enabled", "true"), ("rdma.fallback", "true")]).unwrap();
        assert_eq!(
            warnings[0].to_string(),
            "flag -rdma.enabled=true has no effect: there is no fabric in this version yet: reads go over HTTP"
        );
        assert_eq!(warnings.len(), 1);
        assert_eq!(
            flags(&ALL)
                .filter(|flag| flag.origin == Origin::OldWeed)
                .count(),
            6
        );
    }

    #[test]
    fn a_home_is_put_in_front_where_the_shell_did_not() {
        let home = |path: &str| expand_home(Path::new(path), Some("/home/me".into()));
        assert_eq!(home("~/x"), Path::new("/home/me/x"));
        assert_eq!(home("~"), Path::new("/home/me/"));
        assert_eq!(home("~you/x"), Path::new("~you/x"));
        assert_eq!(home("/a/~"), Path::new("/a/~"));
        assert_eq!(expand_home(Path::new("~/x"), None), Path::new("~/x"));
    }
}
