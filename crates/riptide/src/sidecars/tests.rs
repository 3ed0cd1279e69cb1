//! Sidecars that come, go and talk nonsense.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use context::Context;
use fabric::client::{Config, Nearness, Policy};
use fabric::peers::Here;

use super::*;

/// Says at `/health` whatever it is told to, and nothing at all while it is told nothing.
struct Double {
    address: String,
    says: Arc<Mutex<Option<String>>>,
    ends: Arc<AtomicBool>,
}

impl Double {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let says: Arc<Mutex<Option<String>>> = Arc::default();
        let ends: Arc<AtomicBool> = Arc::default();
        let (saying, ended) = (Arc::clone(&says), Arc::clone(&ends));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let mut stream = stream.unwrap();
                let mut request = [0; 1024];
                let _ = stream.read(&mut request);
                if let Some(body) = saying.lock().unwrap().clone() {
                    let len = body.len();
                    let _ = write!(
                        stream,
                        "HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n{body}"
                    );
                }
            }
        });
        Self {
            address,
            says,
            ends,
        }
    }

    fn says(&self, what: Option<String>) {
        *self.says.lock().unwrap() = what;
    }

    fn announcement(&self, volumes: &str) -> String {
        let address = &self.address;
        format!(
            r#"{{"status": "healthy", "http": "{address}", "fabric": {{"version": 2, "host": "h", "tcp": "{address}"}},
            "volume_servers": ["v:8080"], "volumes": [{volumes}], "generation": 1}}"#
        )
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = std::net::TcpStream::connect(&self.address);
    }
}

fn finder(addresses: &[&str]) -> (HashMap<String, Known>, Vec<String>) {
    let addresses = addresses.iter().map(|it| (*it).to_owned()).collect();
    (HashMap::new(), addresses)
}

/// One look at the listed ones, without a filer.
fn look(known: &mut HashMap<String, Known>, addresses: &[String], peers: &Peers) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let seen = runtime.block_on(listed::ask_all(addresses, None));
    note(known, seen);
    peers.update(there(known));
}

fn volumes(peers: &Peers) -> Vec<Vec<u32>> {
    let all = peers.all();
    all.iter()
        .map(|peer| peer.announced.volumes.clone())
        .collect()
}

#[test]
fn a_sidecar_is_used_from_its_first_sensible_word_until_it_fails_three_times() {
    let double = Double::start();
    let policy = Arc::new(Policy::new(Config::default(), 1));
    let here = Here {
        host: "h".to_owned(),
        ..Here::default()
    };
    let peers = Peers::new(policy, here).unwrap();
    let (mut known, addresses) = finder(&[&double.address]);
    let mut look = || {
        look(&mut known, &addresses, &peers);
        volumes(&peers)
    };
    for nonsense in [None, Some("<html>".to_owned()), Some("{}".to_owned())] {
        double.says(nonsense);
        assert!(look().is_empty());
    }
    double.says(Some(double.announcement("1")));
    assert_eq!(look(), [[1]]);
    assert_eq!(peers.all()[0].nearness, Nearness::Local);
    double.says(Some(double.announcement("1,2")));
    assert_eq!(look(), [[1, 2]]);
    double.says(None);
    assert_eq!(look(), [[1, 2]], "once is no proof");
    assert_eq!(look(), [[1, 2]]);
    assert!(look().is_empty());
    double.says(Some(double.announcement("3")));
    assert_eq!(look(), [[3]], "it came back");
}

#[test]
fn what_is_wrong_is_said_in_words() {
    let double = Double::start();
    let ask = || {
        let ctx = Context::background(Duration::from_secs(5));
        listed::ask(&ctx, &double.address, None).unwrap_err()
    };
    double.says(Some("{}".to_owned()));
    let said = ask();
    assert!(
        said.starts_with("this is not the announcement of a sidecar"),
        "{said}"
    );
    let newer = double
        .announcement("")
        .replace(r#""version": 2"#, r#""version": 9"#);
    double.says(Some(newer));
    assert_eq!(
        ask(),
        "the sidecar speaks version 9 of the fabric's protocol, expected 2"
    );
    double.says(None);
    let began = Instant::now();
    assert!(ask().contains("closed"), "{:?}", began.elapsed());
}

#[test]
fn one_that_is_no_longer_registered_is_gone_at_once() {
    let announced = |text: &str| Announcement::parse(text.as_bytes()).unwrap();
    let double = Double::start();
    let mut known = HashMap::new();
    let found = announced(&double.announcement("1"));
    note(&mut known, vec![("a".to_owned(), Ok(found))]);
    assert_eq!(there(&known).len(), 1);
    note(&mut known, vec![]);
    assert!(there(&known).is_empty());
}
