//! Whether the caller of a request is about to end.
//!
//! A thread that waits for an answer of a file system in user space stays in the kernel until it has
//! one, whatever signal it gets: it cannot act on it before. What is pending shows in /proc. A signal
//! without a handler that ends a process is turned into SIGKILL for each of its threads at once,
//! except where the kernel would write a core file, so those are looked for themselves.

use std::fs;

/// Whether the thread `pid` has ended or will end instead of using an answer. Of a thread that
/// cannot be seen from here (0), nothing is known: then it will not.
pub(crate) fn is_dying(pid: u32) -> bool {
    if pid == 0 {
        return false;
    }
    match fs::read_to_string(format!("/proc/{pid}/status")) {
        Ok(status) => ends(&status),
        // ENOENT and ESRCH: it has ended. Without /proc, nothing is known.
        Err(_) => fs::exists("/proc/self").unwrap_or(false),
    }
}

/// The same of the text of its status file.
fn ends(status: &str) -> bool {
    let field = |name: &str| {
        let mut lines = status.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    };
    if field("State").is_some_and(|state| state.trim_start().starts_with(['Z', 'X'])) {
        return true;
    }
    let mask = |name| field(name).and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let masks =
        ["SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"].map(|name| mask(name).unwrap_or(0));
    let [own, shared, blocked, ignored, caught] = masks;
    let pending = own | shared;
    let kill = bit(libc::SIGKILL);
    pending & kill != 0 || pending & CORE & !(blocked | ignored | caught) != 0
}

const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// Signals that end a process with a core file (signal(7)), unless it has a handler for them.
const CORE: u64 = bit(libc::SIGQUIT)
    | bit(libc::SIGILL)
    | bit(libc::SIGTRAP)
    | bit(libc::SIGABRT)
    | bit(libc::SIGBUS)
    | bit(libc::SIGFPE)
    | bit(libc::SIGSEGV)
    | bit(libc::SIGSYS)
    | bit(libc::SIGXCPU)
    | bit(libc::SIGXFSZ);

#[cfg(test)]
mod tests {
    use super::*;

    fn status(pending: u64, shared: u64, blocked: u64, caught: u64) -> String {
        format!(
            "Name:\tx\nState:\tD (disk sleep)\nSigQ:\t0/1\nSigPnd:\t{pending:016x}\nShdPnd:\t{shared:016x}\n\
             SigBlk:\t{blocked:016x}\nSigIgn:\t0000000000001000\nSigCgt:\t{caught:016x}\n"
        )
    }

    #[test]
    fn only_what_ends_a_process_ends_its_requests() {
        let (usr1, quit, kill) = (bit(libc::SIGUSR1), bit(libc::SIGQUIT), bit(libc::SIGKILL));
        assert!(!ends(&status(0, 0, 0, 0)));
        assert!(!ends(&status(usr1, 0, 0, usr1)));
        assert!(ends(&status(kill | usr1, 0, 0, usr1)));
        assert!(ends(&status(0, quit, 0, 0)));
        assert!(!ends(&status(0, quit, 0, quit)), "it has a handler");
        assert!(!ends(&status(0, quit, quit, 0)), "it comes later");
        assert!(ends("State:\tZ (zombie)\n"));
    }

    #[test]
    fn this_thread_lives_and_one_that_never_was_does_not() {
        assert!(!is_dying(std::process::id()));
        assert!(!is_dying(0));
        // Larger than any pid (PID_MAX_LIMIT is 2^22).
        assert!(is_dying(1 << 23));
    }
}
