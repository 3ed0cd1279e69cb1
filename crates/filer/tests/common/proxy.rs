//! A network that can be cut: a TCP relay in front of a filer's gRPC port.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Network {
    Up,
    /// Connections stay open and nothing passes.
    Silent,
    /// Connections are closed, new ones at once.
    Cut,
}

pub struct Proxy {
    pub port: u16,
    state: Arc<watch::Sender<Network>>,
}

impl Proxy {
    /// Relays to `target`, a `host:port`.
    pub async fn start(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(watch::Sender::new(Network::Up));
        let watched = Arc::clone(&state);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if *watched.borrow() == Network::Cut {
                    continue;
                }
                let server = TcpStream::connect(&target).await.unwrap();
                let (a, b) = (client.into_split(), server.into_split());
                tokio::spawn(relay(a.0, b.1, watched.subscribe()));
                tokio::spawn(relay(b.0, a.1, watched.subscribe()));
            }
        });
        Self { port, state }
    }

    pub fn silence(&self) {
        self.state.send_replace(Network::Silent);
    }

    pub fn cut(&self) {
        self.state.send_replace(Network::Cut);
    }

    pub fn restore(&self) {
        self.state.send_replace(Network::Up);
    }
}

/// Ends, and with it the connection, when either side does or the net is cut.
async fn relay(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<Network>,
) {
    let mut cut = state.clone();
    let pass = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = from.read(&mut buffer).await.unwrap_or(0);
            if count == 0 || state.wait_for(|s| *s != Network::Silent).await.is_err() {
                return;
            }
            if to.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = pass => {}
        _ = cut.wait_for(|s| *s == Network::Cut) => {}
    }
}
