//! A worker: waits for all lanes, owns one at a time.

use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rustix::event::epoll::{self, Event, EventFlags};
use rustix::io::Errno;

use super::connection::{Connection, wake};
use super::lane::Link;
use super::listen::Listener;
use super::outlet::{Bench, MayWait};
use super::shared::{FIRST_CONNECTION, FIRST_RAIL, QUIT, Shared, TIMER};
use crate::nonce::nonce;
use crate::rdma;
use crate::serve::Shelf;

/// The life of a worker.
pub(super) fn run<S: Shelf>(shared: &Shared<S>) {
    let mut bench = Bench::new(MayWait::Never);
    while !shared.quitting.load(Ordering::Acquire) {
        // One event at a time: a second one would wait for the first, while another worker idles.
        let mut space = [MaybeUninit::<Event>::uninit(); 1];
        let event = match epoll::wait(&shared.epoll, &mut space, None) {
            Ok(([event], _)) => *event,
            Ok(_) | Err(Errno::INTR) => continue,
            Err(error) => {
                // Only a descriptor that is none could be the reason.
                tracing::error!(%error, "a worker of the fabric ends");
                return;
            }
        };
        // Copied out, for an event is packed.
        let Event { flags, data } = event;
        match data.u64() {
            QUIT => return,
            TIMER => sweep(shared, &mut bench),
            number if (FIRST_RAIL..FIRST_CONNECTION).contains(&number) => {
                if let Some(rail) = shared.rails.get((number - FIRST_RAIL) as usize) {
                    accept_rdma(shared, rail, &mut bench);
                }
            }
            number if number < FIRST_RAIL => {
                if let Some(listener) = shared.listeners.get(number as usize) {
                    accept(shared, listener, &mut bench);
                }
            }
            number => {
                if let Some(connection) = shared.table.find(number) {
                    let over = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
                    if flags.intersects(over) {
                        connection.hang_up();
                    }
                    wake(shared, &connection, &mut bench);
                }
            }
        }
    }
}

/// Connections accepted for one event. What is left is another event, maybe another worker's.
const ACCEPTED: usize = 16;
/// The most connections that are not lanes yet. With more the oldest is dropped, so that those who
/// open no lane do not keep out those who do.
const MAX_OPENING: usize = 1024;

fn accept<S: Shelf>(shared: &Shared<S>, listener: &Listener, bench: &mut Bench) {
    for _ in 0..ACCEPTED {
        match listener.accept() {
            Ok(Some(socket)) => welcome(shared, listener.carrier, bench, || {
                Link::socket(shared, listener.carrier, socket)
            }),
            Ok(None) => return,
            Err(error) => {
                // Descriptors or memory are short. Asking again at once would only burn time.
                tracing::warn!(%error, "connections are not accepted for the moment");
                shared.listen(false);
                shared.arm();
                return;
            }
        }
    }
}

fn accept_rdma<S: Shelf>(shared: &Shared<S>, rail: &verbs::Listener, bench: &mut Bench) {
    for _ in 0..ACCEPTED {
        match rail.accept() {
            Ok(Some(request)) => welcome(shared, "rdma", bench, || {
                let accepted = request.accept(&rdma::server(), &[]);
                let connection = accepted.map_err(io::Error::other)?;
                Ok(Link::Rdma(Box::new(super::rdma::Link::new(
                    connection,
                    rail.local_addr(),
                ))))
            }),
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "RDMA connections are not accepted for the moment");
                shared.listen(false);
                shared.arm();
                return;
            }
        }
    }
}

/// Takes a connection in that `accept` gives.
fn welcome<S: Shelf>(
    shared: &Shared<S>,
    carrier: &'static str,
    bench: &mut Bench,
    accept: impl FnOnce() -> io::Result<Link>,
) {
    if shared.stopping.load(Ordering::Acquire) {
        return;
    }
    if shared.opening.load(Ordering::Relaxed) >= MAX_OPENING
        && let Some(oldest) = shared.table.oldest_opening()
    {
        oldest.evict();
        wake(shared, &oldest, bench);
    }
    let connection =
        nonce().and_then(|nonce| Ok(Connection::new(shared, carrier, accept()?, nonce)));
    let connection = match connection {
        Ok(connection) => Arc::new(connection),
        Err(error) => {
            tracing::warn!(%error, "a connection cannot be served");
            return;
        }
    };
    shared.stats.of(carrier).connections.inc();
    shared.opening.fetch_add(1, Ordering::Relaxed);
    shared.table.insert(connection.clone());
    shared.arm();
    if let Err(error) = connection.watch(shared) {
        tracing::warn!(%error, "a connection cannot be watched");
        connection.hang_up();
        wake(shared, &connection, bench);
    }
}

/// Looks after whom time is over for.
fn sweep<S: Shelf>(shared: &Shared<S>, bench: &mut Bench) {
    shared.disarm();
    let now = shared.moment(Instant::now());
    for late in shared.table.select(|one| one.is_late(now)) {
        wake(shared, &late, bench);
    }
    if !shared.stopping.load(Ordering::Acquire) {
        shared.listen(true);
    }
    if !shared.table.select(|one| one.has_deadline()).is_empty() {
        shared.arm();
    }
}
