//! Who may do what (docs/SEMANTICS.md, section 8), checked by the kernel and, without it, by Riptide.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use e2e::{Scene, needs_fuse};

/// Users and a group that nothing on the machine depends on.
const OWNER: u32 = 54_321;
const OTHER: u32 = 54_322;
const GROUP: u32 = 54_323;

/// Whether `user`, with `groups` as supplementary ones, can run this.
fn can(user: u32, groups: &str, command: &[&str], path: &Path) -> bool {
    let user = user.to_string();
    let status = Command::new("setpriv")
        .args(["--reuid", &user, "--regid", &user])
        .args(match groups {
            "" => vec!["--clear-groups"],
            groups => vec!["--groups", groups],
        })
        .args(command)
        .arg(path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.unwrap().success()
}

#[test]
fn owner_group_and_others_may_what_their_bits_say_whoever_checks_them() {
    needs_fuse!();
    let scene = Scene::start();
    for (name, flags) in [
        ("kernel", &[][..]),
        ("riptide", &["-defaultPermissions=false"]),
    ] {
        let mount = scene.mount_at(name, flags);
        let make = |name: &str, mode: u32| {
            let path = mount.path(name);
            match name.ends_with("dir") {
                true => fs::create_dir(&path).unwrap(),
                false => fs::write(&path, "bytes").unwrap(),
            }
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            chown(&path, Some(OWNER), Some(GROUP)).unwrap();
            path
        };
        let (private, shared) = (make("/file", 0o600), make("/shared", 0o660));
        let (closed, open) = (make("/closed-dir", 0o700), make("/dir", 0o750));
        let group = GROUP.to_string();
        let set = "import os, sys; os.setxattr(sys.argv[1], 'user.note', b'1')";
        let append = r#"echo more >> "$0""#;
        let (list, read): (&[&str], &[&str]) = (&["ls"], &["cat"]);
        let write: &[&str] = &["sh", "-c", append];
        let note: &[&str] = &["/usr/bin/python3", "-c", set];
        // Who, in which groups, what, to what, and whether it works.
        let cases = [
            (OWNER, "", read, &private, true),
            (OWNER, "", write, &private, true),
            (OWNER, "", note, &private, true),
            (OWNER, "", list, &closed, true),
            (OTHER, "", read, &private, false),
            (OTHER, "", write, &private, false),
            (OTHER, "", note, &private, false),
            (OTHER, "", list, &closed, false),
            (OTHER, &group, read, &private, false),
            (OTHER, &group, read, &shared, true),
            (OTHER, &group, write, &shared, true),
            (OTHER, &group, note, &shared, true),
            (OTHER, &group, list, &closed, false),
            (OTHER, &group, list, &open, true),
            (OTHER, "", read, &shared, false),
            (OTHER, "", list, &open, false),
        ];
        for (user, groups, command, path, works) in cases {
            if command[0].starts_with('/') && !Path::new(command[0]).exists() {
                println!("not tried, as it is not here: {}", command[0]);
                continue;
            }
            let what = format!(
                "{name}: {user} in '{groups}': {command:?} {}",
                path.display()
            );
            assert_eq!(can(user, groups, command, path), works, "{what}");
        }
        for path in [private, shared] {
            fs::remove_file(path).unwrap();
        }
        for path in [closed, open] {
            fs::remove_dir(path).unwrap();
        }
    }
}
