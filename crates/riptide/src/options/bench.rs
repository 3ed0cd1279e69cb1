//! What `riptide bench` needs to know.

use std::ffi::OsStr;
use std::path::PathBuf;

use fuse::Transport;

use crate::flags::{FlagError, Values};

/// What is measured, how much of it, and how it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BenchOptions {
    /// Where.
    pub place: BenchPlace,
    /// `-sizeMB`, in bytes; nothing for the default, or what the tree there has.
    pub size: Option<u64>,
    /// `-files`, likewise.
    pub files: Option<usize>,
    /// `-count`: operations of each latency.
    pub operations: usize,
    /// `-rounds`.
    pub rounds: usize,
    /// `-write`: whether writing is measured as well.
    pub write: bool,
    /// `-keep`: whether the tree stays.
    pub keep: bool,
    /// `-json`.
    pub json: bool,
}

/// What the workloads run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BenchPlace {
    /// A folder, whatever is mounted there.
    Folder(PathBuf),
    /// `-null`: a mount of its own that answers from memory.
    Null(Transport),
    /// `-serve`: nothing, the null mount is only made there.
    Serve(PathBuf, Transport),
}

impl BenchOptions {
    /// Reads what the words and the flags say.
    pub(crate) fn new(dir: Option<&OsStr>, values: &Values) -> Result<Self, FlagError> {
        let options = Self {
            place: place(dir, values)?,
            size: Some(values.mib("sizeMB")).filter(|size| *size > 0),
            files: Some(values.count("files")).filter(|files| *files > 0),
            operations: values.count("count"),
            rounds: values.count("rounds"),
            write: values.switch("write"),
            keep: values.switch("keep"),
            json: values.switch("json"),
        };
        let measures = matches!(options.place, BenchPlace::Folder(_));
        for (given, name) in [(options.write, "write"), (options.keep, "keep")] {
            if given && !measures {
                return Err(FlagError::Contradiction {
                    name,
                    other: "null",
                    why: "a null mount is read-only, and gone afterwards",
                });
            }
        }
        if options.json && matches!(options.place, BenchPlace::Serve(..)) {
            return Err(FlagError::Contradiction {
                name: "json",
                other: "serve",
                why: "nothing is measured then",
            });
        }
        Ok(options)
    }
}

fn place(dir: Option<&OsStr>, values: &Values) -> Result<BenchPlace, FlagError> {
    let transport = match values.text("fuse.transport")? {
        "uring" => Transport::Uring,
        "dev" => Transport::Device,
        _ => Transport::Auto,
    };
    match (dir, values.switch("null"), values.path("serve")) {
        (Some(word), true, _) => Err(FlagError::Unexpected {
            word: word.to_string_lossy().into_owned(),
            expected: "no DIR with -null, which mounts on a folder of its own",
        }),
        (None, true, Some(dir)) => Ok(BenchPlace::Serve(dir, transport)),
        (None, true, None) => Ok(BenchPlace::Null(transport)),
        (_, false, Some(_)) => Err(FlagError::Alone {
            name: "serve",
            needed: "null",
        }),
        (_, false, None) if transport != Transport::Auto => Err(FlagError::Alone {
            name: "fuse.transport",
            needed: "null",
        }),
        (Some(dir), false, None) if !dir.is_empty() => Ok(BenchPlace::Folder(dir.into())),
        _ => Err(FlagError::Missing {
            name: "DIR (or the flag -null)",
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::invocation::{Action, Invocation};

    fn parse(line: &str) -> Result<BenchOptions, String> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        match Invocation::parse(&words)
            .map_err(|error| error.to_string())?
            .action
        {
            Action::Bench(options) => Ok(options),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn a_folder_is_measured_with_what_is_told() {
        let plain = parse("bench /a").unwrap();
        let expected = BenchOptions {
            place: BenchPlace::Folder("/a".into()),
            size: None,
            files: None,
            operations: 2000,
            rounds: 3,
            write: false,
            keep: false,
            json: false,
        };
        assert_eq!(plain, expected);
        let all = parse("bench -write -keep -json -sizeMB=3 -files 7 -count=9 -rounds=1 /a");
        let expected = BenchOptions {
            size: Some(3 << 20),
            files: Some(7),
            operations: 9,
            rounds: 1,
            write: true,
            keep: true,
            json: true,
            ..expected
        };
        assert_eq!(all.unwrap(), expected);
    }

    #[test]
    fn the_null_mount_is_measured_or_served() {
        let place = |line| parse(line).map(|options| options.place);
        let null = BenchPlace::Null(Transport::Uring);
        assert_eq!(place("bench -null -fuse.transport=uring"), Ok(null));
        let served = BenchPlace::Serve("/a".into(), Transport::Auto);
        assert_eq!(place("bench -null -serve=/a"), Ok(served));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (line, error) in [
            ("bench", "missing argument DIR (or the flag -null)"),
            (
                "bench -null /a",
                "unexpected argument \"/a\": expected no DIR with -null, which mounts on a folder of its own",
            ),
            (
                "bench -serve=/b /a",
                "flag -serve has no meaning without -null",
            ),
            (
                "bench -fuse.transport=dev /a",
                "flag -fuse.transport has no meaning without -null",
            ),
            (
                "bench -null -write",
                "flag -write cannot go with -null: a null mount is read-only, and gone afterwards",
            ),
            (
                "bench -null -serve=/a -json",
                "flag -json cannot go with -serve: nothing is measured then",
            ),
            (
                "bench -rounds=0 /a",
                "flag -rounds: \"0\" is not allowed: expected a whole number from 1 to 100",
            ),
            (
                "bench /a /b",
                "unexpected argument \"/b\": expected one word besides flags",
            ),
        ] {
            assert_eq!(parse(line).unwrap_err(), error, "{line}");
        }
    }
}
