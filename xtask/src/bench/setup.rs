//! The cluster that serves the tree.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use bench::usage::written;
use bench::{Archive, File, Tree};
use cluster::Cluster;
use tempfile::TempDir;

use super::bare::Bare;
use super::binary::Programs;
use super::measure::taking_part;
use super::mounted::Variant;
use super::options::Options;
use super::session;
use super::sidecar::Sidecar;
use super::workload::Kind;

/// A running cluster with the tree in it.
#[derive(Debug)]
pub(crate) struct Bench {
    /// The plan of what lies below [`ROOT`].
    pub(crate) tree: Tree,
    /// What is unpacked.
    pub(crate) archive: Archive,
    /// What is compared.
    pub(crate) programs: Programs,
    /// Flags that all mounts get.
    pub(crate) mount_flags: Vec<String>,
    /// `host:port` of the filer.
    pub(crate) filer: String,
    /// Processes whose CPU time is the servers'.
    pub(crate) servers: Vec<u32>,
    /// The process that sends file data over HTTP.
    volume_server: u32,
    sidecars: Vec<Sidecar>,
    /// The same tree in a folder of this machine, where that takes part.
    pub(crate) native: Option<TempDir>,
    /// How the large file is read without a mount.
    pub(crate) bare: Bare,
    /// Where everything is.
    pub(crate) cluster: Cluster,
    _scratch: TempDir,
}

impl Bench {
    /// Starts the cluster, writes the tree, and reads the large file back, so
    /// that its bytes are known to be right and in the servers' page cache.
    pub(crate) fn start(options: &Options, programs: Programs) -> Result<Self> {
        let tree = Tree::new(options.size_mb << 20, options.files);
        let plan = plan(options, &tree);
        eprintln!(
            "bench: starting a cluster; writing {} MiB and {} entries",
            options.size_mb,
            plan.len()
        );
        let start = Instant::now();
        let scratch = tempfile::Builder::new()
            .prefix("riptide-bench-")
            .tempdir()?;
        let takes_part = |variant| options.variants.contains(&variant);
        let native = takes_part(Variant::Native)
            .then(|| native(&tree))
            .transpose()?;
        let archive = Archive::pack(scratch.path(), options.files.div_ceil(FILES_PER_SOURCE))?;
        let mut cluster = Cluster::builder().start()?;
        in_parallel(&plan, |(folder, file)| {
            let path = format!("/{folder}/{}", file.path);
            cluster
                .put(&path, &file.content())
                .context("write the tree")
        })?;
        let filled = Instant::now();
        let back = cluster.get(&path_of(tree.big()))?;
        let right = back.len() as u64 == tree.big().size;
        let checked = tree.big().pattern().check(0, &back);
        if let (false, _) | (_, Err(_)) = (right, checked) {
            return Err(anyhow!(
                "the large file reads back wrong through HTTP: {checked:?}"
            ));
        }
        while filled.elapsed() < SETTLED {
            session::go_on()?;
            thread::sleep(PAUSE);
        }
        eprintln!("bench: ready after {:.1} s", start.elapsed().as_secs_f64());
        let volume_server = cluster.volume_process(0).id();
        let (master, filer) = (cluster.master_process().id(), cluster.filer_process(0).id());
        let bare = Bare::find(&cluster, &path_of(tree.big()))?;
        let carriers = options.variants.iter().filter_map(|v| v.carrier());
        let carriers: BTreeSet<_> = carriers.collect();
        let sidecars = carriers
            .into_iter()
            .map(|carrier| Sidecar::start(&programs, carrier, &cluster))
            .collect::<Result<Vec<_>>>()?;
        let mut servers = vec![master, volume_server, filer];
        servers.extend(sidecars.iter().map(Sidecar::id));
        Ok(Self {
            tree,
            archive,
            programs,
            mount_flags: options.mount_flags.clone(),
            filer: cluster.filer_http(),
            servers,
            volume_server,
            sidecars,
            native,
            bare,
            cluster,
            _scratch: scratch,
        })
    }

    /// The sidecar that a variant reads from.
    pub(crate) fn sidecar(&self, variant: Variant) -> Option<&Sidecar> {
        let carrier = variant.carrier()?;
        self.sidecars.iter().find(|one| one.carrier() == carrier)
    }

    /// Bytes of files that whoever sends them to a variant has sent so far: a sidecar says so
    /// itself, since what goes by shared memory is no system call. Headers of HTTP count. None
    /// where nothing is sent.
    pub(crate) fn sent(&self, variant: Variant) -> Result<Option<u64>> {
        if !variant.is_compared() {
            return Ok(None);
        }
        match self.sidecar(variant) {
            Some(sidecar) => sidecar.sent().map(Some),
            None => Ok(Some(written(self.volume_server)?)),
        }
    }
}

/// A folder with the tree, whose pages are in memory as it was just written.
fn native(tree: &Tree) -> Result<TempDir> {
    let dir = tempfile::Builder::new()
        .prefix("riptide-bench-")
        .tempdir()?;
    for file in tree.many().into_iter().chain([tree.big()]) {
        let path = dir.path().join(&file.path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, file.content()).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(dir)
}

/// A mount asks for the changes of the last ten seconds again when it starts. Those of the
/// planting would count as work of the first samples.
const SETTLED: Duration = Duration::from_secs(11);
const PAUSE: Duration = Duration::from_millis(100);

/// What is there before anything is measured: the tree, and where trees are removed, one for each time.
fn plan<'a>(options: &Options, tree: &'a Tree) -> Vec<(String, &'a File)> {
    let workloads = options.workloads();
    let reads = workloads.iter().any(|w| w.kind == Kind::Read);
    let removes = workloads
        .iter()
        .filter(|w| w.rows.iter().any(|row| row.key == REMOVED));
    let rounds = 0..options.rounds as u64;
    let removed = removes
        .flat_map(|workload| taking_part(options, workload))
        .flat_map(|variant| rounds.clone().map(move |round| removed(variant, round)));
    let folders = reads.then(|| ROOT.to_owned()).into_iter().chain(removed);
    let many = folders.flat_map(|folder| {
        let files = tree.many().into_iter();
        files.map(move |file| (folder.clone(), file))
    });
    many.chain([(ROOT.to_owned(), tree.big())]).collect()
}

/// The folder that a sample removes.
pub(crate) fn removed(variant: Variant, round: u64) -> String {
    format!("removed/{}-{round}", variant.key())
}

/// Does `one` for each of `all`, by as many threads as keep the servers of a small machine busy.
pub(crate) fn in_parallel<T: Sync>(all: &[T], one: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        while let Some(item) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            session::go_on()?;
            one(item)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            thread.join().map_err(|_| anyhow!("a thread panicked"))??;
        }
        Ok(())
    })
}

fn path_of(file: &bench::File) -> String {
    format!("/{ROOT}/{}", file.path)
}

/// The folder of the tree, below the root of the filer.
pub(crate) const ROOT: &str = "bench";
/// The key of the row about trees that are removed.
const REMOVED: &str = "rm-rf";
/// The archive has a file for so many of the small ones.
const FILES_PER_SOURCE: usize = 5;
const THREADS: usize = 8;
