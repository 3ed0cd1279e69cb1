//! Answers that come a bit at a time: who waits is woken for much of them at once, and for all that there is.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use fabric::announce::Endpoints;
use fabric::lane::{Broken, Lane};
use rustix::event::{PollFd, Timespec, poll};

use crate::shelf::{bytes, id};
use crate::support::{Client, MIB, Reading, Served, range, whole};

/// As much is passed on at a time.
const BIT: usize = 16 << 10;

/// Passes one connection on to `to`, what comes back in bits, and no more than `most` of that.
fn trickle(to: SocketAddr, most: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut server = TcpStream::connect(to).unwrap();
        client.set_nodelay(true).unwrap();
        let (mut asks, mut asked) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        thread::spawn(move || std::io::copy(&mut asks, &mut asked));
        let (mut bit, mut left) = (vec![0; BIT], most);
        while let Ok(got @ 1..) = server.read(&mut bit) {
            let pass = got.min(left);
            if client.write_all(&bit[..pass]).is_err() || pass < got {
                break;
            }
            left -= pass;
            thread::sleep(Duration::from_micros(500));
        }
        let _ = client.shutdown(Shutdown::Both);
    });
    address
}

/// Sends `reading` and waits for all of it; how many times it was woken.
fn woken(lane: &mut dyn Lane, reading: &mut Reading, number: u64) -> Result<usize, Broken> {
    const LONG: Timespec = Timespec {
        tv_sec: 20,
        tv_nsec: 0,
    };
    reading.start(number, lane)?;
    let mut woken = 0;
    while !lane.advance(reading)? {
        let (fd, what) = lane.wait_on();
        let mut fds = [PollFd::from_borrowed_fd(fd, what)];
        assert_eq!(poll(&mut fds, Some(&LONG)), Ok(1), "never woken");
        woken += 1;
    }
    Ok(woken)
}

fn through(served: &Served, most: usize) -> Endpoints {
    let real = served.server().tcp_address().unwrap();
    Endpoints {
        tcp: Some(trickle(real, most).to_string()),
        ..served.over_tcp()
    }
}

#[test]
fn who_waits_for_a_chunk_is_not_woken_for_each_bit_of_it() {
    let served = Served::new();
    for number in 1..4 {
        served
            .shelf
            .put(id(1, number), bytes(2 * MIB, number), false);
    }
    let client = Client::new();
    let mut lane = client.dial(&through(&served, usize::MAX)).unwrap();
    let wanted = [
        (id(1, 1), whole(2 * MIB)),
        (id(1, 2), range(5, 10)),
        (id(1, 9), whole(2 * MIB)),
        (id(1, 3), range(0, MIB + 1)),
        (id(1, 2), range(7, 100_000)),
    ];
    for number in 1..4 {
        let mut reading = Reading::new(&client.arena, &wanted);
        let woken = woken(&mut *lane, &mut reading, number).unwrap();
        let right = reading.slots.iter().filter(|slot| slot.verified().is_ok());
        assert_eq!(right.count(), 4, "one does not exist");
        let bits = 3 * MIB / BIT;
        assert!(woken < bits / 3, "woken {woken} times for {bits} bits");
        // What is short comes as well, although there is never more of it.
        let mut short = Reading::new(&client.arena, &wanted[1..2]);
        self::woken(&mut *lane, &mut short, number + 100).unwrap();
        assert!(short.slots[0].verified().is_ok());
    }
}

#[test]
fn who_waits_for_a_chunk_hears_that_it_breaks_off() {
    let served = Served::new();
    served.shelf.put(id(1, 1), bytes(2 * MIB, 1), false);
    let client = Client::new();
    for most in [70_000, MIB, 2 * MIB - 1] {
        let mut lane = client.dial(&through(&served, most)).unwrap();
        let mut reading = Reading::new(&client.arena, &[(id(1, 1), whole(2 * MIB))]);
        let broken = woken(&mut *lane, &mut reading, 1).unwrap_err();
        assert!(matches!(broken, Broken::Gone(_)), "{broken}");
    }
}
