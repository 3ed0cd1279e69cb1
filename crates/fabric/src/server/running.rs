//! A server that runs.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::connection::wake;
use super::outlet::{Bench, MayWait};
use super::shared::Shared;
use super::{ServerConfig, ServerStats, disk, worker};
use crate::serve::Shelf;

/// Serves needles until it is stopped or dropped.
pub struct Server<S: Shelf> {
    shared: Arc<Shared<S>>,
    threads: Vec<JoinHandle<()>>,
}

impl<S: Shelf> Server<S> {
    /// Listens, and serves from `shelf`.
    ///
    /// # Errors
    /// The system's, with the address that cannot be listened on.
    pub fn start(config: ServerConfig, shelf: Arc<S>) -> io::Result<Self> {
        let has_couriers = config.courier_threads > 0 || config.courier.is_none();
        if config.workers == 0 || config.disk_threads == 0 || !has_couriers {
            let words = "a fabric server needs at least one thread of each kind";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
        }
        let shared = Arc::new(Shared::new(config, shelf)?);
        let mut server = Self {
            shared,
            threads: Vec::new(),
        };
        let ServerConfig {
            workers,
            disk_threads,
            courier_threads,
            ..
        } = server.shared.config;
        for number in 0..workers {
            server.spawn(&format!("work-{number}"), worker::run)?;
        }
        for number in 0..disk_threads {
            server.spawn(&format!("disk-{number}"), disk::read)?;
        }
        if server.shared.config.courier.is_some() {
            for number in 0..courier_threads {
                server.spawn(&format!("hand-{number}"), disk::hand_on)?;
            }
        }
        Ok(server)
    }

    /// Where it listens on TCP.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        let mut listeners = self.shared.listeners.iter();
        listeners.find_map(|listener| listener.address())
    }

    /// Where it listens for RDMA.
    pub fn rdma_addresses(&self) -> Vec<SocketAddr> {
        let rails = self.shared.rails.iter();
        rails.map(verbs::Listener::local_addr).collect()
    }

    /// What it has done so far.
    pub fn stats(&self) -> &Arc<ServerStats> {
        &self.shared.stats
    }

    /// Stops in good order: accepts no more, answers what was asked for, but for no longer than
    /// `bound`, and closes all lanes.
    pub fn stop(mut self, bound: Duration) {
        self.end(bound);
    }

    fn spawn(&mut self, name: &str, life: fn(&Shared<S>)) -> io::Result<()> {
        let shared = self.shared.clone();
        let name = format!("{}-{name}", shared.config.name);
        let thread = std::thread::Builder::new().name(name);
        self.threads.push(thread.spawn(move || life(&shared))?);
        Ok(())
    }

    fn end(&mut self, bound: Duration) {
        let until = Instant::now() + bound;
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.listen(false);
        // Those that rest see it now, those that are driven when their exchange is done.
        let mut bench = Bench::new(MayWait::Never);
        for connection in self.shared.table.select(|_| true) {
            wake(&self.shared, &connection, &mut bench);
        }
        self.shared.table.wait_until_empty(until);
        self.shared.quit();
        for thread in self.threads.drain(..) {
            // A thread that panicked has told so already.
            let _ = thread.join();
        }
        self.shared.table.clear();
    }
}

impl<S: Shelf> Drop for Server<S> {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.end(Duration::ZERO);
        }
    }
}
