//! What `-h` prints.

use std::fmt::Write;

use crate::command::{SUBCOMMANDS, Subcommand};
use crate::flags::Section;
use crate::flags::logging::LOGGING;
use crate::help::{explanation, synopsis};

/// Width of a line of explanation; terminals have at least 80 columns.
const WIDTH: usize = 78;
const INDENT: &str = "        ";

/// What `riptide -h` prints.
pub fn overview() -> String {
    let mut out = String::from(
        "Riptide mounts SeaweedFS, fast.\n\nUsage: riptide SUBCOMMAND [flags]\n\nSubcommands:\n",
    );
    for subcommand in SUBCOMMANDS {
        let _ = writeln!(out, "  {:<12} {}", subcommand.name, subcommand.about);
    }
    out += "\nriptide SUBCOMMAND -h explains one of them. Flags are written as -x=y or -x y, with one\n\
            dash or two; a switch as -x or -x=false.\n";
    out
}

/// What `-h` of a subcommand prints.
pub fn subcommand(subcommand: &Subcommand) -> String {
    let mut out = format!("{}.\n\nUsage: {}\n", subcommand.about, usage(subcommand));
    if !subcommand.details.is_empty() {
        out.push('\n');
        wrap(&mut out, subcommand.details, "");
    }
    for section in subcommand.sections {
        out.push('\n');
        section_text(&mut out, section, subcommand.presets());
    }
    if !subcommand
        .sections
        .iter()
        .any(|own| std::ptr::eq(*own, &LOGGING))
    {
        out += "\nThe flags for configuration and logs, which riptide mount -h lists, are taken too.\n";
    }
    out
}

/// The usage line of a subcommand.
pub(super) fn usage(subcommand: &Subcommand) -> String {
    let mut parts = vec!["riptide", subcommand.name];
    parts.extend(subcommand.words);
    parts.push(subcommand.usage);
    parts.retain(|part| !part.is_empty());
    parts.join(" ")
}

fn section_text(out: &mut String, section: &Section, presets: &[(&str, &str)]) {
    let _ = writeln!(out, "{}:", section.title);
    for flag in section.flags {
        let _ = write!(out, "  {}", synopsis(flag));
        let preset = presets.iter().find(|(name, _)| *name == flag.name);
        let preset = preset.map(|(_, value)| *value);
        if let Some(default) = preset.or(flag.shown_default()) {
            let _ = write!(out, " (default {default})");
        }
        out.push('\n');
        wrap(out, &explanation(flag), INDENT);
    }
}

/// Appends `text` broken between words, each line behind `indent`.
fn wrap(out: &mut String, text: &str, indent: &str) {
    let mut width = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if width == 0 {
            out.push_str(indent);
            width = indent.len();
        } else if width + 1 + length > WIDTH {
            out.push('\n');
            out.push_str(indent);
            width = indent.len();
        } else {
            out.push(' ');
            width += 1;
        }
        out.push_str(word);
        width += length;
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::by_name;
    use crate::flags::flags;

    #[test]
    fn the_overview_lists_each_subcommand_in_one_line() {
        let text = overview();
        for known in SUBCOMMANDS {
            assert!(
                text.contains(&format!("  {:<12} {}\n", known.name, known.about)),
                "{text}"
            );
        }
        assert!(
            text.lines().all(|line| line.chars().count() <= 95),
            "{text}"
        );
    }

    #[test]
    fn the_help_of_mount_has_each_flag_under_its_subject_with_its_default() {
        let mount = by_name("mount").unwrap();
        let text = subcommand(mount);
        assert!(
            text.contains("Usage: riptide mount -filer=HOST:PORT"),
            "{text}"
        );
        let mut at = 0;
        for section in mount.sections {
            let heading = format!("\n{}:\n", section.title);
            at += text[at..]
                .find(&heading)
                .unwrap_or_else(|| panic!("{heading} after {at}"));
            for flag in section.flags {
                let line = match flag.shown_default() {
                    Some(default) => format!("\n  {} (default {default})\n", synopsis(flag)),
                    None => format!("\n  {}\n", synopsis(flag)),
                };
                at += text[at..]
                    .find(&line)
                    .unwrap_or_else(|| panic!("{line} after {at}"));
            }
        }
        assert!(text.contains("Allowed: one of direct, publicUrl, filerProxy."));
        assert!(
            text.lines().all(|line| line.chars().count() <= WIDTH),
            "{text}"
        );
    }

    #[test]
    fn flags_without_effect_say_so() {
        let mount = by_name("mount").unwrap();
        let text = subcommand(mount)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        for flag in flags(mount.sections) {
            if flag.state != crate::flags::State::Honoured {
                assert!(text.contains(&explanation(flag)), "{}", flag.name);
            }
        }
        assert!(text.contains("has failed. Needs -rdma.enabled."));
    }
}
