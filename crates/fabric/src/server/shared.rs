//! What all threads of a server share.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use context::Interrupt;
use parking_lot::{Condvar, Mutex};
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use super::config::MAX_RAILS;
use super::connection::Connection;
use super::disk::Waiting;
use super::listen::Listener;
use super::rdma::Slabs;
use super::regions::Regions;
use super::session::Terms;
use super::{ServerConfig, ServerStats};
use crate::eager::Eager;
use crate::serve::Shelf;

/// Everything but the threads.
pub(super) struct Shared<S: Shelf> {
    pub(super) config: ServerConfig,
    pub(super) terms: Terms,
    pub(super) shelf: Arc<S>,
    pub(super) stats: Arc<ServerStats>,
    pub(super) regions: Arc<Regions>,
    /// Lanes that wait for a disk thread, and for one that waits for volume servers.
    pub(super) disk: Waiting<S>,
    pub(super) couriers: Waiting<S>,
    /// Raised when nothing more is handed to volume servers.
    pub(super) recall: Interrupt,
    pub(super) listeners: Vec<Listener>,
    pub(super) rails: Vec<verbs::Listener>,
    pub(super) slabs: Arc<Slabs>,
    pub(super) table: Table<S>,
    /// Connections that are not lanes yet, and lanes.
    pub(super) opening: AtomicUsize,
    pub(super) lanes: AtomicUsize,
    /// Bytes asked for and being worked on.
    pub(super) in_flight: AtomicU64,
    /// Workers that wait for the next request of a client.
    pub(super) eager: Eager,
    /// The number of the connection that was answered last.
    pub(super) answered: AtomicU64,
    /// No more exchanges are begun.
    pub(super) stopping: AtomicBool,
    /// The threads end.
    pub(super) quitting: AtomicBool,
    pub(super) epoll: OwnedFd,
    timer: OwnedFd,
    quit: OwnedFd,
    tick: Duration,
    is_armed: AtomicBool,
    epoch: Instant,
}

/// What an event is about; a connection's own number from here on.
pub(super) const FIRST_CONNECTION: u64 = 16;
pub(super) const TIMER: u64 = FIRST_CONNECTION - 1;
pub(super) const QUIT: u64 = FIRST_CONNECTION - 2;
/// The first listener for RDMA; those of sockets come before.
pub(super) const FIRST_RAIL: u64 = 2;
const _: () = assert!(FIRST_RAIL + MAX_RAILS as u64 <= QUIT);

impl<S: Shelf> Shared<S> {
    pub(super) fn new(config: ServerConfig, shelf: Arc<S>) -> io::Result<Self> {
        let mut listeners = Vec::new();
        if let Some(address) = config.tcp {
            listeners.push(Listener::tcp(address)?);
        }
        if let Some(path) = &config.unix {
            listeners.push(Listener::unix(path)?);
        }
        if config.rdma.len() > MAX_RAILS {
            let (got, words) = (config.rdma.len(), "addresses to listen on for RDMA");
            return Err(io::Error::other(format!(
                "{got} {words}, at most {MAX_RAILS}"
            )));
        }
        let rails = config
            .rdma
            .iter()
            .map(|address| verbs::Listener::bind(*address));
        let rails: Result<Vec<_>, _> = rails.collect();
        let rails = rails.map_err(io::Error::other)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        let quit = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let level = epoll::EventFlags::IN;
        for (index, listener) in listeners.iter().enumerate() {
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&epoll, &listener.socket, data, level)?;
        }
        for (index, rail) in rails.iter().enumerate() {
            let data = epoll::EventData::new_u64(FIRST_RAIL + index as u64);
            epoll::add(&epoll, rail, data, level)?;
        }
        let edge = level | epoll::EventFlags::ET;
        epoll::add(&epoll, &timer, epoll::EventData::new_u64(TIMER), edge)?;
        epoll::add(&epoll, &quit, epoll::EventData::new_u64(QUIT), level)?;
        let stats = Arc::new(ServerStats::default());
        Ok(Self {
            terms: Terms {
                key: config.read_key.clone(),
                patience: config.patience,
                ..Terms::default()
            },
            shelf,
            regions: Regions::new(config.memory_limit, stats.clone()),
            stats: stats.clone(),
            disk: Waiting::new(config.disk_threads),
            couriers: Waiting::new(config.courier_threads),
            recall: Interrupt::new()?,
            listeners,
            rails,
            slabs: Slabs::new(config.rdma_buffers, stats.clone()),
            table: Table::default(),
            opening: AtomicUsize::new(0),
            lanes: AtomicUsize::new(0),
            in_flight: AtomicU64::new(0),
            eager: Eager::default(),
            answered: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            quitting: AtomicBool::new(false),
            epoll,
            timer,
            quit,
            tick: (config.patience.min(config.stall) / 4).clamp(MIN_TICK, MAX_TICK),
            is_armed: AtomicBool::new(false),
            epoch: Instant::now(),
            config,
        })
    }

    /// A moment as a number that is never 0.
    pub(super) fn moment(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.epoch).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Has the timer go off soon, as there is a deadline now.
    pub(super) fn arm(&self) {
        if self.is_armed.swap(true, Ordering::AcqRel) {
            return;
        }
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: self.tick.as_secs() as i64,
                tv_nsec: self.tick.subsec_nanos().into(),
            },
        };
        // The arguments are right, so it does not fail.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once);
    }

    /// The timer went off; deadlines that are set from now on arm it anew.
    pub(super) fn disarm(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.timer, &mut count);
        self.is_armed.store(false, Ordering::Release);
    }

    /// Ends all threads.
    pub(super) fn quit(&self) {
        self.quitting.store(true, Ordering::Release);
        let _ = rustix::io::write(&self.quit, &1u64.to_ne_bytes());
        self.recall.raise();
        self.disk.close();
        self.couriers.close();
    }

    /// Sets whether connections are accepted.
    pub(super) fn listen(&self, is_wanted: bool) {
        let what = match is_wanted {
            true => epoll::EventFlags::IN,
            false => epoll::EventFlags::empty(),
        };
        for (index, listener) in self.listeners.iter().enumerate() {
            let data = epoll::EventData::new_u64(index as u64);
            let _ = epoll::modify(&self.epoll, listener.socket.as_fd(), data, what);
        }
        for (index, rail) in self.rails.iter().enumerate() {
            let data = epoll::EventData::new_u64(FIRST_RAIL + index as u64);
            let _ = epoll::modify(&self.epoll, rail.as_fd(), data, what);
        }
    }
}

/// The timer's pace: a deadline is kept to within a quarter of the shortest there is.
const MIN_TICK: Duration = Duration::from_millis(10);
const MAX_TICK: Duration = Duration::from_secs(1);

/// All connections, by their numbers, which grow.
pub(super) struct Table<S: Shelf> {
    all: Mutex<HashMap<u64, Arc<Connection<S>>>>,
    emptied: Condvar,
}

impl<S: Shelf> Default for Table<S> {
    fn default() -> Self {
        Self {
            all: Mutex::default(),
            emptied: Condvar::new(),
        }
    }
}

impl<S: Shelf> Table<S> {
    pub(super) fn find(&self, number: u64) -> Option<Arc<Connection<S>>> {
        self.all.lock().get(&number).cloned()
    }

    pub(super) fn insert(&self, connection: Arc<Connection<S>>) {
        self.all.lock().insert(connection.number, connection);
    }

    pub(super) fn remove(&self, number: u64) {
        let mut all = self.all.lock();
        let removed = all.remove(&number);
        if all.is_empty() {
            self.emptied.notify_all();
        }
        drop(all);
        drop(removed);
    }

    /// Those that `wanted` wants.
    pub(super) fn select(
        &self,
        wanted: impl Fn(&Connection<S>) -> bool,
    ) -> Vec<Arc<Connection<S>>> {
        let all = self.all.lock();
        all.values().filter(|one| wanted(one)).cloned().collect()
    }

    /// The first that came of those that are not lanes yet.
    pub(super) fn oldest_opening(&self) -> Option<Arc<Connection<S>>> {
        let all = self.all.lock();
        let opening = all
            .values()
            .filter(|one| !one.is_open() && !one.is_evicted());
        opening.min_by_key(|one| one.number).cloned()
    }

    /// Waits until there are none.
    pub(super) fn wait_until_empty(&self, until: Instant) {
        let mut all = self.all.lock();
        while !all.is_empty() && !self.emptied.wait_until(&mut all, until).timed_out() {}
    }

    pub(super) fn clear(&self) {
        let all = std::mem::take(&mut *self.all.lock());
        drop(all);
    }
}
