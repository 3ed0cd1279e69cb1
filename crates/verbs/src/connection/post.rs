//! Handing work to the device.

use std::io;

use super::flight::{Kind, Posted};
use super::state::State;
use super::{Connection, Write};
use crate::raw::Work;
use crate::{Error, Event, Lost, MemorySlice, RemoteMemory};

impl State {
    pub(super) fn post(&mut self, writes: &[Write], message: Option<&[u8]>) -> Result<u64, Error> {
        let entries = writes.len() + usize::from(message.is_some());
        if !(1..=Connection::MAX_CHAIN).contains(&entries) {
            let what = format!(
                "chain of {entries}, expected 1 to {}",
                Connection::MAX_CHAIN
            );
            return Err(Error::Config { what });
        }
        for write in writes {
            self.check(&write.local, &write.remote)?;
        }
        let max = self.message_size as usize;
        if let Some(len) = message.map(<[u8]>::len).filter(|len| *len > max) {
            return Err(Error::TooLong { len, max });
        }
        if entries > self.send_depth as usize {
            let what = format!("chain of {entries}, the send queue has {}", self.send_depth);
            return Err(Error::Config { what });
        }
        self.room(entries as u32)?;
        let mut memory: Vec<MemorySlice> = writes.iter().map(|write| write.local.clone()).collect();
        let mut slot = None;
        let mut chain: Vec<Work<'_>> = Vec::with_capacity(entries);
        for Write { local, remote, imm } in writes {
            chain.push(Work::Write {
                local: Some(local),
                remote: *remote,
                imm: *imm,
            });
        }
        let in_slot;
        match message {
            Some(bytes) if bytes.len() <= self.queue.inline_size() as usize => {
                chain.push(Work::Inline(bytes));
            }
            Some(bytes) => {
                // As many slots as entries, and there is an entry.
                let index = self.free.pop().ok_or(Error::Full)?;
                slot = Some(index);
                in_slot = self.send.fill(index, bytes)?;
                memory.push(in_slot.clone());
                chain.push(Work::Send(&in_slot));
            }
            None => {}
        }
        let id = self.next;
        let posted = self.queue.post(id, &chain);
        let entries = entries as u32;
        let kind = match writes.is_empty() {
            true => Kind::Sent,
            false => Kind::Wrote,
        };
        let work = Posted {
            id,
            entries,
            slot,
            kind,
            _memory: memory,
        };
        self.launched(work, posted)
    }

    pub(super) fn post_probe(&mut self) -> Result<u64, Error> {
        self.room(1)?;
        let id = self.next;
        let remote = RemoteMemory {
            addr: 0,
            rkey: 0,
            len: 0,
        };
        let posted = self.queue.post(
            id,
            &[Work::Write {
                local: None,
                remote,
                imm: None,
            }],
        );
        let work = Posted {
            id,
            entries: 1,
            slot: None,
            kind: Kind::Wrote,
            _memory: Vec::new(),
        };
        self.launched(work, posted)
    }

    pub(super) fn post_read(
        &mut self,
        local: &MemorySlice,
        remote: RemoteMemory,
    ) -> Result<u64, Error> {
        self.check(local, &remote)?;
        self.room(1)?;
        let id = self.next;
        let posted = self.queue.post(id, &[Work::Read { local, remote }]);
        let work = Posted {
            id,
            entries: 1,
            slot: None,
            kind: Kind::Read,
            _memory: vec![local.clone()],
        };
        self.launched(work, posted)
    }

    fn check(&self, local: &MemorySlice, remote: &RemoteMemory) -> Result<(), Error> {
        let (len, size) = (local.len() as u64, remote.len.min(Connection::MAX_WRITE));
        if len > size {
            return Err(Error::Bounds {
                offset: 0,
                len,
                size,
            });
        }
        if local.domain() != self.send.domain() {
            let what = "memory is registered with another device".to_owned();
            return Err(Error::Config { what });
        }
        Ok(())
    }

    fn room(&self, entries: u32) -> Result<(), Error> {
        if let Some(why) = self.lost {
            return Err(Error::Lost(why));
        }
        if self.flight.entries() + entries > self.send_depth {
            return Err(Error::Full);
        }
        Ok(())
    }

    /// Work was handed to the device; where that failed some of it may have been, which nobody can
    /// tell, so the connection ends.
    fn launched(&mut self, work: Posted, posted: io::Result<()>) -> Result<u64, Error> {
        let id = work.id;
        self.next += 1;
        self.flight.push(work);
        if let Err(error) = posted {
            tracing::warn!(%error, "posting RDMA work failed");
            let mut events = std::mem::take(&mut self.last_words);
            self.end(Lost::Library, &mut events);
            // The caller learns of this one by the error.
            events.retain(
                |event| !matches!(event, Event::Failed { id: failed, .. } if *failed == id),
            );
            self.last_words = events;
            return Err(Error::Lost(Lost::Library));
        }
        Ok(id)
    }
}
