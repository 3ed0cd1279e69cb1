//! What goes wrong is noticed, and told.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use fabric::announce::Endpoints;
use fabric::carrier::DialError;
use fabric::lane::Broken;
use fabric::wire::Status;

use crate::shelf::{bytes, id};
use crate::support::{Client, MIB, Reading, Served, eventually, range, read, refusal, wait, whole};

const CARRIERS: [&str; 2] = ["shm", "tcp"];

#[test]
fn only_who_holds_the_key_gets_a_lane() {
    let key = seaweed::jwt::SigningKey::new(b"right", None);
    let served = Served::with(|config| config.read_key = Some(key));
    served.shelf.put(id(1, 1), bytes(100, 1), false);
    for to in [served.endpoints.clone(), served.over_tcp()] {
        let error = refusal(Client::with_key("wrong").dial(&to));
        assert!(
            error.contains("does not prove that it holds the read key"),
            "{error}"
        );
        let error = refusal(Client::new().dial(&to));
        assert!(error.contains("jwt.signing.read.key"), "{error}");
        let client = Client::with_key("right");
        let mut lane = client.dial(&to).unwrap();
        let reading = read(&mut *lane, &client.arena, &[(id(1, 1), whole(100))]);
        assert!(reading.slots[0].verified().is_ok());
    }
    // Both of each went by the unix socket first and then by TCP, but for the second round.
    assert!(eventually(|| served.server().stats().refused.get() == 6));
    assert!(eventually(|| served.server().stats().mapped.get() == 0));
}

#[test]
fn a_server_that_is_full_says_so_and_has_room_again_later() {
    let served = Served::with(|config| config.max_lanes = 2);
    let client = Client::new();
    let first = served.lane(&client, "shm");
    let _second = served.lane(&client, "tcp");
    let error = refusal(client.dial(&served.endpoints));
    assert!(
        error.contains("all 2 lanes of this server are in use"),
        "{error}"
    );
    first.close();
    assert!(eventually(|| client.dial(&served.endpoints).is_ok()));
}

#[test]
fn the_way_that_is_there_is_taken_and_what_is_not_there_is_named() {
    let served = Served::new();
    let client = Client::new();
    let elsewhere = Endpoints {
        host: "another kernel".into(),
        ..served.endpoints.clone()
    };
    assert_eq!(client.dial(&elsewhere).unwrap().carrier(), "tcp");
    let gone = Endpoints {
        unix: Some("/nowhere/fabric.sock".into()),
        ..served.endpoints.clone()
    };
    assert_eq!(client.dial(&gone).unwrap().carrier(), "tcp");
    let nothing = Endpoints {
        tcp: Some("127.0.0.1:1".into()),
        ..gone
    };
    let error = refusal(client.dial(&nothing));
    for part in [
        "shm /nowhere/fabric.sock: No such file",
        "tcp 127.0.0.1:1: Connection refused",
    ] {
        assert!(error.contains(part), "{error}");
    }
    let newer = Endpoints {
        version: 9,
        ..served.endpoints.clone()
    };
    assert!(matches!(client.dial(&newer), Err(DialError::Version(9))));
    // Somebody who never says anything costs no more than the patience.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = Endpoints {
        unix: None,
        tcp: Some(silent.local_addr().unwrap().to_string()),
        ..served.endpoints.clone()
    };
    let hasty = Client::with(|config| config.patience = Duration::from_millis(200));
    let since = Instant::now();
    let error = refusal(hasty.dial(&silent));
    assert!(error.contains("it does not answer"), "{error}");
    assert!(since.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_disk_that_fails_is_told_or_ends_the_lane_but_never_gives_bytes() {
    let served = Served::new();
    let client = Client::new();
    served.shelf.put(id(1, 1), bytes(MIB, 1), false);
    served.shelf.smash();
    for carrier in CARRIERS {
        let mut lane = served.lane(&client, carrier);
        for extent in [whole(MIB), range(5, 100), range(0, MIB)] {
            let reading = read(&mut *lane, &client.arena, &[(id(1, 1), extent)]);
            assert_eq!(reading.slots[0].status(), Status::Failed, "{carrier}");
        }
    }
}

#[test]
fn a_panic_in_the_shelf_costs_one_lane() {
    let served = Served::with(|config| config.workers = 1);
    let client = Client::new();
    served.shelf.put(id(1, 1), bytes(100, 1), false);
    let mut other = served.lane(&client, "shm");
    let mut lane = served.lane(&client, "shm");
    let mut reading = Reading::new(&client.arena, &[(id(500, 1), whole(100))]);
    reading.start(1, &mut *lane).unwrap();
    let broken = reading.finish(&mut *lane).unwrap_err();
    assert!(matches!(broken, Broken::Gone(_)), "{broken}");
    let reading = read(&mut *other, &client.arena, &[(id(1, 1), whole(100))]);
    assert!(reading.slots[0].verified().is_ok());
}

/// Passes bytes on, and changes one of those that come from the server.
fn meddler(to: SocketAddr, place: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut server = TcpStream::connect(to).unwrap();
        let mut from_client = client.try_clone().unwrap();
        let mut to_server = server.try_clone().unwrap();
        std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
        let mut seen = 0;
        let mut buffer = [0; 4096];
        while let Ok(got @ 1..) = server.read(&mut buffer) {
            if (seen..seen + got).contains(&place) {
                buffer[place - seen] ^= 1;
            }
            seen += got;
            if client.write_all(&buffer[..got]).is_err() {
                break;
            }
        }
    });
    address
}

#[test]
fn a_bit_that_flips_on_the_way_is_noticed() {
    let served = Served::new();
    let client = Client::new();
    served.shelf.put(id(1, 1), bytes(50_000, 1), false);
    // A Challenge and a Welcome, then the answer's frame.
    let (frame, data) = (41 + 66, 41 + 66 + 44);
    let read_through = |place: usize| {
        let to = served.server().tcp_address().unwrap();
        let through = Endpoints {
            tcp: Some(meddler(to, place).to_string()),
            ..served.over_tcp()
        };
        let mut lane = client.dial(&through).unwrap();
        let mut reading = Reading::new(&client.arena, &[(id(1, 1), whole(50_000))]);
        reading.start(1, &mut *lane).unwrap();
        reading.finish(&mut *lane).map(|()| {
            let verified = reading.slots[0].verified();
            verified.map(|bytes| bytes.len())
        })
    };
    for place in [data, data + 1, data + 20_000, data + 49_999] {
        assert_eq!(read_through(place).unwrap(), Err("damaged"), "{place}");
    }
    for place in frame..data {
        let broken = read_through(place).unwrap_err();
        assert!(matches!(broken, Broken::Protocol(_)), "{place}: {broken}");
    }
    assert_eq!(read_through(data + 50_000).unwrap(), Ok(50_000));
}

#[test]
fn too_much_to_do_is_told_at_once() {
    let served = Served::with(|config| config.busy_bytes = 3 * MIB as u64);
    let client = Client::new();
    served.shelf.put(id(1, 1), bytes(2 * MIB, 1), false);
    served.shelf.cool();
    served.shelf.hold(true);
    let before = served.shelf.reads();
    let mut lane = served.lane(&client, "shm");
    let mut held = Reading::new(&client.arena, &[(id(1, 1), whole(2 * MIB))]);
    held.start(1, &mut *lane).unwrap();
    assert!(eventually(|| served.shelf.reads() > before));
    let mut other = served.lane(&client, "tcp");
    let wanted = [(id(1, 1), whole(2 * MIB)), (id(9, 9), whole(1))];
    let reading = read(&mut *other, &client.arena, &wanted);
    assert!(
        reading
            .slots
            .iter()
            .all(|slot| slot.status() == Status::Busy)
    );
    served.shelf.hold(false);
    held.finish(&mut *lane).unwrap();
    assert!(held.slots[0].verified().is_ok());
    let reading = read(&mut *other, &client.arena, &wanted[..1]);
    assert!(reading.slots[0].verified().is_ok());
    assert_eq!(served.server().stats().busy.get(), 1);
    assert!(eventually(|| served.server().stats().in_flight.get() == 0));
}

#[test]
fn a_client_that_does_not_take_its_bytes_stalls_nobody_and_is_let_go() {
    let served = Served::with(|config| {
        config.workers = 1;
        config.stall = Duration::from_millis(600);
    });
    let client = Client::new();
    served.shelf.put(id(1, 1), bytes(32 * MIB, 1), false);
    served.shelf.put(id(1, 2), bytes(1000, 1), false);
    let mut slow = served.lane(&client, "tcp");
    let mut reading = Reading::new(&client.arena, &[(id(1, 1), whole(32 * MIB))]);
    reading.start(1, &mut *slow).unwrap();
    let mut other = served.lane(&client, "tcp");
    let stats = served.server().stats();
    let since = Instant::now();
    while stats.ended.get() == 0 {
        let reading = read(&mut *other, &client.arena, &[(id(1, 2), whole(1000))]);
        assert!(reading.slots[0].verified().is_ok());
        assert!(
            since.elapsed() < Duration::from_secs(20),
            "it is never let go"
        );
    }
    assert!(since.elapsed() > Duration::from_millis(500), "not at once");
    let broken = reading.finish(&mut *slow).unwrap_err();
    assert!(matches!(broken, Broken::Gone(_)), "{broken}");
    assert!(eventually(|| stats.in_flight.get() == 0));
}

#[test]
fn a_client_that_is_slow_gets_all_of_it() {
    let served = Served::with(|config| config.stall = Duration::from_millis(500));
    let client = Client::new();
    served.shelf.put(id(1, 1), bytes(20 * MIB, 1), false);
    let mut lane = served.lane(&client, "tcp");
    let mut reading = Reading::new(&client.arena, &[(id(1, 1), whole(20 * MIB))]);
    reading.start(1, &mut *lane).unwrap();
    while !lane.advance(&mut reading).unwrap() {
        std::thread::sleep(Duration::from_millis(20));
        wait(&*lane);
    }
    assert!(reading.slots[0].verified() == Ok(&bytes(20 * MIB, 1)));
}

#[test]
fn a_server_that_stops_answers_what_it_was_asked_and_says_goodbye() {
    let mut served = Served::new();
    let client = Client::new();
    served.shelf.put(id(1, 1), bytes(MIB, 1), false);
    served.shelf.cool();
    for carrier in CARRIERS {
        // Of both one idle lane and one with a read in flight.
        drop(served.lane(&client, carrier));
    }
    let mut idle = served.lane(&client, "shm");
    let mut lane = served.lane(&client, "shm");
    served.shelf.hold(true);
    let before = served.shelf.reads();
    let mut reading = Reading::new(&client.arena, &[(id(1, 1), whole(MIB))]);
    reading.start(1, &mut *lane).unwrap();
    assert!(eventually(|| served.shelf.reads() > before));
    let server = served.server.take().unwrap();
    let stopping = std::thread::spawn(move || server.stop(Duration::from_secs(20)));
    assert!(eventually(|| {
        let mut none = Reading { slots: Vec::new() };
        matches!(idle.advance(&mut none), Err(Broken::Gone(_)))
    }));
    served.shelf.hold(false);
    reading.finish(&mut *lane).unwrap();
    assert!(reading.slots[0].verified() == Ok(&bytes(MIB, 1)));
    stopping.join().unwrap();
    let mut none = Reading { slots: Vec::new() };
    let broken = lane.advance(&mut none).unwrap_err();
    assert!(broken.to_string().contains("goodbye"), "{broken}");
    assert!(!served.socket().exists());
    let error = refusal(client.dial(&served.endpoints));
    assert!(error.contains("shm") && error.contains("tcp"), "{error}");
}

#[test]
fn a_server_that_stops_amid_an_answer_breaks_the_lane_within_its_bound() {
    let mut served = Served::new();
    let client = Client::new();
    served.shelf.put(id(1, 1), bytes(32 * MIB, 1), false);
    let mut lane = served.lane(&client, "tcp");
    let mut reading = Reading::new(&client.arena, &[(id(1, 1), whole(32 * MIB))]);
    reading.start(1, &mut *lane).unwrap();
    wait(&*lane);
    let since = Instant::now();
    served
        .server
        .take()
        .unwrap()
        .stop(Duration::from_millis(200));
    assert!(since.elapsed() < Duration::from_secs(10));
    let broken = reading.finish(&mut *lane).unwrap_err();
    assert!(matches!(broken, Broken::Gone(_)), "{broken}");
}

#[test]
fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
    let served = Served::new();
    let config = fabric::server::ServerConfig {
        unix: Some(served.socket()),
        ..Default::default()
    };
    let shelf = served.shelf.clone();
    let error = fabric::server::Server::start(config.clone(), shelf.clone());
    let error = error.err().unwrap().to_string();
    assert!(error.contains("fabric.sock"), "{error}");
    let left = served.socket().with_file_name("left.sock");
    drop(std::os::unix::net::UnixListener::bind(&left).unwrap());
    let config = fabric::server::ServerConfig {
        unix: Some(left.clone()),
        ..config
    };
    let server = fabric::server::Server::start(config, shelf).unwrap();
    drop(server);
    assert!(!left.exists());
}

#[test]
fn a_stranger_on_this_host_does_not_get_our_memory() {
    if !rustix::process::geteuid().is_root() {
        println!("not root: nobody else can be played");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fabric.sock");
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(folder.path(), everybody).unwrap();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let theirs = path.clone();
    std::thread::spawn(move || {
        // Of this thread alone.
        rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65534)).unwrap();
        let listener = std::os::unix::net::UnixListener::bind(theirs).unwrap();
        ready.send(()).unwrap();
        let (mut client, _) = listener.accept().unwrap();
        let mut said = Vec::new();
        client.read_to_end(&mut said).unwrap();
        ready.send(()).unwrap();
        assert!(said.is_empty(), "not even a Hello");
    });
    is_ready.recv().unwrap();
    let to = Endpoints {
        version: fabric::wire::VERSION,
        host: fabric::announce::this_host().unwrap(),
        unix: Some(path.to_str().unwrap().into()),
        ..Endpoints::default()
    };
    let error = refusal(Client::new().dial(&to));
    assert!(
        error.contains("it runs as user 65534, with whom we share nothing"),
        "{error}"
    );
    is_ready.recv().unwrap();
}

#[test]
fn a_socket_that_keeps_silent_leaves_time_for_tcp_and_both_have_one_time() {
    let served = Served::new();
    let client = Client::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mute.sock");
    // Nobody accepts: the kernel takes connections all the same, as for a process that is stopped.
    let _mute = UnixListener::bind(&path).unwrap();
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut endpoints = served.endpoints.clone();
    endpoints.unix = Some(path.to_str().unwrap().to_owned());
    let within = Duration::from_millis(400);
    let lane = client.dial_within(within, &endpoints).unwrap();
    assert_eq!(lane.carrier(), "tcp");
    endpoints.tcp = Some(mute.local_addr().unwrap().to_string());
    let began = Instant::now();
    let stopped = client
        .dial_within(within, &endpoints)
        .map(|lane| lane.carrier());
    assert!(matches!(stopped, Err(DialError::Stopped(_))), "{stopped:?}");
    let took = began.elapsed();
    assert!(took >= within && took < 2 * within, "{took:?}");
}
