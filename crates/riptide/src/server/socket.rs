//! The local socket: where it is, and that only its owner can open it.
//!
//! Its name has the number that `weed` puts into the name of its own socket,
//! so that the two can be told to belong together. It is made in a folder
//! nobody else can enter and then moved to its place, so that at no moment
//! somebody else could connect; what a mount that died left there is replaced,
//! what a living one listens on is not.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};

/// The number `weed` makes of a mount point: the first four bytes of the MD5
/// of its path as a signed integer, without its sign.
pub fn mount_hash(dir: &Path) -> u32 {
    let digest = Md5::digest(dir.as_os_str().as_bytes());
    i32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]).unsigned_abs()
}

/// Where the mount at `dir` puts its socket when run by this user.
pub fn socket_path(dir: &Path) -> PathBuf {
    let root = rustix::process::geteuid().is_root();
    let folders = folders(root, std::env::var_os("XDG_RUNTIME_DIR"));
    let folder = folders.into_iter().find(|folder| folder.is_dir());
    folder.unwrap_or_else(std::env::temp_dir).join(name(dir))
}

/// Where a mount at `dir`, of this user or of root, may have put it.
pub fn socket_candidates(dir: &Path) -> Vec<PathBuf> {
    let mut folders = folders(false, std::env::var_os("XDG_RUNTIME_DIR"));
    for folder in self::folders(true, None) {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
        .iter()
        .map(|folder| folder.join(name(dir)))
        .collect()
}

fn name(dir: &Path) -> String {
    format!("riptide-{}.sock", mount_hash(dir))
}

/// Folders for sockets, best first.
fn folders(root: bool, runtime_dir: Option<OsString>) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if root {
        folders.push(PathBuf::from("/run"));
    } else if let Some(own) = runtime_dir
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute())
    {
        folders.push(own);
    }
    folders.push(PathBuf::from("/tmp"));
    folders
}

/// A socket at its place. Dropping it removes the file, if it is still this one.
#[derive(Debug)]
pub(super) struct Bound {
    path: PathBuf,
    inode: u64,
}

impl Bound {
    /// Listens at `path`; only the owner can connect.
    pub(super) fn bind(path: &Path) -> io::Result<(Self, UnixListener)> {
        check_replaceable(path)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let private = tempfile::Builder::new()
            .prefix(".riptide-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(folder)?;
        let hidden = private.path().join("s");
        let listener = UnixListener::bind(&hidden)?;
        listener.set_nonblocking(true)?;
        fs::set_permissions(&hidden, Permissions::from_mode(0o600))?;
        let inode = fs::symlink_metadata(&hidden)?.ino();
        fs::rename(&hidden, path)?;
        let path = path.to_owned();
        Ok((Self { path, inode }, listener))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|now| now.ino() == self.inode);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the local socket");
        }
    }
}

/// An error if there is something at `path` other than a socket nobody listens on.
fn check_replaceable(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        let what = "something else than a socket is there";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another riptide listens there",
        )),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_the_one_weed_makes() {
        // The digests of "/", "/mnt" and "/b" start with 6666cd76, 39de0dbc and 97aa0bb1,
        // the last of which is negative.
        let hash = |dir| mount_hash(Path::new(dir));
        assert_eq!(hash("/"), 0x6666_cd76);
        assert_eq!(hash("/mnt"), 0x39de_0dbc);
        assert_eq!(hash("/b"), (0x97aa_0bb1_u32 as i32).unsigned_abs());
    }

    #[test]
    fn only_the_owner_can_connect_and_the_file_goes_with_its_listener() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let (bound, _listener) = Bound::bind(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "nothing else is left"
        );
        UnixStream::connect(bound.path()).unwrap();
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn a_dead_socket_is_replaced_a_living_one_and_a_file_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a dead socket");
        let (bound, _listener) = Bound::bind(&path).unwrap();
        let error = Bound::bind(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(bound);

        fs::write(&path, "precious").unwrap();
        assert!(Bound::bind(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_socket_that_took_the_place_meanwhile_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let (first, listener) = Bound::bind(&path).unwrap();
        drop(listener);
        let (_second, _listener) = Bound::bind(&path).unwrap();
        drop(first);
        assert!(path.exists());
    }

    #[test]
    fn root_uses_run_others_their_own_folder_and_both_are_looked_into() {
        assert_eq!(folders(true, None), [Path::new("/run"), Path::new("/tmp")]);
        let own = folders(false, Some("/run/user/7".into()));
        assert_eq!(own, [Path::new("/run/user/7"), Path::new("/tmp")]);
        assert_eq!(folders(false, Some("relative".into())), [Path::new("/tmp")]);
        let dir = Path::new("/mnt");
        assert!(socket_candidates(dir).contains(&socket_path(dir)));
    }
}
