//! The daemon beside a volume server.
