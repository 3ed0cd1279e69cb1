//! Programs that run from a mount (docs/SEMANTICS.md, section 8).

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use e2e::{Scene, needs_fuse};
use rustix::fs::OFlags;
use rustix::io::Errno;

/// Opens with `O_RDONLY|O_TRUNC`, which the kernel passes on before it looks whether the program runs.
fn empty(path: &Path) -> Option<Errno> {
    let truncate = OFlags::TRUNC.bits() as i32;
    let opened = File::options().read(true).custom_flags(truncate).open(path);
    opened
        .err()
        .map(|error| Errno::from_io_error(&error).unwrap())
}

#[test]
fn a_program_that_runs_is_not_emptied() {
    needs_fuse!();
    let scene = Scene::start();
    let mount = scene.mount(&[]);
    let path = mount.path("/program");
    let program = fs::read("/usr/bin/sleep").unwrap();
    fs::write(&path, &program).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    for _ in 0..20 {
        let mut running = Command::new(&path).arg("60").spawn().unwrap();
        assert_eq!(empty(&path), Some(Errno::TXTBSY));
        let written = OpenOptions::new().write(true).truncate(true).open(&path);
        assert_eq!(written.unwrap_err().raw_os_error(), Some(26), "ETXTBSY");
        assert!(running.try_wait().unwrap().is_none(), "it has died");
        assert!(fs::read(&path).unwrap() == program, "it was changed");
        running.kill().unwrap();
        running.wait().unwrap();
    }
    // Once it has ended it is a file like any other.
    assert_eq!(empty(&path), None);
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
}
