//! Volume files that are lent over the unix socket, and peers that are not what they should be.

use std::fs::{self, File};
use std::io::{self, IoSlice, Read, Seek};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread::{self, JoinHandle};

use fabric::carrier::{Borrowed, DialError, Lender};
use fabric::wire::{
    Borrow, Challenge, FileTerms, Frame, FrameReader, Lent, Limits, Message, Next, Proof, Verify,
    Welcome, encode,
};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;
use seaweed::jwt::SigningKey;

use crate::support::{Client, Served};

/// Neither root nor whoever runs the tests.
const STRANGER: u32 = 61_234;
const TERMS: FileTerms = FileTerms {
    width: 5,
    verify: Verify::Cached,
    revision: 7,
};

fn borrow(volume: u32) -> Borrow {
    Borrow { volume, held: None }
}

fn ask(client: &Client, lender: &mut Lender, volume: u32) -> Result<Borrowed, String> {
    let asked = lender.borrow(&client.context(), borrow(volume));
    asked.map_err(|error| error.to_string())
}

fn content(fd: &impl AsFd) -> String {
    let mut file = File::from(fd.as_fd().try_clone_to_owned().unwrap());
    file.rewind().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    text
}

/// Descriptors of this process.
fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn lending() -> Served {
    Served::with(|config| config.lends = true)
}

#[test]
fn files_are_lent_with_what_has_to_be_known_of_them() {
    let served = lending();
    let client = Client::new();
    served.shelf.lend_files(3, "data", "index", TERMS);
    let mut lender = client.lender(&served.endpoints).unwrap();
    for _ in 0..3 {
        match ask(&client, &mut lender, 3).unwrap() {
            Borrowed::Files([dat, idx], terms) => {
                assert_eq!(
                    (content(&dat), content(&idx)),
                    ("data".into(), "index".into())
                );
                assert_eq!(terms, TERMS);
            }
            other => panic!("{other:?}"),
        }
        let other = ask(&client, &mut lender, 4).unwrap();
        assert!(
            matches!(other, Borrowed::Otherwise(Lent::NotHere)),
            "{other:?}"
        );
    }
    let held = Borrow {
        volume: 3,
        held: Some([1, 2, 3, 4]),
    };
    let same = lender.borrow(&client.context(), held).unwrap();
    assert!(matches!(same, Borrowed::Otherwise(Lent::Same)), "{same:?}");
    let stats = served.server().stats();
    let counted = ["files", "not_here", "same", "refused"].map(|name| stats.lent_as(name));
    assert_eq!(counted, [3, 3, 1, 0]);
}

#[test]
fn nothing_is_lent_unless_it_is_wanted_nor_by_another_way_than_the_socket() {
    let served = Served::new();
    served.shelf.lend_files(3, "data", "index", TERMS);
    let client = Client::new();
    let mut lender = client.lender(&served.endpoints).unwrap();
    let refused = ask(&client, &mut lender, 3).unwrap();
    assert!(
        matches!(refused, Borrowed::Otherwise(Lent::Refused)),
        "{refused:?}"
    );

    let served = lending();
    served.shelf.lend_files(3, "data", "index", TERMS);
    let error = client.lender(&served.over_tcp()).unwrap_err();
    assert!(
        matches!(&error, DialError::Failed(tried) if tried.is_empty()),
        "{error}"
    );
    // Who asks over TCP all the same.
    let address = served.server().tcp_address().unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let mut reader = FrameReader::new();
    shake(&mut stream, &mut reader);
    say(&mut stream, 1, &Message::Borrow(borrow(3)));
    assert_eq!(hear(&mut stream, &mut reader), Message::Lent(Lent::Refused));
}

#[test]
fn another_user_gets_no_files_and_may_read_needles_all_the_same() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: only root can become another user");
    }
    let served = lending();
    served.shelf.lend_files(3, "data", "index", TERMS);
    open_to_all(&served.socket());
    let endpoints = served.endpoints.clone();
    let stranger = as_stranger(move || {
        let client = Client::with(|config| config.arena = None);
        let mut lender = client.lender(&endpoints).unwrap();
        let refused = ask(&client, &mut lender, 3).unwrap();
        assert!(
            matches!(refused, Borrowed::Otherwise(Lent::Refused)),
            "{refused:?}"
        );
        client.dial(&endpoints).unwrap().close();
    });
    stranger.join().unwrap();
    assert_eq!(served.server().stats().lent_as("refused"), 1);
    assert_eq!(served.server().stats().lent_as("files"), 0);
}

#[test]
fn files_of_another_user_are_not_taken() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: only root can become another user");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let path = folder.path().join("socket");
    let at = path.clone();
    let listener = as_stranger(move || UnixListener::bind(at).unwrap());
    let _listener = listener.join().unwrap();
    let error = lender_at(&Client::new(), &path).unwrap_err().to_string();
    assert!(
        error.contains("runs as user 61234, with whom we share nothing"),
        "{error}"
    );
}

#[test]
fn a_sidecar_of_a_trusted_user_gets_our_memory_and_lends_files() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: only root can become another user");
    }
    let served = as_stranger(lending).join().unwrap();
    served.shelf.lend_files(3, "data", "index", TERMS);
    let others = Client::with(|config| config.trusted = vec![STRANGER - 1]);
    let error = others.lender(&served.endpoints).unwrap_err();
    assert_eq!(error.stranger().map(|it| it.0), Some(STRANGER), "{error}");
    let lane = others.dial(&served.endpoints).unwrap();
    assert_eq!(lane.carrier(), "tcp");
    let client = Client::with(|config| config.trusted = vec![STRANGER - 1, STRANGER]);
    let mut lender = client.lender(&served.endpoints).unwrap();
    let lent = ask(&client, &mut lender, 3).unwrap();
    assert!(matches!(lent, Borrowed::Files(..)), "{lent:?}");
    let lane = client.dial(&served.endpoints).unwrap();
    assert_eq!((lane.carrier(), lane.region()), ("shm", Some(0)));
}

#[test]
fn who_does_not_hold_the_read_key_gets_no_files() {
    let key = || Some(SigningKey::new(b"read key", None));
    let served = Served::with(|config| {
        config.lends = true;
        config.read_key = key();
    });
    served.shelf.lend_files(3, "data", "index", TERMS);
    let without = Client::new();
    assert!(without.lender(&served.endpoints).is_err());
    let other = Client::with(|config| config.read_key = Some(SigningKey::new(b"other", None)));
    let error = other.lender(&served.endpoints).unwrap_err().to_string();
    assert!(
        error.contains("does not prove that it holds the read key"),
        "{error}"
    );
    // And who asks before the proof.
    let mut stream = UnixStream::connect(served.socket()).unwrap();
    let mut reader = FrameReader::new();
    say(&mut stream, 0, &hello());
    hear(&mut stream, &mut reader);
    say(&mut stream, 1, &Message::Borrow(borrow(3)));
    match hear(&mut stream, &mut reader) {
        Message::Refusal(refusal) => assert_eq!(refusal.reason, "Borrow is out of turn"),
        other => panic!("{other:?}"),
    }
    assert_eq!(served.server().stats().lent_as("files"), 0);
    let holder = Client::with(|config| config.read_key = key());
    let mut lender = holder.lender(&served.endpoints).unwrap();
    let lent = ask(&holder, &mut lender, 3).unwrap();
    assert!(matches!(lent, Borrowed::Files(..)), "{lent:?}");
}

#[test]
fn descriptors_that_a_client_sends_along_are_dropped() {
    let served = lending();
    served.shelf.lend_files(3, "data", "index", TERMS);
    let mut stream = UnixStream::connect(served.socket()).unwrap();
    let mut reader = FrameReader::new();
    shake(&mut stream, &mut reader);
    let file = tempfile::tempfile().unwrap();
    let before = open_files();
    for id in 1..50 {
        let mut frame = Vec::new();
        encode(id, &Message::Borrow(borrow(4)), &mut frame).unwrap();
        send_with(&stream, &frame, &[file.as_fd(); 20]);
        assert_eq!(hear(&mut stream, &mut reader), Message::Lent(Lent::NotHere));
    }
    assert_eq!(open_files(), before);
}

/// Says what it likes after a handshake as it should be.
fn puppet(path: &Path, script: impl Fn(&mut UnixStream, u64) + Send + 'static) -> JoinHandle<()> {
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = FrameReader::new();
        hear(&mut stream, &mut reader);
        let challenge = Challenge {
            nonce: [2; 16],
            wants_proof: false,
        };
        say(&mut stream, 0, &Message::Challenge(challenge));
        hear(&mut stream, &mut reader);
        let limits = Limits {
            max_items: 1,
            max_read: 1,
        };
        let proof = Proof::EMPTY;
        let welcome = Welcome { limits, proof };
        say(&mut stream, 0, &Message::Welcome(welcome));
        let asked = frame_of(&mut stream, &mut reader);
        assert!(matches!(asked.message, Message::Borrow(_)), "{asked:?}");
        script(&mut stream, asked.id);
    })
}

#[test]
fn a_sidecar_that_sends_too_many_files_or_none_or_half_a_message_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let client = Client::new();
    let file = tempfile::tempfile().unwrap();
    let lent = |id: u64, lent: Lent| {
        let mut frame = Vec::new();
        encode(id, &Message::Lent(lent), &mut frame).unwrap();
        frame
    };
    type Script = Box<dyn Fn(&mut UnixStream, u64) + Send>;
    let with = |number: usize, what: Lent| -> Script {
        let file = file.try_clone().unwrap();
        Box::new(move |stream, id| {
            send_with(stream, &lent(id, what), &vec![file.as_fd(); number]);
        })
    };
    let again = file.try_clone().unwrap();
    let twice = move |stream: &mut UnixStream, id: u64| {
        let frame = lent(id, Lent::Files(TERMS));
        let (head, tail) = frame.split_at(10);
        send_with(stream, head, &[again.as_fd(); 2]);
        thread::sleep(std::time::Duration::from_millis(20));
        send_with(stream, tail, &[again.as_fd(); 2]);
    };
    let half = file.try_clone().unwrap();
    let cut = move |stream: &mut UnixStream, id: u64| {
        send_with(
            stream,
            &lent(id, Lent::Files(TERMS))[..27],
            &[half.as_fd(); 2],
        );
    };
    let files = Lent::Files(TERMS);
    let cases: Vec<(&str, Script, &str)> = vec![
        ("none", with(0, files), "not as many descriptors"),
        ("one", with(1, files), "not as many descriptors"),
        ("three", with(3, files), "descriptors"),
        ("many", with(200, files), "too many descriptors"),
        ("unasked", with(2, Lent::Same), "not as many descriptors"),
        ("twice", Box::new(twice), "too many descriptors"),
        ("cut", Box::new(cut), "end of file"),
        (
            "other",
            Box::new(|stream, id| say(stream, id + 1, &Message::Lent(Lent::Same))),
            "out of turn",
        ),
        (
            "bye",
            Box::new(|stream, id| say(stream, id, &Message::Bye)),
            "goodbye",
        ),
        (
            "noise",
            Box::new(|stream, _| io::Write::write_all(stream, &[0xa5; 100]).unwrap()),
            "",
        ),
    ];
    for (name, script, said) in cases {
        let path = folder.path().join(name);
        let puppet = puppet(&path, script);
        let before = open_files();
        let mut lender = lender_at(&client, &path).unwrap();
        let error = ask(&client, &mut lender, 3).unwrap_err();
        assert!(error.contains(said), "{name}: {error}");
        drop(lender);
        puppet.join().unwrap();
        // The listener and both ends are gone, and whatever was sent.
        assert!(open_files() <= before, "{name}");
    }
}

#[test]
fn a_sidecar_that_keeps_silent_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let puppet = puppet(&path, |_, _| {
        thread::sleep(std::time::Duration::from_millis(600))
    });
    let client = Client::with(|config| config.patience = std::time::Duration::from_millis(100));
    let mut lender = lender_at(&client, &path).unwrap();
    let error = ask(&client, &mut lender, 3).unwrap_err();
    assert!(error.contains("does not answer"), "{error}");
    puppet.join().unwrap();
}

fn lender_at(client: &Client, path: &Path) -> Result<Lender, DialError> {
    let mut endpoints = Served::new().endpoints.clone();
    endpoints.unix = Some(path.to_str().unwrap().to_owned());
    client.lender(&endpoints)
}

/// Runs on a thread of another user, as far as the kernel is concerned.
fn as_stranger<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    thread::spawn(move || {
        let uid = Uid::from_raw(STRANGER);
        set_thread_res_uid(uid, uid, uid).unwrap();
        run()
    })
}

fn open_to_all(socket: &Path) {
    let all = fs::Permissions::from_mode(0o777);
    fs::set_permissions(socket, all.clone()).unwrap();
    fs::set_permissions(socket.parent().unwrap(), all).unwrap();
}

fn hello() -> Message {
    Message::Hello(fabric::wire::Hello {
        nonce: [1; 16],
        offers: false,
        name: "puppet".into(),
    })
}

fn shake<S: io::Read + io::Write>(stream: &mut S, reader: &mut FrameReader) {
    say(stream, 0, &hello());
    hear(stream, reader);
    say(stream, 0, &Message::Proof(Proof::EMPTY));
    let welcome = hear(stream, reader);
    assert!(matches!(welcome, Message::Welcome(_)), "{welcome:?}");
}

fn say<S: io::Write>(stream: &mut S, id: u64, message: &Message) {
    let mut frame = Vec::new();
    encode(id, message, &mut frame).unwrap();
    stream.write_all(&frame).unwrap();
}

fn hear<S: io::Read>(stream: &mut S, reader: &mut FrameReader) -> Message {
    frame_of(stream, reader).message
}

fn frame_of<S: io::Read>(stream: &mut S, reader: &mut FrameReader) -> Frame {
    loop {
        match reader.next().unwrap() {
            Next::Frame(frame) => return frame,
            _ => {
                let got = stream.read(reader.space()).unwrap();
                assert!(got > 0, "it has hung up");
                reader.filled(got);
            }
        }
    }
}

fn send_with(stream: &UnixStream, bytes: &[u8], files: &[BorrowedFd<'_>]) {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() {
        assert!(beside.push(SendAncillaryMessage::ScmRights(files)));
    }
    let parts = [IoSlice::new(bytes)];
    let sent = sendmsg(stream, &parts, &mut beside, SendFlags::empty()).unwrap();
    assert_eq!(sent, bytes.len());
}
