//! New names: create, mknod, mkdir, symlink.
//!
//! A name is made at the filer before the kernel is told of it, and only if
//! nobody else has made it: of two mounts that create a name with O_EXCL at the
//! same time one gets EEXIST.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::SystemTime;

use context::Context;
use filer::{Created, Filer};
use fuse::{Entry as Reply, Errno, NodeId, Opened, Request};
use seaweed::{Entry, Kind, pb};

use crate::entry::Birth;
use crate::files::Base;
use crate::tree::{Known, Question};

use super::{Mount, new_name};

/// `S_ISGID`.
const SETGID: u32 = 0o2000;
/// Names that come and go between our looks, again and again.
const ATTEMPTS_MAX: usize = 8;

impl Mount {
    pub(super) fn make_node(
        &self,
        req: Request<'_>,
        parent: NodeId,
        name: &OsStr,
        mode: u32,
        rdev: u32,
    ) -> Result<Reply, Errno> {
        let kind = match mode & libc_type::MASK {
            0 | libc_type::REG => Kind::Regular,
            libc_type::FIFO => Kind::Fifo,
            libc_type::SOCK => Kind::Socket,
            libc_type::CHR => Kind::CharDevice,
            libc_type::BLK => Kind::BlockDevice,
            _ => return Err(Errno::EINVAL),
        };
        let rdev = match kind {
            Kind::CharDevice | Kind::BlockDevice => rdev,
            _ => 0,
        };
        let birth = birth(req, kind, mode, rdev, "");
        let (known, _) = self.make(req, parent, new_name(name)?, birth)?;
        self.core.reply(known)
    }

    pub(super) fn make_directory(
        &self,
        req: Request<'_>,
        parent: NodeId,
        name: &OsStr,
        mode: u32,
    ) -> Result<Reply, Errno> {
        let birth = birth(req, Kind::Directory, mode, 0, "");
        let (known, _) = self.make(req, parent, new_name(name)?, birth)?;
        self.core.reply(known)
    }

    pub(super) fn make_symlink(
        &self,
        req: Request<'_>,
        parent: NodeId,
        name: &OsStr,
        target: &OsStr,
    ) -> Result<Reply, Errno> {
        // The filer's protocol has texts in UTF-8.
        let target = target.to_str().ok_or(Errno::EILSEQ)?;
        let birth = birth(req, Kind::Symlink, 0o777, 0, target);
        let (known, _) = self.make(req, parent, new_name(name)?, birth)?;
        self.core.reply(known)
    }

    pub(super) fn create_file(
        &self,
        req: Request<'_>,
        parent: NodeId,
        name: &OsStr,
        mode: u32,
        flags: u32,
        kill_suidgid: bool,
    ) -> Result<(Reply, Opened), Errno> {
        let name = new_name(name)?;
        let ctx = self.core.context(req);
        let birth = birth(req, Kind::Regular, mode, 0, "");
        for _ in 0..ATTEMPTS_MAX {
            match self.make(req, parent, name, birth) {
                Ok((known, base)) => {
                    if Self::writes(flags)
                        && let Err(errno) = self.core.claim(req, known.node)
                    {
                        self.core.tree.write().forget(known.node, 1);
                        return Err(errno);
                    }
                    let opened = self.open_made(known.node, base, flags);
                    return Ok((self.core.reply(known)?, opened));
                }
                Err(Errno::EEXIST) if flags & O_EXCL == 0 => {}
                Err(errno) => return Err(errno),
            }
            // Somebody else has made it first: then it is opened.
            let Ok(known) = self.core.lookup(&ctx, parent, name)? else {
                continue;
            };
            let open = || {
                if kill_suidgid {
                    self.take_suidgid(&ctx, known.node)?;
                }
                self.open_file(req, known.node, flags)
            };
            return match open() {
                Ok(opened) => Ok((self.core.reply(known)?, opened)),
                Err(errno) => {
                    self.core.tree.write().forget(known.node, 1);
                    Err(errno)
                }
            };
        }
        Err(Errno::EAGAIN)
    }

    /// Makes a name; one lookup is counted. Also gives its entry.
    fn make(
        &self,
        req: Request<'_>,
        parent: NodeId,
        name: &str,
        mut birth: Birth<'_>,
    ) -> Result<(Known, Base), Errno> {
        let core = &self.core;
        let ctx = core.context(req);
        self.core.may_change_dir(&ctx, req, parent)?;
        self.has_room()?;
        core.keeper.pace(&ctx)?;
        let (_pass, ctx) = core.pass(&ctx)?;
        let question = {
            let tree = core.tree.read();
            let content = tree.content(parent).ok_or(Errno::ESTALE)?;
            if !content.entry.is_directory() {
                return Err(Errno::ENOTDIR);
            }
            let attr = core.attr_in(&tree, parent, content);
            if attr.perm & SETGID != 0 {
                birth.gid = attr.gid;
                if birth.kind == Kind::Directory {
                    birth.perm |= SETGID;
                }
            }
            Question {
                // A directory that was removed takes no new names.
                directory: tree.path(parent).ok_or(Errno::ENOENT)?,
                seq: tree.seq(),
            }
        };
        if core.is_hidden(&question.directory, name) {
            return Err(Errno::EPERM);
        }
        let entry = birth.entry(&question.directory, name, SystemTime::now(), &core.config);
        let made = self.create_at(&ctx, parent, &question, entry);
        let Made { raw, entry, fence } = made.map_err(|unmade| unmade.errno)?;
        let base = (Arc::new(raw), Arc::clone(&entry));
        let known = core.change(|tree| tree.made(parent, name, &question, entry, fence));
        core.touch_dir(parent);
        known.map(|known| (known, base)).ok_or(Errno::ESTALE)
    }

    /// Has the filer make the entry.
    pub(super) fn create_at(
        &self,
        ctx: &Context<'_>,
        parent: NodeId,
        question: &Question,
        entry: pb::Entry,
    ) -> Result<Made, Unmade> {
        let core = &self.core;
        let surely = |errno| Unmade {
            errno,
            surely: true,
        };
        let directory = &question.directory;
        let create = async |filer: &Filer| {
            let made = filer.create(directory, &entry, core.signature, core.echo());
            made.await
        };
        match core.remote.ask(ctx, create) {
            Ok(Created::Done(made)) => {
                core.changed.note(directory, &entry.name);
                let fence = core.stamp_of(&made);
                let parsed = core.parse(directory, made.value.clone());
                Ok(Made {
                    raw: made.value,
                    entry: Arc::new(parsed.ok_or(Unmade {
                        errno: Errno::EIO,
                        surely: false,
                    })?),
                    fence,
                })
            }
            Ok(Created::Exists) => {
                // It may be our own, made by an attempt whose answer was lost.
                let found = core.ask(ctx, directory, &entry.name);
                match found {
                    Ok(Some((found, fence))) if is_own(&found, &entry) => Ok(Made {
                        raw: entry,
                        entry: found,
                        fence,
                    }),
                    found => Err(Unmade {
                        errno: Errno::EEXIST,
                        surely: matches!(found, Ok(Some(_))),
                    }),
                }
            }
            Ok(Created::NameTooLong) => Err(surely(Errno::ENAMETOOLONG)),
            Ok(Created::OtherKind) => Err(surely(Errno::ENOTDIR)),
            Err(error) => {
                core.change(|tree| tree.in_doubt(parent, &entry.name));
                Err(Unmade {
                    errno: core.remote.fail("create", &entry.name, &error),
                    surely: false,
                })
            }
        }
    }
}

/// A name that was made.
pub(super) struct Made {
    /// Its entry as the filer has it.
    pub(super) raw: pb::Entry,
    /// The same as we read it.
    pub(super) entry: Arc<Entry>,
    /// The filer's clock then.
    pub(super) fence: i64,
}

/// Why a name was not made.
pub(super) struct Unmade {
    pub(super) errno: Errno,
    /// Whether it is known that it was not: else the filer may have made it, or still be about to.
    pub(super) surely: bool,
}

/// Whether what the filer has is what we asked it to make.
fn is_own(found: &Entry, asked: &pb::Entry) -> bool {
    if !asked.hard_link_id.is_empty() {
        return found.hard_link_id.as_ref() == Some(&asked.hard_link_id);
    }
    let asked = asked.attributes.as_ref().map(|it| it.inode);
    asked == Some(found.inode)
}

/// O_EXCL of open(2).
const O_EXCL: u32 = 0o200;

/// The `S_IFMT` bits of `st_mode`.
mod libc_type {
    pub(super) const MASK: u32 = 0o170_000;
    pub(super) const REG: u32 = 0o100_000;
    pub(super) const FIFO: u32 = 0o010_000;
    pub(super) const SOCK: u32 = 0o140_000;
    pub(super) const CHR: u32 = 0o020_000;
    pub(super) const BLK: u32 = 0o060_000;
}

fn birth<'a>(req: Request<'_>, kind: Kind, mode: u32, rdev: u32, target: &'a str) -> Birth<'a> {
    Birth {
        kind,
        perm: mode & 0o7777,
        uid: req.uid,
        gid: req.gid,
        rdev,
        target,
    }
}
