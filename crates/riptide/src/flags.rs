//! What a flag is, and the rules all of them share.
//!
//! Every flag exists once, as a row of the tables below this module. The
//! parser, the defaults, `-h`, the man page, the shell completions and
//! docs/FLAGS.md are all made from those rows, so they cannot disagree.
//!
//! Words become values in three steps, each a pure function:
//! [`rewrite()`] walks the command line by the rules of Go's `flag` package,
//! [`options_file`] and [`toml_file`] do the same for a file, and [`Values`] gives every flag
//! its type and checks its range. Only then does a [`State`] say what the
//! program makes of it.

pub mod error;
pub mod fstab;
pub mod go;
pub mod logging;
pub mod mount;
pub mod options_file;
mod rewrite;
pub mod sidecar;
pub mod toml_file;
pub mod values;

pub use error::FlagError;
pub use rewrite::rewrite;
pub use values::{Value, Values};

/// One flag.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Without the dash; may contain dots.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// What it is when not given, as it would be written; empty for the kind's zero.
    pub default: &'static str,
    /// One or more sentences for people.
    pub help: &'static str,
    /// Where the flag comes from.
    pub origin: Origin,
    /// What this version makes of it.
    pub state: State,
}

/// The type of a flag's value and what of it is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// On or off; needs no value.
    Bool,
    /// A whole number between the two, ends included.
    Int(i64, i64),
    /// A span of time that is not negative, such as `1m30s`.
    Duration,
    /// Any text.
    Text,
    /// One of a few words.
    OneOf(&'static [&'static str]),
    /// The path of a folder.
    Folder,
    /// The path of a file.
    File,
    /// Texts: the flag may be given several times, each time with several, separated by commas.
    List,
}

/// Where a flag comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// `weed mount` 4.48, or `weed` itself for the logging flags.
    Weed,
    /// `weed mount` up to 4.44, removed since.
    OldWeed,
    /// Riptide's own.
    Riptide,
}

/// What this version makes of a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It does what it says.
    Honoured,
    /// It is understood and has no effect, for the reason given.
    Ignored(&'static str),
    /// It does what it says if another flag, a switch, is on.
    Needs {
        /// That switch.
        switch: &'static str,
        /// Why it has no effect otherwise.
        otherwise: &'static str,
    },
}

/// Flags on one subject.
#[derive(Debug)]
pub struct Section {
    /// The heading it is shown under.
    pub title: &'static str,
    /// In the order they are shown.
    pub flags: &'static [Flag],
}

impl Flag {
    /// A flag that is on or off.
    pub const fn switch(name: &'static str) -> Self {
        Self::new(name, Kind::Bool)
    }

    /// A flag with a whole number in a range.
    pub const fn int(name: &'static str, min: i64, max: i64) -> Self {
        Self::new(name, Kind::Int(min, max))
    }

    /// A flag with a span of time.
    pub const fn duration(name: &'static str) -> Self {
        Self::new(name, Kind::Duration)
    }

    /// A flag with a text that its reader checks.
    pub const fn text(name: &'static str) -> Self {
        Self::new(name, Kind::Text)
    }

    /// A flag with the path of a folder.
    pub const fn folder(name: &'static str) -> Self {
        Self::new(name, Kind::Folder)
    }

    /// A flag with the path of a file.
    pub const fn file(name: &'static str) -> Self {
        Self::new(name, Kind::File)
    }

    /// A flag that may be given several times.
    pub const fn list(name: &'static str) -> Self {
        Self::new(name, Kind::List)
    }

    /// A flag with one of a few words.
    pub const fn one_of(name: &'static str, words: &'static [&'static str]) -> Self {
        Self::new(name, Kind::OneOf(words))
    }

    const fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            default: "",
            help: "",
            origin: Origin::Weed,
            state: State::Honoured,
        }
    }

    /// With a default other than the kind's zero.
    pub const fn default(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    /// With its explanation.
    pub const fn help(mut self, help: &'static str) -> Self {
        self.help = help;
        self
    }

    /// Not one of `weed`'s.
    pub const fn ours(mut self) -> Self {
        self.origin = Origin::Riptide;
        self
    }

    /// No longer one of `weed`'s.
    pub const fn old(mut self) -> Self {
        self.origin = Origin::OldWeed;
        self
    }

    /// Without effect, for this reason.
    pub const fn ignored(mut self, reason: &'static str) -> Self {
        self.state = State::Ignored(reason);
        self
    }

    /// Without effect unless `switch` is on, for this reason.
    pub const fn needs(mut self, switch: &'static str, otherwise: &'static str) -> Self {
        self.state = State::Needs { switch, otherwise };
        self
    }

    /// Whether the flag needs no value.
    pub fn is_switch(&self) -> bool {
        self.kind == Kind::Bool
    }

    /// The word that stands for its value in usage texts; none for a switch.
    pub fn value_word(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Bool => None,
            Kind::Int(..) => Some("int"),
            Kind::Duration => Some("duration"),
            Kind::Text => Some("string"),
            Kind::OneOf(_) => Some("word"),
            Kind::Folder => Some("dir"),
            Kind::File => Some("file"),
            Kind::List => Some("list"),
        }
    }

    /// The default in words, nothing for the kind's zero.
    pub fn shown_default(&self) -> Option<&'static str> {
        (!self.default.is_empty()).then_some(self.default)
    }
}

/// Other spellings of flags.
const SPELLINGS: [(&str, &str); 1] = [("read-only", "readOnly")];

/// The flag called `name` in `sections`.
pub fn find<'t>(sections: &[&'t Section], name: &str) -> Option<&'t Flag> {
    let known = SPELLINGS.iter().find(|(spelling, _)| *spelling == name);
    let name = known.map_or(name, |(_, name)| name);
    flags(sections).find(|flag| flag.name == name)
}

/// All flags of `sections`, in their order.
pub fn flags<'t>(sections: &[&'t Section]) -> impl Iterator<Item = &'t Flag> {
    sections.iter().flat_map(|section| section.flags)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ffi::OsStr;

    use super::*;
    use crate::command::SUBCOMMANDS;

    #[test]
    fn names_are_unique_defaults_are_allowed_and_helps_are_sentences() {
        for subcommand in SUBCOMMANDS {
            let mut seen = BTreeSet::new();
            for flag in flags(&subcommand.all_sections()) {
                let name = flag.name;
                assert!(seen.insert(name), "{name} is there twice");
                assert!(flag.help.ends_with('.'), "{name}: {}", flag.help);
                if !flag.default.is_empty() {
                    Value::parse(flag, OsStr::new(flag.default)).unwrap();
                }
            }
        }
    }

    #[test]
    fn reasons_are_clauses_that_fit_into_a_sentence() {
        for flag in flags(&crate::flags::mount::ALL) {
            let reason = match flag.state {
                State::Honoured => continue,
                State::Ignored(reason) => reason,
                State::Needs { switch, otherwise } => {
                    assert!(find(&crate::flags::mount::ALL, switch).unwrap().is_switch());
                    otherwise
                }
            };
            assert!(!reason.is_empty() && !reason.ends_with('.'), "{reason}");
        }
    }
}
