//! Flags with types.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::flags::{Flag, FlagError, Kind, Section, State, find, flags, go};

/// Bytes of a MiB, the unit of the flags that end in `MB`.
const MIB: u64 = 1 << 20;

/// The value of one flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// On or off.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A span of time.
    Duration(Duration),
    /// A text, a word or a path, which need not be UTF-8.
    Text(OsString),
    /// Several texts.
    List(Vec<OsString>),
}

impl Value {
    /// Reads `text` as `flag` wants it.
    pub fn parse(flag: &Flag, text: &OsStr) -> Result<Self, FlagError> {
        let bad = || FlagError::bad_value(flag, &text.to_string_lossy());
        let utf8 = text.to_str();
        match flag.kind {
            Kind::Bool => utf8.and_then(go::parse_bool).map(Self::Bool),
            Kind::Int(min, max) => utf8
                .and_then(go::parse_int)
                .filter(|value| (min..=max).contains(value))
                .map(Self::Int),
            Kind::Duration => utf8.and_then(go::parse_duration).map(Self::Duration),
            Kind::OneOf(words) => utf8
                .filter(|word| words.contains(word))
                .map(|word| Self::Text(word.into())),
            Kind::Text | Kind::Folder | Kind::File => Some(Self::Text(text.to_owned())),
            Kind::List => Some(Self::List(members(text))),
        }
        .ok_or_else(bad)
    }

    /// What a flag is that was not given.
    fn default_of(flag: &Flag) -> Self {
        // The table's own test reads every default that is not empty.
        Self::parse(flag, OsStr::new(flag.default)).unwrap_or(match flag.kind {
            Kind::Bool => Self::Bool(false),
            Kind::Int(..) => Self::Int(0),
            Kind::List => Self::List(Vec::new()),
            Kind::Duration => Self::Duration(Duration::ZERO),
            _ => Self::Text(flag.default.into()),
        })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Duration(value) => write!(f, "{value:?}"),
            Self::Text(value) => value.to_string_lossy().fmt(f),
            Self::List(values) => values.join(OsStr::new(",")).to_string_lossy().fmt(f),
        }
    }
}

/// A flag that was set and has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The flag.
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// Why it has no effect.
    pub reason: &'static str,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            value,
            reason,
        } = self;
        write!(f, "flag -{name}={value} has no effect: {reason}")
    }
}

/// The values of all flags of a subcommand, given or not.
#[derive(Debug)]
pub struct Values {
    all: BTreeMap<&'static str, Value>,
    given: BTreeSet<&'static str>,
}

impl Values {
    /// Gives each flag of `sections` its last value in `given`, a list all of them, else its
    /// default.
    pub fn new<'a>(
        sections: &[&'static Section],
        given: impl IntoIterator<Item = (&'a str, &'a OsStr)>,
    ) -> Result<Self, FlagError> {
        let mut values: BTreeMap<_, _> = flags(sections)
            .map(|flag| (flag.name, Value::default_of(flag)))
            .collect();
        let mut seen = BTreeSet::new();
        for (name, text) in given {
            if let Some(flag) = find(sections, name) {
                let again = !seen.insert(flag.name);
                match (Value::parse(flag, text)?, values.get_mut(flag.name)) {
                    (Value::List(more), Some(Value::List(all))) if again => all.extend(more),
                    (value, _) => _ = values.insert(flag.name, value),
                }
            }
        }
        Ok(Self {
            all: values,
            given: seen,
        })
    }

    /// Whether the flag was given, be it with its default.
    pub fn is_given(&self, name: &str) -> bool {
        self.given.contains(name)
    }

    /// A warning for each flag that differs from its default and has no effect.
    pub fn warnings(&self, sections: &[&'static Section]) -> Vec<Warning> {
        let mut warnings = Vec::new();
        for flag in flags(sections) {
            let Some(value) = self.all.get(flag.name) else {
                continue;
            };
            if *value == Value::default_of(flag) {
                continue;
            }
            let reason = match flag.state {
                State::Honoured => continue,
                State::Ignored(reason) => reason,
                State::Needs { switch, .. } if self.switch(switch) => continue,
                State::Needs { otherwise, .. } => otherwise,
            };
            warnings.push(Warning {
                name: flag.name,
                value: value.to_string(),
                reason,
            });
        }
        warnings
    }

    /// A switch.
    pub fn switch(&self, name: &str) -> bool {
        matches!(self.all.get(name), Some(Value::Bool(true)))
    }

    /// A whole number, within the range its flag allows.
    pub fn int(&self, name: &str) -> i64 {
        match self.all.get(name) {
            Some(Value::Int(value)) => *value,
            _ => 0,
        }
    }

    /// A whole number that cannot be negative, limited to what `T` holds.
    pub fn count<T: TryFrom<i64> + Limit>(&self, name: &str) -> T {
        T::try_from(self.int(name).max(0)).unwrap_or(T::MAXIMUM)
    }

    /// A number of MiB, in bytes.
    pub fn mib(&self, name: &str) -> u64 {
        self.count::<u64>(name).saturating_mul(MIB)
    }

    /// A span of time.
    pub fn duration(&self, name: &str) -> Duration {
        match self.all.get(name) {
            Some(Value::Duration(value)) => *value,
            _ => Duration::ZERO,
        }
    }

    /// A text as it was given.
    pub fn os(&self, name: &str) -> &OsStr {
        match self.all.get(name) {
            Some(Value::Text(value)) => value,
            _ => OsStr::new(""),
        }
    }

    /// A text that has to be UTF-8.
    pub fn text(&self, name: &'static str) -> Result<&str, FlagError> {
        let value = self.os(name);
        value
            .to_str()
            .ok_or_else(|| FlagError::bad(name, value.to_string_lossy(), "valid UTF-8"))
    }

    /// The members of a list, each of which has to be UTF-8.
    pub fn list(&self, name: &'static str) -> Result<Vec<&str>, FlagError> {
        let not_utf8 =
            |text: &OsString| FlagError::bad(name, text.to_string_lossy(), "valid UTF-8");
        let texts = self.os_list(name).iter();
        texts
            .map(|text| text.to_str().ok_or_else(|| not_utf8(text)))
            .collect()
    }

    /// The members of a list as they were given.
    pub fn os_list(&self, name: &str) -> &[OsString] {
        match self.all.get(name) {
            Some(Value::List(values)) => values,
            _ => &[],
        }
    }

    /// A path; none when empty.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        let value = self.os(name);
        (!value.is_empty()).then(|| PathBuf::from(value))
    }
}

/// What stands between commas; empty members are skipped.
fn members(text: &OsStr) -> Vec<OsString> {
    let parts = text.as_bytes().split(|byte| *byte == b',');
    let trimmed = parts.map(<[u8]>::trim_ascii);
    let kept = trimmed.filter(|part| !part.is_empty());
    kept.map(|part| OsStr::from_bytes(part).to_owned())
        .collect()
}

/// A type with a largest value.
pub trait Limit {
    /// That value.
    const MAXIMUM: Self;
}

impl Limit for u16 {
    const MAXIMUM: Self = u16::MAX;
}

impl Limit for u32 {
    const MAXIMUM: Self = u32::MAX;
}

impl Limit for u64 {
    const MAXIMUM: Self = u64::MAX;
}

impl Limit for usize {
    const MAXIMUM: Self = usize::MAX;
}
