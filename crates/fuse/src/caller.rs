//! Whether the caller of a request is about to end.
//!
//! A thread that waits for an answer of a file system in user space stays in the kernel until it has
//! one, whatever signal it gets: it cannot act on it before. What is pending shows in /proc. A signal
//! without a handler that ends a process is turned into SIGKILL for each of its threads at once,
//! except where the kernel would write a core file, so those are looked for themselves.

use std::fs;

use crate::running::Current;

/// Whether whoever called will not use the answer, as far as it can be seen: it
/// [is dying](is_dying), or it waits for a lock and has got any signal.
pub(crate) fn has_given_up(request: &Current) -> bool {
    let Some(status) = status(request.pid) else {
        return is_dying(request.pid);
    };
    ends(&status) || request.waits_for_lock && is_signalled(&status)
}

/// Whether the thread `pid` has ended or will end instead of using an answer. Of a thread that
/// cannot be seen from here (0), nothing is known: then it will not.
pub(crate) fn is_dying(pid: u32) -> bool {
    match status(pid) {
        Some(status) => ends(&status),
        // ENOENT and ESRCH: it has ended. Without /proc, nothing is known.
        None => pid != 0 && fs::exists("/proc/self").unwrap_or(false),
    }
}

fn status(pid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/status")).ok()
}

/// The same of the text of its status file.
fn ends(status: &str) -> bool {
    if field(status, "State").is_some_and(|state| state.starts_with(['Z', 'X'])) {
        return true;
    }
    let [pending, blocked, ignored, caught] = masks(status);
    let kill = bit(libc::SIGKILL);
    pending & kill != 0 || pending & CORE & !(blocked | ignored | caught) != 0
}

/// Whether a signal waits until the thread is back in its program.
fn is_signalled(status: &str) -> bool {
    let [pending, blocked, ignored, _] = masks(status);
    pending & !(blocked | ignored) != 0
}

/// Signals that are pending for the thread or its process, blocked, ignored, and handled.
fn masks(status: &str) -> [u64; 4] {
    let mask = |name| field(status, name).and_then(|mask| u64::from_str_radix(mask, 16).ok());
    let mask = |name| mask(name).unwrap_or(0);
    let pending = mask("SigPnd") | mask("ShdPnd");
    [pending, mask("SigBlk"), mask("SigIgn"), mask("SigCgt")]
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.map(str::trim)
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
        assert!(is_signalled(&status(0, usr1, 0, usr1)));
        assert!(!is_signalled(&status(0, usr1, usr1, usr1)));
        assert!(!is_signalled(&status(0, 0x1000, 0, 0)), "it is ignored");
    }

    #[test]
    fn this_thread_lives_and_one_that_never_was_does_not() {
        assert!(!is_dying(std::process::id()));
        assert!(!is_dying(0));
        // Larger than any pid (PID_MAX_LIMIT is 2^22).
        assert!(is_dying(1 << 23));
    }
}
