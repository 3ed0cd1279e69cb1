//! Opens a lane, as the client sees it.
//!
//! ```text
//! Greeting ──Challenge──▶ Proving ──Welcome──▶ Offering ──Ready──▶ Open
//!   Hello sent             Proof sent     └──▶ Open  Memory sent
//!                                       without memory
//! ```
//!
//! The memory itself is not in here: the carrier has it, and tells it when [`Reply::Offer`] says so. That is
//! after the server has accepted our proof and, where there is a key, has proved that it holds it as well.
//! The client proves first, so that a server signs nothing for strangers.

use seaweed::jwt::SigningKey;

use crate::lane::Broken;
use crate::wire::{Challenge, Hello, Limits, Message, Proof, Role, Signed, Way, Welcome};

/// The client's side of a handshake. Its first message is [`Handshake::hello`].
#[derive(Debug)]
pub struct Handshake {
    hello: Hello,
    key: Option<SigningKey>,
    way: Way,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Greeting,
    Proving(Signed),
    Offering(Limits),
    /// Open, or never to be.
    Over,
}

/// What follows from the server's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Send this and wait for the next one.
    Send(Message),
    /// Send a [`Message::Memory`] and wait for the next one. Not before.
    Offer,
    /// The lane is open.
    Open(Limits),
}

impl Handshake {
    /// `hello.nonce` is random and never used again; `key` is the cluster's read key.
    pub fn new(hello: Hello, key: Option<SigningKey>, way: Way) -> Self {
        Self {
            hello,
            key,
            way,
            state: State::Greeting,
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
        let state = std::mem::replace(&mut self.state, State::Over);
        match (state, message) {
            (_, Message::Refusal(refusal)) => Err(Broken::Refused(refusal.reason)),
            (_, Message::Bye) => Err(Broken::Gone("it says goodbye".to_owned())),
            (State::Greeting, Message::Challenge(challenge)) => self.prove(challenge),
            (State::Proving(signed), Message::Welcome(welcome)) => self.welcome(&signed, welcome),
            (State::Offering(limits), Message::Ready) => Ok(Reply::Open(limits)),
            (state, message) => {
                let (heard, due) = (message.name(), state.due());
                let words = format!("its {heard} is out of turn, where {due} is due");
                Err(Broken::Protocol(words))
            }
        }
    }

    fn prove(&mut self, challenge: Challenge) -> Result<Reply, Broken> {
        match (&self.key, challenge.wants_proof) {
            (Some(_), true) | (None, false) => {}
            (None, true) => {
                return Err(Broken::Refused(
                    "it wants a proof of jwt.signing.read.key, which is not set here".to_owned(),
                ));
            }
            // It might be anybody who says so.
            (Some(_), false) => {
                return Err(Broken::Unproven(
                    "it knows of no jwt.signing.read.key, which is set here",
                ));
            }
        }
        let signed = Signed {
            client: self.hello.nonce,
            server: challenge.nonce,
            way: self.way,
        };
        self.state = State::Proving(signed);
        let proof = Proof::new(self.key.as_ref(), Role::Client, &signed);
        Ok(Reply::Send(Message::Proof(proof)))
    }

    fn welcome(&mut self, signed: &Signed, welcome: Welcome) -> Result<Reply, Broken> {
        let Welcome { limits, proof } = welcome;
        if !proof.is_good(self.key.as_ref(), Role::Server, signed) {
            return Err(match self.key {
                Some(_) => Broken::Unproven("it does not hold jwt.signing.read.key"),
                None => Broken::Protocol("it proves something where there is no key".to_owned()),
            });
        }
        if !self.hello.offers {
            return Ok(Reply::Open(limits));
        }
        self.state = State::Offering(limits);
        Ok(Reply::Offer)
    }
}

impl State {
    /// What a server has to say.
    fn due(self) -> &'static str {
        match self {
            Self::Greeting => "Challenge",
            Self::Proving(_) => "Welcome",
            Self::Offering(_) => "Ready",
            Self::Over => "nothing",
        }
    }
}

#[cfg(test)]
mod tests;
