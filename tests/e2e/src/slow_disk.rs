//! A disk that can be made slow: a file system in a file, and a control group whose reads of it are rationed.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::fs::{Advice, fadvise, major, minor};
use tempfile::TempDir;

/// A disk of its own, on which one process can be made to wait. All of it goes when it is dropped.
#[derive(Debug)]
pub struct SlowDisk {
    // Fields are dropped in this order: the folder can be removed when nothing is mounted in it.
    group: Group,
    mounted: Mounted,
    _scratch: TempDir,
}

impl SlowDisk {
    /// Makes one.
    ///
    /// # Errors
    /// Why there can be none here: it takes root, a loop device, and a control group that rations reads.
    pub fn new() -> Result<Self, String> {
        let scratch = tempfile::Builder::new().prefix("riptide-slow-").tempdir();
        let scratch = scratch.map_err(|e| format!("temporary folder: {e}"))?;
        let name = scratch.path().file_name().unwrap_or_default();
        let group = Group::new(&name.to_string_lossy())?;
        let mounted = Mounted::new(scratch.path())?;
        Ok(Self {
            group,
            mounted,
            _scratch: scratch,
        })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.mounted.0
    }

    /// From now on gives this process, with all its threads, so many reads a second.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn slow(&self, process: u32, reads: u32) {
        self.group.ration(self.dir(), Some(reads));
        write(&self.group.dir.join(PROCESSES), &process.to_string());
    }

    /// It is as fast as it was.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn lift(&self) {
        self.group.ration(self.dir(), None);
    }

    /// Keeps the files with names like this out of the page cache for as long as the answer lives.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn forgetting(&self, like: impl Fn(&str) -> bool) -> Forgetting {
        let all = fs::read_dir(self.dir()).unwrap_or_else(|e| panic!("{e}"));
        let named = all.flatten();
        let named = named.filter(|file| like(&file.file_name().to_string_lossy()));
        let files: Vec<File> = named.flat_map(|file| File::open(file.path())).collect();
        assert!(
            !files.is_empty(),
            "no such file in {}",
            self.dir().display()
        );
        // Only what is on the disk can be dropped.
        for file in &files {
            file.sync_data().unwrap_or_else(|e| panic!("{e}"));
        }
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let thread = thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                for file in &files {
                    // What is being read stays, and goes the next time.
                    let _ = fadvise(file, 0, None, Advice::DontNeed);
                }
                thread::sleep(AGAIN);
            }
        });
        Forgetting(over, Some(thread))
    }
}

/// Files that are kept out of the page cache.
#[derive(Debug)]
pub struct Forgetting(Arc<AtomicBool>, Option<JoinHandle<()>>);

impl Drop for Forgetting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        let _ = self.1.take().map(JoinHandle::join);
    }
}

/// An ext4 in a file of a folder, mounted beside it. Its loop device goes with the mount.
#[derive(Debug)]
struct Mounted(PathBuf);

impl Mounted {
    fn new(scratch: &Path) -> Result<Self, String> {
        let (image, dir) = (scratch.join("image"), scratch.join("disk"));
        let made = File::create(&image).and_then(|file| file.set_len(SIZE));
        made.and_then(|()| fs::create_dir(&dir))
            .map_err(|e| format!("{}: {e}", scratch.display()))?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        run(Command::new("mount")
            .args(["-o", "loop"])
            .args([&image, &dir]))?;
        Ok(Self(dir))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A control group for one disk's reads.
#[derive(Debug)]
struct Group {
    dir: PathBuf,
    /// The file that rations, the words before the number, and that for no limit.
    knob: (&'static str, &'static str, &'static str),
}

impl Group {
    fn new(name: &str) -> Result<Self, String> {
        let (root, knob) = if Path::new(V1).join(V1_KNOB.0).exists() {
            (V1, V1_KNOB)
        } else {
            // A group has what its parent passes on. Others may use it by the time we end, so it stays on.
            let passed_on = Path::new(V2).join("cgroup.subtree_control");
            let can = passed_on.exists() && fs::write(passed_on, "+io").is_ok();
            let why = "needs a control group that rations reads: blkio, or io of version 2";
            can.then_some((V2, V2_KNOB)).ok_or(why)?
        };
        let dir = Path::new(root).join(name);
        fs::create_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        Ok(Self { dir, knob })
    }

    fn ration(&self, dir: &Path, reads: Option<u32>) {
        let device = fs::metadata(dir).map(|found| found.dev());
        let device = device.unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        let (file, before, unlimited) = self.knob;
        let reads = reads.map_or_else(|| unlimited.to_owned(), |reads| reads.to_string());
        let (major, minor) = (major(device), minor(device));
        write(
            &self.dir.join(file),
            &format!("{major}:{minor} {before}{reads}"),
        );
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A group that has processes stays.
        let inside = fs::read_to_string(self.dir.join(PROCESSES)).unwrap_or_default();
        for process in inside.lines() {
            let _ = fs::write(self.dir.with_file_name(PROCESSES), process);
        }
        let _ = fs::remove_dir(&self.dir);
    }
}

fn write(file: &Path, text: &str) {
    fs::write(file, text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
}

fn run(command: &mut Command) -> Result<(), String> {
    let done = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    match done.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{command:?}: {}",
            String::from_utf8_lossy(&done.stderr).trim()
        )),
    }
}

const V1: &str = "/sys/fs/cgroup/blkio";
const V1_KNOB: (&str, &str, &str) = ("blkio.throttle.read_iops_device", "", "0");
const V2: &str = "/sys/fs/cgroup";
const V2_KNOB: (&str, &str, &str) = ("io.max", "riops=", "max");
/// Lists the processes of a group; one that is written to it is moved there.
const PROCESSES: &str = "cgroup.procs";
/// Of the disk, of which only what is written takes room.
const SIZE: u64 = 256 << 20;
/// Faster than a ration of a few reads a second brings anything back.
const AGAIN: Duration = Duration::from_millis(20);
