//! Command lines, files of flags, and options of mount(8).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use riptide::flags::fstab::Fstab;
use riptide::flags::{mount, options_file, rewrite};
use riptide::invocation::Invocation;

use crate::bytes_of::text;

/// Command lines, one word a line, the same as a file for `-options`, and as options of mount(8).
pub fn flags(data: &[u8]) {
    let words = data.split(|&byte| byte == b'\n');
    let words: Vec<_> = words
        .map(|word| OsString::from_vec(word.to_vec()))
        .collect();
    let _ = rewrite(&words);
    // A file that the fuzzer names must not be opened.
    let names_a_file =
        |word: &OsString| word.as_encoded_bytes().windows(7).any(|w| w == b"options");
    if !words.iter().any(names_a_file)
        && let Err(error) = Invocation::parse(&words)
    {
        assert!(!error.to_string().is_empty());
    }

    let text = text(data);
    match options_file::parse(&text, &mount::ALL) {
        Ok(words) => assert!(
            words
                .iter()
                .all(|word| word.as_encoded_bytes().starts_with(b"--"))
        ),
        Err((line, _)) => assert!((1..=text.lines().count()).contains(&line)),
    }

    let (source, options) = data.split_at(data.iter().position(|&b| b == b'\n').unwrap_or(0));
    if let Ok(mut fstab) = Fstab::parse(OsStr::from_bytes(options), true) {
        let _ = fstab.add_source(OsStr::from_bytes(source));
        assert!(
            fstab
                .flags
                .iter()
                .all(|flag| flag.as_encoded_bytes().starts_with(b"--"))
        );
    }
}
