//! Flags that `weed` takes before its subcommand; Riptide takes them there and after it.

use crate::flags::{Flag, Section};

const STDERR: &str = "logs go to standard error, where systemd and containers expect them";
const RUST_LOG: &str = "set RUST_LOG to choose levels by part of the program";

/// Configuration files and logs.
pub static LOGGING: Section = Section {
    title: "Configuration and logs",
    flags: &[
        Flag::file("options").help(
            "A file of flags, one name=value a line; the command line wins over it.",
        ),
        Flag::folder("config_dir").help(
            "Folder with security.toml; else it is looked for in ., ~/.seaweedfs, /usr/local/etc/seaweedfs and /etc/seaweedfs.",
        ),
        Flag::int("v", 0, i64::MAX).help(
            "How much is logged: 0 what matters, 1 also from libraries, 2 and 3 for debugging, 4 everything. RUST_LOG wins over it.",
        ),
        Flag::switch("logtostderr")
            .help("Log to standard error instead of to files.")
            .ignored(STDERR),
        Flag::switch("alsologtostderr")
            .default("true")
            .help("Log to standard error as well as to files.")
            .ignored(STDERR),
        Flag::text("stderrthreshold")
            .help("Lowest severity that goes to standard error.")
            .ignored("use -v"),
        Flag::folder("logdir")
            .help("Folder for log files.")
            .ignored(STDERR),
        Flag::text("vmodule")
            .help("Levels by source file, as pattern=N pairs.")
            .ignored(RUST_LOG),
        Flag::text("log_backtrace_at")
            .help("A file:line of the Go program that logs its stack.")
            .ignored(RUST_LOG),
        Flag::switch("log_json")
            .help("Log lines as JSON.")
            .ignored("logs are plain lines"),
        Flag::switch("log_compress")
            .help("Compress log files that were rotated.")
            .ignored(STDERR),
        Flag::int("log_max_files", 0, i64::MAX)
            .default("5")
            .help("How many log files of each severity are kept.")
            .ignored(STDERR),
        Flag::int("log_max_size_mb", 0, i64::MAX)
            .default("1800")
            .help("Size in MB at which a log file is rotated.")
            .ignored(STDERR),
        Flag::int("log_rotate_hours", 0, i64::MAX)
            .default("168")
            .help("Age in hours at which a log file is rotated.")
            .ignored(STDERR),
    ],
};
