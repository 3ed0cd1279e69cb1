//! A server that answers as it is told, to see what the client makes of bad manners.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use context::Context;
use fabric::{HttpConfig, HttpRoute, HttpStats, Locate, LocateError, Location};
use seaweed::FileId;

/// One step of an answer.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// These bytes, in one write.
    Send(Vec<u8>),
    /// These bytes, each in a packet of its own.
    Dribble(Vec<u8>),
    /// Nothing, for a while.
    Pause(Duration),
    /// Nothing, until the client goes away.
    Hang,
    /// The end of the connection.
    Close,
}

/// A request as a script sees it.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Which request overall, from 0.
    pub(crate) number: usize,
    /// Its head.
    pub(crate) head: String,
}

type Script = dyn Fn(&Request) -> Vec<Step> + Send + Sync;

/// The server. Dropping it closes its port.
pub(crate) struct Puppet {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Puppet {
    /// Answers each request by `script`.
    pub(crate) fn new(script: impl Fn(&Request) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let script: Arc<Script> = Arc::new(script);
        let acceptor = std::thread::spawn({
            let (heads, stop) = (heads.clone(), stop.clone());
            move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let (heads, script) = (heads.clone(), script.clone());
                    std::thread::spawn(move || serve(stream, &heads, &*script));
                }
            }
        });
        Self {
            address,
            heads,
            stop,
            acceptor: Some(acceptor),
        }
    }

    /// Sends `answer` to each request and keeps the connection.
    pub(crate) fn repeating(answer: Vec<u8>) -> Self {
        Self::new(move |_| vec![Step::Send(answer.clone())])
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// The heads of all requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn serve(mut stream: TcpStream, heads: &Mutex<Vec<String>>, script: &Script) {
    stream.set_nodelay(true).unwrap();
    let mut input = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = input.split_off(end + 4);
                break String::from_utf8(std::mem::replace(&mut input, rest)).unwrap();
            }
            let mut some = [0; 4096];
            match stream.read(&mut some) {
                Ok(0) | Err(_) => return,
                Ok(got) => input.extend(&some[..got]),
            }
        };
        let number = {
            let mut heads = heads.lock().unwrap();
            heads.push(head.clone());
            heads.len() - 1
        };
        for step in script(&Request { number, head }) {
            let done = match step {
                Step::Send(bytes) => stream.write_all(&bytes).is_ok(),
                Step::Dribble(bytes) => bytes.chunks(1).all(|byte| {
                    std::thread::sleep(Duration::from_micros(200));
                    stream.write_all(byte).is_ok()
                }),
                Step::Pause(pause) => {
                    std::thread::sleep(pause);
                    true
                }
                Step::Hang => {
                    let _ = stream.read(&mut [0; 1]);
                    false
                }
                Step::Close => false,
            };
            if !done {
                return;
            }
        }
    }
}

/// Fixed places, and how often they were doubted.
pub(crate) struct Places {
    pub(crate) locations: Mutex<Arc<[Location]>>,
    pub(crate) forgotten: AtomicUsize,
}

impl Places {
    pub(crate) fn new(addresses: &[String]) -> Arc<Self> {
        Arc::new(Self {
            locations: Mutex::new(locations(addresses)),
            forgotten: AtomicUsize::new(0),
        })
    }
}

pub(crate) fn locations(addresses: &[String]) -> Arc<[Location]> {
    let location = |url: &String| Location {
        url: url.clone(),
        public_url: String::new(),
        data_center: String::new(),
    };
    addresses.iter().map(location).collect()
}

impl Locate for Places {
    fn locate(&self, _: &Context<'_>, volume: u32) -> Result<Arc<[Location]>, LocateError> {
        let locations = self.locations.lock().unwrap().clone();
        if locations.is_empty() {
            return Err(LocateError::Unknown { volume });
        }
        Ok(locations)
    }

    fn forget(&self, _: u32) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
    }
}

/// The needle everything is about.
pub(crate) const NEEDLE: FileId = FileId {
    volume: 3,
    key: 0x1637,
    cookie: 0x037d_6037,
};

/// No patience for repetition, little for silence.
pub(crate) fn quick() -> HttpConfig {
    HttpConfig {
        retry: Duration::ZERO,
        switch_after: Duration::from_millis(150),
        give_up_after: Duration::from_millis(300),
        ..HttpConfig::default()
    }
}

pub(crate) fn route_to(config: HttpConfig, puppets: &[&Puppet]) -> HttpRoute {
    let addresses: Vec<_> = puppets.iter().map(|puppet| puppet.address()).collect();
    HttpRoute::new(config, Places::new(&addresses), Arc::new(HttpStats::new()))
}

/// A request nobody interrupts.
pub(crate) fn patient() -> Context<'static> {
    Context::background(Duration::from_secs(30))
}

/// An answer with a length.
pub(crate) fn answer(status: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{fields}\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend(body);
    bytes
}

/// A 206 for `data[offset..offset + len]`.
pub(crate) fn part(data: &[u8], offset: usize, len: usize) -> Vec<u8> {
    let fields = format!(
        "Content-Range: bytes {offset}-{}/{}\r\n",
        offset + len - 1,
        data.len()
    );
    answer("206 Partial Content", &fields, &data[offset..offset + len])
}

/// A 200 with the ETag a volume server would send.
pub(crate) fn all(data: &[u8]) -> Vec<u8> {
    let etag = format!("ETag: \"{:08x}\"\r\n", seaweed::crc::crc32c(data));
    answer("200 OK", &etag, data)
}

/// Bytes that differ at every offset within reach.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}
