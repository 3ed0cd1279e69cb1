//! What `riptide cache` and `riptide warmup` are asked.

use std::ffi::{OsStr, OsString};

use crate::flags::{FlagError, Values};
use crate::run::{CacheAction, CacheOptions, WarmupOptions};

/// Reads the words and flags of `cache`.
///
/// # Errors
/// When there is no such action.
pub fn cache_options(
    action: &OsStr,
    target: &OsStr,
    values: &Values,
) -> Result<CacheOptions, FlagError> {
    let action = match action.to_str() {
        Some("ls") => CacheAction::List,
        Some("evict") => CacheAction::Evict,
        Some("verify") => CacheAction::Verify,
        _ => {
            return Err(FlagError::Unexpected {
                word: action.to_string_lossy().into_owned(),
                expected: "ls, evict or verify",
            });
        }
    };
    Ok(CacheOptions {
        action,
        target: target.into(),
        json: values.switch("json"),
    })
}

/// Reads the words and flags of `warmup`.
///
/// # Errors
/// When there is no path.
pub fn warmup_options<'a>(
    paths: impl Iterator<Item = &'a OsString>,
    values: &Values,
) -> Result<WarmupOptions, FlagError> {
    let paths: Vec<_> = paths.map(Into::into).collect();
    if paths.is_empty() {
        return Err(FlagError::Missing { name: "PATH" });
    }
    Ok(WarmupOptions {
        paths,
        follow: values.switch("follow"),
        parallel: values.count("parallel"),
    })
}

#[cfg(test)]
mod tests {
    use crate::invocation::{Action, Invocation};

    use super::*;

    fn parse(line: &str) -> Result<Action, String> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let parsed = Invocation::parse(&words);
        parsed
            .map(|invocation| invocation.action)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn any_number_of_paths_is_warmed_with_flags_among_them() {
        match parse("warmup /a -follow /b --parallel=7 /c").unwrap() {
            Action::Warmup(options) => {
                assert_eq!(
                    options.paths,
                    ["/a", "/b", "/c"].map(std::path::PathBuf::from)
                );
                assert_eq!((options.follow, options.parallel), (true, 7));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(
            parse("warmup -follow").unwrap_err(),
            "missing argument PATH"
        );
    }

    #[test]
    fn the_cache_is_listed_emptied_or_checked() {
        match parse("cache verify /mnt -json").unwrap() {
            Action::Cache(options) => {
                assert_eq!(options.action, CacheAction::Verify);
                assert_eq!(options.target, std::path::Path::new("/mnt"));
                assert!(options.json);
            }
            other => panic!("{other:?}"),
        }
        let error = parse("cache drop /mnt").unwrap_err();
        assert!(error.contains("expected ls, evict or verify"), "{error}");
        assert_eq!(parse("cache ls").unwrap_err(), "missing argument DIR|PATH");
    }

    #[test]
    fn mount_fast_is_a_mount_with_other_defaults() {
        let mount = |line: &str| match parse(line).unwrap() {
            Action::Mount(options) => *options,
            other => panic!("{other:?}"),
        };
        let fast = mount("mount-fast -cache.filesMB=7");
        assert!(fast.point.read_only);
        assert_eq!(fast.whole.unwrap().capacity_bytes, 7 << 20);
        assert!(!mount("mount-fast -read-only=false").point.read_only);
        assert!(mount("mount-fast -cache.aggressive=false").whole.is_none());
        assert!(mount("mount -read-only").point.read_only);
        assert!(mount("mount").whole.is_none());
    }

    #[test]
    fn a_file_of_flags_wins_over_what_mount_fast_presets() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "readOnly=false\n").unwrap();
        match parse(&format!("mount-fast -options={}", file.path().display())).unwrap() {
            Action::Mount(options) => assert!(!options.point.read_only),
            other => panic!("{other:?}"),
        }
    }
}
