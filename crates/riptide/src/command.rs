//! The subcommands, and the clap commands made from them.
//!
//! clap parses what [`rewrite`](crate::flags::rewrite()) wrote down and
//! generates the shell completions. Help, man page and docs/FLAGS.md are
//! rendered by our own modules, since clap would show `--name` where users of
//! `weed` write `-name`.

use clap::{Arg, ArgAction, Command, ValueHint, value_parser};

use crate::flags::logging::LOGGING;
use crate::flags::mount;
use crate::flags::sidecar;
use crate::flags::{Flag, Kind, Section};

/// One subcommand.
#[derive(Debug)]
pub struct Subcommand {
    /// The word that starts it.
    pub name: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// More about it, for its own help.
    pub details: &'static str,
    /// The words it takes besides flags, all of them wanted unless in brackets.
    pub words: &'static [&'static str],
    /// What its usage line shows of its flags.
    pub usage: &'static str,
    /// Its own flags by subject.
    pub sections: &'static [&'static Section],
}

/// All of them, in the order they are listed.
pub static SUBCOMMANDS: &[Subcommand] = &[
    Subcommand {
        name: "mount",
        about: "Mount a SeaweedFS filer as a folder",
        details: "Stays in the foreground until it is unmounted, by riptide umount DIR, by Ctrl-C or by SIGTERM. \
                  What it promises to programs is written down in docs/SEMANTICS.md.",
        words: &[],
        usage: "-filer=HOST:PORT[,HOST:PORT...] -dir=DIR [flags]",
        sections: &mount::ALL,
    },
    Subcommand {
        name: "mount-fast",
        about: "Mount read-only, with files whole on the local disk",
        details: "As mount with -readOnly and -cache.aggressive: a file that is opened is brought into -cacheDir as a whole, \
                  in the background, and then opened there by the kernel, so that reading it is as fast as reading a local file. \
                  Until it is there, and where the kernel does not do that, it is read as usual. \
                  warmup brings files in before they are needed, cache shows them.",
        words: &[],
        usage: "-filer=HOST:PORT[,HOST:PORT...] -dir=DIR -cacheDir=DIR [flags]",
        sections: &mount::ALL,
    },
    Subcommand {
        name: "fuse",
        about: "Mount in the background, as mount and fstab want it",
        details: "Returns when the mount is ready, or with the reason why not. Takes the flags of mount as options, \
                  as weed fuse does, and those that every file system has. mount -t fuse.riptide calls it; \
                  linked to /sbin/mount.riptide, the program does the same for mount -t riptide.",
        words: &["DIR"],
        usage: "-o filer=HOST:PORT,filer.path=/,...",
        sections: &[&FUSE],
    },
    Subcommand {
        name: "sidecar",
        about: "Serve needles out of a volume server's files",
        details: "Runs beside a volume server and reads its files; the volume server stays as it is. \
                  Stays in the foreground until Ctrl-C or SIGTERM.",
        words: &[],
        usage: "-volume-server=HOST:PORT[,HOST:PORT...] [-filer=HOST:PORT] [flags]",
        sections: &sidecar::ALL,
    },
    Subcommand {
        name: "umount",
        about: "Unmount it",
        details: "",
        words: &["DIR"],
        usage: "[-l]",
        sections: &[&UMOUNT],
    },
    Subcommand {
        name: "stats",
        about: "Show what a mount does, live",
        details: "Asks the mount over its local socket; no port has to be open for that.",
        words: &["DIR"],
        usage: "[-json] [-once]",
        sections: &[&STATS],
    },
    Subcommand {
        name: "warmup",
        about: "Bring files of a mount to the local disk before they are needed",
        details: "PATH is a file or folder below a mount of this machine, or the mount point. A mount-fast brings the files in whole, \
                  in the background; of another mount they are read through, so that its disk cache has what it keeps of them. \
                  Ends with status 1 when a file could not be brought in.",
        words: &["PATH..."],
        usage: "[-follow] [-parallel=N]",
        sections: &[&WARMUP],
    },
    Subcommand {
        name: "cache",
        about: "Show, empty or check what a mount keeps on the local disk",
        details: "DIR is a mount point, PATH a file or folder below it. ls lists the whole files, and what the disk cache has of \
                  the chunks of each file; of a mount point, all in one line. evict removes them, but no whole file that is open. \
                  verify reads them and compares them with their checksums; what is damaged is removed, and the status is 1.",
        words: &["ls|evict|verify", "DIR|PATH"],
        usage: "[-json]",
        sections: &[&CACHE],
    },
    Subcommand {
        name: "ping",
        about: "Measure the way to a sidecar",
        details: "Asks the sidecar at HOST:PORT, its HTTP address, how it can be reached, and measures each way: \
                  round trips of questions about a needle that does not exist, and, if the id of a needle is given, reads \
                  of its first bytes, which the sidecar's page cache answers.",
        words: &["HOST:PORT", "[FILEID]"],
        usage: "[-count=N] [-size=BYTES,...]",
        sections: &[&PING],
    },
    Subcommand {
        name: "bench",
        about: "Measure a folder, or what FUSE itself costs",
        details: "Runs workloads on DIR, whatever is mounted there, and prints a table: throughput, latencies, names and \
                  attributes. What it reads it has written before, into a folder of its own in DIR that is removed \
                  afterwards, and every byte is compared. Its own pages are dropped from the kernel before each \
                  workload, what a mount keeps is not: for cold numbers use -keep, mount anew and give the folder \
                  that was kept as DIR, which needs no right to write. With -null it measures a mount that answers \
                  from memory, the floor on this machine.",
        words: &["[DIR]"],
        usage: "[-write] [-null] [flags]",
        sections: &[&BENCH],
    },
    Subcommand {
        name: "needle",
        about: "Look into volume files, without any server",
        details: "get writes the bytes of a needle out, stat says what is known of a needle or of the volumes in a folder, \
                  verify reads and checks a needle, or all of a folder. Nothing is written to the folder.",
        words: &["get|stat|verify", "FILEID|DIR"],
        usage: "[-dir=DIR] [-output=FILE] [-json]",
        sections: &[&sidecar::NEEDLE],
    },
    Subcommand {
        name: "doctor",
        about: "Say what is right and wrong with this machine and the way to the cluster",
        details: "Each line is ok, warn or fail, with what to do. Ends with status 1 when anything fails; changes nothing.",
        words: &[],
        usage: "[-filer=HOST:PORT] [-sidecar=HOST:PORT]",
        sections: &[&sidecar::DOCTOR],
    },
    Subcommand {
        name: "dev",
        about: "Start a throw-away SeaweedFS and mount it",
        details: "Everything runs on free ports of this machine and in a temporary folder; \
                  Ctrl-C ends and removes it. The weed program has to be installed.",
        words: &[],
        usage: "[-dir=DIR] [-files=N]",
        sections: &[&DEV],
    },
    Subcommand {
        name: "completions",
        about: "Print completions for a shell",
        details: "",
        words: &["bash|zsh|fish"],
        usage: "",
        sections: &[],
    },
    Subcommand {
        name: "man",
        about: "Print the man page",
        details: "",
        words: &[],
        usage: "",
        sections: &[],
    },
    Subcommand {
        name: "version",
        about: "Print the version",
        details: "",
        words: &[],
        usage: "",
        sections: &[],
    },
    Subcommand {
        name: "help",
        about: "Explain a subcommand",
        details: "",
        words: &["[SUBCOMMAND]"],
        usage: "",
        sections: &[],
    },
];

static FUSE: Section = Section {
    title: "Flags",
    flags: &[Flag::list("o")
        .help("Options as name=value, separated by commas; '...' protects commas in a value.")
        .ours()],
};

static UMOUNT: Section = Section {
    title: "Flags",
    flags: &[Flag::switch("l")
        .help("Detach it at once, even if it is in use.")
        .ours()],
};

static STATS: Section = Section {
    title: "Flags",
    flags: &[
        Flag::switch("json").help("Print JSON.").ours(),
        Flag::switch("once")
            .help("Print once instead of each second.")
            .ours(),
    ],
};

static WARMUP: Section = Section {
    title: "Flags",
    flags: &[
        Flag::switch("follow")
            .help("Go on with what comes or changes below PATH, until Ctrl-C.")
            .ours(),
        Flag::int("parallel", 1, 128)
            .default("4")
            .help("How many files are read at a time, where they are read through.")
            .ours(),
    ],
};

static CACHE: Section = Section {
    title: "Flags",
    flags: &[Flag::switch("json").help("Print JSON.").ours()],
};

static PING: Section = Section {
    title: "Flags",
    flags: &[
        Flag::int("count", 1, 10_000_000)
            .default("1000")
            .help("How many questions of each kind.")
            .ours(),
        Flag::text("size")
            .default("4096,65536,1048576")
            .help("Bytes of each read, separated by commas; what the needle does not have is left out.")
            .ours(),
        Flag::text("rdma.sidecarUser")
            .help("What mounts of this host are given under this name.")
            .ours(),
    ],
};

static BENCH: Section = Section {
    title: "Flags",
    flags: &[
        Flag::switch("write")
            .help("Measure writing as well; what was written is read back and compared.")
            .ours(),
        Flag::int("sizeMB", 0, 16_384)
            .help("MiB of the large file; 0 for 256, or as large as it is in a tree that was kept.")
            .ours(),
        Flag::int("files", 0, 100_000)
            .help("Small files with content, among four times as many entries; 0 for 1000, or what a tree that was kept has.")
            .ours(),
        Flag::int("count", 1, 10_000_000)
            .default("2000")
            .help("Operations of each latency; each of 16 parallel readers makes a quarter.")
            .ours(),
        Flag::int("rounds", 1, 100)
            .default("3")
            .help("Repetitions of everything.")
            .ours(),
        Flag::switch("keep")
            .help("Leave the tree and say where it is.")
            .ours(),
        Flag::switch("json").help("Print JSON.").ours(),
        Flag::switch("null")
            .help("Measure a mount that answers from memory, on a folder of its own.")
            .ours(),
        Flag::folder("serve")
            .help("With -null: mount it on this folder for other programs to measure, until it is unmounted or Ctrl-C.")
            .ours(),
        Flag::one_of("fuse.transport", &["auto", "uring", "dev"])
            .default("auto")
            .help("With -null: how requests travel, as in riptide mount -readOnly.")
            .ours(),
    ],
};

static DEV: Section = Section {
    title: "Flags",
    flags: &[
        Flag::folder("dir")
            .help("The folder to mount on; a temporary one when empty.")
            .ours(),
        Flag::int("files", 0, 100_000)
            .default("10")
            .help("How many sample files are put in.")
            .ours(),
    ],
};

impl Subcommand {
    /// Flags that are set unless a file or the command line sets them.
    pub fn presets(&self) -> &'static [(&'static str, &'static str)] {
        match self.name {
            "mount-fast" => &[("readOnly", "true"), ("cache.aggressive", "true")],
            _ => &[],
        }
    }

    /// How many words it takes besides flags; none where that has no limit.
    pub fn most_words(&self) -> Option<usize> {
        let endless = self.words.last().is_some_and(|word| word.ends_with("..."));
        (!endless).then_some(self.words.len())
    }

    /// Its own sections and those every subcommand takes.
    pub fn all_sections(&self) -> Vec<&'static Section> {
        let mut sections = self.sections.to_vec();
        if !sections
            .iter()
            .any(|section| std::ptr::eq(*section, &LOGGING))
        {
            sections.push(&LOGGING);
        }
        sections
    }
}

/// The subcommand called `name`.
pub fn by_name(name: &str) -> Option<&'static Subcommand> {
    SUBCOMMANDS
        .iter()
        .find(|subcommand| subcommand.name == name)
}

/// The names of all subcommands.
pub fn command_names() -> impl Iterator<Item = &'static str> {
    SUBCOMMANDS.iter().map(|subcommand| subcommand.name)
}

/// The whole command line as clap knows it.
pub fn clap_command() -> Command {
    Command::new("riptide")
        .about("Mount SeaweedFS, fast")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .subcommands(SUBCOMMANDS.iter().map(clap_subcommand))
}

fn clap_subcommand(subcommand: &Subcommand) -> Command {
    let sections = subcommand.all_sections();
    Command::new(subcommand.name)
        .about(subcommand.about)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
        .args(sections.iter().flat_map(|section| {
            let args = section.flags.iter().map(clap_flag);
            args.map(|arg| arg.help_heading(section.title))
        }))
        .arg(
            Arg::new("help")
                .long("help")
                .help("Explain this subcommand")
                .action(ArgAction::SetTrue),
        )
        .args(subcommand.words.iter().enumerate().map(|(at, word)| {
            let arg = Arg::new(*word).index(at + 1);
            let arg = match word.ends_with("...") {
                true => arg.num_args(1..),
                false => arg,
            };
            arg.value_parser(value_parser!(std::ffi::OsString))
                .value_hint(match word.trim_matches(['[', ']']) {
                    "DIR" => ValueHint::DirPath,
                    "PATH..." | "DIR|PATH" => ValueHint::AnyPath,
                    _ => ValueHint::Other,
                })
        }))
}

fn clap_flag(flag: &Flag) -> Arg {
    let arg = Arg::new(flag.name)
        .long(flag.name)
        .help(flag.help.trim_end_matches('.'));
    match flag.kind {
        Kind::Bool => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_parser(["true", "false"])
            .hide_possible_values(true),
        kind => arg
            .action(match kind {
                Kind::List => ArgAction::Append,
                _ => ArgAction::Set,
            })
            .num_args(1)
            .allow_hyphen_values(true)
            .value_name(flag.value_word().unwrap_or("value"))
            .value_parser(value_parser!(std::ffi::OsString))
            .value_hint(match kind {
                Kind::Folder => ValueHint::DirPath,
                Kind::File => ValueHint::FilePath,
                _ => ValueHint::Other,
            }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clap_finds_nothing_wrong_with_the_commands() {
        clap_command().debug_assert();
    }

    #[test]
    fn only_what_exists_is_listed() {
        let names: Vec<_> = command_names().collect();
        assert_eq!(
            names,
            [
                "mount",
                "mount-fast",
                "fuse",
                "sidecar",
                "umount",
                "stats",
                "warmup",
                "cache",
                "ping",
                "bench",
                "needle",
                "doctor",
                "dev",
                "completions",
                "man",
                "version",
                "help"
            ]
        );
    }
}
