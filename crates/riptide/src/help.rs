//! Help texts, the man page, docs/FLAGS.md and shell completions, all from the tables.

mod completions;
mod man;
mod reference;
mod text;

pub use completions::completions;
pub use man::man_page;
pub use reference::flag_reference;
pub use text::{overview, subcommand};

use crate::flags::error::expected;
use crate::flags::{Flag, Kind, State};

/// The explanation of `flag` with all that is known of its values and its state.
fn explanation(flag: &Flag) -> String {
    let mut text = flag.help.to_owned();
    if let Kind::OneOf(_) = flag.kind {
        text += &format!(" Allowed: {}.", expected(flag));
    }
    match flag.state {
        State::Honoured => {}
        State::Ignored(reason) => text += &format!(" Has no effect: {reason}."),
        State::Needs { switch, .. } => text += &format!(" Needs -{switch}."),
    }
    text
}

/// `-name` with the word for its value.
fn synopsis(flag: &Flag) -> String {
    match flag.value_word() {
        Some(word) => format!("-{} {word}", flag.name),
        None => format!("-{}", flag.name),
    }
}
