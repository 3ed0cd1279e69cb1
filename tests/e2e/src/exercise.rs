//! One file under random operations, each compared with what memory says it does (an idea of Apple's
//! fsx). The same seed makes the same operations; what goes wrong names the seed, the step, and
//! the operations before it.
//!
//! The ways differ in what lies between the program and the mount: the kernel's pages, nothing at
//! all, a shared map, or pages that are dropped, with or without the handle, after every operation.

use std::collections::VecDeque;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, FallocateFlags, OFlags, SeekFrom, fadvise, fallocate, seek};
use rustix::io::Errno;

use crate::Random;
use crate::mapped::{map_read, map_write};

/// What lies between the program and the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// read(2) and write(2), through the kernel's pages.
    Buffered,
    /// The same with `O_DIRECT`, unaligned too.
    Direct,
    /// Reads and writes through a shared map, and by system calls, in turn.
    Mapped,
    /// The file is closed and opened again after every operation.
    Reopened,
    /// The kernel's pages are dropped after every operation.
    Dropped,
}

/// What to do.
#[derive(Debug, Clone, Copy)]
pub struct Exercise {
    /// How.
    pub way: Way,
    /// Which operations.
    pub seed: u64,
    /// How many.
    pub steps: u32,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Buffered,
        Self::Direct,
        Self::Mapped,
        Self::Reopened,
        Self::Dropped,
    ];
}

impl Exercise {
    /// Does it with a new file, and gives what the file holds at the end.
    ///
    /// # Panics
    /// At the first byte, length or result that is not what it should be.
    #[must_use]
    pub fn run(self, path: &Path) -> Vec<u8> {
        let mut run = Run {
            exercise: self,
            path: path.to_owned(),
            file: open(path, self.way, true).unwrap_or_else(|e| panic!("{}: {e}", path.display())),
            random: Random::new(self.seed),
            model: Vec::new(),
            history: VecDeque::new(),
        };
        for step in 0..self.steps {
            let operation = run.choose();
            if run.history.len() == TOLD {
                run.history.pop_front();
            }
            run.history.push_back(format!("{step}: {operation:?}"));
            if let Err(error) = run.act(operation) {
                run.fail(&error.to_string());
            }
        }
        if let Err(error) = run.verify() {
            run.fail(&error.to_string());
        }
        run.model
    }
}

/// No file grows beyond this: several blocks of the smallest chunk size a mount has, the last not
/// full.
const LEN_MAX: u64 = (3 << 20) + 12_345;
/// The most that one operation covers.
const SPAN_MAX: u64 = 96 << 10;
/// Operations that are told when something goes wrong.
const TOLD: usize = 40;

struct Run {
    exercise: Exercise,
    path: PathBuf,
    file: File,
    random: Random,
    model: Vec<u8>,
    history: VecDeque<String>,
}

#[derive(Debug, Clone, Copy)]
enum Operation {
    Write { at: u64, len: u64, fill: u64 },
    WriteMap { at: u64, len: u64, fill: u64 },
    Read { at: u64, len: u64 },
    ReadMap { at: u64, len: u64 },
    Truncate { len: u64 },
    Allocate { at: u64, len: u64 },
    Punch { at: u64, len: u64 },
    Zero { at: u64, len: u64, keep: bool },
    Sync,
    SyncData,
    Seek { at: u64 },
    Reopen,
    Verify,
}

impl Run {
    fn choose(&mut self) -> Operation {
        let size = self.model.len() as u64;
        let mapped = self.exercise.way == Way::Mapped && self.random.below(2) == 0;
        let len = 1 + match self.random.below(4) {
            0 => self.random.below(64),
            1 => self.random.below(5000),
            _ => self.random.below(SPAN_MAX),
        };
        // A good part of all begins at a page, or where the file ends.
        let at = match self.random.below(8) {
            0 => size.min(LEN_MAX - len),
            1 | 2 => self.random.below((LEN_MAX - len) / 4096) * 4096,
            3 => self.random.below(LEN_MAX - len),
            _ => self.random.below(size.clamp(1, LEN_MAX - len)),
        };
        let fill = self.random.number();
        match self.random.below(1000) {
            0..380 if mapped => Operation::WriteMap { at, len, fill },
            0..380 => Operation::Write { at, len, fill },
            380..760 if mapped => Operation::ReadMap { at, len },
            380..760 => Operation::Read { at, len },
            760..800 => Operation::Truncate {
                len: self.random.below(size + 1),
            },
            800..830 => Operation::Truncate {
                len: size + self.random.below(LEN_MAX - size.min(LEN_MAX - 1)),
            },
            830..860 => Operation::Allocate { at, len },
            860..900 => Operation::Punch { at, len },
            900..930 => Operation::Zero {
                at,
                len,
                keep: fill & 1 == 0,
            },
            930..940 => Operation::Sync,
            940..950 => Operation::SyncData,
            950..980 => Operation::Seek { at },
            980..998 => Operation::Reopen,
            _ => Operation::Verify,
        }
    }

    fn act(&mut self, operation: Operation) -> io::Result<()> {
        let file = &self.file;
        match operation {
            Operation::Write { at, len, fill } => {
                let bytes = crate::noise(fill, len as usize);
                file.write_all_at(&bytes, at)?;
                self.model_write(at, &bytes);
            }
            Operation::WriteMap { at, len, fill } => {
                let bytes = crate::noise(fill, len as usize);
                if at + len > self.model.len() as u64 {
                    // A map reaches no further than the file.
                    file.set_len(at + len)?;
                }
                map_write(file, at, &bytes)?;
                self.model_write(at, &bytes);
            }
            Operation::Read { at, len } => {
                let found = crate::read_at(file, at, len as usize)?;
                self.compare(at, len, &found)?;
            }
            Operation::ReadMap { at, len } => {
                let len = len.min((self.model.len() as u64).saturating_sub(at));
                if len > 0 {
                    let found = map_read(file, at, len as usize)?;
                    self.compare(at, len, &found)?;
                }
            }
            Operation::Truncate { len } => {
                file.set_len(len)?;
                self.model.resize(len as usize, 0);
            }
            Operation::Allocate { at, len } => {
                fallocate(file, FallocateFlags::empty(), at, len)?;
                let end = (at + len) as usize;
                self.model.resize(self.model.len().max(end), 0);
            }
            Operation::Punch { at, len } => {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                fallocate(file, flags, at, len)?;
                self.model_zero(at, len);
            }
            Operation::Zero { at, len, keep } => {
                let mut flags = FallocateFlags::ZERO_RANGE;
                flags.set(FallocateFlags::KEEP_SIZE, keep);
                fallocate(file, flags, at, len)?;
                if !keep {
                    let end = (at + len) as usize;
                    self.model.resize(self.model.len().max(end), 0);
                }
                self.model_zero(at, len);
            }
            Operation::Sync => file.sync_all()?,
            Operation::SyncData => file.sync_data()?,
            Operation::Seek { at } => self.look_for_data(at)?,
            Operation::Reopen => self.reopen()?,
            Operation::Verify => self.verify()?,
        }
        match self.exercise.way {
            Way::Reopened => self.reopen()?,
            Way::Dropped => fadvise(&self.file, 0, None, Advice::DontNeed)?,
            Way::Buffered | Way::Direct | Way::Mapped => {}
        }
        let len = self.file.metadata()?.len();
        wrong_unless(len == self.model.len() as u64, || {
            format!("the length is {len} instead of {}", self.model.len())
        })
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file = open(&self.path, self.exercise.way, false)?;
        Ok(())
    }

    fn model_write(&mut self, at: u64, bytes: &[u8]) {
        let (at, end) = (at as usize, at as usize + bytes.len());
        self.model.resize(self.model.len().max(end), 0);
        self.model[at..end].copy_from_slice(bytes);
    }

    fn model_zero(&mut self, at: u64, len: u64) {
        let end = ((at + len) as usize).min(self.model.len());
        let at = (at as usize).min(end);
        self.model[at..end].fill(0);
    }

    fn verify(&mut self) -> io::Result<()> {
        let len = self.model.len() as u64;
        let found = crate::read_at(&self.file, 0, self.model.len() + 1)?;
        self.compare(0, len + 1, &found)
    }

    fn compare(&self, at: u64, len: u64, found: &[u8]) -> io::Result<()> {
        let end = ((at + len) as usize).min(self.model.len());
        let wanted = &self.model[(at as usize).min(end)..end];
        let differs = found.iter().zip(wanted).position(|(a, b)| a != b);
        wrong_unless(differs.is_none() && found.len() == wanted.len(), || {
            format!(
                "{} bytes instead of {} from {at}, the first wrong one at {:?}",
                found.len(),
                wanted.len(),
                differs.map(|n| at + n as u64)
            )
        })
    }

    /// What is called a hole is zero, and no end of file is found before the end.
    fn look_for_data(&self, at: u64) -> io::Result<()> {
        let len = self.model.len() as u64;
        let data = match seek(&self.file, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(Errno::NXIO) => len.max(at),
            Err(errno) => return Err(errno.into()),
        };
        let hole = match seek(&self.file, SeekFrom::Hole(at)) {
            Ok(hole) => hole,
            Err(Errno::NXIO) if at >= len => at,
            Err(errno) => return Err(errno.into()),
        };
        wrong_unless(data >= at && hole >= at && hole <= len.max(at), || {
            format!("from {at}, data at {data} and a hole at {hole}")
        })?;
        let between = &self.model[at.min(len) as usize..data.min(len) as usize];
        wrong_unless(between.iter().all(|byte| *byte == 0), || {
            format!("a hole from {at} to {data} has bytes that are not zero")
        })
    }

    fn fail(&self, what: &str) -> ! {
        let history: Vec<&str> = self.history.iter().map(String::as_str).collect();
        panic!(
            "{}: {what}\nthe last operations:\n{}",
            self.exercise,
            history.join("\n")
        )
    }
}

impl fmt::Display for Exercise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?}, seed {}, {} operations",
            self.way, self.seed, self.steps
        )
    }
}

fn open(path: &Path, way: Way, new: bool) -> io::Result<File> {
    let direct = match way {
        Way::Direct => OFlags::DIRECT.bits().cast_signed(),
        _ => 0,
    };
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(new)
        .custom_flags(direct)
        .open(path)
}

fn wrong_unless(right: bool, what: impl FnOnce() -> String) -> io::Result<()> {
    if right {
        return Ok(());
    }
    Err(io::Error::other(what()))
}
