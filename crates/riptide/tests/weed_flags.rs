//! The table of flags against what the real `weed` prints about its own.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::process::Command;

use riptide::flags::{Flag, Kind, Origin, Section, flags, logging, mount};

/// A flag as Go's `PrintDefaults` shows it: the word for its type (empty for
/// a switch) and its default (empty for the type's zero).
type Shown = (String, String);

fn usage_of_weed(args: &[&str]) -> BTreeMap<String, Shown> {
    let weed = cluster::weed().expect("the real weed is needed to compare with");
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(weed)
        .args(args)
        .current_dir(home.path())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    parse_usage(&String::from_utf8(text).unwrap())
}

fn parse_usage(text: &str) -> BTreeMap<String, Shown> {
    let mut shown = BTreeMap::new();
    let mut current: Option<(String, String)> = None;
    // Prose follows the flags.
    for line in text.lines().take_while(|line| *line != "Description:") {
        if let Some(rest) = line.strip_prefix("  -") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, ""));
            current = Some((name.to_owned(), kind.to_owned()));
            shown.insert(name.to_owned(), (kind.to_owned(), String::new()));
        } else if let (Some((name, kind)), Some(help)) = (&current, line.strip_prefix("    \t")) {
            // Some explanations speak of defaults themselves; Go's own comes last.
            let default = help
                .rsplit_once("(default ")
                .and_then(|(_, rest)| rest.strip_suffix(')'))
                .map_or(String::new(), |text| text.trim_matches('"').to_owned());
            shown.insert(name.clone(), (kind.clone(), default));
        }
    }
    shown
}

/// A flag of ours as Go would show it.
fn as_go_shows(flag: &Flag) -> Shown {
    let kind = match flag.kind {
        Kind::Bool => "",
        Kind::Int(..) => "int",
        Kind::Duration => "duration",
        Kind::Text | Kind::OneOf(_) | Kind::Folder | Kind::File | Kind::List => "string",
    };
    (kind.to_owned(), flag.default.to_owned())
}

fn ours(sections: &[&'static Section]) -> BTreeMap<String, Shown> {
    flags(sections)
        .filter(|flag| flag.origin == Origin::Weed)
        .map(|flag| (flag.name.to_owned(), as_go_shows(flag)))
        .collect()
}

#[test]
fn every_flag_of_weed_mount_is_known_by_name_type_and_default() {
    let theirs = usage_of_weed(&["mount", "-h"]);
    assert!(theirs.len() > 50, "{theirs:?}");
    let mut known = ours(&mount::ALL);
    // The logging flags are `weed`'s own, but for the file of options, which is both's.
    known.retain(|name, _| name == "options" || !ours(&[&logging::LOGGING]).contains_key(name));
    assert_eq!(known, theirs);
}

#[test]
fn every_flag_of_weed_itself_is_known_by_name_and_default() {
    let theirs = usage_of_weed(&["-h"]);
    assert!(theirs.len() > 10, "{theirs:?}");
    // Go shows values with a parser of their own, such as -v, as "value".
    let names = |shown: BTreeMap<String, Shown>| -> BTreeMap<String, String> {
        let pairs = shown.into_iter();
        pairs.map(|(name, (_, default))| (name, default)).collect()
    };
    assert_eq!(names(ours(&[&logging::LOGGING])), names(theirs));
}

#[test]
fn the_parser_of_usages_reads_names_types_and_defaults() {
    let text = "Usage:\n  -a\n    \ta switch (default true)\n  -b.c int\n    \tsome (0 for default) (default 5)\n  -d string\n    \tx, default to y (default \"/tmp\")\n  -e value\n    \tno default\n";
    let shown = parse_usage(text);
    let expected = [
        ("a", "", "true"),
        ("b.c", "int", "5"),
        ("d", "string", "/tmp"),
        ("e", "value", ""),
    ];
    for (name, kind, default) in expected {
        assert_eq!(shown[name], (kind.to_owned(), default.to_owned()));
    }
}
