//! What a process behind a mount costs: CPU time and memory.

use std::fs;
use std::io;
use std::time::Duration;

/// CPU time of a process so far: user and kernel, all threads, ended ones too.
///
/// It is the process's own CPU clock, in nanoseconds; `/proc/PID/stat` counts
/// in ticks of 10 ms, which is as much as a short run takes.
///
/// # Errors
/// When there is no such process.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    let mut clock = 0;
    // SAFETY: the call writes one clock id to the variable it is given, and nothing else.
    let errno = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    if errno != 0 {
        return Err(io::Error::from_raw_os_error(errno));
    }
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call writes one timespec to the variable it is given; a clock whose
    // process has ended since is answered with an error.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let (seconds, nanos) = (time.tv_sec.cast_unsigned(), time.tv_nsec.cast_unsigned());
    Ok(Duration::from_secs(seconds) + Duration::from_nanos(nanos))
}

/// The most memory a process ever had resident, in bytes (`VmHWM`): file
/// mappings and shared memory count as well.
///
/// # Errors
/// When there is no such process.
pub fn peak_memory(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = number_after(&status, "VmHWM:").ok_or_else(|| {
        io::Error::other(format!(
            "process {pid} has no memory any more: it has ended"
        ))
    })?;
    Ok(kib * 1024)
}

/// Bytes that a process handed to `write` so far, sockets included: what a
/// server sent, with its headers.
///
/// # Errors
/// When there is no such process, or it may not be looked at.
pub fn written(pid: u32) -> io::Result<u64> {
    let counters = fs::read_to_string(format!("/proc/{pid}/io"))?;
    number_after(&counters, "wchar:")
        .ok_or_else(|| io::Error::other(format!("no wchar in /proc/{pid}/io")))
}

fn number_after(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;
    use std::process::{self, Command};
    use std::thread;
    use std::time::Instant;

    #[test]
    fn work_of_a_thread_that_has_ended_counts() {
        let before = cpu_time(process::id()).unwrap();
        let spent = thread::spawn(|| {
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(60) {
                black_box(0);
            }
        });
        spent.join().unwrap();
        let after = cpu_time(process::id()).unwrap();
        // The machine may be busy: the thread had less of a CPU than the 60 ms it took.
        assert!(after - before > Duration::from_millis(1));
    }

    #[test]
    fn another_process_can_be_watched_until_it_has_ended() {
        let mut child = Command::new("sleep").arg("30").spawn().unwrap();
        assert!(cpu_time(child.id()).is_ok());
        assert!(peak_memory(child.id()).unwrap() > 0);
        assert!(written(child.id()).is_ok());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(cpu_time(child.id()).is_err());
        assert!(peak_memory(child.id()).is_err());
    }

    #[test]
    fn memory_that_was_touched_is_in_the_peak() {
        let size = 64 << 20;
        let memory = black_box(vec![1u8; size]);
        assert!(peak_memory(process::id()).unwrap() >= size as u64);
        drop(memory);
    }
}
