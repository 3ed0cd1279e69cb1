//! Command lines by the rules of Go's `flag` package.
//!
//! clap wants `--name=value`. Go takes `-name=value`, `-name value`, `-switch`
//! and `-switch=false` with one dash or two; it takes the next word as a value
//! even if that starts with a dash, never takes one for a switch, and stops at
//! `--` or at the first word that is no flag. [`rewrite`] walks the words by
//! those rules and writes them down the way clap reads them, so that clap is
//! left with no choice to make.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::command::{Subcommand, by_name, command_names};
use crate::flags::error::{expected, nearest};
use crate::flags::{FlagError, Section, find, flags, go, logging};

/// Rewrites the words after the program's name. The result starts with the
/// subcommand (`help` where there is none), goes on with `--name=value` for
/// each flag in the order given (those before the subcommand first), and ends
/// with `--` and the other words where there are any. `--help` anywhere among
/// the flags ends the walk, as in Go, and then the other words mean nothing.
pub fn rewrite(args: &[OsString]) -> Result<Vec<OsString>, FlagError> {
    let mut before = Vec::new();
    let rest = walk(args, &[&logging::LOGGING], &mut before)?;
    if before.iter().any(|word| word == "--help") {
        return Ok(vec!["help".into()]);
    }
    let Some((name, rest)) = rest.split_first() else {
        return Ok(vec!["help".into()]);
    };
    let subcommand = by_name(&name.to_string_lossy()).ok_or_else(|| {
        let name = name.to_string_lossy().into_owned();
        let nearest = nearest(&name, command_names());
        FlagError::UnknownCommand { name, nearest }
    })?;

    let mut out = vec![OsString::from(subcommand.name)];
    out.append(&mut before);
    let words = flags_and_words(subcommand, rest, &mut out)?;
    let wants_help = out.last().is_some_and(|word| word == "--help");
    if !words.is_empty() && !wants_help {
        out.push("--".into());
        out.extend(words);
    }
    Ok(out)
}

/// Appends the flags to `out` and returns the words that are none.
fn flags_and_words(
    subcommand: &Subcommand,
    args: &[OsString],
    out: &mut Vec<OsString>,
) -> Result<Vec<OsString>, FlagError> {
    let sections = subcommand.all_sections();
    let mut words = Vec::new();
    let mut rest = args;
    loop {
        let before = rest;
        rest = walk(rest, &sections, out)?;
        let ended = before.len() > rest.len() && before[before.len() - rest.len() - 1] == "--";
        // `umount DIR -l` reads better than `umount -l DIR`; where words are
        // expected, flags may follow them. `mount` expects none and stops as Go does.
        let most = subcommand.most_words().unwrap_or(usize::MAX);
        if ended || words.len() >= most || rest.is_empty() {
            words.extend_from_slice(rest);
            break;
        }
        words.push(rest[0].clone());
        rest = &rest[1..];
    }
    match subcommand.most_words().and_then(|most| words.get(most)) {
        Some(word) => Err(FlagError::Unexpected {
            word: word.to_string_lossy().into_owned(),
            expected: match subcommand.words {
                [] => "flags only",
                [_] => "one word besides flags",
                _ => "two words besides flags",
            },
        }),
        None => Ok(words),
    }
}

/// Consumes flags from the front of `args`; returns what is left after them
/// (and after a `--` that ends them).
fn walk<'a>(
    args: &'a [OsString],
    sections: &[&'static Section],
    out: &mut Vec<OsString>,
) -> Result<&'a [OsString], FlagError> {
    let mut rest = args;
    while let Some((word, after)) = rest.split_first() {
        let Some(body) = flag_body(word)? else {
            return Ok(if word == "--" { after } else { rest });
        };
        let (name, value) = split_at_equals(body);
        let known = name.to_str().and_then(|name| find(sections, name));
        let Some(flag) = known else {
            if name == "h" || name == "help" {
                out.push("--help".into());
                return Ok(&[]);
            }
            return Err(unknown(name, sections));
        };
        rest = after;
        let value = match value {
            Some(value) if flag.is_switch() => canonical_switch(value)
                .ok_or_else(|| FlagError::bad_value(flag, &value.to_string_lossy()))?,
            Some(value) => value,
            None if flag.is_switch() => OsStr::new("true"),
            None => {
                let (value, after) = rest.split_first().ok_or_else(|| FlagError::NeedsValue {
                    name: flag.name,
                    expected: expected(flag),
                })?;
                rest = after;
                value
            }
        };
        out.push(long_form(flag.name, value));
    }
    Ok(rest)
}

/// The part after one or two dashes; `None` for a word that is no flag and for `--`.
fn flag_body(word: &OsStr) -> Result<Option<&OsStr>, FlagError> {
    let bytes = word.as_bytes();
    let body = match bytes {
        b"-" | b"--" => return Ok(None),
        [b'-', b'-', body @ ..] | [b'-', body @ ..] => body,
        _ => return Ok(None),
    };
    if matches!(body.first(), Some(b'-' | b'=')) {
        return Err(FlagError::BadSyntax {
            word: word.to_string_lossy().into_owned(),
        });
    }
    Ok(Some(OsStr::from_bytes(body)))
}

fn split_at_equals(body: &OsStr) -> (&OsStr, Option<&OsStr>) {
    let bytes = body.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (
            OsStr::from_bytes(&bytes[..at]),
            Some(OsStr::from_bytes(&bytes[at + 1..])),
        ),
        None => (body, None),
    }
}

fn canonical_switch(value: &OsStr) -> Option<&'static OsStr> {
    let on = value.to_str().and_then(go::parse_bool)?;
    Some(OsStr::new(if on { "true" } else { "false" }))
}

/// `--name=value`.
pub(crate) fn long_form(name: &str, value: &OsStr) -> OsString {
    let mut word = format!("--{name}=").into_bytes();
    word.extend_from_slice(value.as_bytes());
    OsString::from_vec(word)
}

pub(crate) fn unknown(name: &OsStr, sections: &[&'static Section]) -> FlagError {
    let name = name.to_string_lossy().into_owned();
    let nearest = nearest(&name, flags(sections).map(|flag| flag.name));
    FlagError::Unknown { name, nearest }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(line: &str) -> Result<String, String> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        match rewrite(&words) {
            Ok(words) => Ok(words
                .iter()
                .map(|word| word.to_string_lossy())
                .collect::<Vec<_>>()
                .join(" ")),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn words_are_read_as_go_reads_them() {
        for (line, rewritten) in [
            ("mount -dir=/a", "mount --dir=/a"),
            ("mount --dir=/a", "mount --dir=/a"),
            ("mount -dir /a", "mount --dir=/a"),
            ("mount -dir -weird", "mount --dir=-weird"),
            ("mount -dir --", "mount --dir=--"),
            ("mount -dir -h", "mount --dir=-h"),
            ("mount -dir=a=b", "mount --dir=a=b"),
            ("mount -dir=", "mount --dir="),
            ("mount -nonempty", "mount --nonempty=true"),
            ("mount -nonempty=F", "mount --nonempty=false"),
            ("mount -nonempty=1 -dir x", "mount --nonempty=true --dir=x"),
            ("mount -nonempty -dir x", "mount --nonempty=true --dir=x"),
            ("mount -rdma.enabled=TRUE", "mount --rdma.enabled=true"),
            ("mount -dir a -dir b", "mount --dir=a --dir=b"),
            ("mount -dir a --", "mount --dir=a"),
            ("-v=3 mount -dir a", "mount --v=3 --dir=a"),
            ("-v 3 -logtostderr mount", "mount --v=3 --logtostderr=true"),
            ("mount -dir a -v=2", "mount --dir=a --v=2"),
            ("mount -dir a -h", "mount --dir=a --help"),
            ("mount --help nonsense", "mount --help"),
            ("umount a -h", "umount --help"),
            ("umount /a -l", "umount --l=true -- /a"),
            ("umount -l /a", "umount --l=true -- /a"),
            ("umount -- -l", "umount -- -l"),
            (
                "stats /a --json -once",
                "stats --json=true --once=true -- /a",
            ),
            ("help mount", "help -- mount"),
            ("-h", "help"),
        ] {
            assert_eq!(run(line).as_deref(), Ok(rewritten), "{line}");
        }
        assert_eq!(rewrite(&[]).unwrap(), ["help"]);
    }

    #[test]
    fn errors_name_the_word_and_what_would_be_right() {
        for (line, error) in [
            (
                "mount -dri=/a",
                "flag -dri does not exist; did you mean -dir?",
            ),
            (
                "mount -cachedir=/a",
                "flag -cachedir does not exist; did you mean -cacheDir?",
            ),
            (
                "mount -qqqqqq",
                "flag -qqqqqq does not exist; see -h for those that do",
            ),
            ("mount ---dir=/a", "bad flag syntax: ---dir=/a"),
            ("mount -=3", "bad flag syntax: -=3"),
            (
                "mount -ttl",
                "flag -ttl needs a value: a whole number from 0 to 2147483647",
            ),
            (
                "mount -nonempty=yes",
                "flag -nonempty: \"yes\" is not allowed: expected true or false",
            ),
            (
                "mount -nonempty=",
                "flag -nonempty: \"\" is not allowed: expected true or false",
            ),
            (
                "mount -nonempty true",
                "unexpected argument \"true\": expected flags only",
            ),
            (
                "mount - -dir=a",
                "unexpected argument \"-\": expected flags only",
            ),
            (
                "mount -- -dir=a",
                "unexpected argument \"-dir=a\": expected flags only",
            ),
            (
                "umount a b",
                "unexpected argument \"b\": expected one word besides flags",
            ),
            (
                "monut -dir=a",
                "subcommand \"monut\" does not exist; did you mean mount?",
            ),
            (
                "-dir=a mount",
                "flag -dir does not exist; see -h for those that do",
            ),
        ] {
            assert_eq!(run(line).unwrap_err(), error, "{line}");
        }
    }

    #[test]
    fn values_need_not_be_utf8() {
        let path = OsString::from_vec(vec![b'/', 0xff, b'=']);
        let words = ["mount".into(), "-dir".into(), path];
        let rewritten = rewrite(&words).unwrap();
        assert_eq!(rewritten[1].as_bytes(), b"--dir=/\xff=");
    }

    fn word() -> impl Strategy<Value = OsString> {
        let names = crate::command::SUBCOMMANDS
            .iter()
            .flat_map(|subcommand| flags(&subcommand.all_sections()).collect::<Vec<_>>())
            .map(|flag| flag.name)
            .chain(["h", "help", ""])
            .collect::<Vec<_>>();
        prop_oneof![
            proptest::sample::select(command_names().collect::<Vec<_>>()).prop_map(OsString::from),
            (
                "-{0,3}",
                proptest::sample::select(names),
                "(=(true|0|x|-v|))?"
            )
                .prop_map(|(dash, name, value)| OsString::from(dash + name + &value)),
            proptest::collection::vec(any::<u8>(), 0..6).prop_map(OsString::from_vec),
        ]
    }

    proptest! {
        #[test]
        fn whatever_comes_out_is_what_clap_reads(words in proptest::collection::vec(word(), 0..8)) {
            if let Ok(rewritten) = rewrite(&words) {
                prop_assert!(by_name(&rewritten[0].to_string_lossy()).is_some());
                let parsed = crate::command::clap_command()
                    .try_get_matches_from(std::iter::once(OsString::from("riptide")).chain(rewritten));
                prop_assert!(parsed.is_ok(), "{}", parsed.unwrap_err());
            }
        }

        #[test]
        fn rewriting_twice_changes_nothing(words in proptest::collection::vec(word(), 0..8)) {
            if let Ok(once) = rewrite(&words) {
                prop_assert_eq!(rewrite(&once), Ok(once));
            }
        }

        #[test]
        fn any_value_survives_in_both_forms(value in proptest::collection::vec(any::<u8>(), 0..20)) {
            let value = OsString::from_vec(value);
            let apart = rewrite(&["mount".into(), "-dir".into(), value.clone()]);
            let joined = rewrite(&["mount".into(), long_form("dir", &value)]);
            prop_assert_eq!(&apart, &joined);
            prop_assert_eq!(apart, Ok(vec!["mount".into(), long_form("dir", &value)]));
        }
    }
}
