//! Users, by name or number.
//!
//! Names are looked up in /etc/passwd and, for those that come from elsewhere (LDAP, systemd), by getent(1), which
//! asks whatever this machine is set up to ask.

use std::fs;
use std::process::{Command, Stdio};

use crate::flags::FlagError;

/// More have no reason; each is looked at for every connection.
const MOST: usize = 16;

/// The user "nobody".
const OVERFLOW: u32 = 65_534;

/// The numbers of users that `text` lists.
pub(super) fn users(name: &'static str, text: &str) -> Result<Vec<u32>, FlagError> {
    let words = text.split(',').map(str::trim);
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    let numbers: Option<Vec<u32>> = words.iter().map(|word| number(word)).collect();
    match numbers {
        Some(numbers) if numbers.len() <= MOST && (text.is_empty() || !numbers.is_empty()) => {
            Ok(numbers)
        }
        _ => {
            let expected = format!(
                "up to {MOST} names or numbers of users of this machine (not nobody, whom all users of containers may be), separated by commas"
            );
            Err(FlagError::bad(name, text, expected))
        }
    }
}

fn number(word: &str) -> Option<u32> {
    if word.bytes().all(|byte| byte.is_ascii_digit()) {
        return word.parse().ok().filter(|uid| is_one(*uid));
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = listed(&passwd, word).or_else(|| listed(&asked(word)?, word));
    found.filter(|uid| is_one(*uid))
}

/// Whether the number is that of one user: the largest means none (chown(2)), and the kernel shows everybody
/// from outside of the user namespace as the overflow user (user_namespaces(7)).
fn is_one(uid: u32) -> bool {
    uid != u32::MAX && uid != OVERFLOW
}

/// What getent(1) prints, in the form of passwd(5).
fn asked(word: &str) -> Option<String> {
    let mut command = Command::new("getent");
    command.args(["--", "passwd", word]).stdin(Stdio::null());
    let output = command.stderr(Stdio::null()).output().ok()?;
    String::from_utf8(output.stdout).ok()
}

fn listed(passwd: &str, name: &str) -> Option<u32> {
    let mut users = passwd.lines().map(|line| line.split(':'));
    let mut fields =
        users.find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
    fields.nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_or_numbered() {
        let read = |text| users("rdma.sidecarUser", text).ok();
        assert_eq!(read(""), Some(vec![]));
        assert_eq!(read("root, 998,"), Some(vec![0, 998]));
        assert_eq!(read(" 4294967294"), Some(vec![4_294_967_294]));
        let many = ["1"; MOST + 1].join(",");
        for bad in [
            ",",
            "no-such-user-here",
            "4294967295",
            "-1",
            "-s",
            "0:0",
            &many,
        ] {
            let error = users("rdma.sidecarUser", bad).unwrap_err().to_string();
            let start = format!("flag -rdma.sidecarUser: {bad:?} is not allowed: expected ");
            assert!(error.starts_with(&start), "{error}");
        }
    }

    #[test]
    fn a_name_is_the_whole_first_field() {
        let passwd = "weed2:x:1:1::/:/bin/sh\nweed:x:998:997:SeaweedFS:/var:/bin/false\n";
        assert_eq!(listed(passwd, "weed"), Some(998));
        assert_eq!(listed(passwd, "wee"), None);
        assert_eq!(listed(passwd, "x"), None);
    }
}
