//! The flags of `riptide sidecar`, by subject, and of the tools around it.

use crate::flags::logging::LOGGING;
use crate::flags::{Flag, Section};

/// Every section, in the order they are shown.
pub static ALL: [&Section; 6] = [&NEEDLES, &HTTP, &FABRIC, &REGISTRATION, &DAEMON, &LOGGING];

/// Where needles come from.
pub static NEEDLES: Section = Section {
    title: "Needles",
    flags: &[
        Flag::list("volume-server")
            .help("Volume servers of this machine as host:port; may be given several times. Their data folders are asked for, unless -dir names them.")
            .ours(),
        Flag::list("dir")
            .help("Data folders; may be given several times. For volume servers that see their folders under other paths, as in a container.")
            .ours(),
        Flag::folder("dir.idx")
            .help("The folder of index files, where the volume server has a -dir.idx.")
            .ours(),
        Flag::folder("index-dir")
            .help("A folder of the sidecar's own, on a local disk, where it saves the indexes of volumes: the next start reads them there and takes no memory for them. Nothing is saved when empty.")
            .ours(),
        Flag::text("index-dir-limit")
            .default("16GiB")
            .help("Most bytes in -index-dir, such as 4GiB; a needle takes about ten.")
            .ours(),
        Flag::one_of("verify-ranges", &["always", "cached", "never"])
            .default("cached")
            .help("When a part of a needle is checked against the checksum of all of it: always, when the rest is in memory anyway, or never, as the volume server does it. The whole of a needle is always checked.")
            .ours(),
    ],
};

/// HTTP.
pub static HTTP: Section = Section {
    title: "HTTP",
    flags: &[
        Flag::int("port", 0, 65_535)
            .default("8081")
            .help("Port of /read, /health, /stats and /metrics; 0 for any that is free.")
            .ours(),
        Flag::text("bind")
            .help("Address to listen on; all of them when empty.")
            .ours(),
        Flag::int("max-clients", 1, 1_000_000)
            .default("1024")
            .help("Most connections at a time, over HTTP and over the fabric each; more are closed at once.")
            .ours(),
        Flag::text("memory-limit")
            .default("1GiB")
            .help("Most bytes of needles in memory at a time, such as 512MiB; who does not get any is sent to the volume server.")
            .ours(),
    ],
};

/// The fabric.
pub static FABRIC: Section = Section {
    title: "Fabric",
    flags: &[
        Flag::switch("enable-rdma")
            .help("Offer RDMA. Without a device the sidecar starts all the same and tells why there is no RDMA.")
            .ours(),
        Flag::text("transports")
            .default("auto")
            .help("Carriers to offer: some of rdma, shm and tcp, separated by commas; auto for shm and tcp, and rdma with -enable-rdma.")
            .ours(),
        Flag::switch("short-circuit")
            .default("true")
            .help("Lend the open files of volumes, by the unix socket, to mounts of this machine that run as root or as the user of the sidecar and read needles out of them by themselves. Needs shm among the carriers.")
            .ours(),
        Flag::text("device")
            .help("The RDMA device to use, such as mlx5_0; all of them when empty.")
            .ours(),
        Flag::int("fabric-port", 0, 65_535)
            .help("Port of the fabric's protocol; 0 for -port and 10000.")
            .ours(),
        Flag::file("socket")
            .help("Path of the unix socket for shared memory; /run/riptide/sidecar-PORT.sock when empty, or in the temporary folder where that cannot be written.")
            .ours(),
    ],
};

/// How mounts find the sidecar.
pub static REGISTRATION: Section = Section {
    title: "Being found",
    flags: &[
        Flag::list("filer")
            .help("Filers as host:port[.grpcPort] to register with; may be given several times. Without any, mounts have to be told of this sidecar.")
            .ours(),
        Flag::text("advertise")
            .help("The host, or host:port, by which mounts reach this sidecar; the volume server's host as the filer knows it when empty.")
            .ours(),
        Flag::text("dataCenter")
            .help("Data center of the volume servers; as the filer knows it when empty.")
            .ours(),
        Flag::text("rack").help("Rack of the volume servers.").ours(),
    ],
};

/// The rest.
pub static DAEMON: Section = Section {
    title: "Settings",
    flags: &[
        Flag::file("config")
            .help("A TOML file of these settings, such as port = 8081; the command line wins over it.")
            .ours(),
        Flag::switch("debug").help("Log as -v=2 does.").ours(),
    ],
};

/// Those of `riptide needle`.
pub static NEEDLE: Section = Section {
    title: "Flags",
    flags: &[
        Flag::list("dir")
            .default(".")
            .help("Data folders in which a file id is looked for; may be given several times.")
            .ours(),
        Flag::folder("dir.idx")
            .help("The folder of index files, where it is not the data folder.")
            .ours(),
        Flag::file("output")
            .help("Where get writes to; standard output when empty.")
            .ours(),
        Flag::switch("raw")
            .help("Have get write what is stored, without inflating it.")
            .ours(),
        Flag::switch("json")
            .help("Print JSON, a line for each needle or volume.")
            .ours(),
    ],
};

/// Those of `riptide doctor`.
pub static DOCTOR: Section = Section {
    title: "Flags",
    flags: &[
        Flag::list("filer")
            .help("Filers as host:port[.grpcPort]; their cluster is looked at as well.")
            .ours(),
        Flag::list("sidecar")
            .help("Sidecars as host:port, besides those that are registered with the filer.")
            .ours(),
        Flag::text("rdma.sidecarUser")
            .help("What mounts of this host are given under this name.")
            .ours(),
    ],
};
