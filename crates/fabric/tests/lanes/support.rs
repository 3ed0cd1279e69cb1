//! Starting servers, opening lanes, reading.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use context::Context;
use fabric::announce::{Endpoints, this_host};
use fabric::carrier::{Dial, DialError, Dialer, DialerConfig, Lender};
use fabric::lane::{Answered, Broken, Inbox, Lane};
use fabric::memory::{Arena, ArenaConfig, Block, Landing};
use fabric::server::{Server, ServerConfig};
use fabric::wire::{Answer, Extent, Item, Place, Status, VERSION};
use rustix::event::{PollFd, Timespec, poll};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use seaweed::FileId;
use seaweed::crc::crc32c;
use seaweed::jwt::SigningKey;

use crate::shelf::Memory;

pub(crate) const MIB: usize = 1 << 20;
pub(crate) const BUDGET: Duration = Duration::from_secs(20);

/// A server with its shelf, on both carriers.
pub(crate) struct Served {
    pub(crate) server: Option<Server<Memory>>,
    pub(crate) shelf: Arc<Memory>,
    pub(crate) endpoints: Endpoints,
    folder: tempfile::TempDir,
}

impl Served {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(adjust: impl FnOnce(&mut ServerConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let unix = folder.path().join("fabric.sock");
        let mut config = ServerConfig {
            tcp: Some("127.0.0.1:0".parse().unwrap()),
            unix: Some(unix.clone()),
            ..ServerConfig::default()
        };
        adjust(&mut config);
        let tls = config.tls.is_some();
        let shelf = Arc::new(Memory::default());
        let server = Server::start(config, shelf.clone()).unwrap();
        let endpoints = Endpoints {
            version: VERSION,
            host: this_host().unwrap(),
            unix: Some(unix.to_str().unwrap().to_owned()),
            tcp: server.tcp_address().map(|address| address.to_string()),
            tls,
            rdma: Vec::new(),
            writes: true,
            lends: true,
        };
        Self {
            server: Some(server),
            shelf,
            endpoints,
            folder,
        }
    }

    pub(crate) fn server(&self) -> &Server<Memory> {
        self.server.as_ref().unwrap()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("fabric.sock")
    }

    /// Where only TCP leads.
    pub(crate) fn over_tcp(&self) -> Endpoints {
        Endpoints {
            unix: None,
            ..self.endpoints.clone()
        }
    }

    pub(crate) fn lane(&self, client: &Client, carrier: &str) -> Box<dyn Lane> {
        let endpoints = match carrier {
            "tcp" => self.over_tcp(),
            _ => self.endpoints.clone(),
        };
        let lane = client.dial(&endpoints).unwrap();
        assert_eq!(lane.carrier(), carrier);
        lane
    }
}

/// A mount, as far as lanes are concerned.
pub(crate) struct Client {
    pub(crate) arena: Arena,
    dialer: Dialer,
}

impl Client {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(adjust: impl FnOnce(&mut DialerConfig)) -> Self {
        let arena = Arena::new(ArenaConfig {
            size: 256 * MIB,
            keep: 256 * MIB,
            quarantine: 128 * MIB,
            reserved_pages: false,
        })
        .unwrap();
        let mut config = DialerConfig {
            name: "test".into(),
            host: this_host().unwrap(),
            read_key: None,
            tls: None,
            arena: Some(arena.clone()),
            remote_reads: true,
            trusted: Vec::new(),
            patience: Duration::from_secs(5),
        };
        adjust(&mut config);
        Self {
            arena,
            dialer: Dialer::new(config),
        }
    }

    pub(crate) fn with_key(secret: &str) -> Self {
        let key = SigningKey::new(secret.as_bytes(), None);
        Self::with(|config| config.read_key = Some(key))
    }

    pub(crate) fn dial(&self, to: &Endpoints) -> Result<Box<dyn Lane>, DialError> {
        self.dialer.dial(&self.context(), to)
    }

    pub(crate) fn dial_within(
        &self,
        time: Duration,
        to: &Endpoints,
    ) -> Result<Box<dyn Lane>, DialError> {
        self.dialer.dial(&Context::background(time), to)
    }

    pub(crate) fn lender(&self, to: &Endpoints) -> Result<Lender, DialError> {
        self.dialer.lender(&self.context(), to)
    }

    pub(crate) fn context(&self) -> Context<'static> {
        Context::background(BUDGET)
    }
}

/// A read and what came of it.
pub(crate) struct Reading {
    pub(crate) slots: Vec<Slot>,
}

pub(crate) struct Slot {
    pub(crate) needle: FileId,
    pub(crate) extent: Extent,
    landing: Option<Landing>,
    block: Option<Block>,
    pub(crate) answer: Option<Answer>,
}

impl Slot {
    pub(crate) fn status(&self) -> Status {
        self.answer.unwrap().status
    }

    /// The bytes, if they are what the answer says they are.
    pub(crate) fn verified(&self) -> Result<&[u8], &'static str> {
        let answer = self.answer.ok_or("no answer")?;
        if answer.status != Status::Done {
            return Err("not done");
        }
        let block = self.block.as_ref().ok_or("no block")?;
        let bytes = &block[..answer.len as usize];
        match crc32c(bytes) == answer.crc {
            true => Ok(bytes),
            false => Err("damaged"),
        }
    }
}

impl Reading {
    /// A read of these; with memory for each.
    pub(crate) fn new(arena: &Arena, wanted: &[(FileId, Extent)]) -> Self {
        let slots = wanted.iter().map(|(needle, extent)| Slot {
            needle: *needle,
            extent: *extent,
            landing: None,
            block: Some(arena.take(extent.room() as usize).unwrap()),
            answer: None,
        });
        Self {
            slots: slots.collect(),
        }
    }

    /// Sends it; blocks are offered where the lane has a region.
    pub(crate) fn start(&mut self, id: u64, lane: &mut dyn Lane) -> Result<(), Broken> {
        let region = lane.region();
        let items: Vec<Item> = self
            .slots
            .iter_mut()
            .map(|slot| {
                let place = match region {
                    None => Place::Inline,
                    Some(region) => {
                        let landing = slot.block.take().unwrap().offer();
                        let place = landing.place(region);
                        slot.landing = Some(landing);
                        place
                    }
                };
                Item {
                    needle: slot.needle,
                    extent: slot.extent,
                    place,
                }
            })
            .collect();
        lane.start(id, &items)
    }

    /// Waits for all answers.
    pub(crate) fn finish(&mut self, lane: &mut dyn Lane) -> Result<(), Broken> {
        let until = Instant::now() + BUDGET;
        while !lane.advance(self)? {
            wait(lane);
            assert!(Instant::now() < until, "no answer");
        }
        Ok(())
    }

    /// Closes the lane, and lets go of what was offered on it.
    pub(crate) fn abandon(self, lane: Box<dyn Lane>) {
        let retiring = lane.close();
        for slot in self.slots {
            if let Some(landing) = slot.landing {
                landing.abandon(retiring.as_ref());
            }
        }
    }

    fn reclaim(&mut self, answer: &Answered) -> &mut Slot {
        let slot = &mut self.slots[usize::from(answer.item)];
        if let Some(landing) = slot.landing.take() {
            slot.block = Some(landing.reclaim(answer).unwrap());
        }
        slot
    }
}

impl Inbox for Reading {
    fn memory(&mut self, answer: &Answered) -> Option<&mut [u8]> {
        let slot = self.reclaim(answer);
        assert!(slot.answer.is_none(), "asked for memory after the end");
        Some(slot.block.as_mut().unwrap())
    }

    fn done(&mut self, answer: &Answered) {
        let slot = self.reclaim(answer);
        assert!(slot.answer.is_none(), "answered twice");
        slot.answer = Some(**answer);
    }
}

/// One read from its start to its end.
pub(crate) fn read(lane: &mut dyn Lane, arena: &Arena, wanted: &[(FileId, Extent)]) -> Reading {
    try_read(lane, arena, wanted).unwrap()
}

/// The same where the lane may break.
pub(crate) fn try_read(
    lane: &mut dyn Lane,
    arena: &Arena,
    wanted: &[(FileId, Extent)],
) -> Result<Reading, Broken> {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    let id = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mut reading = Reading::new(arena, wanted);
    reading.start(id, lane)?;
    reading.finish(lane)?;
    Ok(reading)
}

pub(crate) fn whole(room: usize) -> Extent {
    Extent::Whole { room: room as u32 }
}

pub(crate) fn range(offset: usize, len: usize) -> Extent {
    Extent::Range {
        offset: offset as u64,
        len: len as u32,
    }
}

/// Waits until there is something to do on a lane, for a moment.
pub(crate) fn wait(lane: &dyn Lane) {
    let (fd, what) = lane.wait_on();
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), what)];
    let moment = Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&moment)).unwrap();
}

/// Whether `what` comes true before long.
pub(crate) fn eventually(mut what: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + BUDGET;
    while Instant::now() < until {
        if what() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

/// Why there is no lane.
pub(crate) fn refusal(outcome: Result<Box<dyn Lane>, DialError>) -> String {
    match outcome {
        Ok(_) => panic!("the lane was opened"),
        Err(error) => error.to_string(),
    }
}

/// A server's TLS, and that of clients who trust it.
pub(crate) fn tls() -> (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>) {
    let certificates = cluster::Certificates::generate().unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = CertificateDer::from_pem_slice(certificates.server.certificate.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(certificates.server.key.as_bytes());
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![chain.unwrap()], key.unwrap())
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(certificates.ca.as_bytes());
    roots.add(authority.unwrap()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}
