//! What can be wrong with a command line.

use std::path::PathBuf;

use crate::flags::{Flag, Kind};

/// A command line that cannot be followed. Each names the word at fault and,
/// where it can, what would have been right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// A word that starts like a flag and is none.
    #[error("bad flag syntax: {word}")]
    BadSyntax {
        /// The word.
        word: String,
    },
    /// A flag that does not exist.
    #[error("flag -{name} does not exist{}", nearest_hint(.nearest))]
    Unknown {
        /// As it was written.
        name: String,
        /// The most similar one that does exist.
        nearest: Option<&'static str>,
    },
    /// A flag at the end of the line that wants a value.
    #[error("flag -{name} needs a value: {expected}")]
    NeedsValue {
        /// The flag.
        name: &'static str,
        /// What would be allowed.
        expected: String,
    },
    /// A value that is not allowed.
    #[error("flag -{name}: {value:?} is not allowed: expected {expected}")]
    BadValue {
        /// The flag.
        name: &'static str,
        /// As it was written.
        value: String,
        /// What would be allowed.
        expected: String,
    },
    /// A first word that names no subcommand.
    #[error("subcommand {name:?} does not exist{}", nearest_command(.nearest))]
    UnknownCommand {
        /// As it was written.
        name: String,
        /// The most similar one that does exist.
        nearest: Option<&'static str>,
    },
    /// A word where none is expected.
    #[error("unexpected argument {word:?}: expected {expected}")]
    Unexpected {
        /// The word.
        word: String,
        /// What would be allowed.
        expected: &'static str,
    },
    /// A flag that means nothing without another one.
    #[error("flag -{name} has no meaning without -{needed}")]
    Alone {
        /// The flag.
        name: &'static str,
        /// The other one.
        needed: &'static str,
    },
    /// Two flags that cannot both be followed.
    #[error("flag -{name} cannot go with -{other}: {why}")]
    Contradiction {
        /// The flag.
        name: &'static str,
        /// The other one.
        other: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// A word that is missing.
    #[error("missing argument {name}")]
    Missing {
        /// What it is called in the usage text.
        name: &'static str,
    },
    /// Options of mount(8) with a quote that is not closed.
    #[error("the mount options {options:?} end inside quotes")]
    OpenQuote {
        /// All of them.
        options: String,
    },
    /// The first column of fstab and an option that contradict each other.
    #[error("the source {source_word:?} and the option {option} name two things to mount")]
    TwoSources {
        /// The first column.
        source_word: String,
        /// The option.
        option: &'static str,
    },
    /// A file given by `-options` that cannot be read.
    #[error("flag -options: cannot read {}: {reason}", path.display())]
    OptionsFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// A file given by `-config` that cannot be read, or is no TOML.
    #[error("flag -config: {}: {reason}", path.display())]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A setting of such a file that cannot be followed.
    #[error("{}: {cause}", path.display())]
    ConfigSetting {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: Box<FlagError>,
    },
    /// A line of a file given by `-options` that cannot be followed.
    #[error("{}:{line}: {cause}", path.display())]
    OptionsLine {
        /// The file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// What is wrong with it.
        cause: Box<FlagError>,
    },
}

impl FlagError {
    /// That `value` of `flag` is none of its kind.
    pub fn bad_value(flag: &Flag, value: &str) -> Self {
        Self::bad(flag.name, value, expected(flag))
    }

    /// That `value` of the flag `name` is not what was expected.
    pub fn bad(name: &'static str, value: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::BadValue {
            name,
            value: value.into(),
            expected: expected.into(),
        }
    }
}

/// What is allowed for `flag`, in words.
pub fn expected(flag: &Flag) -> String {
    match flag.kind {
        Kind::Bool => "true or false".to_owned(),
        Kind::Int(i64::MIN, i64::MAX) => "a whole number".to_owned(),
        Kind::Int(min, i64::MAX) => format!("a whole number of at least {min}"),
        Kind::Int(min, max) => format!("a whole number from {min} to {max}"),
        Kind::Duration => "a duration that is not negative, such as 6s or 1m30s".to_owned(),
        Kind::Text => "a text".to_owned(),
        Kind::OneOf(words) => format!("one of {}", words.join(", ")),
        Kind::Folder => "the path of a folder".to_owned(),
        Kind::File => "the path of a file".to_owned(),
        Kind::List => "texts separated by commas".to_owned(),
    }
}

/// The one of `known` that was probably meant by `name`.
pub fn nearest(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let lower = name.to_lowercase();
    known
        .map(|candidate| {
            let distance = strsim::osa_distance(&lower, &candidate.to_lowercase());
            (distance, candidate)
        })
        .filter(|(distance, candidate)| *distance <= candidate.len().max(3) / 3)
        .min()
        .map(|(_, candidate)| candidate)
}

fn nearest_hint(nearest: &Option<&'static str>) -> String {
    match nearest {
        Some(name) => format!("; did you mean -{name}?"),
        None => "; see -h for those that do".to_owned(),
    }
}

fn nearest_command(nearest: &Option<&'static str>) -> String {
    match nearest {
        Some(name) => format!("; did you mean {name}?"),
        None => "; see -h for those that do".to_owned(),
    }
}
