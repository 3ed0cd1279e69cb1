//! The buffers of an entry: a request as the kernel lays it out, and the reply to it.
//!
//! The reply's body lies in the payload buffer, where the request's data was before. So a
//! request that came with data (a name, bytes to write) is answered from memory aside, which
//! is copied once the data is no longer needed; all those answers are short. One that came
//! without is answered in place: the bytes of a READ are put right where the kernel takes them.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::sync::Arc;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::abi::{InHeader, OutHeader, ReadIn};
use crate::device::{Device, Undelivered};
use crate::dispatch::{Backend, Dispatcher, Scratch};
use crate::memory::{Lease, Mapping};
use crate::uring::ring::Ring;
use crate::{FileSystem, Opcode};

/// An entry of a queue, and the ring it waits in.
pub(super) struct Entry<'p> {
    /// First, so that it is dropped before the memory it refers to.
    ring: Ring,
    header: Mapping,
    payload: Lease<'p>,
    queue: u16,
    aside: Vec<u8>,
}

/// `struct fuse_uring_req_header`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Header {
    /// [`InHeader`], then [`OutHeader`].
    in_out: [u8; 128],
    /// The opcode's structure.
    structure: [u8; 128],
    entry: EntryInOut,
}

/// `struct fuse_uring_ent_in_out`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct EntryInOut {
    flags: u64,
    commit_id: u64,
    payload_size: u32,
    padding: u32,
    reserved: u64,
}

/// The most memory kept aside from one reply to the next.
const KEPT: usize = 64 << 10;

impl<'p> Entry<'p> {
    /// An entry that waits for requests of `queue`.
    ///
    /// # Errors
    /// The kernel's, which then uses the device for all requests.
    pub(super) fn register(
        device: Arc<Device>,
        queue: u16,
        payload: Lease<'p>,
    ) -> io::Result<Self> {
        let mut entry = Self {
            ring: Ring::new(device)?,
            header: Mapping::plain(size_of::<Header>())?,
            payload,
            queue,
            aside: Vec::new(),
        };
        let Self {
            ring,
            header,
            payload,
            ..
        } = &mut entry;
        // SAFETY: the fields are dropped after the ring. What refers into them is made by
        // `serve` and gone when it returns, and `next` is not called meanwhile.
        unsafe { ring.register(queue, header, payload)? };
        Ok(entry)
    }

    /// Waits for the next request.
    ///
    /// # Errors
    /// See [`Ring::next`].
    pub(super) fn next(&mut self) -> io::Result<()> {
        self.ring.next()
    }

    /// Bytes that the request that came moves, as far as they are worth counting.
    pub(super) fn weight(&self) -> usize {
        let Ok((header, _)) = Header::ref_from_prefix(&self.header) else {
            return 0;
        };
        let request = InHeader::read_from_prefix(&header.in_out);
        let read = ReadIn::read_from_prefix(&header.structure);
        match (request, read) {
            (Ok((request, _)), Ok((read, _)))
                if Opcode::from_raw(request.opcode) == Opcode::READ =>
            {
                read.size as usize
            }
            _ => header.entry.payload_size as usize,
        }
    }

    /// Answers the request that came; the reply leaves with the next wait.
    pub(super) fn serve<F: FileSystem + ?Sized>(
        &mut self,
        dispatcher: &Dispatcher<F>,
        scratch: &mut Scratch,
    ) -> io::Result<()> {
        let broken = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let (header, _) = Header::mut_from_prefix(&mut self.header)
            .map_err(|_| broken("the header buffer is too small"))?;
        let (request, _) = InHeader::read_from_prefix(&header.in_out)
            .map_err(|_| broken("the request header is too short"))?;
        let commit_id = header.entry.commit_id;
        let data = header.entry.payload_size as usize;
        let length = (request.len as usize).checked_sub(size_of::<InHeader>() + data);
        let structure = length.and_then(|length| header.structure.get(..length));
        let (Some(structure), Some(_)) = (structure, self.payload.get(..data)) else {
            return Err(broken("the parts of a request do not add up"));
        };
        self.aside.clear();
        let (data, free) = match data {
            0 => (&[][..], Some(&mut self.payload[..])),
            _ => (&self.payload[..data], None),
        };
        let answer = Answer {
            free: Cell::new(free),
            aside: RefCell::new(&mut self.aside),
            reply: Cell::new(None),
        };
        dispatcher.handle_parts((request, structure, data), scratch, &answer);
        let reply = answer.reply.take().unwrap_or_else(|| {
            tracing::error!(opcode = %Opcode::from_raw(request.opcode), "left without a reply");
            Reply {
                error: -libc::EIO,
                ..Reply::default()
            }
        });
        if reply.aside {
            self.payload[..reply.len].copy_from_slice(&self.aside);
            self.aside.shrink_to(KEPT);
        }
        let out = OutHeader {
            // Both at most the payload's size, which is a few MiB.
            len: (size_of::<OutHeader>() + reply.len) as u32,
            error: reply.error,
            unique: request.unique,
        };
        header.in_out[..size_of::<OutHeader>()].copy_from_slice(out.as_bytes());
        header.entry = EntryInOut {
            payload_size: reply.len as u32,
            ..EntryInOut::new_zeroed()
        };
        self.ring.commit(self.queue, commit_id)
    }
}

/// The reply to one request.
struct Answer<'a> {
    /// The payload buffer, unless the request's data is in it or it was lent.
    free: Cell<Option<&'a mut [u8]>>,
    aside: RefCell<&'a mut Vec<u8>>,
    reply: Cell<Option<Reply>>,
}

/// What was replied.
#[derive(Default)]
struct Reply {
    error: i32,
    len: usize,
    /// Whether the body is aside and not in its place.
    aside: bool,
}

impl<'p> Backend for Answer<'p> {
    const GATHERS: bool = false;

    type Memory<'a>
        = &'p mut [u8]
    where
        Self: 'a;

    fn memory(&self) -> io::Result<&'p mut [u8]> {
        let free = self.free.take();
        free.ok_or_else(|| io::Error::other("the reply's memory is in use"))
    }

    fn reply(&self, _: u64, error: i32, body: &[IoSlice<'_>]) -> Result<(), Undelivered> {
        let len = body.iter().map(|slice| slice.len()).sum();
        let aside = match self.free.take() {
            Some(free) if len <= free.len() => {
                let mut at = 0;
                for slice in body {
                    free[at..at + slice.len()].copy_from_slice(slice);
                    at += slice.len();
                }
                false
            }
            _ => {
                let mut aside = self.aside.borrow_mut();
                aside.clear();
                body.iter().for_each(|slice| aside.extend_from_slice(slice));
                true
            }
        };
        self.reply.set(Some(Reply { error, len, aside }));
        Ok(())
    }

    fn reply_lent(&self, _: u64, body: &[u8]) -> Result<(), Undelivered> {
        self.reply.set(Some(Reply {
            error: 0,
            len: body.len(),
            aside: false,
        }));
        Ok(())
    }
}
