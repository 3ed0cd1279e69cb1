//! Writes that mounts hand over, to the volume servers beside this sidecar.
//!
//! A needle is put to its volume server over HTTP exactly as the mount would have done it: the same
//! request, by the same code, with the assignment's own token, and the volume server's answer goes back
//! as it is. So the volume server remains the only one that writes to its files, that knows the replicas,
//! and that decides whether a token is good. Connections are kept; with TLS they are HTTPS.
//!
//! The one thing that differs is the address that the volume server sees. Where it looks at that
//! (`guard.white_list`), whoever reaches the sidecar would pass for somebody on its list, so no writes are
//! taken then.

use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use context::Context;
use fabric::http::{Form, HttpStore, Place, StoreConfig, StoreError};
use fabric::serve;
use fabric::wire::{Outcome, Write, Written};
use seaweed::Security;

use crate::config::Config;
use crate::view::View;

/// Puts needles to volume servers.
#[derive(Debug)]
pub struct Courier {
    store: HttpStore,
    /// Where the volume servers are, as they were told.
    servers: Vec<String>,
    /// Tells what the cluster calls them, in the same order.
    view: OnceLock<Arc<View>>,
}

impl Courier {
    /// Knows the volume servers that the settings name. Nothing where writes are not taken: when none is
    /// named, or addresses matter.
    ///
    /// # Errors
    /// When the certificates cannot be used.
    pub fn new(config: &Config, security: &Security) -> anyhow::Result<Option<Arc<Self>>> {
        let servers: Vec<_> = config.volume_servers.iter().map(|s| s.http()).collect();
        if servers.is_empty() {
            return Ok(None);
        }
        if security.has_white_list {
            let reason =
                "guard.white_list in security.toml: the volume server would see our address";
            tracing::info!(reason, "no writes are taken");
            return Ok(None);
        }
        let tls = security.https.as_ref().map(fabric::http::client_config);
        let store = HttpStore::new(StoreConfig {
            tls: tls.transpose().context("https.client in security.toml")?,
            ..StoreConfig::default()
        });
        Ok(Some(Arc::new(Self {
            store,
            servers,
            view: OnceLock::new(),
        })))
    }

    /// From now on the names that were announced are known.
    pub(crate) fn learn(&self, view: &Arc<View>) {
        // It is told once.
        let _ = self.view.set(Arc::clone(view));
    }

    /// The address of a volume server that is called `name`. Only those that were configured are
    /// ever contacted.
    fn server(&self, name: &str) -> Option<&str> {
        let announced = self.view.get().map(|view| view.announcement());
        let announced = announced.as_ref().map(|told| &told.volume_servers);
        let by_name = announced.and_then(|all| all.iter().position(|known| known == name));
        let at = by_name.or_else(|| self.servers.iter().position(|known| known == name))?;
        self.servers.get(at).map(String::as_str)
    }
}

impl serve::Courier for Courier {
    fn deliver(&self, ctx: &Context<'_>, write: &Write, bytes: &[u8]) -> Written {
        let Some(server) = self.server(&write.server) else {
            let words = format!("{} does not stand beside this sidecar", write.server);
            return Written::without(Outcome::Declined, words);
        };
        let place = Place {
            server,
            through_filer: false,
            base: write.base,
            delta: write.delta,
            token: &write.token,
        };
        let form = Form {
            gzip: write.gzip,
            fsync: write.fsync,
        };
        match self.store.offer(ctx, &place, form, &[bytes]) {
            Ok(kept) => Written::answered(kept.status, kept.crc, ""),
            Err(StoreError::Refused { status, text, .. }) => Written::answered(status, None, text),
            Err(error) => {
                tracing::debug!(needle = %write.needle(), %error, "a write is not answered");
                Written::without(Outcome::Unreachable, error.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write as _};
    use std::net::TcpListener;
    use std::time::Duration;

    use fabric::serve::Courier as _;
    use seaweed::crc::crc32c;

    use super::*;
    use crate::rdma::provider;

    /// A volume server that says this to every request, and what it was asked.
    fn server(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\nbytes") {
                let mut some = [0; 1000];
                let got = socket.read(&mut some).unwrap();
                assert!(got > 0, "{}", String::from_utf8_lossy(&asked));
                asked.extend(&some[..got]);
            }
            socket.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(asked).unwrap()
        });
        (address, asked)
    }

    fn courier(servers: &[&str]) -> Arc<Courier> {
        let config = Config {
            volume_servers: servers
                .iter()
                .map(|server| server.parse().unwrap())
                .collect(),
            ..Config::for_tests()
        };
        let courier = Courier::new(&config, &Security::default());
        courier.unwrap().unwrap()
    }

    fn write(server: &str) -> Write {
        Write {
            base: "3,01637037d6".parse().unwrap(),
            delta: 4,
            gzip: true,
            fsync: true,
            place: fabric::wire::Place::Inline,
            len: 5,
            crc: crc32c(b"bytes"),
            patience: 1000,
            server: server.to_owned(),
            token: "a.b.c".to_owned(),
        }
    }

    fn deliver(courier: &Courier, server: &str) -> Written {
        let ctx = Context::background(Duration::from_secs(5));
        courier.deliver(&ctx, &write(server), b"bytes")
    }

    #[test]
    fn the_volume_server_is_asked_as_a_mount_would_and_its_answer_goes_back() {
        let (address, asked) =
            server("HTTP/1.1 201 Created\r\nETag: \"3a2d543f\"\r\nContent-Length: 2\r\n\r\n{}");
        let courier = courier(&[&address]);
        let kept = Written::answered(201, Some(0x3a2d_543f), "");
        assert_eq!(deliver(&courier, &address), kept);
        let asked = asked.join().unwrap();
        let expected = [
            "PUT /3,01637037d6_4?fsync=true HTTP/1.1\r\n",
            "Content-Length: 5\r\n",
            "Content-Encoding: gzip\r\n",
            "Authorization: Bearer a.b.c\r\n",
        ];
        for line in expected {
            assert!(asked.contains(line), "{asked}");
        }
        let (address, _) =
            server("HTTP/1.1 401 Unauthorized\r\nContent-Length: 9\r\n\r\nwrong jwt");
        let refused = Written::answered(401, None, "wrong jwt");
        assert_eq!(deliver(&self::courier(&[&address]), &address), refused);
    }

    #[test]
    fn only_servers_that_were_configured_are_contacted_by_whichever_name() {
        let answer = "HTTP/1.1 204 No Content\r\n\r\n";
        let ((first, _), (second, asked)) = (server(answer), server(answer));
        let courier = courier(&[&first, &second]);
        let view = Arc::new(View::new(provider(None)));
        view.announce(|told| {
            told.volume_servers = vec!["a:8080".to_owned(), "b:8080".to_owned()];
        });
        courier.learn(&view);
        let written = deliver(&courier, "b:8080");
        assert_eq!(written, Written::answered(204, None, ""));
        assert!(asked.join().unwrap().contains(&format!("Host: {second}")));
        let (stranger, _) = server(answer);
        let written = deliver(&courier, &stranger);
        assert_eq!(written.outcome, Outcome::Declined);
    }

    #[test]
    fn a_server_that_is_away_is_told_of() {
        let written = deliver(&courier(&["127.0.0.1:1"]), "127.0.0.1:1");
        assert_eq!(written.outcome, Outcome::Unreachable);
        assert!(written.text.contains("127.0.0.1:1"), "{}", written.text);
    }

    #[test]
    fn where_addresses_matter_or_no_server_is_named_nothing_is_taken() {
        let config = Config {
            volume_servers: vec!["a:8080".parse().unwrap()],
            ..Config::for_tests()
        };
        let text = "[guard]\nwhite_list = \"127.0.0.1\"\n";
        let guarded = Security::parse(text, None, &|_| None).unwrap();
        assert!(Courier::new(&config, &guarded).unwrap().is_none());
        let plain = Security::default();
        assert!(Courier::new(&config, &plain).unwrap().is_some());
        let nobody = Config::for_tests();
        assert!(Courier::new(&nobody, &plain).unwrap().is_none());
    }
}
