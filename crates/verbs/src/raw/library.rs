//! Whether a library could be loaded, and the dynamic linker's words when not.
//!
//! rdma-mummy-sys opens both libraries when the process starts and lets every call fail where it
//! could not; it does not say why. Opening them once more does.

use std::ffi::{CStr, CString};

/// # Errors
/// What dlerror(3) says.
pub(crate) fn library(name: &str) -> Result<(), String> {
    let Ok(name) = CString::new(name) else {
        return Err("a library's name has no NUL".to_owned());
    };
    // SAFETY: a C string. The libraries asked for run constructors that are meant for any process.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_LOCAL) };
    if !handle.is_null() {
        // SAFETY: opened above. What the bindings opened stays open by its own reference.
        unsafe { libc::dlclose(handle) };
        return Ok(());
    }
    // SAFETY: takes nothing; returns null or a C string that is valid until this thread's next
    // call of the dl functions.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return Err("unknown error".to_owned());
    }
    // SAFETY: not null, see above.
    Err(unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned())
}
