//! Reads needles out of the files of a live volume server.
