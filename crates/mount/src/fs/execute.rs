//! Programs that run from the mount are not emptied.
//!
//! The kernel refuses to open a program for writing while it runs (ETXTBSY), before it asks us. With `O_RDONLY|O_TRUNC`
//! it asks us first and looks afterwards: by then the file would be empty, and the program dies of the pages it
//! has not read yet. So whoever opens with these flags is refused here. What runs is known from the OPEN of execve(2), which
//! carries a flag of the kernel's own; that handle stays open for as long as the program is mapped.

use std::time::Duration;

use fuse::Errno;

use crate::files::File;

use super::Mount;
use super::write::O_ACCMODE;

/// `__FMODE_EXEC` of `linux/fs.h`: opened to be executed.
const FMODE_EXEC: u32 = 0o40;

/// A program that has ended has its handle released at once, but not before whoever waits for it
/// goes on. So often it is looked for, and so long in between.
const LOOKS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(1);

impl Mount {
    /// Whether an open with these flags is that of a program that is to run.
    pub(super) fn executes(flags: u32) -> bool {
        flags & FMODE_EXEC != 0
    }

    /// Whether an open with these flags, which empties the file, may do so.
    pub(super) fn may_empty(file: &File, flags: u32) -> Result<(), Errno> {
        if flags & O_ACCMODE != 0 {
            // The kernel has looked.
            return Ok(());
        }
        for _ in 0..LOOKS {
            if !file.is_executed() {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
        Err(Errno::ETXTBSY)
    }
}
