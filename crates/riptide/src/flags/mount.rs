//! The flags of `riptide mount`, by subject.

use crate::flags::logging::LOGGING;
use crate::flags::{Flag, Section};

const GO_ONLY: &str = "it belongs to the Go program";
const NO_PEERS: &str = "chunks are not shared between mounts in this version";
const NO_FABRIC: &str = "the fabric is off";
const NO_WHOLE: &str = "files are not kept whole";

/// Largest number of MiB a flag takes: a TiB of MiBs, so that bytes fit in 64 bits.
const MAX_MIB: i64 = 1 << 40;
const MANY: i64 = i64::MAX;

/// Every section, in the order they are shown.
pub static ALL: [&Section; 11] = [
    &TREE, &POINT, &MEMORY, &READING, &WHOLE, &METADATA, &KERNEL, &FABRIC, &WRITING, &WATCHING,
    &LOGGING,
];

/// What is mounted.
pub static TREE: Section = Section {
    title: "What is mounted",
    flags: &[
        Flag::text("filer")
            .default("localhost:8888")
            .help("Filers as host:port[.grpcPort], separated by commas; the mount fails over between them."),
        Flag::text("filer.path")
            .default("/")
            .help("The folder of the filer that becomes the root of the mount. A mount that writes makes it when it is missing."),
        Flag::switch("includeSystemEntries")
            .help("Show the filer's own folders, /topics and /etc, in its root."),
        Flag::text("collection")
            .help("Collection of new files, and whose space df reports; the filer decides, and df reports all, when empty."),
        Flag::int("collectionQuotaMB", 0, MAX_MIB)
            .help("Quota in MiB for the collection: beyond it writing fails with ENOSPC, and df reports no larger size. mount.configure of weed shell changes it."),
        Flag::text("replication").help("Replication of new files, and whose space df reports."),
        Flag::text("disk").help("Disk type of new files, and whose space df reports: hdd, ssd or any tag."),
        Flag::int("ttl", 0, i32::MAX as i64)
            .help("Time to live in seconds of new files, and whose space df reports."),
        Flag::switch("df.logical")
            .help("Report sizes of data to df, not the space it takes with its replicas and parity."),
    ],
};

/// Where and as whose it appears.
pub static POINT: Section = Section {
    title: "Mount point and permissions",
    flags: &[
        Flag::folder("dir").default(".").help("The folder to mount on."),
        Flag::switch("dirAutoCreate").help("Create that folder when it does not exist."),
        Flag::switch("nonempty").help("Mount even if that folder is not empty; what it holds is hidden meanwhile."),
        Flag::switch("autofs").help("Mount even if an autofs trigger is mounted on that folder."),
        Flag::switch("allowOthers")
            .default("true")
            .help("Let other users than the one who mounts into the file system."),
        Flag::switch("defaultPermissions")
            .default("true")
            .help("Let the kernel check permissions by owner, group and mode."),
        Flag::text("map.uid").help("User ids as local:filer pairs separated by commas, applied in both directions."),
        Flag::text("map.gid").help("Group ids as local:filer pairs separated by commas, applied in both directions."),
        Flag::text("umask")
            .default("022")
            .help("Octal mask for the modes of the cache folders."),
        Flag::switch("readOnly").help("Mount read-only: whatever would change something fails with EROFS. -read-only is the same."),
        Flag::switch("noexec").help("Let no file of the mount be executed.").ours(),
        Flag::text("volumeName").help("Name of the mount in mount and df, instead of the filers and the folder."),
        Flag::switch("disableXAttr").help("Answer ENOTSUP for every extended attribute."),
        Flag::file("localSocket")
            .help("Socket on which mount.configure of weed shell sets the quota; /tmp/seaweedfs-mount-<hash of dir>.sock, where it looks, when empty."),
        Flag::switch("sys.novncache")
            .help("Disable the cache of vnode names.")
            .ignored("it is for macOS only"),
        Flag::int("windows.uid", i64::MIN, MANY)
            .help("User id of entries created from Windows.")
            .ignored("it is for Windows only"),
        Flag::int("windows.gid", i64::MIN, MANY)
            .help("Group id of entries created from Windows.")
            .ignored("it is for Windows only"),
    ],
};

/// How file data is found and kept.
pub static READING: Section = Section {
    title: "Reading and caching data",
    flags: &[
        Flag::int("readerCacheSizeMB", 1, MAX_MIB)
            .default("256")
            .help("Memory in MiB for downloaded data of all files."),
        Flag::folder("cacheDir")
            .default("/tmp")
            .help("Folder for the disk cache, which survives a remount."),
        Flag::int("cacheCapacityMB", 0, MAX_MIB)
            .default("128")
            .help("Size of the disk cache in MiB; 0 turns it off. Of each file, as much of its beginning is kept as a quarter of it holds."),
        Flag::int("concurrentReaders", 1, MANY)
            .default("128")
            .help("How many chunks are fetched at a time; more than 128 count as 128."),
        Flag::duration("readRetryTime")
            .default("6s")
            .help("How long a read that fails is tried again; less than 1s counts as 1s."),
        Flag::one_of("volumeServerAccess", &["direct", "publicUrl", "filerProxy"])
            .default("direct")
            .help("How volume servers are reached: by their url, by their publicUrl, or through the filer."),
        Flag::text("dataCenter").help("Data center whose replicas are read first, and where new files go."),
    ],
};

/// How much memory all of it may take.
pub static MEMORY: Section = Section {
    title: "Memory",
    flags: &[Flag::int("memoryLimitMB", 0, MAX_MIB).help(
        "Ceiling in MiB for all memory of the mount: caches, buffers, names, inodes, the fabric; 0 for half of the machine's or of the control group's limit, whichever is less. Near it read-ahead and caches shrink and writes wait for uploads. Flags that ask for more than it are an error, defaults are scaled down.",
    )],
};

/// How files are kept whole on the local disk.
pub static WHOLE: Section = Section {
    title: "Whole files on the local disk",
    flags: &[
        Flag::switch("cache.aggressive")
            .help("Bring files that are opened whole into -cacheDir, in the background, and have the kernel read them there without asking, as fast as any local file (passthrough: Linux 6.9, root). Only with -readOnly; mount-fast has both on.")
            .ours(),
        Flag::int("cache.filesMB", 1, MAX_MIB)
            .default("10240")
            .help("Disk in MiB for whole files; those that were not opened for longest go first, and none that is open.")
            .ours()
            .needs("cache.aggressive", NO_WHOLE),
        Flag::int("cache.minFreeMB", 0, MAX_MIB)
            .default("1024")
            .help("MiB that stay free on that disk, whatever -cache.filesMB says.")
            .ours()
            .needs("cache.aggressive", NO_WHOLE),
        Flag::int("cache.fillMBps", 0, MAX_MIB)
            .help("Bandwidth in MiB a second for bringing files in; 0 sets no limit. While programs read through the mount, it takes a quarter of its time anyway.")
            .ours()
            .needs("cache.aggressive", NO_WHOLE),
        Flag::int("cache.fillers", 1, 128)
            .default("4")
            .help("How many parts of files are brought in at a time.")
            .ours()
            .needs("cache.aggressive", NO_WHOLE),
        Flag::switch("cache.decrypted")
            .help("Keep files that the cluster stores encrypted, too: as plain text, readable by root.")
            .ours()
            .needs("cache.aggressive", NO_WHOLE),
    ],
};

/// How names and attributes are kept.
pub static METADATA: Section = Section {
    title: "Metadata",
    flags: &[
        Flag::int("cacheMetaTtlSec", 0, u32::MAX as i64)
            .default("60")
            .help(
                "Seconds for which the kernel keeps names and attributes; changes elsewhere are pushed to it meanwhile. When the flag is not given, an hour while the filer's events arrive whole and the kernel can drop all at once (Linux 6.16).",
            ),
        Flag::int("cacheDirMaxEntries", 0, MANY)
            .default("100000")
            .help("Folders with more entries are listed from the filer each time; 0 sets no limit."),
        Flag::int("dirIdleEvictSec", 0, u32::MAX as i64)
            .default("600")
            .help("Seconds after which the listing of an idle folder is dropped; 0 keeps it."),
        Flag::switch("posix.dirNLink")
            .help("Report 2 plus the number of subfolders as the link count of a folder, at one listing a stat."),
        Flag::one_of("atime", &["off", "relative"])
            .default("off")
            .help("Whether reading a file changes its time of last access at the filer: off, or relative, which keeps the first read after a change and one a day.")
            .ours(),
        Flag::switch("cacheSymlink").help("Let the kernel cache the targets of symbolic links."),
    ],
};

/// How the kernel talks to the mount.
pub static KERNEL: Section = Section {
    title: "Kernel interface",
    flags: &[
        Flag::int("fuse.maxBackground", 1, 65_535)
            .default("128")
            .help("How many readahead and other background requests the kernel may have waiting."),
        Flag::int("fuse.congestionThreshold", 0, 65_535).help(
            "Number of those from which the kernel holds back; 0 for three quarters of them.",
        ),
        Flag::int("fuse.readAheadKB", 0, 1 << 20)
            .default("4096")
            .help("Readahead of the kernel in KiB; 0 leaves what it chose.")
            .ours(),
        Flag::one_of("directIO", &["auto", "always", "never"])
            .default("auto")
            .help("Read files past the kernel's page cache (mappings stay in it): auto does so with files of 32 MiB and more in directories whose files were read once, from start to end; always with every file opened for reading only.")
            .ours(),
        Flag::one_of("fuse.transport", &["auto", "uring", "dev"])
            .default("auto")
            .help("How requests travel: uring through io_uring (Linux 6.14), dev through /dev/fuse, auto through io_uring if FUSE's module parameter enable_uring is on. With uring it need not be: root turns it on for the moment of mounting. Only with -readOnly: otherwise auto is dev, and uring an error.")
            .ours(),
        Flag::int("fuse.maxThreads", 1, 4096)
            .default("256")
            .help("How many requests are worked on at a time; with io_uring at least 16 for each CPU.")
            .ours(),
        Flag::switch("asyncDio").help("Let one direct read be several requests at a time."),
        Flag::switch("debug.fuse").help("Log each request of the kernel and its answer."),
    ],
};

/// How data gets from the volume servers to the mount. These are flags of `weed` up to 4.44.
pub static FABRIC: Section = Section {
    title: "Fabric",
    flags: &[
        Flag::switch("rdma.enabled")
            .help("Read and write over the fabric (RDMA, shared memory or TCP) where a volume server has a sidecar.")
            .old(),
        Flag::text("rdma.sidecar")
            .help("Sidecars as host:port, separated by commas; auto or nothing for those that registered at the filer.")
            .old()
            .needs("rdma.enabled", NO_FABRIC),
        Flag::text("rdma.sidecarUser")
            .help("Users beside root and the mount's own, by name or number and separated by commas, whose sidecars on this host the mount shares memory with and takes volume files from. They can read and change all that the mount reads and writes.")
            .ours()
            .needs("rdma.enabled", NO_FABRIC),
        Flag::switch("rdma.fallback")
            .default("true")
            .help("Read and write over HTTP what the fabric does not deliver; with false such a read fails with EIO, such a write after some seconds, and the mount starts only if a sidecar is healthy.")
            .old()
            .needs("rdma.enabled", NO_FABRIC),
        Flag::switch("rdma.readOnly")
            .help("Use the fabric for reads only, and write over HTTP.")
            .old()
            .needs("rdma.enabled", NO_FABRIC),
        Flag::int("rdma.maxConcurrent", 1, 4096)
            .default("64")
            .help("How many reads may be under way over the fabric, and how many writes besides; each keeps a connection.")
            .old()
            .needs("rdma.enabled", NO_FABRIC),
        Flag::int("rdma.timeoutMs", 1, 3_600_000)
            .default("5000")
            .help("Milliseconds after which a read or a write over the fabric has failed.")
            .old()
            .needs("rdma.enabled", NO_FABRIC),
        Flag::switch("rdma.hugePages")
            .help("Keep chunks that come over the fabric in the system's reserved huge pages (vm.nr_hugepages), which takes one and a half times -readerCacheSizeMB at once; where there are fewer, ordinary memory is used, and the log says so.")
            .ours()
            .needs("rdma.enabled", NO_FABRIC),
        Flag::switch("rdma.shortCircuit")
            .default("true")
            .help("Read needles of this host out of the volume files themselves, which the sidecar lends to mounts of root and of its own user; see -rdma.sidecarUser.")
            .ours()
            .needs("rdma.enabled", NO_FABRIC),
        Flag::int("rdma.shortCircuitIndexMB", 1, MAX_MIB)
            .default("256")
            .help("Memory in MiB for the indexes of these volumes, at 16 bytes a needle; volumes beyond it are read over the fabric.")
            .ours()
            .needs("rdma.enabled", NO_FABRIC),
        Flag::switch("peer.enable")
            .help("Share cached chunks with other mounts.")
            .ignored(NO_PEERS),
        Flag::text("peer.listen")
            .default(":18080")
            .help("Address on which other mounts fetch chunks.")
            .ignored(NO_PEERS),
        Flag::text("peer.advertise")
            .help("Address that other mounts are told.")
            .ignored(NO_PEERS),
        Flag::text("peer.dataCenter")
            .help("Data center that other mounts are told.")
            .ignored(NO_PEERS),
        Flag::text("peer.rack")
            .help("Rack of this mount: of the sidecars in its data center those in its rack are preferred.")
            .needs("rdma.enabled", NO_FABRIC),
    ],
};

/// How files are written.
pub static WRITING: Section = Section {
    title: "Writing",
    flags: &[
        Flag::int("chunkSizeLimitMB", 1, MAX_MIB)
            .default("2")
            .help("Largest chunk in MiB that is written."),
        Flag::int("concurrentWriters", 1, MANY)
            .default("128")
            .help("How many chunks are uploaded at a time."),
        Flag::folder("cacheDirWrite")
            .help("Folder for data that waits to be uploaded; -cacheDir if empty."),
        Flag::int("writeBufferSizeMB", 0, MAX_MIB).help(
            "Memory and disk in MiB for data that waits to be uploaded; 0 for 256 MiB and 4 GiB.",
        ),
        Flag::int("metadataFlushSeconds", 0, MANY)
            .default("120")
            .help("Seconds after which what was written to a file that stays open is saved in its entry, so that volume.fsck does not take its chunks for garbage; 0 turns it off."),
        Flag::switch("writebackCache")
            .help("Let close return before data is uploaded: a failure after it is only logged, and a mount that is killed loses what was closed a moment before. fsync waits as always."),
        Flag::switch("dlm")
            .help("Let one mount write a file at a time: another one's open for writing waits until it is closed (not with -writebackCache). Have locks of flock and fcntl hold across mounts: the filer that owns the file keeps them."),
        Flag::switch("dlm.shareFiles")
            .help("With -dlm, several mounts may have a file open for writing: what they write is merged. For programs that agree by locks of fcntl.")
            .needs("dlm", "several mounts may write a file anyway")
            .ours(),
    ],
};

/// How to see what the mount does.
pub static WATCHING: Section = Section {
    title: "Watching and debugging",
    flags: &[
        Flag::int("metricsPort", 0, 65_535)
            .help("Port for /metrics, /stats and /health; 0 opens none.")
            .ours(),
        Flag::text("metricsIp")
            .default("127.0.0.1")
            .help("Address that port is opened on.")
            .ours(),
        Flag::switch("debug")
            .help("Serve profiles of the Go program over HTTP.")
            .ignored(GO_ONLY),
        Flag::int("debug.port", 0, 65_535)
            .default("6061")
            .help("Port for those profiles.")
            .ignored(GO_ONLY),
        Flag::file("cpuprofile")
            .help("File for a CPU profile of the Go program.")
            .ignored(GO_ONLY),
        Flag::file("memprofile")
            .help("File for a memory profile of the Go program.")
            .ignored(GO_ONLY),
    ],
};
