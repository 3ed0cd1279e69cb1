//! What `riptide fuse` and the helpers of mount(8) need to know.
//!
//! mount(8) calls `mount.TYPE SOURCE DIR [-sfnvrw] [-o OPTIONS] [-t TYPE] [-N NS]`; mount.fuse(8) calls
//! `riptide SOURCE DIR -o OPTIONS`, which with the source `fuse` is the subcommand of that name. All of
//! them become one command line of `mount`, which is checked here before anything is started.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::flags::FlagError;
use crate::flags::fstab::Fstab;
use crate::invocation::Invocation;

/// A mount that goes on in the background.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackgroundOptions {
    /// The command line of `riptide` for it, without the program.
    pub words: Vec<OsString>,
    /// `fusermount.path`: PATH for it.
    pub search_path: Option<OsString>,
    /// Options that do not exist and were to be ignored.
    pub unknown: Vec<String>,
    /// `-f` of mount(8): say whether it could be done, and do not do it.
    pub fake: bool,
}

impl BackgroundOptions {
    /// What `riptide fuse DIR -o OPTIONS` asks for.
    ///
    /// # Errors
    /// Names the option at fault.
    pub fn new(dir: &OsStr, options: &OsStr) -> Result<Self, FlagError> {
        Self::from_fstab(Fstab::parse(options, false)?, dir, false, false)
    }

    /// What the words behind `mount.riptide` ask for.
    ///
    /// # Errors
    /// Names the word at fault.
    pub fn from_mount(args: &[OsString]) -> Result<Self, FlagError> {
        let (mut places, mut options) = (Vec::new(), Vec::new());
        let (mut sloppy, mut fake, mut verbose) = (false, false, false);
        let mut rest = args.iter();
        while let Some(word) = rest.next() {
            let letters = match word.as_bytes() {
                [b'-', letters @ ..] if !letters.is_empty() => letters,
                _ => {
                    places.push(word.as_os_str());
                    continue;
                }
            };
            for (at, letter) in letters.iter().enumerate() {
                match letter {
                    b's' => sloppy = true,
                    b'f' => fake = true,
                    b'v' => verbose = true,
                    // What is in /etc/mtab is the kernel's matter by now; `rw` is what is anyway.
                    b'n' | b'w' => {}
                    b'r' => options.push(OsString::from("ro")),
                    b'o' | b't' if at + 1 == letters.len() => {
                        let value = rest.next().ok_or(FlagError::Missing {
                            name: "OPTIONS behind -o, TYPE behind -t",
                        })?;
                        if *letter == b'o' {
                            options.push(value.clone());
                        }
                    }
                    _ => {
                        return Err(FlagError::BadSyntax {
                            word: word.to_string_lossy().into_owned(),
                        });
                    }
                }
            }
        }
        let [source, dir] = places[..] else {
            return Err(match places.get(2) {
                Some(word) => FlagError::Unexpected {
                    word: word.to_string_lossy().into_owned(),
                    expected: "SOURCE DIR [-sfnvrw] [-o OPTIONS]",
                },
                None => FlagError::Missing { name: "SOURCE DIR" },
            });
        };
        let mut fstab = Fstab::parse(&options.join(OsStr::new(",")), sloppy)?;
        fstab.add_source(source)?;
        Self::from_fstab(fstab, dir, fake, verbose)
    }

    /// Whether the program was called as a helper of mount(8): by one of its names, or, as mount.fuse(8)
    /// does, with a source that names filers where a subcommand would be.
    pub fn is_helper(program: &OsStr, args: &[OsString]) -> bool {
        let name = Path::new(program).file_name().unwrap_or_default();
        let is_source = |word: &OsString| {
            let bytes = word.as_bytes();
            bytes.contains(&b':') && !bytes.starts_with(b"-")
        };
        NAMES.iter().any(|known| name == *known) || args.first().is_some_and(is_source)
    }

    fn from_fstab(fstab: Fstab, dir: &OsStr, fake: bool, verbose: bool) -> Result<Self, FlagError> {
        let mut words: Vec<OsString> = vec!["mount".into()];
        words.extend(fstab.flags);
        words.extend(verbose.then(|| OsString::from("--v=1")));
        let mut at = OsString::from("--dir=");
        at.push(std::path::absolute(dir).map_or(dir.to_owned(), OsString::from));
        words.push(at);
        Invocation::parse(&words)?;
        Ok(Self {
            words,
            search_path: fstab.search_path,
            unknown: fstab.unknown,
            fake,
        })
    }
}

/// Names under which mount(8) calls its helpers.
const NAMES: [&str; 2] = ["mount.riptide", "mount.fuse.riptide"];

#[cfg(test)]
mod tests {
    use super::*;

    fn helper(line: &str) -> Result<BackgroundOptions, String> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        BackgroundOptions::from_mount(&words).map_err(|error| error.to_string())
    }

    fn words(options: &BackgroundOptions) -> String {
        let words = options.words.join(OsStr::new(" "));
        words.into_string().unwrap()
    }

    #[test]
    fn the_helper_takes_what_mount_passes() {
        let asked = helper("a:1:/x /mnt -n -o rw,nosuid,ttl=5").unwrap();
        assert_eq!(
            words(&asked),
            "mount --ttl=5 --filer=a:1 --filer.path=/x --dir=/mnt"
        );
        assert!(!asked.fake);
        let asked = helper("fuse /mnt -sfvr -t fuse.riptide -o filer=a:1,what=ever").unwrap();
        assert_eq!(
            words(&asked),
            "mount --readOnly=true --filer=a:1 --v=1 --dir=/mnt"
        );
        assert!(asked.fake);
        assert_eq!(asked.unknown, ["what"]);
    }

    #[test]
    fn bad_words_are_named_before_anything_is_started() {
        for (line, error) in [
            ("a:1", "missing argument SOURCE DIR"),
            (
                "a:1 /mnt /more",
                "unexpected argument \"/more\": expected SOURCE DIR [-sfnvrw] [-o OPTIONS]",
            ),
            ("a:1 /mnt -x", "bad flag syntax: -x"),
            (
                "a:1 /mnt -o",
                "missing argument OPTIONS behind -o, TYPE behind -t",
            ),
            (
                "a:1 /mnt -o ttl=x",
                "flag -ttl: \"x\" is not allowed: expected a whole number from 0 to 2147483647",
            ),
            (
                "a: /mnt",
                "flag -filer: \"a:\" is not allowed: expected host:port[.grpcPort], separated by commas",
            ),
        ] {
            let message = helper(line).unwrap_err();
            assert!(message.starts_with(error), "{line}: {message}");
        }
    }

    #[test]
    fn a_helper_is_known_by_its_name_or_by_its_source() {
        let is = |program: &str, first: &str| {
            BackgroundOptions::is_helper(OsStr::new(program), &[first.into()])
        };
        assert!(is("/sbin/mount.riptide", "fuse"));
        assert!(is("mount.fuse.riptide", "x"));
        assert!(is("riptide", "filer:8888:/"));
        assert!(!is("riptide", "fuse"));
        assert!(!is("riptide", "-options=a:b"));
    }
}
