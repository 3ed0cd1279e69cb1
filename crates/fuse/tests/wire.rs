//! The log of raw requests and replies, target `fuse::wire`.
#![allow(clippy::unwrap_used)]

#[macro_use]
mod support;

use std::io::Write;
use std::sync::Arc;

use parking_lot::Mutex;
use support::{MemFs, Mounted, eventually};
use tracing_subscriber::EnvFilter;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn requests_and_replies_are_logged_when_asked_for() {
    needs_mount!();
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("fuse::wire=trace"))
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let mut fs = MemFs::new();
    fs.add_file("file", "content");
    let mounted = Mounted::new(fs);
    assert_eq!(std::fs::read(mounted.path("file")).unwrap(), b"content");
    std::fs::metadata(mounted.path("file").join("below")).unwrap_err();
    std::fs::create_dir(mounted.path("new")).unwrap_err();
    mounted.session.notifier().inc_epoch().unwrap();
    let text = || String::from_utf8(log.0.lock().clone()).unwrap();
    for wanted in [
        "LOOKUP unique=",
        "READ unique=",
        "len=7",
        "MKDIR",
        "Read-only",
        "notify",
    ] {
        eventually(&format!("{wanted} in the log"), || text().contains(wanted));
    }
}
