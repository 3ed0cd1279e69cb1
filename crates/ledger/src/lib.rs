//! One ceiling for all memory of a mount, and who has how much of it.
//!
//! Everything of a mount that may grow large has an [`Account`] of the one [`Ledger`]: cached and
//! fetched bytes, written bytes, the fabric's memory, names and inodes, indexes of volumes. Three
//! things keep the sum below the ceiling:
//!
//! - The [`plan()`] divides the ceiling into shares when the mount starts. Flags that ask for more
//!   than there is are an error there, defaults are scaled down. What the accounts do not know
//!   (the program itself, its threads, what the allocator cannot give back) has a part of its own.
//! - [`Account::try_take`] refuses what would exceed the account's limit or the ceiling. Who is
//!   refused drops what it caches, waits, or does without. Only what cannot wait uses
//!   [`Account::take`]: an inode that the kernel is to be told of. It is counted, and leaves less for
//!   the others.
//! - About every second somebody tells the ledger what the kernel says ([`Ledger::observe`]): how
//!   large the process is, and how its control group stands. What is beyond the accounts counts
//!   against the ceiling as well, and near it the [`Pressure`] lowers every limit step by step
//!   towards a floor, and raises it again when there is room.
//!
//! The ledger does no I/O but in [`Machine`], which reads `/proc` and `/sys/fs/cgroup`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod account;
mod book;
mod machine;
mod plan;
mod pressure;
#[cfg(test)]
mod tests;

pub use account::{Account, Weight};
pub use book::{Holder, Ledger, Share};
pub use machine::Machine;
pub use plan::{PlanError, Want, plan, room};
pub use pressure::{Group, LEVELS, Look, Pressure};
