//! The connection manager's identifiers.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::{self, NonNull};
use std::time::Duration;

use rdma_mummy_sys as sys;
use rdma_mummy_sys::rdma_cm_event_type as kind;

use super::channel::{Channel, Notice};
use super::{Context, check};
use crate::address::{Sockaddr, from_v4, from_v6};

/// An event, copied out and acknowledged.
pub(crate) enum Incoming {
    /// Something about the identifier itself. `status` is an error number, or the reason of a refusal.
    Notice {
        notice: Notice,
        status: i32,
        private: Vec<u8>,
    },
    /// Somebody wants to connect to a listening identifier.
    Request {
        id: Id,
        private: Vec<u8>,
        retry_count: u8,
    },
}

/// An rdma_cm_id with a channel of its own.
pub(crate) struct Id {
    id: NonNull<sys::rdma_cm_id>,
    channel: Channel,
}

// SAFETY: identifiers may be used from any thread; fields that calls change are read under `&mut`
// or after the call that fills them in.
unsafe impl Send for Id {}

impl Id {
    pub(crate) fn new() -> io::Result<Self> {
        let channel = Channel::open()?;
        let mut id = ptr::null_mut();
        // SAFETY: the channel lives as long as the identifier, which is written to `id`.
        check(unsafe {
            let space = sys::rdma_port_space::RDMA_PS_TCP;
            sys::rdma_create_id(channel.as_ptr(), &mut id, ptr::null_mut(), space)
        })?;
        let id = NonNull::new(id).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { id, channel })
    }

    pub(crate) fn bind(&mut self, addr: SocketAddr) -> io::Result<()> {
        let mut addr = Sockaddr::new(addr);
        // SAFETY: a live identifier and a whole sockaddr.
        check(unsafe { sys::rdma_bind_addr(self.id.as_ptr(), addr.as_mut_ptr()) })
    }

    pub(crate) fn listen(&mut self, backlog: i32) -> io::Result<()> {
        // SAFETY: a live identifier.
        check(unsafe { sys::rdma_listen(self.id.as_ptr(), backlog) })
    }

    pub(crate) fn resolve_address(&mut self, to: SocketAddr, limit: Duration) -> io::Result<()> {
        let mut to = Sockaddr::new(to);
        // SAFETY: a live identifier, no source address, and a whole sockaddr.
        check(unsafe {
            sys::rdma_resolve_addr(
                self.id.as_ptr(),
                ptr::null_mut(),
                to.as_mut_ptr(),
                millis(limit),
            )
        })
    }

    pub(crate) fn resolve_route(&mut self, limit: Duration) -> io::Result<()> {
        // SAFETY: a live identifier, bound to a device by the address that was resolved.
        check(unsafe { sys::rdma_resolve_route(self.id.as_ptr(), millis(limit)) })
    }

    /// Sets how long the queue pair waits for an acknowledgement. Before connecting.
    pub(crate) fn set_ack_timeout(&mut self, exponent: u8) -> io::Result<()> {
        // enum in rdma_cma.h: level RDMA_OPTION_ID, option RDMA_OPTION_ID_ACK_TIMEOUT, an u8.
        const LEVEL: i32 = 0;
        const ACK_TIMEOUT: i32 = 3;
        let mut exponent = exponent;
        // SAFETY: a live identifier; the option is one byte, which is read during the call.
        check(unsafe {
            let value = ptr::from_mut(&mut exponent).cast();
            sys::rdma_set_option(self.id.as_ptr(), LEVEL, ACK_TIMEOUT, value, 1)
        })
    }

    /// Asks for the connection (`rdma_connect`).
    pub(crate) fn connect(&mut self, private: &[u8], retry_count: u8) -> io::Result<()> {
        let mut param = parameters(private, retry_count);
        // SAFETY: a live identifier with a queue pair; `private` is read during the call.
        check(unsafe { sys::rdma_connect(self.id.as_ptr(), &mut param) })
    }

    /// Grants the connection (`rdma_accept`).
    pub(crate) fn accept(&mut self, private: &[u8], retry_count: u8) -> io::Result<()> {
        let mut param = parameters(private, retry_count);
        // SAFETY: as in `connect`.
        check(unsafe { sys::rdma_accept(self.id.as_ptr(), &mut param) })
    }

    /// Refuses the connection.
    pub(crate) fn reject(&mut self, private: &[u8]) -> io::Result<()> {
        // SAFETY: a live identifier; `private` is at most a few dozen bytes, read during the call.
        check(unsafe {
            sys::rdma_reject(
                self.id.as_ptr(),
                private.as_ptr().cast(),
                private.len() as u8,
            )
        })
    }

    /// Moves the queue pair to the error state and tells the peer.
    pub(crate) fn disconnect(&mut self) -> io::Result<()> {
        // SAFETY: a live identifier.
        check(unsafe { sys::rdma_disconnect(self.id.as_ptr()) })
    }

    /// The next event, if there is one.
    pub(crate) fn next(&mut self) -> io::Result<Option<Incoming>> {
        let mut event = ptr::null_mut();
        // SAFETY: a live channel; on success `event` points to an event that is ours until it is
        // acknowledged, which happens below on every way.
        if unsafe { sys::rdma_get_cm_event(self.channel.as_ptr(), &mut event) } != 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
                _ => Err(error),
            };
        }
        // SAFETY: a valid event. Only connection parameters are read, as all events of RC
        // identifiers have them; private data, where the pointer is not null, is as long as stated.
        let (what, status, private, retry_count, id) = unsafe {
            let event = &*event;
            let conn = &event.param.conn;
            let private = match conn.private_data.is_null() {
                true => Vec::new(),
                false => {
                    let data = conn.private_data.cast::<u8>();
                    std::slice::from_raw_parts(data, conn.private_data_len.into()).to_vec()
                }
            };
            (
                event.event,
                event.status,
                private,
                conn.retry_count,
                event.id,
            )
        };
        // SAFETY: acknowledged once, and not used after. Must come before `adopt`, which waits for it.
        unsafe { sys::rdma_ack_cm_event(event) };
        if what == kind::RDMA_CM_EVENT_CONNECT_REQUEST {
            // SAFETY: the event of a request carries a new identifier that is nobody else's.
            let id = unsafe { Self::adopt(id)? };
            return Ok(Some(Incoming::Request {
                id,
                private,
                retry_count,
            }));
        }
        let notice = Notice::new(what);
        Ok(Some(Incoming::Notice {
            notice,
            status,
            private,
        }))
    }

    /// Gives a requesting identifier a channel of its own.
    ///
    /// # Safety
    /// `id` must be the new identifier of a request, its event acknowledged.
    unsafe fn adopt(id: *mut sys::rdma_cm_id) -> io::Result<Self> {
        let id = NonNull::new(id).ok_or(io::ErrorKind::InvalidData)?;
        let migrated = Channel::open().and_then(|channel| {
            // SAFETY: both live; nobody else knows the identifier.
            check(unsafe { sys::rdma_migrate_id(id.as_ptr(), channel.as_ptr()) })?;
            Ok(channel)
        });
        match migrated {
            Ok(channel) => Ok(Self { id, channel }),
            Err(error) => {
                // SAFETY: still on the listener's channel, which is alive; destroyed once.
                unsafe { sys::rdma_destroy_id(id.as_ptr()) };
                Err(error)
            }
        }
    }

    /// The device it is bound to.
    pub(crate) fn context(&self) -> Option<Context> {
        // SAFETY: a live identifier; its context is null or open for as long as it lives.
        unsafe { Context::new(self.id.as_ref().verbs) }
    }

    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        // SAFETY: a live identifier; the union holds what its family says, or zeros.
        unsafe {
            let union = &self.id.as_ref().route.addr.src_addr_union;
            match i32::from(union.src_addr.sa_family) {
                libc::AF_INET => Some(from_v4(&union.src_sin)),
                libc::AF_INET6 => Some(from_v6(&union.src_sin6)),
                _ => None,
            }
        }
    }

    pub(crate) fn peer_addr(&self) -> Option<SocketAddr> {
        // SAFETY: as in `local_addr`.
        unsafe {
            let union = &self.id.as_ref().route.addr.dst_addr_union;
            match i32::from(union.dst_addr.sa_family) {
                libc::AF_INET => Some(from_v4(&union.dst_sin)),
                libc::AF_INET6 => Some(from_v6(&union.dst_sin6)),
                _ => None,
            }
        }
    }

    pub(super) fn as_ptr(&self) -> *mut sys::rdma_cm_id {
        self.id.as_ptr()
    }
}

impl AsRawFd for Id {
    fn as_raw_fd(&self) -> RawFd {
        self.channel.as_raw_fd()
    }
}

impl Drop for Id {
    fn drop(&mut self) {
        // SAFETY: destroyed once. A queue pair on it is gone: a `Queue` owns its `Id` and
        // destroys that first. All events are acknowledged, so this does not wait.
        let failed = unsafe { sys::rdma_destroy_id(self.id.as_ptr()) };
        if failed != 0 {
            let error = io::Error::last_os_error();
            tracing::warn!(%error, "RDMA identifier not destroyed");
        }
    }
}

fn parameters(private: &[u8], retry_count: u8) -> sys::rdma_conn_param {
    sys::rdma_conn_param {
        private_data: private.as_ptr().cast(),
        private_data_len: private.len() as u8,
        // RDMA reads under way in either direction, of one connection: more would be for longer ways
        // than those within a data center.
        responder_resources: 1,
        initiator_depth: 1,
        flow_control: 0,
        retry_count,
        rnr_retry_count: retry_count,
        srq: 0,
        qp_num: 0,
    }
}

/// For the kernel, which takes whole milliseconds and treats 0 as none.
fn millis(limit: Duration) -> i32 {
    i32::try_from(limit.as_millis()).unwrap_or(i32::MAX).max(1)
}
