//! Devices as the connection manager opens them.

use std::ffi::CStr;
use std::io;
use std::ptr::NonNull;
use std::sync::Once;

use rdma_mummy_sys as sys;

/// An open device. Stays open for as long as an [`super::Id`] is bound to it, and for ever
/// once it is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Context(NonNull<sys::ibv_context>);

// SAFETY: a context may be used from any thread.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

/// All devices, each kept open for ever.
pub(crate) fn contexts() -> io::Result<Vec<Context>> {
    prepare_for_fork();
    let mut count = 0;
    // SAFETY: fills in `count` and returns an array of that many open contexts, or null. The array
    // is never freed: that is what holds the contexts open (each entry is a reference).
    let list = unsafe { sys::rdma_get_devices(&mut count) };
    if list.is_null() {
        return Err(io::Error::last_os_error());
    }
    let contexts = (0..usize::try_from(count).unwrap_or(0))
        // SAFETY: the index is below the array's length.
        .filter_map(|index| NonNull::new(unsafe { *list.add(index) }))
        .map(Context)
        .collect();
    Ok(contexts)
}

impl Context {
    /// # Safety
    /// `context` must be an open context of the connection manager.
    pub(super) unsafe fn new(context: *mut sys::ibv_context) -> Option<Self> {
        NonNull::new(context).map(Self)
    }

    /// Takes a reference that is never given back.
    pub(crate) fn keep(self) -> io::Result<()> {
        match contexts()?.contains(&self) {
            true => Ok(()),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// A protection domain for ever.
    pub(crate) fn allocate_pd(self) -> io::Result<Pd> {
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
