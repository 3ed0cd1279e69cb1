//! From `host:port` to socket addresses, without ever blocking in the resolver.
//!
//! getaddrinfo(3) knows neither deadlines nor interrupts, and a dead name server makes it hang
//! for half a minute. Names are therefore looked up on a thread of their own, one per name
//! however many wait for it, and remembered for a while. Numeric addresses need none of this.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use context::Interrupt;
use parking_lot::Mutex;
use rustix::event::PollFlags;
use std::os::fd::AsFd;

use super::wait::{Halt, Watch};

/// How long an answer is used: short enough to follow a server that moved to another address.
const FRESH: Duration = Duration::from_secs(30);

/// The addresses of one server.
#[derive(Debug)]
pub(crate) struct Resolver {
    address: Arc<str>,
    literal: Option<SocketAddr>,
    state: Mutex<Option<State>>,
}

#[derive(Debug, Clone)]
enum State {
    Known(Arc<[SocketAddr]>, Instant),
    Asking(Arc<Lookup>),
}

#[derive(Debug)]
struct Lookup {
    done: Interrupt,
    outcome: OnceLock<Result<Arc<[SocketAddr]>, io::ErrorKind>>,
}

impl Resolver {
    /// For a server known as `host:port`.
    pub(crate) fn new(address: Arc<str>) -> Self {
        Self {
            literal: address.parse().ok(),
            address,
            state: Mutex::new(None),
        }
    }

    /// Calls `each` with one address after another until it succeeds; the last error if none does.
    pub(crate) fn try_each<T>(
        &self,
        watch: &Watch<'_>,
        mut each: impl FnMut(SocketAddr) -> Result<T, Halt>,
    ) -> Result<T, Halt> {
        if let Some(address) = self.literal {
            return each(address);
        }
        let addresses = self.resolve(watch)?;
        let mut failure = Halt::Broken(io::ErrorKind::NotFound.into());
        for address in addresses.iter() {
            match each(*address) {
                Err(Halt::Stopped(why)) => return Err(Halt::Stopped(why)),
                Err(other) => failure = other,
                Ok(done) => return Ok(done),
            }
        }
        *self.state.lock() = None;
        Err(failure)
    }

    fn resolve(&self, watch: &Watch<'_>) -> Result<Arc<[SocketAddr]>, Halt> {
        let lookup = {
            let mut state = self.state.lock();
            match &*state {
                Some(State::Known(addresses, at)) if at.elapsed() < FRESH => {
                    return Ok(addresses.clone());
                }
                Some(State::Asking(lookup)) => lookup.clone(),
                _ => {
                    let lookup = Lookup::start(self.address.clone())?;
                    *state = Some(State::Asking(lookup.clone()));
                    lookup
                }
            }
        };
        watch.ready(lookup.done.as_fd(), PollFlags::IN)?;
        let outcome = lookup.outcome.get().cloned();
        let outcome = outcome.unwrap_or(Err(io::ErrorKind::Other));
        let mut state = self.state.lock();
        // Whoever comes first files the answer; a newer look-up is left alone.
        if matches!(&*state, Some(State::Asking(current)) if Arc::ptr_eq(current, &lookup)) {
            *state = match &outcome {
                Ok(addresses) => Some(State::Known(addresses.clone(), Instant::now())),
                Err(_) => None,
            };
        }
        outcome.map_err(|kind| {
            Halt::Broken(io::Error::new(
                kind,
                format!("cannot resolve {}", self.address),
            ))
        })
    }
}

impl Lookup {
    fn start(address: Arc<str>) -> io::Result<Arc<Self>> {
        let lookup = Arc::new(Self {
            done: Interrupt::new()?,
            outcome: OnceLock::new(),
        });
        let answer = lookup.clone();
        std::thread::Builder::new()
            .name("resolve".into())
            .spawn(move || {
                let outcome = match address.to_socket_addrs() {
                    Ok(addresses) => Ok(addresses.collect()),
                    Err(error) => Err(error.kind()),
                };
                let _ = answer.outcome.set(outcome);
                answer.done.raise();
            })?;
        Ok(lookup)
    }
}

#[cfg(test)]
mod tests {
    use context::Context;

    use super::*;

    fn addresses(name: &str) -> Result<Vec<SocketAddr>, Halt> {
        let watch = Watch {
            ctx: Context::background(Duration::from_secs(20)),
            patience: Duration::from_secs(20),
        };
        let mut seen = Vec::new();
        let resolver = Resolver::new(name.into());
        let none: Result<(), Halt> = resolver.try_each(&watch, |address| {
            seen.push(address);
            Err(Halt::Silent)
        });
        match none {
            Err(Halt::Silent) => Ok(seen),
            Err(other) => Err(other),
            Ok(()) => unreachable!("no address was accepted"),
        }
    }

    #[test]
    fn names_and_literals_both_lead_to_addresses() {
        let expected: SocketAddr = "127.0.0.1:8080".parse().unwrap();
        assert_eq!(addresses("127.0.0.1:8080").unwrap(), [expected]);
        assert!(addresses("localhost:8080").unwrap().contains(&expected));
        assert_eq!(addresses("[::1]:8080").unwrap().len(), 1);
    }

    #[test]
    fn an_address_that_is_none_is_an_error() {
        for name in ["", "localhost", "localhost:http:8080", "no such host:1"] {
            assert!(matches!(addresses(name), Err(Halt::Broken(_))), "{name}");
        }
    }
}
