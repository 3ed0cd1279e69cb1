//! The daemon beside a volume server.
//!
//! It reads needles straight out of the volume server's files and gives them to mounts: over the
//! fabric's protocol, and over HTTP. [`Daemon`] joins the parts; what it is told is a [`Config`].
//!
//! Needles come from a [`Shelf`](fabric::serve::Shelf). [`discovery`] finds the folders and opens
//! shelves, [`shelves`] makes one of several, [`reading`] turns what is stored into clear bytes
//! within a [`budget`], [`gate`] checks who asks; [`http`] and [`lanes`] speak to clients. What mounts
//! write goes to the volume servers by a [`courier`]. [`view`] is what
//! the daemon says about itself, [`register`] tells it to the filer, and [`peers`] finds by
//! the same way the sidecars of other servers.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod budget;
pub mod client;
pub mod config;
pub mod counters;
pub mod courier;
pub mod daemon;
pub mod discovery;
pub mod ending;
pub mod gate;
pub mod http;
pub mod lanes;
#[cfg(test)]
mod memory;
mod names;
mod numbers;
pub mod peers;
pub mod query;
pub mod rdma;
pub mod reading;
pub mod register;
pub mod servers;
pub mod shelf;
pub mod shelves;
pub mod spelling;
pub mod tls;
pub mod view;

pub use config::Config;
pub use daemon::Daemon;
