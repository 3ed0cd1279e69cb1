//! One server thread, many connections.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use verbs::{Access, Config, Connection, Event, Listener, RemoteMemory};

use crate::peer::{connect, contents, listen, memory, pattern, until};

const CONNECTIONS: usize = 64;
const ROUNDS: usize = 10;
const LEN: usize = 16 << 10;
/// All of it takes some seconds.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
#[ignore = "needs an RDMA device: make test-rdma"]
fn sixty_four_connections_are_served_by_one_thread() {
    let listener = listen();
    let addr = listener.local_addr();
    let server = std::thread::spawn(move || serve(&listener));
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                let all: Vec<Connection> = (0..CONNECTIONS / 4)
                    .map(|_| connect(addr, &Config::default()))
                    .collect();
                for round in 0..ROUNDS {
                    all.iter().for_each(|client| ask(client, round as u32));
                }
            })
        })
        .collect();
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
    let served = server.join().unwrap();
    assert_eq!(served, CONNECTIONS * ROUNDS);
    // The server's epoll, its listener, and everything of the connections is closed again.
    assert!(open() <= before, "{} descriptors, {before} before", open());
}

/// Offers memory and has it filled.
fn ask(client: &Connection, round: u32) {
    let (target, region) = memory(client, LEN, Access::RemoteWrite);
    let remote = region.remote(0, LEN).unwrap();
    let mut message = round.to_le_bytes().to_vec();
    message.extend(remote.addr.to_le_bytes());
    message.extend(remote.rkey.to_le_bytes());
    client.post_send(&message).unwrap();
    let got = until(client, |event| matches!(event, Event::Landed { .. }));
    let landed = Event::Landed {
        imm: round,
        len: LEN as u32,
    };
    assert!(got.contains(&landed), "{got:?}");
    assert!(
        contents(&target, LEN) == pattern(round.into(), LEN),
        "round {round}"
    );
}

/// Answers until all connections have come and gone; says how many answers there were.
fn serve(listener: &Listener) -> usize {
    const LISTENER: u64 = u64::MAX;
    let end = Instant::now() + PATIENCE;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let data = epoll::EventData::new_u64;
    let flags = epoll::EventFlags::IN;
    epoll::add(&poll, listener.as_fd(), data(LISTENER), flags).unwrap();
    let mut connections = HashMap::new();
    let (mut accepted, mut answers) = (0, 0);
    let mut ready = Vec::with_capacity(16);
    let mut events = Vec::new();
    while accepted < CONNECTIONS || !connections.is_empty() {
        assert!(
            Instant::now() < end,
            "{accepted} accepted, {} open",
            connections.len()
        );
        let tick = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        epoll::wait(
            &poll,
            rustix::buffer::spare_capacity(&mut ready),
            Some(&tick),
        )
        .unwrap();
        for event in ready.drain(..) {
            let token = event.data.u64();
            if token == LISTENER {
                while let Some(request) = listener.accept().unwrap() {
                    let connection = request.accept(&Config::default(), b"").unwrap();
                    for fd in connection.fds() {
                        epoll::add(&poll, fd, data(accepted as u64), flags).unwrap();
                    }
                    let source = memory(&connection, LEN, Access::Local);
                    connections.insert(accepted as u64, (connection, source));
                    accepted += 1;
                }
                continue;
            }
            // Both descriptors may be ready at once, and the first have ended it.
            let Some((connection, (source, local))) = connections.get(&token) else {
                continue;
            };
            connection.poll(&mut events);
            let mut over = false;
            for event in events.drain(..) {
                match event {
                    Event::Received { bytes } => {
                        let word =
                            |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
                        let (round, rkey) = (word(0), word(12));
                        let addr = u64::from_le_bytes(bytes[4..12].try_into().unwrap());
                        let remote = RemoteMemory {
                            addr,
                            rkey,
                            len: LEN as u64,
                        };
                        source.write(0, &pattern(round.into(), LEN)).unwrap();
                        let slice = local.slice(0, LEN).unwrap();
                        connection.post_write(&slice, remote, Some(round)).unwrap();
                        answers += 1;
                    }
                    Event::Disconnected { .. } => over = true,
                    _ => {}
                }
            }
            if over {
                connections.remove(&token);
            }
        }
    }
    answers
}
