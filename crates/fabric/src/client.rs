//! The client's half of the fabric, as far as it needs no sockets.
