//! Opens a lane, as the client sees it.

use seaweed::jwt::SigningKey;

use crate::lane::Broken;
use crate::wire::{Challenge, Hello, Message, Proof, Welcome};

/// The client's side of a handshake. Its first message is [`Handshake::hello`].
#[derive(Debug)]
pub struct Handshake {
    hello: Hello,
    key: Option<SigningKey>,
    is_proved: bool,
}

/// What follows from the server's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Send this and wait for the next one.
    Send(Message),
    /// The lane is open.
    Open(Welcome),
}

impl Handshake {
    /// `hello.nonce` is random and never used again; `key` is the cluster's read key.
    pub fn new(hello: Hello, key: Option<SigningKey>) -> Self {
        Self {
            hello,
            key,
            is_proved: false,
        }
    }

    /// What to send first.
    pub fn hello(&self) -> Message {
        Message::Hello(self.hello.clone())
    }

    /// The server's next message has arrived.
    ///
    /// # Errors
    /// The lane will not open.
    pub fn take(&mut self, message: Message) -> Result<Reply, Broken> {
        match message {
            Message::Challenge(challenge) if !self.is_proved => self.prove(&challenge),
            Message::Welcome(welcome) if self.is_proved => Ok(Reply::Open(welcome)),
            Message::Refusal(refusal) => Err(Broken::Refused(refusal.reason)),
            Message::Bye => Err(Broken::Gone("it says goodbye".to_owned())),
            _ => Err(Broken::Protocol(
                "it answers a handshake with something else".to_owned(),
            )),
        }
    }

    fn prove(&mut self, challenge: &Challenge) -> Result<Reply, Broken> {
        let key = match (&self.key, challenge.wants_proof) {
            (_, false) => None,
            (Some(key), true) => Some(key),
            (None, true) => {
                return Err(Broken::Refused(
                    "it wants a proof of jwt.signing.read.key, which is not set here".to_owned(),
                ));
            }
        };
        self.is_proved = true;
        let proof = Proof::new(key, &self.hello.nonce, &challenge.nonce);
        Ok(Reply::Send(Message::Proof(proof)))
    }
}
