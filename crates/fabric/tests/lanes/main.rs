//! A server and its clients over real sockets, with needles in memory.

mod faults;
mod hostile;
mod reads;
mod retiring;
mod shelf;
mod support;
