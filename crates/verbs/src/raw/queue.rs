//! A queue pair with its completion queue.

use std::io;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr::{self, NonNull};

use rdma_mummy_sys as sys;

use super::channel::unblock;
use super::work::{Completion, Work, completion, element, request};
use super::{Id, check};
use crate::memory::MemorySlice;
use crate::{Config, Domain};

/// Completions taken from the device in one call.
const BATCH: usize = 16;

/// How long a sender waits when this end has no receive slot (IBA table 45: 26 is 82 ms). With
/// the retries of [`Config`] about half a second in all.
const NOT_READY_TIMER: u8 = 26;

/// A reliable queue pair on an [`Id`], with one completion queue for both directions.
pub(crate) struct Queue {
    /// Ends last, after what was made of it; never when the queue pair could not be destroyed.
    id: ManuallyDrop<Id>,
    channel: NonNull<sys::ibv_comp_channel>,
    cq: NonNull<sys::ibv_cq>,
    /// `None` once destroyed.
    qp: Option<NonNull<sys::ibv_qp>>,
    inline_size: u32,
    /// Completion events taken and not yet acknowledged.
    unacknowledged: u32,
}

// SAFETY: all of these may be used from any thread.
unsafe impl Send for Queue {}

impl Queue {
    /// Makes the queue pair on `id`, which is bound to the device of `domain`, and arms it.
    pub(crate) fn new(id: Id, domain: &'static Domain, config: &Config) -> io::Result<Self> {
        let context = domain.context().as_ptr();
        // SAFETY: an open context.
        let channel = unsafe { sys::ibv_create_comp_channel(context) };
        let channel = NonNull::new(channel).ok_or_else(io::Error::last_os_error)?;
        let entries = (config.send_depth + config.recv_depth) as libc::c_int;
        // SAFETY: an open context and a live channel.
        let cq =
            unsafe { sys::ibv_create_cq(context, entries, ptr::null_mut(), channel.as_ptr(), 0) };
        let Some(cq) = NonNull::new(cq) else {
            let error = io::Error::last_os_error();
            // SAFETY: no completion queue uses it.
            unsafe { sys::ibv_destroy_comp_channel(channel.as_ptr()) };
            return Err(error);
        };
        let id = ManuallyDrop::new(id);
        // From here on Drop cleans up.
        let mut queue = Self {
            id,
            channel,
            cq,
            qp: None,
            inline_size: 0,
            unacknowledged: 0,
        };
        // SAFETY: the channel's descriptor is open until it is destroyed.
        unblock(unsafe { BorrowedFd::borrow_raw(queue.as_raw_fd()) })?;
        queue.create_pair(domain, config)?;
        queue.arm()?;
        Ok(queue)
    }

    /// A device that cannot do as much inline as is asked for refuses; it is asked for less.
    fn create_pair(&mut self, domain: &'static Domain, config: &Config) -> io::Result<()> {
        let mut inline = config.inline_size;
        loop {
            match self.try_pair(domain, config, inline) {
                Err(error) if inline > 0 && error.raw_os_error() != Some(libc::ENOMEM) => {
                    inline /= 2
                }
                other => return other,
            }
        }
    }

    fn try_pair(
        &mut self,
        domain: &'static Domain,
        config: &Config,
        inline: u32,
    ) -> io::Result<()> {
        let mut attr = sys::ibv_qp_init_attr {
            qp_context: ptr::null_mut(),
            send_cq: self.cq.as_ptr(),
            recv_cq: self.cq.as_ptr(),
            srq: ptr::null_mut(),
            cap: sys::ibv_qp_cap {
                max_send_wr: config.send_depth,
                max_recv_wr: config.recv_depth,
                max_send_sge: 1,
                max_recv_sge: 1,
                max_inline_data: inline,
            },
            qp_type: sys::ibv_qp_type::IBV_QPT_RC,
            sq_sig_all: 0,
        };
        let id = self.id.as_ptr();
        // SAFETY: a live identifier that is bound to the domain's device and has no queue pair;
        // the completion queue outlives the pair.
        check(unsafe { sys::rdma_create_qp(id, domain.pd(), &mut attr) })?;
        // SAFETY: a live identifier; on success it names its queue pair.
        self.qp = NonNull::new(unsafe { (*id).qp });
        self.inline_size = attr.cap.max_inline_data.min(inline);
        Ok(())
    }

    pub(crate) fn id(&mut self) -> &mut Id {
        &mut self.id
    }

    pub(crate) fn cm_fd(&self) -> RawFd {
        self.id.as_raw_fd()
    }

    pub(crate) fn inline_size(&self) -> u32 {
        self.inline_size
    }

    /// Lets a peer that found no receive slot try again sooner than the 0.65 s which the
    /// connection manager sets. Once connected.
    pub(crate) fn hurry_when_not_ready(&mut self) -> io::Result<()> {
        let Some(qp) = self.qp else { return Ok(()) };
        // SAFETY: plain data, of which the call reads the field that the mask names.
        let mut attr: sys::ibv_qp_attr = unsafe { MaybeUninit::zeroed().assume_init() };
        attr.min_rnr_timer = NOT_READY_TIMER;
        let mask = sys::ibv_qp_attr_mask::IBV_QP_MIN_RNR_TIMER.0 as libc::c_int;
        // SAFETY: a live queue pair.
        check(unsafe { sys::ibv_modify_qp(qp.as_ptr(), &mut attr, mask) })
    }

    /// Posts `chain` in order and with one call; only its last piece reports success. All
    /// carry `id`. After an error some may have been posted.
    ///
    /// The caller keeps the memory of every slice registered until the completion, or until
    /// [`Self::destroy`] has succeeded, and has room for the chain in the send queue.
    pub(crate) fn post(&mut self, id: u64, chain: &[Work<'_>]) -> io::Result<()> {
        let Some(qp) = self.qp else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let mut elements: Vec<sys::ibv_sge> = chain.iter().map(element).collect();
        let mut requests: Vec<sys::ibv_send_wr> =
            chain.iter().map(|work| request(id, work)).collect();
        let last = requests.len().saturating_sub(1);
        let element = elements.as_mut_ptr();
        let first = requests.as_mut_ptr();
        if requests.is_empty() {
            return Ok(());
        }
        for index in 0..=last {
            // SAFETY: `index` is inside both vectors, which have one entry for each piece of work and
            // are not touched otherwise until the call below has returned.
            unsafe {
                let request = &mut *first.add(index);
                request.sg_list = element.add(index);
                match index == last {
                    true => request.send_flags |= sys::ibv_send_flags::IBV_SEND_SIGNALED.0,
                    false => request.next = first.add(index + 1),
                }
            }
        }
        let mut bad = ptr::null_mut();
        // SAFETY: a live queue pair and a well-formed chain, read during the call. Memory that is
        // not copied inline belongs to slices that the caller keeps.
        check(unsafe { sys::ibv_post_send(qp.as_ptr(), first, &mut bad) })
    }

    /// Offers `slot` to the peer's next message. The caller keeps it registered like that of
    /// [`Self::post`].
    pub(crate) fn post_receive(&mut self, id: u64, slot: &MemorySlice) -> io::Result<()> {
        let Some(qp) = self.qp else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let mut element = slot.element();
        let mut request = sys::ibv_recv_wr {
            wr_id: id,
            next: ptr::null_mut(),
            sg_list: &mut element,
            num_sge: 1,
        };
        let mut bad = ptr::null_mut();
        // SAFETY: a live queue pair; request and element are read during the call.
        check(unsafe { sys::ibv_post_recv(qp.as_ptr(), &mut request, &mut bad) })
    }

    /// Takes what has completed, without a system call; at most a batch at a time.
    pub(crate) fn take(&mut self, out: &mut Vec<Completion>) -> io::Result<()> {
        let mut batch = [const { MaybeUninit::<sys::ibv_wc>::uninit() }; BATCH];
        // SAFETY: a live completion queue, and room for as many entries as are asked for.
        let count = unsafe {
            sys::ibv_poll_cq(
                self.cq.as_ptr(),
                BATCH as libc::c_int,
                batch.as_mut_ptr().cast(),
            )
        };
        let Ok(count) = usize::try_from(count) else {
            return Err(io::Error::other("ibv_poll_cq failed"));
        };
        for entry in batch.iter().take(count) {
            // SAFETY: the call filled in that many entries.
            out.push(completion(unsafe { entry.assume_init_ref() }));
        }
        Ok(())
    }

    /// Takes completion events from the channel; says whether there were any, in which case the
    /// queue is no longer armed.
    pub(crate) fn take_events(&mut self) -> io::Result<bool> {
        let before = self.unacknowledged;
        loop {
            let (mut cq, mut context) = (ptr::null_mut(), ptr::null_mut());
            // SAFETY: a live channel that does not block, and room for both answers.
            let result =
                unsafe { sys::ibv_get_cq_event(self.channel.as_ptr(), &mut cq, &mut context) };
            if result == 0 {
                self.unacknowledged += 1;
                continue;
            }
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::WouldBlock => break,
                io::ErrorKind::Interrupted => {}
                _ => return Err(error),
            }
        }
        let some = self.unacknowledged != before;
        self.acknowledge_many();
        Ok(some)
    }

    /// The next completion makes the channel readable.
    pub(crate) fn arm(&mut self) -> io::Result<()> {
        // SAFETY: a live completion queue; 0 asks for any completion, not only solicited ones.
        check(unsafe { sys::ibv_req_notify_cq(self.cq.as_ptr(), 0) })
    }

    /// Ends the queue pair: to the error state, in which it takes nothing from the network any more,
    /// then out of existence. When this has returned `Ok`, the device no longer reads or
    /// writes memory for it.
    pub(crate) fn destroy(&mut self) -> io::Result<()> {
        let Some(qp) = self.qp else { return Ok(()) };
        // Tells the peer, where it can still be told.
        if let Err(error) = self.id.disconnect() {
            tracing::debug!(%error, "RDMA peer was not told of the end");
            self.stop(qp);
        }
        // SAFETY: a live queue pair, and the identifier's: taken from it so that nobody uses it
        // after. librdmacm's own rdma_destroy_qp would hide whether this succeeded.
        check(unsafe { sys::ibv_destroy_qp(qp.as_ptr()) })?;
        // SAFETY: a live identifier.
        unsafe { (*self.id.as_ptr()).qp = ptr::null_mut() };
        self.qp = None;
        Ok(())
    }

    fn stop(&mut self, qp: NonNull<sys::ibv_qp>) {
        // SAFETY: plain data, of which the call reads the field that the mask names.
        let mut attr: sys::ibv_qp_attr = unsafe { MaybeUninit::zeroed().assume_init() };
        attr.qp_state = sys::ibv_qp_state::IBV_QPS_ERR;
        let mask = sys::ibv_qp_attr_mask::IBV_QP_STATE.0 as libc::c_int;
        // SAFETY: a live queue pair.
        let result = check(unsafe { sys::ibv_modify_qp(qp.as_ptr(), &mut attr, mask) });
        if let Err(error) = result {
            tracing::debug!(%error, "RDMA queue pair does not go to the error state");
        }
    }

    /// Acknowledging takes a lock, so it is done for many events at once.
    fn acknowledge_many(&mut self) {
        const MANY: u32 = 1024;
        if self.unacknowledged >= MANY {
            self.acknowledge();
        }
    }

    fn acknowledge(&mut self) {
        // SAFETY: a live completion queue; exactly as many events as were taken.
        unsafe { sys::ibv_ack_cq_events(self.cq.as_ptr(), self.unacknowledged) };
        self.unacknowledged = 0;
    }
}

impl AsRawFd for Queue {
    /// Of the completion channel.
    fn as_raw_fd(&self) -> RawFd {
        // SAFETY: a live channel; its descriptor never changes.
        unsafe { self.channel.as_ref() }.fd
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if let Err(error) = self.destroy() {
            // Whatever it uses must stay.
            tracing::error!(%error, "RDMA queue pair cannot be destroyed and is leaked");
            return;
        }
        self.acknowledge();
        // SAFETY: the queue pair is gone and every event acknowledged, so the completion queue is
        // unused; then its channel is; then the identifier, which is not used after.
        unsafe {
            sys::ibv_destroy_cq(self.cq.as_ptr());
            sys::ibv_destroy_comp_channel(self.channel.as_ptr());
            ManuallyDrop::drop(&mut self.id);
        }
    }
}
