//! From words to a subcommand that is ready to run.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::parser::ValueSource;
use clap_complete::Shell;

use crate::command::{Subcommand, by_name, clap_command, command_names};
use crate::flags::error::nearest;
use crate::flags::values::Warning;
use crate::flags::{FlagError, Kind, Section, Values, flags, options_file, rewrite, toml_file};
use crate::options::{
    BackgroundOptions, BenchOptions, LogOptions, MountOptions, PingOptions, cache_options,
    doctor_options, needle_options, sidecar_config, warmup_options,
};
use crate::run::{CacheOptions, DoctorOptions, NeedleOptions, WarmupOptions};

/// What the user wants.
#[derive(Debug)]
pub struct Invocation {
    /// Which subcommand, with what it needs.
    pub action: Action,
    /// How much is logged.
    pub logging: LogOptions,
    /// Flags that were set and have no effect.
    pub warnings: Vec<Warning>,
}

/// A subcommand with what it needs.
#[derive(Debug)]
pub enum Action {
    /// `mount`.
    Mount(Box<MountOptions>),
    /// `fuse`.
    Fuse(BackgroundOptions),
    /// `sidecar`.
    Sidecar(Box<sidecar::Config>),
    /// `needle`.
    Needle(NeedleOptions),
    /// `doctor`.
    Doctor(DoctorOptions),
    /// `umount`.
    Umount {
        /// The mount point.
        dir: PathBuf,
        /// Whether to detach it at once.
        lazy: bool,
    },
    /// `stats`.
    Stats {
        /// The mount point.
        dir: PathBuf,
        /// Whether to print JSON.
        json: bool,
        /// Whether to print only once.
        once: bool,
    },
    /// `warmup`.
    Warmup(WarmupOptions),
    /// `cache`.
    Cache(CacheOptions),
    /// `ping`.
    Ping(PingOptions),
    /// `bench`.
    Bench(BenchOptions),
    /// `dev`.
    Dev {
        /// The mount point; a temporary one when there is none.
        dir: Option<PathBuf>,
        /// How many sample files are put in.
        files: usize,
    },
    /// `completions`.
    Completions(Shell),
    /// `man`.
    Man,
    /// `version`.
    Version,
    /// `help`, or `-h` of a subcommand.
    Help(Option<&'static Subcommand>),
}

impl Invocation {
    /// Reads the words after the program's name. Reads the file that `-options` names.
    ///
    /// # Errors
    /// When the words cannot be followed to the letter; nothing is guessed.
    pub fn parse(args: &[OsString]) -> Result<Self, FlagError> {
        if let [word] = args
            && (word == "-version" || word == "--version")
        {
            return Self::parse(&["version".into()]);
        }
        let mut words = rewrite(args)?;
        let subcommand = words
            .first()
            .and_then(|name| by_name(&name.to_string_lossy()))
            .ok_or(FlagError::Missing { name: "SUBCOMMAND" })?;
        let sections = subcommand.all_sections();
        let mut matches = matches(&words)?;
        if matches.get_flag("help") {
            return Ok(Self::quiet(Action::Help(Some(subcommand))));
        }
        // The later of two files wins over the earlier, and the command line over both.
        for (name, load) in FILES {
            let path = matches.try_get_one::<OsString>(name).ok().flatten();
            let Some(path) = path.filter(|path| !path.is_empty()) else {
                continue;
            };
            let file = load(path.as_ref(), &sections)?;
            words = under(&words, file, &given_names(subcommand, &matches));
            matches = self::matches(&words)?;
        }
        let mut given = given(subcommand, &matches);
        for (name, value) in subcommand.presets() {
            if !given.iter().any(|(other, _)| other == name) {
                given.push((name, value.into()));
            }
        }
        let given = given.iter().map(|(name, text)| (*name, text.as_os_str()));
        let values = Values::new(&sections, given)?;
        let mut logging = LogOptions::from_values(&values);
        if subcommand.name == "sidecar" && values.switch("debug") {
            logging.verbosity = logging.verbosity.max(DEBUG);
        }
        Ok(Self {
            logging,
            warnings: values.warnings(&sections),
            action: Action::new(subcommand, &matches, &values)?,
        })
    }

    fn quiet(action: Action) -> Self {
        let logging = LogOptions {
            verbosity: 0,
            wire: false,
        };
        Self {
            action,
            logging,
            warnings: Vec::new(),
        }
    }
}

impl Action {
    fn new(
        subcommand: &'static Subcommand,
        matches: &ArgMatches,
        values: &Values,
    ) -> Result<Self, FlagError> {
        Ok(match subcommand.name {
            "mount" | "mount-fast" => Self::Mount(Box::new(MountOptions::from_values(values)?)),
            "fuse" => Self::Fuse(BackgroundOptions::new(
                word(matches, "DIR")?,
                &values.os_list("o").join(OsStr::new(",")),
            )?),
            "sidecar" => Self::Sidecar(Box::new(sidecar_config(values)?)),
            "needle" => Self::Needle(needle_options(
                word(matches, "get|stat|verify")?,
                word(matches, "FILEID|DIR")?,
                values,
            )?),
            "doctor" => Self::Doctor(doctor_options(values)?),
            "umount" => Self::Umount {
                dir: word(matches, "DIR")?.into(),
                lazy: values.switch("l"),
            },
            "stats" => Self::Stats {
                dir: word(matches, "DIR")?.into(),
                json: values.switch("json"),
                once: values.switch("once"),
            },
            "warmup" => Self::Warmup(warmup_options(
                matches
                    .get_many::<OsString>("PATH...")
                    .into_iter()
                    .flatten(),
                values,
            )?),
            "cache" => Self::Cache(cache_options(
                word(matches, "ls|evict|verify")?,
                word(matches, "DIR|PATH")?,
                values,
            )?),
            "ping" => Self::Ping(PingOptions::new(
                word(matches, "HOST:PORT")?,
                matches
                    .get_one::<OsString>("[FILEID]")
                    .map(OsString::as_os_str),
                values,
            )?),
            "bench" => Self::Bench(BenchOptions::new(
                matches
                    .get_one::<OsString>("[DIR]")
                    .map(OsString::as_os_str),
                values,
            )?),
            "dev" => Self::Dev {
                dir: values.path("dir"),
                files: values.count("files"),
            },
            "completions" => Self::Completions(shell(word(matches, "bash|zsh|fish")?)?),
            "man" => Self::Man,
            "version" => Self::Version,
            _ => Self::Help(match matches.get_one::<OsString>("[SUBCOMMAND]") {
                Some(name) => Some(subcommand_to_explain(name)?),
                None => None,
            }),
        })
    }
}

/// The verbosity that `-debug` of the sidecar means.
const DEBUG: u8 = 2;

/// Reads a file of flags.
type Load = fn(&Path, &[&'static Section]) -> Result<Vec<OsString>, FlagError>;

/// The flags that name a file of flags.
const FILES: [(&str, Load); 2] = [("options", options_file::load), ("config", toml_file::load)];

/// The words of a command line with those of a file before them, without the flags in `given`:
/// the last of two values wins, but those of lists would add up.
fn under(words: &[OsString], file: Vec<OsString>, given: &[&str]) -> Vec<OsString> {
    let is_given = |word: &OsString| {
        let text = word.to_string_lossy();
        let name = text.trim_start_matches('-').split('=').next();
        name.is_some_and(|name| given.contains(&name))
    };
    let (name, line) = words.split_at(1);
    let file: Vec<_> = file.into_iter().filter(|word| !is_given(word)).collect();
    [name, &file, line].concat()
}

/// The names of the flags that were given.
fn given_names(subcommand: &Subcommand, matches: &ArgMatches) -> Vec<&'static str> {
    let given = given(subcommand, matches);
    given.into_iter().map(|(name, _)| name).collect()
}

/// The flags that were given, with their last value; lists with all of them.
fn given(subcommand: &Subcommand, matches: &ArgMatches) -> Vec<(&'static str, OsString)> {
    flags(&subcommand.all_sections())
        .filter(|flag| matches.value_source(flag.name) == Some(ValueSource::CommandLine))
        .flat_map(|flag| {
            let texts: Vec<OsString> = match flag.kind {
                Kind::Bool => matches
                    .get_one::<String>(flag.name)
                    .map(OsString::from)
                    .into_iter()
                    .collect(),
                _ => matches
                    .get_many::<OsString>(flag.name)
                    .into_iter()
                    .flatten()
                    .cloned()
                    .collect(),
            };
            texts.into_iter().map(|text| (flag.name, text))
        })
        .collect()
}

/// What clap makes of words that [`rewrite`] wrote.
fn matches(words: &[OsString]) -> Result<ArgMatches, FlagError> {
    let program = OsString::from("riptide");
    let all = std::iter::once(&program).chain(words);
    let (_, matches) = clap_command()
        .try_get_matches_from(all)
        .ok()
        .and_then(|mut matches| matches.remove_subcommand())
        // Tests show that clap accepts all that `rewrite` writes.
        .ok_or_else(|| FlagError::BadSyntax {
            word: words.join(OsStr::new(" ")).to_string_lossy().into_owned(),
        })?;
    Ok(matches)
}

fn word<'m>(matches: &'m ArgMatches, name: &'static str) -> Result<&'m OsStr, FlagError> {
    matches
        .get_one::<OsString>(name)
        .map(OsString::as_os_str)
        .ok_or(FlagError::Missing { name })
}

fn shell(name: &OsStr) -> Result<Shell, FlagError> {
    match name.to_str() {
        Some("bash") => Ok(Shell::Bash),
        Some("zsh") => Ok(Shell::Zsh),
        Some("fish") => Ok(Shell::Fish),
        _ => Err(FlagError::Unexpected {
            word: name.to_string_lossy().into_owned(),
            expected: "bash, zsh or fish",
        }),
    }
}

fn subcommand_to_explain(name: &OsStr) -> Result<&'static Subcommand, FlagError> {
    let name = name.to_string_lossy();
    by_name(&name).ok_or_else(|| FlagError::UnknownCommand {
        nearest: nearest(&name, command_names()),
        name: name.into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Invocation, FlagError> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        Invocation::parse(&words)
    }

    fn mount(line: &str) -> MountOptions {
        match parse(line).unwrap().action {
            Action::Mount(options) => *options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_last_of_two_values_wins() {
        assert_eq!(mount("mount -ttl=5 -ttl 0x10 -dir=/a").tree.ttl_seconds, 16);
        let logging = parse("-v=1 mount -v=3").unwrap().logging;
        assert_eq!(logging.verbosity, 3);
    }

    #[test]
    fn the_command_line_wins_over_the_options_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "ttl=7\ncollection=c\nallowOthers=false\n").unwrap();
        let path = file.path().display();
        let options = mount(&format!("mount -ttl=5 -options={path}"));
        assert_eq!(options.tree.ttl_seconds, 5);
        assert_eq!(options.tree.collection, "c");
        assert!(!options.point.allow_others);
        let before = mount(&format!("-options {path} mount"));
        assert_eq!(before.tree.ttl_seconds, 7);

        std::fs::write(file.path(), "\nttl=x\n").unwrap();
        let error = parse(&format!("mount -options={path}"))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(&format!("{path}:2: flag -ttl: \"x\"")),
            "{error}"
        );
    }

    #[test]
    fn flags_without_effect_are_warned_of_by_name() {
        let names = |line: &str| {
            let warnings = parse(line).unwrap().warnings;
            warnings
                .into_iter()
                .map(|warning| warning.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names("mount -peer.enable -cpuprofile=x -nonempty"),
            ["peer.enable", "cpuprofile"]
        );
        assert_eq!(names("-logdir=/x mount"), ["logdir"]);
        assert!(names("mount -peer.enable=false -chunkSizeLimitMB=2").is_empty());
        assert!(names("mount -rdma.enabled -rdma.fallback=false").is_empty());
        assert_eq!(names("mount -rdma.fallback=false"), ["rdma.fallback"]);
    }

    #[test]
    fn help_is_found_wherever_it_is_asked_for() {
        for (line, name) in [
            ("-h", None),
            ("help", None),
            ("help stats", Some("stats")),
            ("mount -h", Some("mount")),
            ("mount -dir=/a --help", Some("mount")),
            ("umount -help", Some("umount")),
        ] {
            match parse(line).unwrap().action {
                Action::Help(subcommand) => assert_eq!(subcommand.map(|s| s.name), name),
                other => panic!("{line}: {other:?}"),
            }
        }
        assert!(matches!(
            Invocation::parse(&[]).unwrap().action,
            Action::Help(None)
        ));
        assert!(matches!(
            parse("--version").unwrap().action,
            Action::Version
        ));
    }

    #[test]
    fn what_is_missing_or_too_much_is_named() {
        for (line, error) in [
            ("umount", "missing argument DIR"),
            ("stats -json", "missing argument DIR"),
            ("completions", "missing argument bash|zsh|fish"),
            (
                "completions tcsh",
                "unexpected argument \"tcsh\": expected bash, zsh or fish",
            ),
            (
                "help munt",
                "subcommand \"munt\" does not exist; did you mean mount?",
            ),
            (
                "version now",
                "unexpected argument \"now\": expected flags only",
            ),
        ] {
            assert_eq!(parse(line).unwrap_err().to_string(), error, "{line}");
        }
    }
}
