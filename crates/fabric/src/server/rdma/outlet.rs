//! How the answers of one exchange leave over a queue pair.

use std::io;

use verbs::{RemoteMemory, Write};

use super::super::outlet::Bench;
use super::super::serve_item::Output;
use super::Link;
use super::slabs::Slab;
use crate::wire::{self, Answer, INLINE, Region};

/// The way out for the answers of one exchange.
pub(in crate::server) struct Outlet<'a> {
    link: &'a mut Link,
    bench: &'a mut Bench,
    regions: &'a [Region],
    id: u64,
    /// The piece last given.
    current: Option<Slab>,
    /// The last write, kept back to be posted together with the answer.
    last: Option<(Write, Slab)>,
}

impl<'a> Outlet<'a> {
    pub(in crate::server) fn new(
        link: &'a mut Link,
        bench: &'a mut Bench,
        regions: &'a [Region],
        id: u64,
    ) -> Self {
        Self {
            link,
            bench,
            regions,
            id,
            current: None,
            last: None,
        }
    }

    /// Posts what was kept back.
    pub(in crate::server) fn flush(&mut self) -> io::Result<()> {
        if let Some(slab) = self.current.take() {
            self.link.free.push(slab);
        }
        match self.last.take() {
            Some((write, slab)) => self.link.post(&[write], None, vec![slab]),
            None => Ok(()),
        }
    }
}

impl Output for Outlet<'_> {
    type Broken = io::Error;

    fn buffer(&mut self) -> io::Result<&mut [u8]> {
        if self.current.is_none() {
            self.current = self.link.free.pop();
        }
        match &mut self.current {
            Some(slab) => Ok(slab.bytes()),
            None => Ok(self.bench.buffer()),
        }
    }

    fn mapped(&mut self, _: u16, _: u64, _: usize) -> Option<*mut u8> {
        None
    }

    fn place(&mut self, region: u16, offset: u64, len: usize) -> io::Result<()> {
        let (Some(slab), Some(region)) =
            (self.current.take(), self.regions.get(usize::from(region)))
        else {
            return Err(io::Error::other("no buffer to write from"));
        };
        let memory = RemoteMemory {
            addr: region.base,
            rkey: region.key,
            len: region.len,
        };
        let remote = memory.part(offset, len as u64).map_err(io::Error::other)?;
        let local = slab.slice(len).map_err(io::Error::other)?;
        let write = Write {
            local,
            remote,
            imm: None,
        };
        self.flush()?;
        self.last = Some((write, slab));
        Ok(())
    }

    fn answer(&mut self, answer: &Answer, len: usize) -> io::Result<()> {
        let staging = &mut self.bench.staging;
        staging.clear();
        wire::encode_answer(self.id, answer, staging).map_err(io::Error::other)?;
        if len > 0 {
            match &mut self.current {
                Some(slab) => staging.extend_from_slice(&slab.bytes()[..len]),
                None => self.bench.stage(len),
            }
        }
        let (writes, slabs) = match self.last.take() {
            Some((write, slab)) => (vec![write], vec![slab]),
            None => Default::default(),
        };
        self.link.post(&writes, Some(&self.bench.staging), slabs)?;
        self.bench.staging.clear();
        Ok(())
    }

    fn more(&mut self, len: usize) -> io::Result<()> {
        // The session lets nothing through whose inline data is longer than a message.
        let words = format!("{len} bytes more than a message takes");
        Err(io::Error::other(words))
    }

    fn wants_pause(&self) -> bool {
        self.current.is_none() && self.link.is_full()
    }

    fn may_wait(&self) -> bool {
        self.bench.may_wait()
    }

    fn inline_up_to(&self) -> u64 {
        INLINE
    }
}
