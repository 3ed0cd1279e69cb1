//! What the operations do in a directory.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
    lchown, symlink,
};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, RenameFlags, Timespec, Timestamps, XattrFlags, lremovexattr, lsetxattr,
    renameat_with, utimensat,
};

use super::operation::{LONG_AGO, Operation, SLOTS};

/// A directory and the files that are open in it.
pub(super) struct World {
    root: PathBuf,
    /// Whether the times of directories are looked at.
    dir_times: bool,
    open: [Option<File>; SLOTS],
}

impl World {
    pub(super) fn new(root: &Path, dir_times: bool) -> Self {
        Self {
            root: root.to_owned(),
            dir_times,
            open: Default::default(),
        }
    }

    /// Does it; what a program sees of it, or the error number.
    pub(super) fn act(&mut self, operation: &Operation) -> Result<Vec<u8>, i32> {
        self.try_act(operation)
            .map_err(|error| error.raw_os_error().unwrap_or(-1))
    }

    fn try_act(&mut self, operation: &Operation) -> io::Result<Vec<u8>> {
        use Operation as O;
        let at_root = |name: &str| self.root.join(name);
        match *operation {
            O::Create { name, mode } => {
                let mut options = OpenOptions::new();
                options.write(true).create_new(true).mode(mode);
                options.open(at_root(name))?;
            }
            O::Write {
                name,
                at,
                len,
                fill,
            } => {
                let file = OpenOptions::new().write(true).open(at_root(name))?;
                file.write_all_at(&vec![fill; len], at)?;
            }
            O::Append { name, len, fill } => {
                let mut file = OpenOptions::new().append(true).open(at_root(name))?;
                file.write_all(&vec![fill; len])?;
            }
            O::Truncate { name, len } => {
                let file = OpenOptions::new().write(true).open(at_root(name))?;
                file.set_len(len)?;
            }
            O::Replace { name, len, fill } => fs::write(at_root(name), vec![fill; len])?,
            O::Read { name } => return fs::read(at_root(name)),
            O::Stat { name } => return Ok(self.seen(&fs::symlink_metadata(at_root(name))?)),
            O::List { name } => return list(&at_root(name)),
            O::Mkdir { name, mode } => fs::DirBuilder::new().mode(mode).create(at_root(name))?,
            O::Rmdir { name } => fs::remove_dir(at_root(name))?,
            O::Unlink { name } => fs::remove_file(at_root(name))?,
            O::Rename {
                from,
                to,
                exclusive,
            } => {
                let flags = match exclusive {
                    true => RenameFlags::NOREPLACE,
                    false => RenameFlags::empty(),
                };
                renameat_with(CWD, at_root(from), CWD, at_root(to), flags)?;
            }
            O::Link { from, to } => fs::hard_link(at_root(from), at_root(to))?,
            O::Symlink { target, name } => symlink(target, at_root(name))?,
            O::Chmod { name, mode } => {
                fs::set_permissions(at_root(name), fs::Permissions::from_mode(mode))?;
            }
            O::Chown { name, owner } => lchown(at_root(name), Some(owner), Some(owner))?,
            O::Times { name, seconds } => times(&at_root(name), seconds)?,
            O::SetXattr { name, key, len } => {
                lsetxattr(at_root(name), key, &vec![7; len], XattrFlags::empty())?;
            }
            O::RemoveXattr { name, key } => lremovexattr(at_root(name), key)?,
            O::Open {
                slot,
                name,
                create,
                append,
            } => {
                // The old one is closed before, not after.
                self.open[slot] = None;
                let mut options = OpenOptions::new();
                options.read(true).create(create).mode(0o640);
                match append {
                    true => options.append(true),
                    false => options.write(true),
                };
                self.open[slot] = Some(options.open(self.root.join(name))?);
            }
            O::HandleWrite {
                slot,
                at,
                len,
                fill,
            } => {
                if let Some(file) = &self.open[slot] {
                    file.write_all_at(&vec![fill; len], at)?;
                }
            }
            O::HandleRead { slot, at, len } => {
                if let Some(file) = &self.open[slot] {
                    return e2e::read_at(file, at, len);
                }
            }
            O::HandleTruncate { slot, len } => {
                if let Some(file) = &self.open[slot] {
                    file.set_len(len)?;
                }
            }
            O::HandleStat { slot } => {
                if let Some(file) = &self.open[slot] {
                    return Ok(self.seen(&file.metadata()?));
                }
            }
            O::HandleSync { slot } => {
                if let Some(file) = &self.open[slot] {
                    file.sync_all()?;
                }
            }
            O::Close { slot } => self.open[slot] = None,
        }
        Ok(Vec::new())
    }

    fn seen(&self, metadata: &Metadata) -> Vec<u8> {
        let size = (!metadata.is_dir()).then_some(metadata.size());
        let mtime = Some((metadata.mtime(), metadata.mtime_nsec()))
            .filter(|(seconds, _)| *seconds < LONG_AGO)
            .filter(|_| self.dir_times || !metadata.is_dir());
        let (mode, nlink) = (metadata.mode(), metadata.nlink());
        let owner = (metadata.uid(), metadata.gid());
        format!("mode {mode:o} nlink {nlink} owner {owner:?} size {size:?} mtime {mtime:?}")
            .into_bytes()
    }
}

fn list(dir: &Path) -> io::Result<Vec<u8>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        names.push(format!("{name} {:?}", entry.file_type()?));
    }
    names.sort_unstable();
    Ok(names.join("\n").into_bytes())
}

fn times(path: &Path, seconds: i64) -> io::Result<()> {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: 123_456_789,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}
