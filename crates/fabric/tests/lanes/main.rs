//! A server and its clients over real sockets, with needles in memory.

#![allow(clippy::unwrap_used)]

mod faults;
mod hostile;
mod lending;
mod lingering;
mod proofs;
mod reads;
mod retiring;
mod routes;
mod shelf;
mod stores;
mod support;
mod trickling;
mod writes;
