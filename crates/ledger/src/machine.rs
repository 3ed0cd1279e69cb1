//! What the kernel says of memory: the machine's, the control group's, our own.
//!
//! Control groups of version 2 and 1 are understood, and the mixture of both that some systems
//! have. A limit may be set anywhere above the process, so every group on the way up is
//! looked at, and the tightest counts. What cannot be read is as if it were not there: most of this is
//! missing on some machine.

use std::fs;
use std::path::{Path, PathBuf};

use crate::pressure::{Group, Look};

/// Reads it below `/`, or in tests below another folder.
#[derive(Debug, Clone)]
pub struct Machine {
    root: PathBuf,
    groups: Vec<Place>,
}

/// The files of one group.
#[derive(Debug, Clone)]
struct Place {
    dir: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Version 1 writes a limit near 2⁶³ when there is none; no machine has more than this.
const NO_LIMIT: u64 = 1 << 60;

impl Default for Machine {
    fn default() -> Self {
        Self::below(Path::new("/"))
    }
}

impl Machine {
    /// The machine whose `/proc` and `/sys` are below `root`.
    pub fn below(root: &Path) -> Self {
        let own = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
        let mut groups = Vec::new();
        for line in own.lines() {
            let mut fields = line.splitn(3, ':');
            let (_, Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let (mounts, version): (&[&str], _) = match controllers {
                "" => (&["sys/fs/cgroup", "sys/fs/cgroup/unified"], Version::Two),
                _ if controllers.split(',').any(|one| one == "memory") => {
                    (&["sys/fs/cgroup/memory"], Version::One)
                }
                _ => continue,
            };
            for mount in mounts {
                // In a container the path may be one that only the host sees: then the root of what is mounted
                // there is the container's own.
                for above in Path::new(path).ancestors() {
                    let below = above.strip_prefix("/").unwrap_or(above);
                    let dir = root.join(mount).join(below);
                    let place = Place { dir, version };
                    if place.max().is_some() {
                        groups.push(place);
                    }
                }
            }
        }
        Self {
            root: root.to_owned(),
            groups,
        }
    }

    /// Bytes that this process may use at most: the machine's, or the limit of its control group.
    pub fn memory(&self) -> Option<u64> {
        let text = fs::read_to_string(self.root.join("proc/meminfo")).unwrap_or_default();
        let machine = field(&text, "MemTotal:").map(|kib| kib << 10);
        let groups = self.groups.iter().filter_map(Place::max);
        groups.chain(machine).min()
    }

    /// How things stand now.
    pub fn look(&self) -> Look {
        let status = fs::read_to_string(self.root.join("proc/self/status")).unwrap_or_default();
        let resident = field(&status, "VmRSS:").unwrap_or(0) << 10;
        let used = |group: &Group| u128::from(group.used) * 1024 / u128::from(group.max.max(1));
        let groups = self.groups.iter();
        let groups: Vec<_> = groups
            .filter_map(|place| Some((place, place.look()?)))
            .collect();
        // Which of them is the tightest may change, and their counts have nothing to do with each other.
        let oom = groups.iter().map(|(_, group)| group.oom).sum();
        let tightest = groups.into_iter().max_by_key(|(_, group)| used(group));
        let own = tightest.and_then(|(place, _)| stalled(&place.dir.join("memory.pressure")));
        // The machine's is taken for our doing only where much of it is ours.
        let is_ours = self.memory().is_some_and(|all| resident > all / 4);
        let machine = || is_ours.then(|| stalled(&self.root.join("proc/pressure/memory")))?;
        Look {
            resident: usize::try_from(resident).unwrap_or(usize::MAX),
            group: tightest.map(|(_, group)| Group { oom, ..group }),
            stalled: own.or_else(machine).unwrap_or(0.0),
        }
    }
}

impl Place {
    fn number(&self, name: &str) -> Option<u64> {
        let text = fs::read_to_string(self.dir.join(name)).ok()?;
        text.trim().parse().ok()
    }

    fn field(&self, file: &str, name: &str) -> Option<u64> {
        let text = fs::read_to_string(self.dir.join(file)).ok()?;
        field(&text, name)
    }

    /// Its limit, if it has one.
    fn max(&self) -> Option<u64> {
        let max = match self.version {
            Version::Two => self.number("memory.max"),
            Version::One => self.number("memory.limit_in_bytes"),
        };
        max.filter(|max| *max < NO_LIMIT)
    }

    fn look(&self) -> Option<Group> {
        let max = self.max()?;
        let (used, files, oom) = match self.version {
            Version::Two => (
                self.number("memory.current"),
                ["inactive_file", "active_file"],
                self.field("memory.events", "oom"),
            ),
            Version::One => (
                self.number("memory.usage_in_bytes"),
                ["total_inactive_file", "total_active_file"],
                self.field("memory.oom_control", "oom_kill"),
            ),
        };
        // Pages of files can be dropped, those of our own caches first.
        let files = files.map(|name| self.field("memory.stat", name).unwrap_or(0));
        Some(Group {
            used: used?.saturating_sub(files.iter().sum()),
            max,
            oom: oom.unwrap_or(0),
        })
    }
}

/// The number behind `name` at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let found = words.next() == Some(name);
        found.then(|| words.next()?.parse().ok())?
    })
}

/// `avg10` of the line `some`, in percent.
fn stalled(file: &Path) -> Option<f32> {
    let text = fs::read_to_string(file).ok()?;
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let average = some
        .split(' ')
        .find_map(|word| word.strip_prefix("avg10="))?;
    average.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Machine) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let machine = Machine::below(dir.path());
        (dir, machine)
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:  2048 kB\nMemFree: 1 kB\n");

    #[test]
    fn without_a_group_the_machine_counts() {
        for (resident, stalled) in [(100, 0.0), (600, 12.5)] {
            let status = format!("Name:\tx\nVmRSS:\t    {resident} kB\n");
            let (_dir, machine) = machine(&[
                MEMINFO,
                ("proc/self/status", &status),
                (
                    "proc/pressure/memory",
                    "some avg10=12.50 avg60=0.00 total=1\n",
                ),
            ]);
            assert_eq!(machine.memory(), Some(2 << 20));
            let look = machine.look();
            assert_eq!((look.resident, look.group), (resident << 10, None));
            // Of a machine's stalls only those that this process may have caused count.
            assert!((look.stalled - stalled).abs() < 0.01);
        }
    }

    #[test]
    fn the_tightest_group_above_counts() {
        let (_dir, machine) = machine(&[
            MEMINFO,
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/memory.max", "1000000\n"),
            ("sys/fs/cgroup/a/memory.current", "900000\n"),
            (
                "sys/fs/cgroup/a/memory.stat",
                "anon 5\ninactive_file 60000\nactive_file 40000\n",
            ),
            (
                "sys/fs/cgroup/a/memory.events",
                "low 0\nhigh 9\nmax 7\noom 2\noom_kill 1\n",
            ),
            (
                "sys/fs/cgroup/a/memory.pressure",
                "some avg10=1.00 avg60=0\n",
            ),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
        ]);
        assert_eq!(machine.memory(), Some(1_000_000));
        let group = Group {
            used: 800_000,
            max: 1_000_000,
            oom: 2,
        };
        let look = machine.look();
        assert_eq!(look.group, Some(group));
        assert!((look.stalled - 1.0).abs() < 0.01);
    }

    #[test]
    fn groups_of_version_1_count_as_well() {
        let (_dir, machine) = machine(&[
            MEMINFO,
            ("proc/self/cgroup", "5:cpu:/x\n4:memory:/host/only\n0::/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "500000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "300000\n"),
            (
                "sys/fs/cgroup/memory/memory.stat",
                "total_inactive_file 50000\n",
            ),
            (
                "sys/fs/cgroup/memory/memory.oom_control",
                "under_oom 0\noom_kill 4\n",
            ),
        ]);
        assert_eq!(machine.memory(), Some(500_000));
        let group = machine.look().group.unwrap();
        assert_eq!((group.used, group.max, group.oom), (250_000, 500_000, 4));
    }

    #[test]
    fn a_limit_that_is_none_is_none() {
        let (_dir, machine) = machine(&[
            MEMINFO,
            ("proc/self/cgroup", "4:memory:/\n"),
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
        ]);
        assert_eq!(machine.memory(), Some(2 << 20));
    }
}
