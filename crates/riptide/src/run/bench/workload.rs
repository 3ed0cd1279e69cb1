//! What is done in the folder, and the numbers that come out.

use bench::{
    Better, Caching, Error, File, Latencies, MANY, change_names, compare, create_write_close,
    drop_pages, forced_getattr, make_folders, missing_lookup, open_read_close, overwrite_synced,
    random, random_sizes, remove_tree, sequential, small_files, stat_all, walk, walk_and_stat,
    write_sequential,
};

use super::place::Place;

/// One line of the table.
pub(super) struct Row {
    /// Its name in JSON.
    pub(super) key: &'static str,
    /// What it is, for people.
    pub(super) title: &'static str,
    /// Of its values.
    pub(super) unit: &'static str,
    /// Which value is better.
    pub(super) better: Better,
}

/// Something that is done, and what it measures.
pub(super) struct Workload {
    pub(super) rows: &'static [Row],
    /// Whether it changes anything.
    pub(super) writes: bool,
    run: fn(&Sample) -> Result<Vec<f64>, Error>,
}

/// One time of doing it.
pub(super) struct Sample<'a> {
    pub(super) place: &'a Place,
    /// Operations of a latency.
    pub(super) operations: usize,
    /// Other random places and names in each.
    pub(super) round: u64,
}

/// All of them, in the order they run.
pub(super) fn all() -> impl Iterator<Item = &'static Workload> {
    READING.iter().chain(WRITING)
}

static READING: &[Workload] = &[
    reads(
        &[higher("seq-buffered", "sequential 1 MiB, buffered", "MB/s")],
        |s| s.sequential(Caching::Buffered),
    ),
    reads(
        &[higher("seq-direct", "sequential 1 MiB, O_DIRECT", "MB/s")],
        |s| s.sequential(Caching::Direct),
    ),
    reads(
        &[
            lower(
                "random-p50",
                "random 4 KiB, O_DIRECT, one reader, p50",
                "µs",
            ),
            lower("random-p99", "— p99", "µs"),
        ],
        |s| Ok(s.random(Caching::Direct, 1, s.operations)?.p50_p99()),
    ),
    reads(
        &[
            lower(
                "random-buffered-p50",
                "random 4 KiB, buffered, one reader, p50",
                "µs",
            ),
            lower("random-buffered-p99", "— p99", "µs"),
        ],
        |s| Ok(s.random(Caching::Buffered, 1, s.operations)?.p50_p99()),
    ),
    reads(
        &[higher(
            "random-sizes",
            "random 4 to 128 KiB, O_DIRECT, one reader",
            "MB/s",
        )],
        |s| {
            let place = s.place;
            let done = random_sizes(&place.root, place.tree.big(), s.operations, s.round);
            let (done, bytes) = done?;
            Ok(vec![bytes as f64 / 1e6 / done.elapsed.as_secs_f64()])
        },
    ),
    reads(
        &[higher(
            "parallel",
            "random 4 KiB, O_DIRECT, 16 readers",
            "IOPS",
        )],
        |s| {
            let done = s.random(Caching::Direct, READERS, s.operations.div_ceil(4))?;
            Ok(vec![done.per_second()])
        },
    ),
    reads(
        &[
            higher("small-files", "open+read+close of 4 KiB files", "files/s"),
            lower("small-files-p99", "— p99", "µs"),
        ],
        |s| {
            s.drop_small()?;
            let done = open_read_close(&s.place.root, s.place.tree.small())?;
            Ok(vec![done.per_second(), done.quantile_us(0.99)])
        },
    ),
    reads(
        &[
            higher("find", "find", "entries/s"),
            higher("find-stat", "find with stat of each", "entries/s"),
            higher("stat", "stat of all files", "files/s"),
        ],
        |s| {
            let (dir, entries) = (s.place.root.join(MANY), s.place.tree.entries());
            let found = entries as f64 / walk(&dir, entries)?.as_secs_f64();
            let told = entries as f64 / walk_and_stat(&dir, entries)?.as_secs_f64();
            let asked = stat_all(&s.place.root, &s.place.tree.many())?.per_second();
            Ok(vec![found, told, asked])
        },
    ),
    reads(
        &[
            lower("getattr", "forced GETATTR, p50", "µs"),
            lower("missing", "LOOKUP of a missing name, p50", "µs"),
        ],
        |s| {
            let (root, big) = (&s.place.root, s.place.tree.big());
            let getattr = forced_getattr(root, big, s.operations)?;
            let missing = missing_lookup(root, s.operations, s.round)?;
            Ok(vec![getattr.quantile_us(0.5), missing.quantile_us(0.5)])
        },
    ),
];

static WRITING: &[Workload] = &[
    writes(
        &[higher(
            "write",
            "sequential write 1 MiB, new file, fsync, close",
            "MB/s",
        )],
        |s| {
            let (root, file) = (&s.place.root, s.new_file("written", s.place.size)?);
            let stream = write_sequential(root, &file)?;
            compare(root, &file, &file.content())?;
            remove_tree(&root.join(s.name("written")))?;
            Ok(vec![stream.mb_per_second()])
        },
    ),
    writes(
        &[
            lower(
                "overwrite-p50",
                "overwrite 4 KiB at random and fsync, p50",
                "µs",
            ),
            lower("overwrite-p99", "— p99", "µs"),
        ],
        |s| {
            let size = OVERWRITTEN.min(s.place.size);
            let (root, file) = (&s.place.root, s.new_file("overwritten", size)?);
            write_sequential(root, &file)?;
            let done = overwrite_synced(root, &file, s.operations.div_ceil(4), s.round)?;
            let (done, expected) = done;
            compare(root, &file, &expected)?;
            remove_tree(&root.join(s.name("overwritten")))?;
            Ok(done.p50_p99())
        },
    ),
    writes(
        &[
            higher("create", "create+write+close of 4 KiB files", "files/s"),
            lower("create-p99", "— p99", "µs"),
        ],
        |s| {
            let files = small_files(&s.name("created"), s.place.tree.small().len());
            let root = &s.place.root;
            make_folders(root, &files)?;
            let made = create_write_close(root, &files)?;
            for file in &files {
                compare(root, file, &file.content())?;
            }
            Ok(vec![made.per_second(), made.quantile_us(0.99)])
        },
    ),
    writes(
        &[
            higher("mkdir", "mkdir", "1/s"),
            higher("rename", "rename of a file", "1/s"),
            higher("unlink", "unlink of a file", "1/s"),
        ],
        |s| {
            let files = small_files(&s.name("names"), 1);
            make_folders(&s.place.root, &files)?;
            let dir = s.place.root.join(s.name("names"));
            let done = change_names(&dir, s.operations.div_ceil(2))?;
            let each = [done.made, done.renamed, done.removed];
            walk(&dir, done.left.len())?;
            Ok(each.iter().map(Latencies::per_second).collect())
        },
    ),
    writes(
        &[higher("rm-rf", "rm -rf of what was created", "files/s")],
        |s| {
            let took = remove_tree(&s.place.root.join(s.name("created")))?;
            Ok(vec![s.place.files as f64 / took.as_secs_f64()])
        },
    ),
];

impl Sample<'_> {
    /// The values of the workload's rows; none of those the file system does not support.
    pub(super) fn run(&self, workload: &Workload) -> Result<Vec<f64>, Error> {
        match (workload.run)(self) {
            Err(error) if error.is_direct_refused() => Ok(Vec::new()),
            done => done,
        }
    }

    fn sequential(&self, caching: Caching) -> Result<Vec<f64>, Error> {
        let (root, big) = (&self.place.root, self.place.tree.big());
        drop_pages(root, big)?;
        Ok(vec![sequential(root, big, caching)?.mb_per_second()])
    }

    fn random(&self, caching: Caching, readers: usize, each: usize) -> Result<Latencies, Error> {
        let (root, big) = (&self.place.root, self.place.tree.big());
        drop_pages(root, big)?;
        random(root, big, caching, readers, each, self.round)
    }

    fn drop_small(&self) -> Result<(), Error> {
        let mut files = self.place.tree.small().iter();
        files.try_for_each(|file| drop_pages(&self.place.root, file))
    }

    /// A name that no other round has.
    fn name(&self, what: &str) -> String {
        format!("{what}-{}", self.round)
    }

    /// A file to be written, in a folder of its own.
    fn new_file(&self, what: &str, size: u64) -> Result<File, Error> {
        let file = File {
            path: format!("{}/file", self.name(what)),
            size,
        };
        make_folders(&self.place.root, std::slice::from_ref(&file))?;
        Ok(file)
    }
}

/// The two numbers most latencies are told by.
trait Told {
    fn p50_p99(&self) -> Vec<f64>;
}

impl Told for Latencies {
    fn p50_p99(&self) -> Vec<f64> {
        vec![self.quantile_us(0.5), self.quantile_us(0.99)]
    }
}

type Run = fn(&Sample) -> Result<Vec<f64>, Error>;

const fn reads(rows: &'static [Row], run: Run) -> Workload {
    Workload {
        rows,
        writes: false,
        run,
    }
}

const fn writes(rows: &'static [Row], run: Run) -> Workload {
    Workload {
        rows,
        writes: true,
        run,
    }
}

const fn higher(key: &'static str, title: &'static str, unit: &'static str) -> Row {
    Row {
        key,
        title,
        unit,
        better: Better::Higher,
    }
}

const fn lower(key: &'static str, title: &'static str, unit: &'static str) -> Row {
    Row {
        key,
        title,
        unit,
        better: Better::Lower,
    }
}

const READERS: usize = 16;
/// The size of the file in which places are overwritten.
const OVERWRITTEN: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_key_of_its_own() {
        let mut keys: Vec<_> = all().flat_map(|it| it.rows).map(|row| row.key).collect();
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }
}
