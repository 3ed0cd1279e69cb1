//! Short-circuit reads: needles straight out of volume files of the same host.
//!
//! A sidecar lends the open files of a volume, `.dat` and `.idx`, to mounts of its host that run as a user who may
//! read them anyway. A read is then one fstat(2) of the index and one pread(2) of the data, by the thread that has
//! taken the request, into the reply; no other process takes part. Needles are found and checked by the crate
//! [`volume`], which the sidecar uses as well:
//!
//! ```text
//!  ShortCircuit::read_at ── Volumes: is the volume open, its lease good? ── volume::lent: find, check, read
//!         │                        │ no: asked for                              │ anything else than the bytes
//!         └──── next route ◀───────┴────────────────────────────────────────────┘
//!                            a thread asks the Library (the sidecars) for files, and again every second
//! ```
//!
//! Only bytes that are right are an answer. Whatever else there is to say of a needle (it is not there, it is
//! damaged, its page is on the disk) is left to the next route, which can look at paths, ask replicas and
//! wait for disks; [`Decline`] says why, for statistics.
//!
//! # Leases
//! The files themselves show what most changes do to them: the index grows, or loses its name when a vacuum has
//! replaced it or the volume is gone. Other things only the sidecar sees: that the volume is being erasure coded,
//! tiered or copied, that the path leads to other files, that nothing is to be lent any more. So the sidecar is
//! asked every second whether the files are still the ones, and files that it has not confirmed for five seconds
//! are not read from. Whether it was killed, frozen or cut off makes no difference; one that is restarted in that
//! time confirms the files by their inodes, and nothing is opened anew.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod decline;
mod library;
mod route;
mod slot;
mod stats;
mod volumes;

pub use decline::Decline;
pub use library::{Library, Offer, Sidecars, files};
pub use route::ShortCircuit;
pub use stats::ShortCircuitStats;
pub use volumes::{Limits, Volumes};
