//! Which files are read past the kernel's page cache.
//!
//! To put pages into the page cache costs more than all else of a large read, and pays only when
//! they are read again. A handle opened with `FOPEN_DIRECT_IO` is asked for every read(2) as it is,
//! with nothing kept: right for large files that are read once from start to end with large reads,
//! and wrong for all others. It has to be decided when the file is opened, before anything is known
//! of the reader, so that the decision goes by what was done with the directory's files before
//! ([`Habits`]): whole passes over large files speak for it; files that are read again, in pieces
//! or with small reads speak against, and weigh more.
//!
//! Who maps such a file into memory does not see it: the kernel maps it through the page
//! cache as ever (`FUSE_DIRECT_IO_ALLOW_MMAP`, from Linux 6.6 on; before it no file is read like this). Files
//! opened for writing are never concerned.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use fuse::NodeId;
use parking_lot::Mutex;

/// `-directIO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DirectIo {
    /// Large files of directories whose files are read once, from start to end.
    #[default]
    Auto,
    /// Every file opened for reading only.
    Always,
    /// None.
    Never,
}

/// Smaller files go through the page cache: they are what is read again.
const LARGE: u64 = 32 << 20;
/// Reads of less on average are what the page cache is for. One large read of memory that does not
/// begin at a page is a large request and a small one.
const SMALL_READ: u64 = 64 << 10;
/// How far a read may be from where the last one ended: the kernel's readahead comes in any order.
const SLACK: u64 = 8 << 20;

/// Decides for one mount.
#[derive(Debug, Default)]
pub(crate) struct Streaming {
    mode: DirectIo,
    /// Whether the kernel still maps such files.
    may: AtomicBool,
    habits: Mutex<Habits>,
}

impl Streaming {
    pub(crate) fn new(mode: DirectIo) -> Self {
        Self {
            mode,
            ..Self::default()
        }
    }

    /// Says what the kernel agreed to.
    pub(crate) fn attach(&self, maps_direct_io: bool) {
        if !maps_direct_io && self.mode == DirectIo::Always {
            tracing::warn!(
                "flag -directIO=always has no effect: this kernel could not map such files (Linux 6.6 can)"
            );
        }
        self.may.store(maps_direct_io, Ordering::Relaxed);
    }

    /// Whether `file` of `size` bytes in `directory`, opened for reading only, is read past the
    /// page cache.
    pub(crate) fn open(&self, directory: NodeId, file: NodeId, size: u64) -> bool {
        match self.mode {
            _ if !self.may.load(Ordering::Relaxed) => false,
            DirectIo::Always => true,
            DirectIo::Never => false,
            DirectIo::Auto => size >= LARGE && self.habits.lock().open(directory, file),
        }
    }

    /// A handle of it is closed; how it was read is learnt from.
    pub(crate) fn closed(
        &self,
        directory: NodeId,
        file: NodeId,
        size: u64,
        pass: Pass,
        direct: bool,
    ) {
        if self.mode == DirectIo::Auto && size >= LARGE {
            let verdict = pass.verdict(size, direct);
            self.habits.lock().learn(directory, file, verdict);
        }
    }
}

/// How one handle was read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pass {
    frontier: u64,
    bytes: u64,
    reads: u32,
    strays: u32,
}

/// What that says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It was read once, from start to end.
    Stream,
    /// Nobody asked for anything: if it was ever read, the page cache had it.
    Silent,
    /// It was read otherwise.
    Other,
    /// Past the page cache, it was read in a way that needs one.
    Unfit,
}

impl Pass {
    /// One read was asked for.
    pub(crate) fn read(&mut self, offset: u64, len: u64) {
        let end = offset.saturating_add(len);
        self.reads = self.reads.saturating_add(1);
        self.bytes = self.bytes.saturating_add(len);
        self.strays += u32::from(offset.abs_diff(self.frontier) > SLACK);
        self.frontier = self.frontier.max(end);
    }

    fn verdict(&self, size: u64, direct: bool) -> Verdict {
        if self.reads == 0 {
            return Verdict::Silent;
        }
        let orderly = self.strays <= self.reads / 16;
        let large = self.bytes / u64::from(self.reads) >= SMALL_READ;
        if direct && !(orderly && large) {
            return Verdict::Unfit;
        }
        let tenth = size / 10;
        let once = self.bytes >= size - tenth && self.bytes <= size.saturating_add(tenth);
        match orderly && once {
            true => Verdict::Stream,
            false => Verdict::Other,
        }
    }
}

/// How the large files of each directory were read.
#[derive(Debug, Default)]
struct Habits {
    scores: HashMap<NodeId, i8>,
    /// Files that were read from start to end.
    streamed: HashSet<NodeId>,
}

impl Habits {
    /// From this score on files are read past the page cache.
    const DIRECT: i8 = 2;
    /// What a directory's score is at most, so that habits can change.
    const MOST: i8 = 4;
    const LEAST: i8 = -16;
    /// Directories and files remembered; beyond that all is forgotten and learnt anew.
    const REMEMBERED: usize = 4096;

    fn open(&mut self, directory: NodeId, file: NodeId) -> bool {
        // With the page cache it would be there now.
        if self.streamed.remove(&file) {
            self.add(directory, -2);
        }
        self.score(directory) >= Self::DIRECT
    }

    fn learn(&mut self, directory: NodeId, file: NodeId, verdict: Verdict) {
        match verdict {
            Verdict::Stream => {
                if self.streamed.len() >= Self::REMEMBERED {
                    self.streamed.clear();
                }
                self.streamed.insert(file);
                self.add(directory, 1);
            }
            // Its second opening has counted already.
            Verdict::Silent => {}
            Verdict::Other => self.add(directory, -1),
            Verdict::Unfit => self.add(directory, Self::LEAST),
        }
    }

    fn score(&self, directory: NodeId) -> i8 {
        self.scores.get(&directory).copied().unwrap_or(0)
    }

    fn add(&mut self, directory: NodeId, points: i8) {
        if self.scores.len() >= Self::REMEMBERED && !self.scores.contains_key(&directory) {
            self.scores.clear();
        }
        let score = self.scores.entry(directory).or_insert(0);
        *score = score.saturating_add(points).clamp(Self::LEAST, Self::MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIR: NodeId = NodeId(7);
    const SIZE: u64 = 64 << 20;
    const MIB: u64 = 1 << 20;

    fn attached(mode: DirectIo) -> Streaming {
        let streaming = Streaming::new(mode);
        streaming.attach(true);
        streaming
    }

    /// Reads a whole file in requests of `step` bytes.
    fn whole(step: u64) -> Pass {
        let mut pass = Pass::default();
        for at in (0..SIZE).step_by(step as usize) {
            pass.read(at, step.min(SIZE - at));
        }
        pass
    }

    fn read(streaming: &Streaming, file: u64, pass: Pass) -> bool {
        let file = NodeId(file);
        let direct = streaming.open(DIR, file, SIZE);
        streaming.closed(DIR, file, SIZE, pass, direct);
        direct
    }

    #[test]
    fn files_that_are_streamed_one_after_the_other_go_past_the_page_cache() {
        let streaming = attached(DirectIo::Auto);
        let direct: Vec<_> = (0..5)
            .map(|file| read(&streaming, file, whole(MIB)))
            .collect();
        assert_eq!(direct, [false, false, true, true, true]);
        assert!(
            !streaming.open(NodeId(8), NodeId(99), SIZE),
            "another directory"
        );
        assert!(!streaming.open(DIR, NodeId(99), LARGE - 1), "a small file");
    }

    #[test]
    fn files_that_are_read_again_stay_in_the_page_cache() {
        let streaming = attached(DirectIo::Auto);
        for _ in 0..5 {
            // The second pass asks for nothing: the page cache has it.
            assert!(!read(&streaming, 1, whole(MIB)));
            assert!(!read(&streaming, 1, Pass::default()));
        }
        let streaming = attached(DirectIo::Auto);
        for file in 0..4 {
            read(&streaming, file, whole(MIB));
        }
        // So it is when they were past it: nobody would have had to ask.
        assert!(read(&streaming, 3, whole(MIB)) || read(&streaming, 2, whole(MIB)));
        assert!(!read(&streaming, 1, whole(MIB)));
    }

    #[test]
    fn small_or_scattered_reads_end_it_for_long() {
        let scattered = {
            let mut pass = Pass::default();
            (0..64).for_each(|n: u64| pass.read((n * 37 % 64) * MIB, MIB));
            pass
        };
        for unfit in [whole(4096), scattered] {
            let streaming = attached(DirectIo::Auto);
            for file in 0..4 {
                read(&streaming, file, whole(MIB));
            }
            assert!(read(&streaming, 10, unfit));
            assert!((20..30).all(|file| !read(&streaming, file, whole(MIB))));
        }
    }

    #[test]
    fn reordered_requests_are_a_stream_and_a_part_of_a_file_is_none() {
        let mut pass = Pass::default();
        for at in (0..SIZE / MIB).map(|n| (n ^ 3) * MIB) {
            pass.read(at, MIB);
        }
        assert_eq!(pass.verdict(SIZE, false), Verdict::Stream);
        let mut split = Pass::default();
        for at in (0..SIZE).step_by(MIB as usize) {
            split.read(at, MIB - 4096);
            split.read(at + MIB - 4096, 4096);
        }
        assert_eq!(split.verdict(SIZE, true), Verdict::Stream);
        let mut half = Pass::default();
        (0..32).for_each(|n| half.read(n * MIB, MIB));
        assert_eq!(half.verdict(SIZE, true), Verdict::Other);
    }

    #[test]
    fn always_and_never_ask_for_no_habits() {
        assert!(attached(DirectIo::Always).open(DIR, NodeId(1), 1));
        let old = Streaming::new(DirectIo::Always);
        old.attach(false);
        assert!(
            !old.open(DIR, NodeId(1), 1),
            "a kernel that could not map it"
        );
        let never = attached(DirectIo::Never);
        assert!((0..9).all(|file| !read(&never, file, whole(MIB))));
    }

    #[test]
    fn what_is_remembered_has_a_limit() {
        let mut habits = Habits::default();
        for n in 0..3 * Habits::REMEMBERED as u64 {
            habits.learn(NodeId(n), NodeId(n), Verdict::Stream);
        }
        assert!(habits.scores.len() <= Habits::REMEMBERED);
        assert!(habits.streamed.len() <= Habits::REMEMBERED);
    }
}
