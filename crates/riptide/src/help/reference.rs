//! docs/FLAGS.md.

use std::fmt::Write;

use crate::flags::{Flag, Origin, State, flags, mount};
use crate::help::explanation;

const HEAD: &str = "\
# Flags of `riptide mount`

This page is generated from the table that parses them: `RIPTIDE_WRITE_DOCS=1 cargo test -p riptide` writes it anew.

Flags have the names and defaults of `weed mount` 4.48, where they exist there. They are written as
`-x=y`, `-x y`, `-x` or `-x=false` for a switch, with one dash or two; the last of two wins.
`-options FILE` reads `name=value` lines from a file, and the command line wins over them.
Numbers may be written as `0x10` or `1_000`, durations as `1m30s` or `500ms`.

Four things differ from `weed` on purpose: a name in the options file that does not exist is an error;
environment variables named like flags are not read; the flags for configuration and logs are taken
after the subcommand as well as before it; and values are checked before anything is started.

A flag marked *no effect* is understood, and its use is reported at start.
";

/// The page.
pub fn flag_reference() -> String {
    let mut out = String::from(HEAD);
    for section in mount::ALL {
        let _ = write!(
            out,
            "\n## {}\n\n| flag | default | | meaning |\n|---|---|---|---|\n",
            section.title
        );
        section.flags.iter().for_each(|flag| row(&mut out, flag));
    }
    let count = |origin| {
        flags(&mount::ALL)
            .filter(|flag| flag.origin == origin)
            .count()
    };
    let _ = write!(
        out,
        "\n{} flags are those of `weed` 4.48, {} those that `weed mount` had up to 4.44, {} Riptide's own.\n",
        count(Origin::Weed),
        count(Origin::OldWeed),
        count(Origin::Riptide)
    );
    out
}

fn row(out: &mut String, flag: &Flag) {
    let default = flag
        .shown_default()
        .map_or(String::new(), |default| format!("`{default}`"));
    let value = flag
        .value_word()
        .map_or(String::new(), |word| format!(" {word}"));
    let mut marks = Vec::new();
    match flag.origin {
        Origin::Weed => {}
        Origin::OldWeed => marks.push("≤ 4.44"),
        Origin::Riptide => marks.push("ours"),
    }
    if matches!(flag.state, State::Ignored(_)) {
        marks.push("*no effect*");
    }
    let _ = writeln!(
        out,
        "| `-{}`{value} | {default} | {} | {} |",
        flag.name,
        marks.join(", "),
        explanation(flag).replace('|', "\\|").replace('<', "&lt;")
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set to write the page instead of comparing it.
    const WRITE: &str = "RIPTIDE_WRITE_DOCS";

    #[test]
    fn the_committed_page_is_what_the_table_gives() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/FLAGS.md");
        let page = flag_reference();
        if std::env::var_os(WRITE).is_some() {
            std::fs::write(path, &page).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap();
        assert!(
            committed == page,
            "docs/FLAGS.md is not current: run the tests with {WRITE}=1"
        );
    }
}
