//! The man page, in the man(7) macros.
//!
//! Written here instead of by clap_mangen, which would show every flag as
//! `--name` and know neither the subjects' order nor the states.

use std::fmt::Write;

use crate::command::SUBCOMMANDS;
use crate::flags::logging::LOGGING;
use crate::flags::{Flag, Section};
use crate::help::text::usage;
use crate::help::{explanation, synopsis};

/// The page `riptide(1)`.
pub fn man_page() -> String {
    let mut out = format!(
        ".TH RIPTIDE 1 \"\" \"riptide {}\" \"User commands\"\n",
        env!("CARGO_PKG_VERSION")
    );
    out += ".SH NAME\nriptide \\- mount SeaweedFS, fast\n.SH SYNOPSIS\n";
    for subcommand in SUBCOMMANDS {
        let _ = writeln!(out, ".B {}\n.br", escape(&usage(subcommand)));
    }
    out += ".SH DESCRIPTION\nShows a SeaweedFS filer as a folder. Flags follow the rules of the Go language: \
            \\-x=y, \\-x y, \\-x for a switch, with one dash or two.\n.SH SUBCOMMANDS\n";
    for subcommand in SUBCOMMANDS {
        let _ = writeln!(out, ".TP\n.B {}", escape(&usage(subcommand)));
        let _ = writeln!(
            out,
            "{}. {}",
            escape(subcommand.about),
            escape(subcommand.details)
        );
        let is_mount = subcommand
            .sections
            .iter()
            .any(|own| std::ptr::eq(*own, &LOGGING));
        if !is_mount && !subcommand.sections.is_empty() {
            out += ".RS\n";
            for section in subcommand.sections {
                section
                    .flags
                    .iter()
                    .for_each(|flag| flag_entry(&mut out, flag));
            }
            out += ".RE\n";
        }
    }
    out += ".SH FLAGS OF MOUNT\n";
    for section in crate::flags::mount::ALL {
        section_entries(&mut out, section);
    }
    out += FILES_AND_MORE;
    out
}

const FILES_AND_MORE: &str = ".SH SIGNALS\n\
SIGINT and SIGTERM unmount and end the program with status 0; when the mount is in use it is\n\
tried again for some seconds, then detached. A second signal detaches it at once.\n\
.SH ENVIRONMENT\n.TP\n.B RUST_LOG\nWhat is logged, by part of the program; wins over \\-v.\n\
.TP\n.B NOTIFY_SOCKET\nSet by systemd for units of Type=notify; told when the mount is ready.\n\
.SH EXIT STATUS\n0 when it did what was asked, 1 when that failed, 2 for a command line that cannot be followed.\n\
.SH SEE ALSO\n.BR mount (8),\n.BR umount (8),\n.BR fuse (8)\n";

fn section_entries(out: &mut String, section: &Section) {
    let _ = writeln!(out, ".SS {}", escape(section.title));
    section.flags.iter().for_each(|flag| flag_entry(out, flag));
}

fn flag_entry(out: &mut String, flag: &Flag) {
    let _ = writeln!(out, ".TP\n.B {}", escape(&synopsis(flag)));
    let _ = write!(out, "{}", escape(&explanation(flag)));
    if let Some(default) = flag.shown_default() {
        let _ = write!(out, " Default: {}.", escape(default));
    }
    out.push('\n');
}

/// Text that roff shows as it is: no escapes, no hyphens for dashes, no requests.
fn escape(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    match escaped.starts_with(['.', '\'']) {
        true => format!("\\&{escaped}"),
        false => escaped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::by_name;
    use crate::flags::flags;

    #[test]
    fn the_page_has_every_flag_and_every_subcommand() {
        let page = man_page();
        for flag in flags(by_name("mount").unwrap().sections) {
            let entry = format!(".B {}\n", escape(&synopsis(flag)));
            assert!(page.contains(&entry), "{entry}");
        }
        for subcommand in SUBCOMMANDS {
            assert!(page.contains(&format!(".B riptide {}", escape(subcommand.name))));
        }
        assert!(page.contains(".B \\-l\n"), "flags of umount");
    }

    #[test]
    fn no_line_is_taken_for_a_request_that_is_none() {
        let known = [".TH", ".SH", ".SS", ".TP", ".B", ".BR", ".br", ".RS", ".RE"];
        for line in man_page()
            .lines()
            .filter(|line| line.starts_with(['.', '\'']))
        {
            let request = line.split(' ').next().unwrap();
            assert!(known.contains(&request), "{line}");
        }
        assert_eq!(escape(".a\\b-c"), "\\&.a\\eb\\-c");
    }
}
