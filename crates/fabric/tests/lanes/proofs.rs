//! Who proves what to whom before memory is told, with servers and clients that do it wrong.

use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fabric::announce::{Endpoints, this_host};
use fabric::wire::{
    Challenge, FrameReader, Hello, Limits, MAX_ITEMS, MAX_READ, Message, Next, Proof, Role, Signed,
    VERSION, Way, Welcome, encode,
};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use seaweed::jwt::SigningKey;

use crate::support::{Client, Served, eventually, refusal};

const NONCE: [u8; 16] = [2; 16];

/// A server that says what a script has it say, over a unix socket.
struct Puppet {
    stream: UnixStream,
    reader: FrameReader,
    /// The client's nonce, from its Hello.
    nonce: [u8; 16],
    heard: Heard,
}

/// What it has heard: the kinds of frames, and how many descriptors came beside each.
type Heard = Vec<(&'static str, usize)>;

impl Puppet {
    /// Listens, and plays the script to one client; gives what it has heard until the client hung up.
    fn plays(path: &Path, script: impl Fn(&mut Self) + Send + 'static) -> JoinHandle<Heard> {
        let listener = UnixListener::bind(path).unwrap();
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let patience = Some(Duration::from_secs(20));
            stream.set_read_timeout(patience).unwrap();
            let mut puppet = Self {
                stream,
                reader: FrameReader::new(),
                nonce: [0; 16],
                heard: Vec::new(),
            };
            puppet.hear();
            script(&mut puppet);
            while puppet.hear() {}
            puppet.heard
        })
    }

    fn say(&mut self, message: Message) {
        let mut frame = Vec::new();
        encode(0, &message, &mut frame).unwrap();
        // The client may be gone.
        let _ = self.stream.write_all(&frame);
    }

    /// Takes the next frame; not if the client hung up.
    fn hear(&mut self) -> bool {
        let mut files = 0;
        loop {
            if let Next::Frame(frame) = self.reader.next().unwrap() {
                self.heard.push((frame.message.name(), files));
                if let Message::Hello(hello) = frame.message {
                    self.nonce = hello.nonce;
                }
                return true;
            }
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
            let mut beside = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(self.reader.space())];
            let received = recvmsg(
                &self.stream,
                &mut parts,
                &mut beside,
                RecvFlags::CMSG_CLOEXEC,
            );
            for message in beside.drain() {
                if let RecvAncillaryMessage::ScmRights(some) = message {
                    files += some.count();
                }
            }
            match received {
                Ok(received) if received.bytes > 0 => self.reader.filled(received.bytes),
                _ => {
                    assert_eq!(files, 0, "descriptors beside nothing");
                    return false;
                }
            }
        }
    }

    /// The proof that a server with this key gives.
    fn proof(&self, key: &SigningKey) -> Proof {
        let signed = Signed {
            client: self.nonce,
            server: NONCE,
            way: Way::Shm,
        };
        Proof::new(Some(key), Role::Server, &signed)
    }
}

fn key(secret: &str) -> SigningKey {
    SigningKey::new(secret.as_bytes(), None)
}

fn challenge(wants_proof: bool) -> Message {
    Message::Challenge(Challenge {
        nonce: NONCE,
        wants_proof,
    })
}

fn welcome(proof: Proof) -> Message {
    let limits = Limits {
        max_items: MAX_ITEMS as u16,
        max_read: MAX_READ,
    };
    Message::Welcome(Welcome { limits, proof })
}

fn at(path: &Path) -> Endpoints {
    Endpoints {
        version: VERSION,
        host: this_host().unwrap(),
        unix: Some(path.to_str().unwrap().to_owned()),
        ..Endpoints::default()
    }
}

/// A client with the key "right" dials a puppet: what it says of it, and what the puppet has heard. A lane
/// that opens is closed at once.
fn dialed(script: impl Fn(&mut Puppet) + Send + 'static) -> (String, Heard) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("puppet.sock");
    let puppet = Puppet::plays(&path, script);
    let said = match Client::with_key("right").dial(&at(&path)) {
        Ok(lane) => {
            lane.close();
            "open".to_owned()
        }
        Err(error) => error.to_string(),
    };
    (said, puppet.join().unwrap())
}

#[test]
fn a_server_that_holds_the_key_gets_the_memory_and_its_descriptor_last_of_all() {
    let (said, heard) = dialed(|puppet| {
        puppet.say(challenge(true));
        puppet.hear();
        puppet.say(welcome(puppet.proof(&key("right"))));
        puppet.hear();
        puppet.say(Message::Ready);
    });
    assert_eq!(said, "open");
    let expected = [("Hello", 0), ("Proof", 0), ("Memory", 1)];
    assert_eq!(heard[..3], expected, "{heard:?}");
    assert!(heard[3..].iter().all(|(_, files)| *files == 0));
}

#[test]
fn a_server_that_does_not_hold_the_key_gets_neither_memory_nor_descriptor() {
    let answers: [fn(&Puppet) -> Proof; 2] =
        [|puppet| puppet.proof(&key("wrong")), |_| Proof::EMPTY];
    for proof in answers {
        let (said, heard) = dialed(move |puppet| {
            puppet.say(challenge(true));
            puppet.hear();
            puppet.say(welcome(proof(puppet)));
            puppet.hear();
            puppet.say(Message::Ready);
        });
        assert!(
            said.contains("it does not hold jwt.signing.read.key"),
            "{said}"
        );
        assert_eq!(heard, [("Hello", 0), ("Proof", 0)]);
    }
    // Nor one that would rather have no proofs at all.
    let (said, heard) = dialed(|puppet| {
        puppet.say(challenge(false));
        puppet.say(welcome(Proof::EMPTY));
    });
    assert!(
        said.contains("it knows of no jwt.signing.read.key"),
        "{said}"
    );
    assert_eq!(heard, [("Hello", 0)]);
}

#[test]
fn a_server_that_leaves_out_a_step_is_refused_by_name_and_gets_no_memory() {
    let (said, heard) = dialed(|puppet| {
        puppet.say(challenge(true));
        puppet.hear();
        puppet.say(Message::Ready);
    });
    assert!(
        said.contains("its Ready is out of turn, where Welcome is due"),
        "{said}"
    );
    assert_eq!(heard, [("Hello", 0), ("Proof", 0)]);
    let (said, heard) = dialed(|puppet| puppet.say(welcome(puppet.proof(&key("right")))));
    assert!(
        said.contains("its Welcome is out of turn, where Challenge is due"),
        "{said}"
    );
    assert_eq!(heard, [("Hello", 0)]);
    let (said, heard) = dialed(|puppet| {
        puppet.say(challenge(true));
        puppet.hear();
        puppet.say(challenge(true));
    });
    assert!(
        said.contains("its Challenge is out of turn, where Welcome is due"),
        "{said}"
    );
    assert_eq!(heard, [("Hello", 0), ("Proof", 0)]);
}

/// Passes bytes on, both ways.
fn relay(from: &UnixStream, to: &TcpStream) {
    let (mut down, mut up) = (to.try_clone().unwrap(), to.try_clone().unwrap());
    let (mut client, mut back) = (from.try_clone().unwrap(), from.try_clone().unwrap());
    thread::spawn(move || {
        let _ = io::copy(&mut down, &mut back);
        let _ = back.shutdown(std::net::Shutdown::Both);
    });
    let _ = io::copy(&mut client, &mut up);
}

#[test]
fn nobody_gets_memory_by_having_another_server_prove_itself() {
    let served = Served::with(|config| config.read_key = Some(key("right")));
    let real = served.server().tcp_address().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.sock");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        relay(&stream, &TcpStream::connect(real).unwrap());
    });
    // What was signed for a unix socket is no proof over TCP: the server refuses, and does not sign.
    let error = refusal(Client::with_key("right").dial(&at(&path)));
    assert!(
        error.contains("does not prove that it holds the read key"),
        "{error}"
    );
    assert!(eventually(|| served.server().stats().refused.get() == 1));
}

#[test]
fn each_step_has_its_time_in_the_client() {
    let silent: [fn(&mut Puppet); 3] = [
        |_| {},
        |puppet| puppet.say(challenge(true)),
        |puppet| {
            puppet.say(challenge(true));
            puppet.hear();
            puppet.say(welcome(puppet.proof(&key("right"))));
        },
    ];
    for script in silent {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("puppet.sock");
        let puppet = Puppet::plays(&path, script);
        let client = Client::with(|config| {
            config.read_key = Some(key("right"));
            config.patience = Duration::from_millis(100);
        });
        let began = Instant::now();
        let error = refusal(client.dial(&at(&path)));
        assert!(error.contains("it does not answer"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(5));
        puppet.join().unwrap();
    }
}

/// Everything a server says to these bytes until it hangs up.
fn answered(served: &Served, bytes: &[u8]) -> String {
    let mut socket = UnixStream::connect(served.socket()).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    socket.write_all(bytes).unwrap();
    let mut said = Vec::new();
    socket.read_to_end(&mut said).unwrap();
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn each_step_has_its_time_in_the_server() {
    let served = Served::with(|config| config.patience = Duration::from_millis(200));
    let hello = Hello {
        nonce: [1; 16],
        offers: true,
        name: "slow".into(),
    };
    let mut said = Vec::new();
    for message in [Message::Hello(hello), Message::Proof(Proof::EMPTY)] {
        encode(0, &message, &mut said).unwrap();
        let told = answered(&served, &said);
        assert!(told.contains("does not open the lane in time"), "{told}");
    }
}

#[test]
fn a_client_of_the_first_version_is_refused_by_name() {
    let served = Served::new();
    // Its Hello, with a memory key.
    let mut hello = Vec::from(*b"RT\x01\x01\x26\0\0\0");
    hello.resize(62, 0);
    let told = answered(&served, &hello);
    assert!(
        told.contains("peer speaks version 1 of the fabric, here it is version 2"),
        "{told}"
    );
}
