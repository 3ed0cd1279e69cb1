//! Against a real verbs device, which `make test-rdma` provides with soft-RoCE in a virtual
//! machine. Elsewhere these tests are reported as ignored, with that as the reason.

#![allow(clippy::unwrap_used)]

mod many;
mod messages;
mod peer;
mod reads;
mod refusals;
mod revoke;
mod silence;
mod two_hosts;
mod writes;
