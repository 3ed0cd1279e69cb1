//! The options of mount(8), as fstab writes them, turned into flags of `mount`.
//!
//! `name=value` pairs between commas, as `weed fuse` takes them: `'…'` and `"…"` protect commas
//! in a value, a name alone is a switch that is on. Every flag of `mount` is an option by its name.
//! Besides there are the options that every file system has: some are flags under another name, some
//! are for mount(8) or systemd and mean nothing here. Whatever is none of these is an error.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::flags::rewrite::{long_form, unknown};
use crate::flags::{FlagError, Kind, find, mount};

/// What the options ask for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fstab {
    /// Flags of `mount`, as `--name=value`.
    pub flags: Vec<OsString>,
    /// `fusermount.path`: the folders in which the setuid helper is looked for.
    pub search_path: Option<OsString>,
    /// Options that do not exist, which `-s` of mount(8) lets pass.
    pub unknown: Vec<String>,
}

impl Fstab {
    /// Reads options; with `sloppy` those that do not exist are collected.
    ///
    /// # Errors
    /// Names the option and what would be right.
    pub fn parse(options: &OsStr, sloppy: bool) -> Result<Self, FlagError> {
        let mut fstab = Self::default();
        for (name, value) in split(options)? {
            match fstab.add(&name, value) {
                Err(FlagError::Unknown { name, .. }) if sloppy => fstab.unknown.push(name),
                other => other?,
            }
        }
        Ok(fstab)
    }

    /// Adds what is mounted, which is the first column of fstab: `HOST:PORT[+HOST:PORT…][:/PATH]`, or
    /// any word without a colon, which says nothing.
    ///
    /// # Errors
    /// When the options name another filer or folder.
    pub fn add_source(&mut self, source: &OsStr) -> Result<(), FlagError> {
        let bytes = source.as_bytes();
        if !bytes.contains(&b':') {
            return Ok(());
        }
        let (filers, path) = match bytes.windows(2).position(|pair| pair == b":/") {
            Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
            None => (bytes, None),
        };
        // As /proc/mounts shows them.
        let filers: Vec<u8> = filers
            .iter()
            .map(|byte| if *byte == b'+' { b',' } else { *byte })
            .collect();
        let named = [
            ("filer", Some(filers)),
            ("filer.path", path.map(<[u8]>::to_vec)),
        ];
        for (name, value) in named {
            let Some(value) = value else { continue };
            let start = format!("--{name}=");
            if (self.flags.iter()).any(|flag| flag.as_bytes().starts_with(start.as_bytes())) {
                return Err(FlagError::TwoSources {
                    source_word: source.to_string_lossy().into_owned(),
                    option: name,
                });
            }
            self.flags.push(long_form(name, OsStr::from_bytes(&value)));
        }
        Ok(())
    }

    fn add(&mut self, name: &OsStr, value: Option<OsString>) -> Result<(), FlagError> {
        let text = name.to_str().unwrap_or_default();
        if FOR_MOUNT.contains(&text) || text.starts_with("x-") || text.starts_with("X-") {
            return Ok(());
        }
        if text == "fusermount.path" {
            self.search_path = value;
            return Ok(());
        }
        let (name, value) = match RENAMED.iter().find(|(theirs, ..)| *theirs == text) {
            Some((_, ours, fixed)) => (*ours, value.or(fixed.map(OsString::from))),
            None => (text, value),
        };
        let sections = mount::ALL;
        let flag = find(&sections, name).ok_or_else(|| unknown(OsStr::new(name), &sections))?;
        let value = match value {
            None if flag.is_switch() => "true".into(),
            None => {
                return Err(FlagError::NeedsValue {
                    name: flag.name,
                    expected: crate::flags::error::expected(flag),
                });
            }
            // The mount outlives the folder it was started in.
            Some(path) if is_relative(flag.kind, &path) => {
                std::path::absolute(&path).map_or(path, OsString::from)
            }
            Some(value) => value,
        };
        self.flags.push(long_form(flag.name, &value));
        Ok(())
    }
}

/// Options that are for mount(8), for systemd or for the kernel, and true of every mount here: nothing
/// is executed with other rights (`nosuid`), there are no devices (`nodev`), reading leaves times alone.
/// `suid` and `dev` are not granted; they are here as mount.fuse(8) adds them unasked.
const FOR_MOUNT: [&str; 23] = [
    "_netdev",
    "async",
    "auto",
    "comment",
    "defaults",
    "dev",
    "exec",
    "group",
    "loud",
    "noatime",
    "noauto",
    "nodev",
    "nodiratime",
    "nofail",
    "nosuid",
    "nouser",
    "nousers",
    "owner",
    "rw",
    "silent",
    "suid",
    "user",
    "users",
];

/// Options that are flags under another name, with the value they stand for.
const RENAMED: [(&str, &str, Option<&str>); 5] = [
    ("relatime", "atime", Some("relative")),
    ("ro", "readOnly", None),
    ("allow_other", "allowOthers", None),
    ("default_permissions", "defaultPermissions", None),
    ("fsname", "volumeName", None),
];

fn is_relative(kind: Kind, path: &OsStr) -> bool {
    let is_path = matches!(kind, Kind::Folder | Kind::File);
    is_path && !path.is_empty() && Path::new(path).is_relative() && path.as_bytes()[0] != b'~'
}

/// Names with their values. Quotes count behind `=` only, as with `weed fuse`.
fn split(options: &OsStr) -> Result<Vec<(OsString, Option<OsString>)>, FlagError> {
    let mut all = Vec::new();
    let mut rest = options.as_bytes().iter().copied().peekable();
    while rest.peek().is_some() {
        let (mut name, mut value, mut quote) = (Vec::new(), None::<Vec<u8>>, None);
        for byte in rest.by_ref() {
            match (&mut value, quote) {
                (Some(_), Some(open)) if byte == open => quote = None,
                (Some(value), Some(_)) => value.push(byte),
                (Some(_), None) if byte == b'"' || byte == b'\'' => quote = Some(byte),
                (_, None) if byte == b',' => break,
                (Some(value), None) => value.push(byte),
                (None, _) if byte == b'=' => value = Some(Vec::new()),
                (None, _) => name.push(byte),
            }
        }
        if quote.is_some() {
            return Err(FlagError::OpenQuote {
                options: options.to_string_lossy().into_owned(),
            });
        }
        let name = name.trim_ascii();
        if name.is_empty() && value.is_none() {
            continue;
        }
        let name = OsStr::from_bytes(name).to_owned();
        all.push((name, value.map(OsString::from_vec)));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flags(options: &str) -> Result<String, String> {
        let fstab = Fstab::parse(OsStr::new(options), false).map_err(|error| error.to_string())?;
        Ok(fstab.flags.join(OsStr::new(" ")).into_string().unwrap())
    }

    #[test]
    fn options_become_flags() {
        for (options, expected) in [
            ("", ""),
            (
                "filer=a:1,filer.path=/x,nonempty",
                "--filer=a:1 --filer.path=/x --nonempty=true",
            ),
            ("filer='a:1,b:2',ttl=5", "--filer=a:1,b:2 --ttl=5"),
            ("filer=\"a:1,b:2\"", "--filer=a:1,b:2"),
            ("map.uid=1:2,ro", "--map.uid=1:2 --readOnly=true"),
            (
                "ro=false,allow_other",
                "--readOnly=false --allowOthers=true",
            ),
            (
                "rw,nosuid,_netdev,x-systemd.automount,user,noatime,comment=a b",
                "",
            ),
            ("fsname=disk,cacheDir=/c", "--volumeName=disk --cacheDir=/c"),
            ("collection=,cacheDir=~/c", "--collection= --cacheDir=~/c"),
            (", ,nonempty,", "--nonempty=true"),
        ] {
            assert_eq!(flags(options).as_deref(), Ok(expected), "{options}");
        }
        let path = Fstab::parse(OsStr::new("fusermount.path=/opt/bin"), false).unwrap();
        assert_eq!(path.search_path, Some("/opt/bin".into()));
        let here = flags("cacheDir=c").unwrap();
        assert!(
            here.starts_with("--cacheDir=/") && here.ends_with("/c"),
            "{here}"
        );
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        for (options, error) in [
            (
                "filr=a:1",
                "flag -filr does not exist; did you mean -filer?",
            ),
            (
                "filer='a:1",
                "the mount options \"filer='a:1\" end inside quotes",
            ),
            (
                "ttl,ro",
                "flag -ttl needs a value: a whole number from 0 to 2147483647",
            ),
            (
                "remount",
                "flag -remount does not exist; see -h for those that do",
            ),
        ] {
            assert_eq!(flags(options).unwrap_err(), error, "{options}");
        }
        let sloppy = Fstab::parse(OsStr::new("nonsense=1,ro"), true).unwrap();
        assert_eq!(sloppy.unknown, ["nonsense"]);
        assert_eq!(sloppy.flags, ["--readOnly=true"]);
    }

    #[test]
    fn the_source_may_name_filers_and_a_folder() {
        let with = |source: &str, options: &str| {
            let mut fstab = Fstab::parse(OsStr::new(options), false).unwrap();
            let added = fstab.add_source(OsStr::new(source));
            added.map_err(|error| error.to_string())?;
            Ok::<_, String>(fstab.flags.join(OsStr::new(" ")).into_string().unwrap())
        };
        assert_eq!(with("fuse", "").as_deref(), Ok(""));
        assert_eq!(with("a:1", "ttl=5").as_deref(), Ok("--ttl=5 --filer=a:1"));
        assert_eq!(
            with("a:1+b:2.3:/x/y", "").as_deref(),
            Ok("--filer=a:1,b:2.3 --filer.path=/x/y")
        );
        assert_eq!(
            with("[::1]:8888:/", "").as_deref(),
            Ok("--filer=[::1]:8888 --filer.path=/")
        );
        assert_eq!(
            with("a:1:/x", "filer.path=/y").unwrap_err(),
            "the source \"a:1:/x\" and the option filer.path name two things to mount"
        );
    }

    proptest! {
        #[test]
        fn any_value_survives_in_quotes(value in "[^']{0,20}") {
            let options = OsString::from(format!("collection='{value}',ttl=1"));
            let fstab = Fstab::parse(&options, false).unwrap();
            prop_assert_eq!(&fstab.flags[0], &long_form("collection", OsStr::new(&value)));
            prop_assert_eq!(fstab.flags.len(), 2);
        }

        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40), sloppy: bool) {
            let _ = Fstab::parse(OsStr::from_bytes(&bytes), sloppy);
        }
    }
}
