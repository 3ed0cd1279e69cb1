//! The command line of Riptide.
//!
//! [`flags`] and [`command`] say what can be written, [`invocation`] turns
//! words into a subcommand with typed values, [`options`] into what the mount
//! needs to know. [`run`] holds one module a subcommand; [`lifecycle`] what
//! happens around a mount, [`server`] what others can ask it.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod assemble;
pub mod command;
pub mod flags;
pub mod help;
pub mod invocation;
pub mod lifecycle;
pub mod logging;
pub mod memory;
pub mod options;
pub mod run;
pub mod server;
pub mod sidecars;
