//! Giving back what the allocator keeps for later.
//!
//! The unsafe code here is one call of glibc, which has no conditions.

/// Has the allocator give back pages that hold nothing.
pub(super) fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim may be called at any time, by any thread: it locks what it looks at, and
    // gives back only pages in which nothing is allocated.
    unsafe {
        libc::malloc_trim(0);
    }
}
