//! Devices as the connection manager opens them.

use std::ffi::CStr;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::Once;

use rdma_mummy_sys as sys;

/// An open device. The connection manager counts who uses it, an [`super::Id`] that is bound to it or
/// a list of [`Devices`], and closes it after the last when it was unplugged. Who keeps a `Context`
/// keeps one of these.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Context(NonNull<sys::ibv_context>);

// SAFETY: a context may be used from any thread.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

/// The devices that the connection manager has opened; each stays open while this lives.
pub(crate) struct Devices(NonNull<*mut sys::ibv_context>);

impl Devices {
    /// Opens all devices. Fails when one of them cannot be.
    pub(crate) fn open() -> io::Result<Self> {
        // SAFETY: returns an array of open contexts that a null ends, or null.
        let list = unsafe { sys::rdma_get_devices(ptr::null_mut()) };
        NonNull::new(list)
            .map(Self)
            .ok_or_else(io::Error::last_os_error)
    }

    pub(crate) fn contexts(&self) -> Vec<Context> {
        let mut contexts = Vec::new();
        // SAFETY: the array ends with a null, which is not gone past.
        while let Some(context) = NonNull::new(unsafe { *self.0.add(contexts.len()).as_ptr() }) {
            contexts.push(Context(context));
        }
        contexts
    }
}

impl Drop for Devices {
    fn drop(&mut self) {
        // SAFETY: the array came from rdma_get_devices, and is given back once.
        unsafe { sys::rdma_free_devices(self.0.as_ptr()) };
    }
}

impl Context {
    /// # Safety
    /// `context` must be an open context of the connection manager.
    pub(super) unsafe fn new(context: *mut sys::ibv_context) -> Option<Self> {
        NonNull::new(context).map(Self)
    }

    /// A protection domain for ever, on a device that stays open for ever.
    pub(crate) fn allocate_pd(self) -> io::Result<Pd> {
        prepare_for_fork();
        // SAFETY: the context is open.
        let pd = unsafe { sys::ibv_alloc_pd(self.0.as_ptr()) };
        NonNull::new(pd)
            .map(Pd)
            .ok_or_else(io::Error::last_os_error)
    }

    pub(crate) fn name(self) -> String {
        // SAFETY: an open context has a device, whose name is a C string inside it.
        let name = unsafe {
            let device = (*self.0.as_ptr()).device;
            CStr::from_ptr(sys::ibv_get_device_name(device))
        };
        name.to_string_lossy().into_owned()
    }

    pub(super) fn as_ptr(self) -> *mut sys::ibv_context {
        self.0.as_ptr()
    }
}

/// A protection domain; never deallocated.
pub(crate) struct Pd(NonNull<sys::ibv_pd>);

// SAFETY: a protection domain may be used from any thread.
unsafe impl Send for Pd {}
// SAFETY: as above.
unsafe impl Sync for Pd {}

impl Pd {
    pub(crate) fn as_ptr(&self) -> *mut sys::ibv_pd {
        self.0.as_ptr()
    }
}

/// Kernels before 5.12 let a fork(2) move registered pages away from the parent. This makes the
/// library mark them as not to be copied; on newer kernels it does nothing.
fn prepare_for_fork() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: takes nothing, called once and before the first registration.
        let failed = unsafe { sys::ibv_fork_init() };
        if failed != 0 {
            let error = io::Error::from_raw_os_error(failed);
            tracing::warn!(%error, "RDMA memory is not protected across fork(2)");
        }
    });
}
