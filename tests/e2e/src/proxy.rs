//! A network that can be cut, and that can damage what passes: a TCP forwarder in front of a server.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use cluster::{PortPair, free_port_pair};

/// Forwards connections to `port` and `port + 10000` of a server, as long as it is told to.
/// Counts the bytes that the server sends.
#[derive(Debug)]
pub struct Proxy {
    ports: PortPair,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    mode: AtomicU8,
    accepted: AtomicU64,
    answered: AtomicU64,
    /// Every so many bytes of answers a bit is flipped; 0 for never.
    flip_every: AtomicU64,
    flipped: AtomicU64,
    target: Mutex<Option<SocketAddr>>,
    open: Mutex<HashMap<u64, [TcpStream; 2]>>,
}

impl Proxy {
    /// In front of the server whose HTTP port is at `target` (gRPC ten thousand above).
    ///
    /// # Panics
    /// When no ports are free or the address makes no sense.
    #[must_use]
    pub fn to(target: &str) -> Self {
        let proxy = Self::unaimed();
        proxy.aim(target);
        proxy
    }

    /// In front of a server that is yet to start, for an address that it must announce.
    ///
    /// # Panics
    /// When no ports are free.
    #[must_use]
    pub fn unaimed() -> Self {
        let ports = free_port_pair().unwrap_or_else(|e| panic!("{e:#}"));
        let state = Arc::new(State {
            mode: AtomicU8::new(PASS),
            accepted: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            flip_every: AtomicU64::new(0),
            flipped: AtomicU64::new(0),
            target: Mutex::default(),
            open: Mutex::default(),
        });
        for (port, above) in [(ports.http(), 0), (ports.grpc(), 10_000)] {
            let listener = TcpListener::bind(("127.0.0.1", port));
            let listener = listener.unwrap_or_else(|e| panic!("listen on {port}: {e}"));
            let state = Arc::clone(&state);
            thread::spawn(move || accept(&listener, above, &state));
        }
        Self { ports, state }
    }

    /// Names the server.
    ///
    /// # Panics
    /// When the address makes no sense.
    pub fn aim(&self, target: &str) {
        let target = target.parse().unwrap_or_else(|e| panic!("{target}: {e}"));
        *lock(&self.state.target) = Some(target);
    }

    /// Where it listens, as `-filer=` takes it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.http())
    }

    /// Where it listens for what goes to `port + 10000`.
    #[must_use]
    pub fn above(&self) -> String {
        format!("127.0.0.1:{}", self.ports.grpc())
    }

    /// How many connections came in.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.state.accepted.load(Ordering::SeqCst)
    }

    /// How many bytes the server sent through it.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.state.answered.load(Ordering::SeqCst)
    }

    /// Closes all connections, and each new one at once.
    pub fn cut(&self) {
        self.state.mode.store(REFUSE, Ordering::SeqCst);
        self.drop_connections();
    }

    /// Closes all connections; new ones are forwarded.
    pub fn drop_connections(&self) {
        for (_, pair) in lock(&self.state.open).drain() {
            for stream in pair {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// Keeps connections open and forwards nothing: a silent network.
    pub fn stall(&self) {
        self.state.mode.store(STALL, Ordering::SeqCst);
    }

    /// From now on flips a bit in every so many bytes that the server sends to `port + 10000`'s
    /// clients; 0 ends it.
    pub fn flip_every(&self, bytes: u64) {
        self.state.flip_every.store(bytes, Ordering::SeqCst);
    }

    /// How many bits it has flipped.
    #[must_use]
    pub fn flipped(&self) -> u64 {
        self.state.flipped.load(Ordering::SeqCst)
    }

    /// Forwards again.
    pub fn restore(&self) {
        self.state.mode.store(PASS, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.mode.store(END, Ordering::SeqCst);
        self.drop_connections();
        // Wakes the accepting threads, so that they see it.
        for port in [self.ports.http(), self.ports.grpc()] {
            let _ = TcpStream::connect(("127.0.0.1", port));
        }
    }
}

impl State {
    fn mode(&self) -> u8 {
        self.mode.load(Ordering::SeqCst)
    }

    /// Flips the bit that is due, if it is among these bytes, before which `passed` have gone.
    fn damage(&self, passed: u64, bytes: &mut [u8]) {
        let every = self.flip_every.load(Ordering::SeqCst);
        if every == 0 {
            return;
        }
        let left = every - 1 - passed % every;
        if let Ok(at) = usize::try_from(left)
            && let Some(byte) = bytes.get_mut(at)
        {
            *byte ^= 1 << (passed % 8);
            self.flipped.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, above: u16, state: &Arc<State>) {
    for client in listener.incoming() {
        match (state.mode(), client) {
            (END, _) => return,
            (PASS | STALL, Ok(client)) => {
                if let Err(error) = forward(client, above, state) {
                    eprintln!("proxy: {error}");
                }
            }
            // Dropped, which closes it.
            _ => {}
        }
    }
}

fn forward(client: TcpStream, above: u16, state: &Arc<State>) -> io::Result<()> {
    let target = *lock(&state.target);
    let mut target = target.ok_or_else(|| io::Error::other("not aimed yet"))?;
    target.set_port(target.port() + above);
    let server = TcpStream::connect(target)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let id = state.accepted.fetch_add(1, Ordering::SeqCst);
    lock(&state.open).insert(id, [client.try_clone()?, server.try_clone()?]);
    let back = match above {
        0 => Way::Answers,
        _ => Way::DamagedAnswers,
    };
    let back = (server.try_clone()?, client.try_clone()?, back);
    for (from, to, way) in [(client, server, Way::Questions), back] {
        let state = Arc::clone(state);
        thread::spawn(move || {
            copy(&from, &to, way, &state);
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
            lock(&state.open).remove(&id);
        });
    }
    Ok(())
}

/// What passes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Questions,
    Answers,
    /// Those that [`Proxy::flip_every`] is about.
    DamagedAnswers,
}

fn copy(mut from: &TcpStream, mut to: &TcpStream, way: Way, state: &State) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        while state.mode() == STALL {
            thread::sleep(Duration::from_millis(2));
        }
        let bytes = &mut buffer[..count];
        if way == Way::DamagedAnswers {
            state.damage(state.answered.load(Ordering::SeqCst), bytes);
        }
        if state.mode() != PASS || to.write_all(bytes).is_err() {
            return;
        }
        if way != Way::Questions {
            state.answered.fetch_add(count as u64, Ordering::SeqCst);
        }
    }
}

const PASS: u8 = 0;
const STALL: u8 = 1;
const REFUSE: u8 = 2;
const END: u8 = 3;
