//! Latency of messages and of writes with immediate data, to compare with ib_send_lat and
//! ib_write_lat of perftest.
//!
//! ```text
//! verbs_ping devices                      what `riptide doctor` would see
//! verbs_ping serve 10.77.0.1:18600        answers until it is killed
//! verbs_ping ping 10.77.0.1:18600 [COUNT [SIZE]] [--spin]
//! ```
//!
//! A message of 20 bytes asks for a write (address, key, length and immediate data, little-endian);
//! the server sends any other one back. Half of a round trip is printed, as perftest does, of
//! messages of 64 bytes and of writes of SIZE bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::event::{PollFd, PollFlags, poll};
use verbs::{Access, Config, Connection, Event, Listener, MemoryRegion, Pages, RemoteMemory};

/// Longest write that the server makes.
const MAX_WRITE: usize = 16 << 20;
const TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args
        .iter()
        .map(String::as_str)
        .filter(|a| *a != "--spin")
        .collect();
    let spin = words.len() < args.len();
    match words[..] {
        ["devices"] => devices(),
        ["serve", addr] => serve(addr.parse().context("address to serve")?),
        ["ping", addr, ref rest @ ..] if rest.len() <= 2 => {
            let count = rest
                .first()
                .map_or(Ok(1000), |n| n.parse())
                .context("COUNT")?;
            let size = rest
                .get(1)
                .map_or(Ok(4096), |n| n.parse())
                .context("SIZE")?;
            ping(addr.parse().context("address to ping")?, count, size, spin)
        }
        _ => bail!("usage: verbs_ping devices | serve ADDR | ping ADDR [COUNT [SIZE]] [--spin]"),
    }
}

fn devices() -> Result<()> {
    for device in verbs::devices()? {
        println!("{device:#?}");
    }
    println!("usable: {}", verbs::available()?.len());
    Ok(())
}

fn serve(addr: SocketAddr) -> Result<()> {
    let listener = Listener::bind(addr)?;
    println!("serving {}", listener.local_addr());
    loop {
        wait(&[&listener])?;
        while let Some(request) = listener.accept()? {
            let connection = request.accept(&Config::default(), b"")?;
            std::thread::spawn(move || {
                let peer = connection.peer();
                eprintln!(
                    "{peer}: {}",
                    answer(&connection).map_or_else(|e| e.to_string(), |()| "gone".into())
                );
            });
        }
    }
}

fn answer(connection: &Connection) -> Result<()> {
    let spin = connection.private() == b"spin";
    let pages = Arc::new(Pages::new(MAX_WRITE)?);
    pages.write(0, &vec![0x5a; MAX_WRITE])?;
    let region = MemoryRegion::register(connection.domain(), pages, Access::Local)?;
    let mut events = Vec::new();
    loop {
        next(connection, &mut events, spin)?;
        for event in events.drain(..) {
            match event {
                Event::Received { bytes } => match parse(&bytes) {
                    Some((remote, imm)) => {
                        let local = region.slice(0, remote.len as usize)?;
                        connection.post_write(&local, remote, Some(imm))?;
                    }
                    None => drop(connection.post_send(&bytes)?),
                },
                Event::Disconnected { why } => bail!("{why}"),
                _ => {}
            }
        }
    }
}

fn ping(peer: SocketAddr, count: usize, size: usize, spin: bool) -> Result<()> {
    if count == 0 || !(1..=MAX_WRITE).contains(&size) {
        bail!("COUNT is at least 1, SIZE 1 to {MAX_WRITE}");
    }
    let private: &[u8] = if spin { b"spin" } else { b"" };
    let connection = Connection::connect(peer, &Config::default(), TIMEOUT, private)?;
    let pages = Arc::new(Pages::new(size)?);
    let region = MemoryRegion::register(connection.domain(), pages, Access::RemoteWrite)?;
    let how = if spin { "spinning" } else { "sleeping" };
    println!(
        "{} to {peer}, {how}, {count} rounds",
        connection.domain().name()
    );

    report(
        "message of 64 bytes",
        0,
        measure(&connection, count, spin, |_| vec![7; 64])?,
    );
    let remote = region.remote(0, size)?;
    let name = format!("write of {size} bytes");
    report(
        &name,
        size,
        measure(&connection, count, spin, |round| request(remote, round))?,
    );
    Ok(())
}

fn measure(
    connection: &Connection,
    count: usize,
    spin: bool,
    question: impl Fn(u32) -> Vec<u8>,
) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(count);
    let mut events = Vec::new();
    for round in 0..count as u32 {
        let question = question(round);
        let start = Instant::now();
        connection.post_send(&question)?;
        let mut answered = false;
        while !answered {
            next(connection, &mut events, spin)?;
            for event in events.drain(..) {
                match event {
                    Event::Received { bytes } if bytes == question => answered = true,
                    Event::Landed { imm, .. } if imm == round => answered = true,
                    Event::SendDone { .. } => {}
                    other => bail!("unexpected: {other:?}"),
                }
            }
        }
        times.push(start.elapsed());
    }
    Ok(times)
}

fn report(name: &str, size: usize, mut times: Vec<Duration>) {
    times.sort();
    let half = |quantile: f64| {
        let index = ((times.len() - 1) as f64 * quantile) as usize;
        times[index].as_secs_f64() * 1e6 / 2.0
    };
    print!(
        "{name}: {:.1} us min, {:.1} median, {:.1} p99 (half a round trip)",
        half(0.0),
        half(0.5),
        half(0.99)
    );
    if size > 0 {
        print!(
            ", {:.0} MiB/s",
            size as f64 / (1 << 20) as f64 / (half(0.5) * 2e-6)
        );
    }
    println!();
}

/// Waits until something has happened.
fn next(connection: &Connection, events: &mut Vec<Event>, spin: bool) -> Result<()> {
    loop {
        if spin {
            for _ in 0..100_000 {
                connection.spin(events);
                if !events.is_empty() {
                    return Ok(());
                }
            }
        }
        connection.poll(events);
        if !events.is_empty() {
            return Ok(());
        }
        let [completions, manager] = connection.fds();
        if !spin {
            wait(&[&completions, &manager])?;
        }
    }
}

fn wait(fds: &[&dyn std::os::fd::AsFd]) -> Result<()> {
    let mut fds: Vec<PollFd<'_>> = fds
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN))
        .collect();
    match poll(&mut fds, None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(errno) => Err(anyhow!("poll: {errno}")),
    }
}

fn request(remote: RemoteMemory, imm: u32) -> Vec<u8> {
    let mut bytes = remote.addr.to_le_bytes().to_vec();
    bytes.extend(remote.rkey.to_le_bytes());
    bytes.extend((remote.len as u32).to_le_bytes());
    bytes.extend(imm.to_le_bytes());
    bytes
}

fn parse(bytes: &[u8]) -> Option<(RemoteMemory, u32)> {
    let bytes: &[u8; 20] = bytes.try_into().ok()?;
    let word = |at: usize| Some(u32::from_le_bytes(bytes[at..at + 4].try_into().ok()?));
    let addr = u64::from_le_bytes(bytes[..8].try_into().ok()?);
    let len = u64::from(word(12)?);
    let remote = RemoteMemory {
        addr,
        rkey: word(8)?,
        len,
    };
    (len <= MAX_WRITE as u64).then_some((remote, word(16)?))
}
