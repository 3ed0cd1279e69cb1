//! Shell completions, by clap.

use clap_complete::Shell;

use crate::command::clap_command;

/// The script for `shell`.
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut clap_command(), "riptide", &mut out);
    out
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::command::{SUBCOMMANDS, by_name};
    use crate::flags::flags;

    #[test]
    fn each_shell_completes_subcommands_and_flags() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(completions(shell)).unwrap();
            for subcommand in SUBCOMMANDS {
                assert!(
                    script.contains(subcommand.name),
                    "{shell}: {}",
                    subcommand.name
                );
            }
            for flag in flags(by_name("mount").unwrap().sections) {
                assert!(script.contains(flag.name), "{shell}: {}", flag.name);
            }
        }
    }

    #[test]
    fn bash_completes_a_flag_with_dots_in_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("riptide.bash");
        std::fs::write(&script, completions(Shell::Bash)).unwrap();
        let ask = format!(
            "source {}; COMP_WORDS=(riptide mount --fuse.maxB); COMP_CWORD=2; \
             _riptide riptide --fuse.maxB mount; echo \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        let output = Command::new("bash").args(["-c", &ask]).output().unwrap();
        let answer = String::from_utf8_lossy(&output.stdout);
        assert_eq!(answer.trim(), "--fuse.maxBackground", "{output:?}");
    }
}
