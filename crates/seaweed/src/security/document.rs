//! Values by dotted key, from a TOML text and the environment above it.
//!
//! Keys are looked up as weed's library for it does: whatever the case of
//! their letters, and whether a part that has dots is written as tables, as
//! dotted keys or in quotes. An empty text is the same as none.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::SecurityError;

pub(super) struct Document<'a> {
    origin: String,
    table: Table,
    variable: &'a dyn Fn(&str) -> Option<String>,
}

impl<'a> Document<'a> {
    pub(super) fn parse(
        text: &str,
        source: Option<&Path>,
        variable: &'a dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, SecurityError> {
        let origin = source.map_or_else(|| super::FILE.to_owned(), |p| p.display().to_string());
        let table = text.parse::<Table>().map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let line = 1 + text.bytes().take(at).filter(|&b| b == b'\n').count();
            SecurityError::Syntax {
                origin: origin.clone(),
                reason: format!("line {line}: {}", error.message()),
            }
        })?;
        Ok(Self {
            origin,
            table,
            variable,
        })
    }

    /// A text that is not empty.
    pub(super) fn text(&self, key: &str) -> Result<Option<String>, SecurityError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
            Some(_) => Err(self.wrong(key, "expected a text in quotes")),
        }
    }

    pub(super) fn path(&self, key: &str) -> Result<Option<PathBuf>, SecurityError> {
        Ok(self.text(key)?.map(PathBuf::from))
    }

    /// A number, which may be written as a text.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, SecurityError> {
        let wrong = || self.wrong(key, "expected a number of seconds, at most 4294967295");
        let number = match self.value(key) {
            None => return Ok(None),
            Some(Value::Integer(number)) => u32::try_from(number).ok(),
            Some(Value::String(text)) if text.is_empty() => return Ok(None),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(_) => None,
        };
        number.map(|n| Some(u64::from(n))).ok_or_else(wrong)
    }

    /// A truth value, which may be written as a text; false when it is missing.
    pub(super) fn flag(&self, key: &str) -> Result<bool, SecurityError> {
        let wrong = || self.wrong(key, "expected true or false");
        match self.value(key) {
            None => Ok(false),
            Some(Value::Boolean(flag)) => Ok(flag),
            Some(Value::String(text)) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "t" | "1" => Ok(true),
                "false" | "f" | "0" | "" => Ok(false),
                _ => Err(wrong()),
            },
            Some(_) => Err(wrong()),
        }
    }

    /// An error about a value. The value itself may be a secret and is left out.
    pub(super) fn wrong(&self, key: &str, reason: impl Into<String>) -> SecurityError {
        let variable = variable_name(key);
        let origin = match self.overriding(key) {
            Some(_) => format!("environment variable {variable}"),
            None => self.origin.clone(),
        };
        SecurityError::Value {
            origin,
            key: key.to_owned(),
            reason: reason.into(),
        }
    }

    fn value(&self, key: &str) -> Option<Value> {
        match self.overriding(key) {
            Some(text) => Some(Value::String(text)),
            None => find(&self.table, key).cloned(),
        }
    }

    fn overriding(&self, key: &str) -> Option<String> {
        (self.variable)(&variable_name(key)).filter(|text| !text.is_empty())
    }
}

fn variable_name(key: &str) -> String {
    format!("WEED_{}", key.replace('.', "_").to_uppercase())
}

fn find<'t>(table: &'t Table, key: &str) -> Option<&'t Value> {
    if let Some(value) = member(table, key) {
        return Some(value);
    }
    let dots = key.match_indices('.');
    let mut nested = dots.filter_map(|(at, _)| match member(table, &key[..at]) {
        Some(Value::Table(inner)) => find(inner, &key[at + 1..]),
        _ => None,
    });
    nested.next()
}

fn member<'t>(table: &'t Table, key: &str) -> Option<&'t Value> {
    let same = |(name, _): &(&String, &Value)| name.eq_ignore_ascii_case(key);
    table.iter().find(same).map(|(_, value)| value)
}
