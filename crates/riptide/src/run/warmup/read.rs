//! Files that are read through, into the caches of their mount.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};

use super::Warming;

/// Read at a time: one request of the kernel.
const STEP: usize = 1 << 20;
/// Files found ahead of those being read.
const AHEAD: usize = 256;

pub(super) fn warm(warming: &Warming, paths: &[PathBuf]) -> anyhow::Result<()> {
    let (found, to_read) = sync_channel::<PathBuf>(AHEAD);
    let to_read = Mutex::new(to_read);
    std::thread::scope(|threads| {
        for _ in 0..warming.parallel {
            threads.spawn(|| {
                loop {
                    let next = to_read
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .recv();
                    let Ok(path) = next else { break };
                    match read(&path, warming) {
                        Ok(bytes) => warming.is_warm(bytes),
                        Err(error) => warming.is_not_warm(&path, &error.to_string()),
                    }
                }
            });
        }
        let walked = warming.each_file(paths, &mut |path, _| {
            // The readers are there as long as this is.
            Ok(found.send(path)?)
        });
        drop(found);
        walked
    })
}

fn read(path: &Path, warming: &Warming) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; STEP];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(bytes),
            got => {
                bytes += got as u64;
                warming.bar.inc(got as u64);
            }
        }
    }
}
