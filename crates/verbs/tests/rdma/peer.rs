//! What the tests share: two ends in one process, and waiting.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use verbs::{Access, Config, Connection, Event, Listener, MemoryRegion, Pages, Request};

/// Of the device in the virtual machine, and of the first of two.
pub(crate) const HOST: &str = "10.77.0.1";

/// For steps that have no reason to take long; emulated processors on a busy machine are slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn listen() -> Listener {
    Listener::bind(format!("{HOST}:0").parse().unwrap()).unwrap()
}

/// Waits for the next request.
pub(crate) fn request(listener: &Listener) -> Request {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(request) = listener.accept().unwrap() {
            return request;
        }
        assert!(wait(&[listener.as_fd()], end), "nobody connects");
    }
}

/// A client and the server's end of one connection.
pub(crate) fn pair(config: &Config) -> (Connection, Connection) {
    let listener = listen();
    let (addr, config) = (listener.local_addr(), *config);
    let client = std::thread::spawn(move || connect(addr, &config));
    let server = request(&listener).accept(&config, b"").unwrap();
    (client.join().unwrap(), server)
}

pub(crate) fn connect(addr: SocketAddr, config: &Config) -> Connection {
    Connection::connect(addr, config, PATIENCE, b"").unwrap()
}

/// The next events, asleep until there are some.
pub(crate) fn events(connection: &Connection) -> Vec<Event> {
    let end = Instant::now() + PATIENCE;
    let mut events = Vec::new();
    loop {
        connection.poll(&mut events);
        if !events.is_empty() {
            return events;
        }
        assert!(
            wait(&connection.fds(), end),
            "nothing happens for {PATIENCE:?}"
        );
    }
}

/// Collects events until one that `wanted` accepts.
pub(crate) fn until(connection: &Connection, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
    let mut all = Vec::new();
    while !all.iter().any(&wanted) {
        all.extend(events(connection));
    }
    all
}

pub(crate) fn is_end(event: &Event) -> bool {
    matches!(event, Event::Disconnected { .. })
}

/// Whether one of `fds` became readable before `end`.
pub(crate) fn wait(fds: &[std::os::fd::BorrowedFd<'_>], end: Instant) -> bool {
    let left = end.saturating_duration_since(Instant::now());
    let left = Timespec::try_from(left).unwrap();
    let mut fds: Vec<PollFd<'_>> = fds
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
        .collect();
    match poll(&mut fds, Some(&left)) {
        Ok(ready) => ready > 0,
        Err(rustix::io::Errno::INTR) => true,
        Err(errno) => panic!("poll: {errno}"),
    }
}

/// Memory that peers may write to, or that is written from.
pub(crate) fn memory(
    connection: &Connection,
    len: usize,
    access: Access,
) -> (Arc<Pages>, Arc<MemoryRegion>) {
    let pages = Arc::new(Pages::new(len).unwrap());
    let region = MemoryRegion::register(connection.domain(), pages.clone(), access).unwrap();
    (pages, region)
}

pub(crate) fn contents(pages: &Pages, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    pages.read(0, &mut bytes).unwrap();
    bytes
}

/// Bytes that differ from place to place and from `seed` to `seed`.
pub(crate) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

/// A counter of the soft-RoCE device, which the kernel reads anew only every 10 ms (`lifespan`).
pub(crate) fn counter(name: &str) -> u64 {
    std::thread::sleep(Duration::from_millis(20));
    let path = format!("/sys/class/infiniband/rxe0/ports/1/hw_counters/{name}");
    std::fs::read_to_string(path)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}
