//! The cluster that serves the tree.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use bench::Tree;
use cluster::Cluster;

use super::binary::Programs;
use super::mounted::Variant;
use super::options::Options;
use super::session;
use super::sidecar::Sidecar;

/// A running cluster with the tree in it.
#[derive(Debug)]
pub(crate) struct Bench {
    /// The plan of what lies below [`ROOT`].
    pub(crate) tree: Tree,
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
    _cluster: Cluster,
}

impl Bench {
    /// Starts the cluster, writes the tree, and reads the large file back, so
    /// that its bytes are known to be right and in the servers' page cache.
    pub(crate) fn start(options: &Options, programs: Programs) -> Result<Self> {
        let tree = Tree::new(options.size_mb << 20, options.files);
        eprintln!(
            "bench: starting a cluster; writing {} MiB and {} entries",
            options.size_mb,
            tree.entries()
        );
        let start = Instant::now();
        let mut cluster = Cluster::builder().start()?;
        fill(&cluster, &tree)?;
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
        let carriers = options.variants.iter().filter_map(|v| v.carrier());
        let sidecars = carriers
            .map(|carrier| Sidecar::start(&programs, carrier, &cluster))
            .collect::<Result<Vec<_>>>()?;
        let mut servers = vec![master, volume_server, filer];
        servers.extend(sidecars.iter().map(Sidecar::id));
        Ok(Self {
            tree,
            programs,
            mount_flags: options.mount_flags.clone(),
            filer: cluster.filer_http(),
            servers,
            volume_server,
            sidecars,
            _cluster: cluster,
        })
    }

    /// The sidecar that a variant reads from.
    pub(crate) fn sidecar(&self, variant: Variant) -> Option<&Sidecar> {
        let carrier = variant.carrier()?;
        self.sidecars.iter().find(|one| one.carrier() == carrier)
    }

    /// The process that sends file data to a variant.
    pub(crate) fn sender(&self, variant: Variant) -> u32 {
        self.sidecar(variant)
            .map_or(self.volume_server, Sidecar::id)
    }
}

/// A mount asks for the changes of the last ten seconds again when it starts. Those of the
/// planting would count as work of the first samples.
const SETTLED: Duration = Duration::from_secs(11);
const PAUSE: Duration = Duration::from_millis(100);

fn fill(cluster: &Cluster, tree: &Tree) -> Result<()> {
    let files: Vec<_> = tree.many().into_iter().chain([tree.big()]).collect();
    let next = AtomicUsize::new(0);
    let write = || -> Result<()> {
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            session::go_on()?;
            cluster
                .put(&path_of(file), &file.content())
                .context("write the tree")?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(write)).collect();
        for writer in writers {
            writer.join().map_err(|_| anyhow!("a writer panicked"))??;
        }
        Ok(())
    })
}

fn path_of(file: &bench::File) -> String {
    format!("/{ROOT}/{}", file.path)
}

/// The folder of the tree, below the root of the filer.
pub(crate) const ROOT: &str = "bench";
/// Enough to keep the servers of a small machine busy.
const WRITERS: usize = 8;
