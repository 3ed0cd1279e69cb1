//! A file on its way in: filled elsewhere, synced if it is long, and moved.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::{SYNCED, Store, footprint, mtime_ns, now_ms};
use crate::index::{Pin, Slot};
use crate::record::Record;

impl Store {
    /// A new file for somebody to fill.
    pub(crate) fn temporary(&self) -> io::Result<(PathBuf, File)> {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let path = self.place.path().join("tmp").join(number.to_string());
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(&path)?;
        Ok((path, file))
    }

    /// Takes a filled file in. Its time is the record's from now on.
    pub(crate) fn keep(
        &self,
        temporary: &PathBuf,
        file: &File,
        mut record: Record,
    ) -> io::Result<()> {
        if record.size > SYNCED {
            file.sync_data()?;
        }
        let metadata = file.metadata()?;
        record.mtime_ns = mtime_ns(&metadata);
        let (sum_path, mut sum) = self.temporary()?;
        let written = io::Write::write_all(&mut sum, &record.encode());
        let path = self.path(&record.key);
        let moved = written.and_then(|()| {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let now = now_ms();
            let mut state = self.state.lock();
            if state.index.get(&record.key).is_some() {
                // Somebody else was first. What is there may be open, and has the same bytes.
                return fs::remove_file(&sum_path);
            }
            fs::rename(&sum_path, self.sum_path(&record.key))?;
            fs::rename(temporary, &path)?;
            let slot = Slot {
                name: record.name.as_str().into(),
                size: record.size,
                mtime_ns: record.mtime_ns,
                disk: footprint(&metadata, &record),
                used: now,
                noted: now,
                checked: true,
                pin: Pin::default(),
            };
            state.index.insert(record.key, slot);
            Ok(())
        });
        if moved.is_err() {
            let _ = fs::remove_file(&sum_path);
        }
        self.show();
        moved
    }
}
