//! RDMA verbs, safe to use.
