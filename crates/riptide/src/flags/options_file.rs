//! The file that `-options` names.
//!
//! One flag a line as `name=value` or `name value`; a switch may stand alone;
//! `#` starts a comment line. As with `weed`, the first of two lines for one
//! flag wins (those of a list add up) and the command line wins over the file. Unlike `weed`, a name
//! that does not exist is an error: a typo must not go unnoticed.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::flags::rewrite::{long_form, unknown};
use crate::flags::{FlagError, Kind, Section, Value, find};

/// No sane file is longer.
const MAX_BYTES: u64 = 1 << 20;

/// Reads the file at `path` and turns it into words like those of
/// [`rewrite`](crate::flags::rewrite()).
pub fn load(path: &Path, sections: &[&'static Section]) -> Result<Vec<OsString>, FlagError> {
    let unreadable = |reason: String| FlagError::OptionsFile {
        path: path.to_owned(),
        reason,
    };
    let size = std::fs::metadata(path)
        .map_err(|error| unreadable(error.to_string()))?
        .len();
    if size > MAX_BYTES {
        return Err(unreadable(format!("it is larger than {MAX_BYTES} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    parse(&text, sections).map_err(|(line, cause)| FlagError::OptionsLine {
        path: path.to_owned(),
        line,
        cause: Box::new(cause),
    })
}

/// Turns the text of a file into words; an error comes with the number of its line.
pub fn parse(
    text: &str,
    sections: &[&'static Section],
) -> Result<Vec<OsString>, (usize, FlagError)> {
    let mut seen = HashSet::new();
    let mut words = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = split(line);
        let number = index + 1;
        let flag = find(sections, name)
            .filter(|flag| flag.name != "options")
            .ok_or_else(|| (number, unknown(OsStr::new(name), sections)))?;
        let value = match value {
            None if flag.is_switch() => "true",
            None => "",
            Some(value) => value,
        };
        let parsed = Value::parse(flag, OsStr::new(value)).map_err(|error| (number, error))?;
        if seen.insert(flag.name) || flag.kind == Kind::List {
            let value = match parsed {
                Value::Bool(on) => on.to_string().into(),
                _ => OsString::from(value),
            };
            words.push(long_form(flag.name, &value));
        }
    }
    Ok(words)
}

/// Name and value of a line, with or without dashes, `=` and blanks around it.
fn split(line: &str) -> (&str, Option<&str>) {
    let body = line
        .strip_prefix("--")
        .or_else(|| line.strip_prefix('-'))
        .unwrap_or(line);
    match body.find(|c: char| c == '=' || c.is_whitespace()) {
        None => (body, None),
        Some(at) => {
            let value = body[at..].trim_start();
            let value = value.strip_prefix('=').unwrap_or(value);
            (&body[..at], Some(value.trim_start()))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flags::mount::ALL;

    fn words(text: &str) -> Vec<String> {
        parse(text, &ALL)
            .unwrap()
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect()
    }

    #[test]
    fn each_way_to_write_a_line_is_understood() {
        let text = "# a comment\n\n  filer=a:1,b:2  \ndir /mnt/x y\nttl = 5\nnonempty\nallowOthers=F\n-disk=ssd\nreadRetryTime=\t3s\r\n";
        assert_eq!(
            words(text),
            [
                "--filer=a:1,b:2",
                "--dir=/mnt/x y",
                "--ttl=5",
                "--nonempty=true",
                "--allowOthers=false",
                "--disk=ssd",
                "--readRetryTime=3s"
            ]
        );
    }

    #[test]
    fn the_first_of_two_lines_wins() {
        assert_eq!(words("ttl=5\nttl=6"), ["--ttl=5"]);
    }

    #[test]
    fn an_error_names_the_line_the_flag_and_what_is_allowed() {
        for (text, line, error) in [
            (
                "\nfilr=a:1",
                2,
                "flag -filr does not exist; did you mean -filer?",
            ),
            (
                "ttl=abc",
                1,
                "flag -ttl: \"abc\" is not allowed: expected a whole number from 0 to 2147483647",
            ),
            (
                "ttl",
                1,
                "flag -ttl: \"\" is not allowed: expected a whole number from 0 to 2147483647",
            ),
            (
                "ttl=5 # five",
                1,
                "flag -ttl: \"5 # five\" is not allowed: expected a whole number from 0 to 2147483647",
            ),
            (
                "#\n#\nallowOthers=yes",
                3,
                "flag -allowOthers: \"yes\" is not allowed: expected true or false",
            ),
        ] {
            let (at, cause) = parse(text, &ALL).unwrap_err();
            assert_eq!((at, cause.to_string().as_str()), (line, error));
        }
        assert!(
            parse("options=other", &ALL).is_err(),
            "no file names another"
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let error = load(Path::new("/nonexistent/options"), &ALL).unwrap_err();
        assert!(
            error.to_string().contains("/nonexistent/options"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(\\PC|[\\n\\t =#-]){0,64}") {
            let _ = parse(&text, &ALL);
        }

        #[test]
        fn what_it_gives_is_in_the_form_of_the_command_line(value in "[a-z]{0,8}") {
            let words = parse(&format!("collection={value}"), &ALL).map_err(|_| TestCaseError::fail("refused"))?;
            let mut line = vec![OsString::from("mount")];
            line.extend(words);
            prop_assert_eq!(crate::flags::rewrite(&line), Ok(line));
        }
    }
}
