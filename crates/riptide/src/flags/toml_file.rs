//! The file that `-config` names.
//!
//! TOML of the flags' own names: `port = 8081`, `enable-rdma = true`,
//! `volume-server = ["a:8080", "b:8080"]`. Names with dots may be written in quotes or as tables.
//! A setting becomes the word that the command line would have, so it is read and
//! checked by the same rules; a name that does not exist is an error.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use toml::{Table, Value};

use crate::flags::error::expected;
use crate::flags::rewrite::{long_form, unknown};
use crate::flags::{Flag, FlagError, Kind, Section, Value as Checked, find};

/// No sane file is longer.
const MAX_BYTES: u64 = 1 << 20;

/// Reads the file at `path` and turns it into words like those of
/// [`rewrite`](crate::flags::rewrite()).
pub fn load(path: &Path, sections: &[&'static Section]) -> Result<Vec<OsString>, FlagError> {
    let unusable = |reason: String| FlagError::ConfigFile {
        path: path.to_owned(),
        reason,
    };
    let metadata = std::fs::metadata(path).map_err(|error| unusable(error.to_string()))?;
    if metadata.len() > MAX_BYTES {
        return Err(unusable(format!("it is larger than {MAX_BYTES} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?;
    let table: Table = text
        .parse()
        .map_err(|error: toml::de::Error| unusable(error.to_string()))?;
    parse(&table, sections).map_err(|cause| FlagError::ConfigSetting {
        path: path.to_owned(),
        cause: Box::new(cause),
    })
}

/// Turns settings into words.
pub fn parse(table: &Table, sections: &[&'static Section]) -> Result<Vec<OsString>, FlagError> {
    let mut words = Vec::new();
    walk(table, "", sections, &mut words)?;
    Ok(words)
}

fn walk(
    table: &Table,
    prefix: &str,
    sections: &[&'static Section],
    words: &mut Vec<OsString>,
) -> Result<(), FlagError> {
    for (key, value) in table {
        let name = format!("{prefix}{key}");
        let flag = find(sections, &name).filter(|flag| !NAMES_A_FILE.contains(&flag.name));
        match (flag, value) {
            (Some(flag), value) if !value.is_table() => setting(flag, value, words)?,
            (_, Value::Table(below)) => walk(below, &format!("{name}."), sections, words)?,
            _ => return Err(unknown(OsStr::new(&name), sections)),
        }
    }
    Ok(())
}

/// No file names another.
const NAMES_A_FILE: [&str; 2] = ["config", "options"];

fn setting(flag: &'static Flag, value: &Value, words: &mut Vec<OsString>) -> Result<(), FlagError> {
    let wrong = || FlagError::bad(flag.name, value.to_string(), expected(flag));
    match (flag.kind, value) {
        (Kind::List, Value::Array(members)) => {
            for member in members {
                let text = member.as_str().ok_or_else(wrong)?;
                words.push(long_form(flag.name, OsStr::new(text)));
            }
            return Ok(());
        }
        (Kind::Bool, Value::Boolean(_)) | (Kind::Int(..), Value::Integer(_)) => {}
        (Kind::Bool | Kind::Int(..), _) => return Err(wrong()),
        (_, Value::String(_)) => {}
        _ => return Err(wrong()),
    }
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Checked::parse(flag, OsStr::new(&text))?;
    words.push(long_form(flag.name, OsStr::new(&text)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flags::sidecar::ALL;

    fn words(text: &str) -> Result<Vec<String>, String> {
        let table: Table = text.parse().unwrap();
        let words = parse(&table, &ALL).map_err(|error| error.to_string())?;
        Ok(words
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect())
    }

    #[test]
    fn each_kind_of_setting_becomes_its_word() {
        let text = r#"
            port = 8082
            enable-rdma = true
            memory-limit = "2GiB"
            volume-server = ["a:8080", "b:8080"]
            dir = "/data"
            "dir.idx" = "/idx"
        "#;
        let mut read = words(text).unwrap();
        read.sort_unstable();
        let expected = [
            "--dir.idx=/idx",
            "--dir=/data",
            "--enable-rdma=true",
            "--memory-limit=2GiB",
            "--port=8082",
            "--volume-server=a:8080",
            "--volume-server=b:8080",
        ];
        assert_eq!(read, expected);
        assert_eq!(words("dir.idx = \"/idx\"").unwrap(), ["--dir.idx=/idx"]);
    }

    #[test]
    fn an_error_names_the_setting_its_value_and_what_is_allowed() {
        for (text, error) in [
            ("prot = 1", "flag -prot does not exist; did you mean -port?"),
            (
                "port.x = 1",
                "flag -port.x does not exist; see -h for those that do",
            ),
            (
                "port = 70000",
                "flag -port: \"70000\" is not allowed: expected a whole number from 0 to 65535",
            ),
            (
                "port = \"8081\"",
                "flag -port: \"\\\"8081\\\"\" is not allowed: expected a whole number from 0 to 65535",
            ),
            (
                "enable-rdma = 1",
                "flag -enable-rdma: \"1\" is not allowed: expected true or false",
            ),
            (
                "filer = [1]",
                "flag -filer: \"[1]\" is not allowed: expected texts separated by commas",
            ),
            (
                "verify-ranges = \"sometimes\"",
                "flag -verify-ranges: \"sometimes\" is not allowed: expected one of always, cached, never",
            ),
        ] {
            assert_eq!(words(text).unwrap_err(), error, "{text}");
        }
        assert!(words("config = \"other.toml\"").is_err());
    }

    #[test]
    fn a_file_that_is_no_toml_is_named_with_the_place() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "port = 1\nbind =\n").unwrap();
        let error = load(file.path(), &ALL).unwrap_err().to_string();
        let path = file.path().display().to_string();
        assert!(error.contains(&path) && error.contains("line 2"), "{error}");
        let error = load(Path::new("/nonexistent/x.toml"), &ALL).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/x.toml"), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(\\PC|[\\n=\"\\[\\].]){0,64}") {
            if let Ok(table) = text.parse::<Table>() {
                let _ = parse(&table, &ALL);
            }
        }
    }
}
