//! Work requests and completions, as verbs lay them out.

use std::mem::MaybeUninit;

use rdma_mummy_sys as sys;

use crate::Status;
use crate::memory::{MemorySlice, RemoteMemory};

/// One piece of work for the send queue.
pub(crate) enum Work<'a> {
    /// A message that is copied into the request.
    Inline(&'a [u8]),
    /// A message in registered memory.
    Send(&'a MemorySlice),
    /// A write, with immediate data or without.
    Write {
        local: Option<&'a MemorySlice>,
        remote: RemoteMemory,
        imm: Option<u32>,
    },
    /// A read of remote memory into local memory.
    Read {
        local: &'a MemorySlice,
        remote: RemoteMemory,
    },
}

/// A completed piece of work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Completion {
    pub(crate) id: u64,
    pub(crate) status: Status,
    pub(crate) kind: CompletionKind,
}

/// What a completion is about. Of failed work only the id and the status are defined.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CompletionKind {
    Sent,
    Received { len: u32 },
    Landed { len: u32, imm: u32 },
}

pub(super) fn element(work: &Work<'_>) -> sys::ibv_sge {
    match work {
        Work::Inline(bytes) => sys::ibv_sge {
            addr: bytes.as_ptr().expose_provenance() as u64,
            length: bytes.len() as u32,
            lkey: 0,
        },
        Work::Send(slice) | Work::Read { local: slice, .. } => slice.element(),
        Work::Write {
            local: Some(slice), ..
        } => slice.element(),
        Work::Write { local: None, .. } => sys::ibv_sge {
            addr: 0,
            length: 0,
            lkey: 0,
        },
    }
}

pub(super) fn request(id: u64, work: &Work<'_>) -> sys::ibv_send_wr {
    // SAFETY: plain data: integers, and pointers that may be null.
    let mut request: sys::ibv_send_wr = unsafe { MaybeUninit::zeroed().assume_init() };
    request.wr_id = id;
    request.num_sge = 1;
    match *work {
        Work::Inline(_) => {
            request.opcode = sys::ibv_wr_opcode::IBV_WR_SEND;
            request.send_flags = sys::ibv_send_flags::IBV_SEND_INLINE.0;
        }
        Work::Send(_) => request.opcode = sys::ibv_wr_opcode::IBV_WR_SEND,
        Work::Read { remote, .. } => {
            request.opcode = sys::ibv_wr_opcode::IBV_WR_RDMA_READ;
            request.wr.rdma = sys::rdma_t {
                remote_addr: remote.addr,
                rkey: remote.rkey,
            };
        }
        Work::Write { local, remote, imm } => {
            request.opcode = sys::ibv_wr_opcode::IBV_WR_RDMA_WRITE;
            if local.is_none_or(MemorySlice::is_empty) {
                request.num_sge = 0;
            }
            request.wr.rdma = sys::rdma_t {
                remote_addr: remote.addr,
                rkey: remote.rkey,
            };
            if let Some(imm) = imm {
                request.opcode = sys::ibv_wr_opcode::IBV_WR_RDMA_WRITE_WITH_IMM;
                request.imm_data_invalidated_rkey_union.imm_data = imm.to_be();
            }
        }
    }
    request
}

pub(super) fn completion(wc: &sys::ibv_wc) -> Completion {
    let len = wc.byte_len;
    let kind = match wc.opcode {
        sys::ibv_wc_opcode::IBV_WC_RECV => CompletionKind::Received { len },
        sys::ibv_wc_opcode::IBV_WC_RECV_RDMA_WITH_IMM => CompletionKind::Landed {
            len,
            // SAFETY: both fields of the union are integers of the same size.
            imm: u32::from_be(unsafe { wc.imm_data_invalidated_rkey_union.imm_data }),
        },
        _ => CompletionKind::Sent,
    };
    Completion {
        id: wc.wr_id,
        status: Status(wc.status),
        kind,
    }
}
