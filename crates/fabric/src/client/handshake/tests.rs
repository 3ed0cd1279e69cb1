use super::*;
use crate::wire::Refusal;

const SIGNED: Signed = Signed {
    client: [1; 16],
    server: [2; 16],
    way: Way::Shm,
};

const LIMITS: Limits = Limits {
    max_items: 2,
    max_read: 1000,
};

fn key() -> SigningKey {
    SigningKey::new(b"read key", None)
}

fn handshake(key: Option<SigningKey>, offers: bool) -> Handshake {
    let hello = Hello {
        nonce: SIGNED.client,
        offers,
        name: "mount".to_owned(),
    };
    Handshake::new(hello, key, SIGNED.way)
}

fn challenge(wants_proof: bool) -> Message {
    Message::Challenge(Challenge {
        nonce: SIGNED.server,
        wants_proof,
    })
}

fn welcome(proof: Proof) -> Message {
    Message::Welcome(Welcome {
        limits: LIMITS,
        proof,
    })
}

fn proof(key: &SigningKey, role: Role) -> Proof {
    Proof::new(Some(key), role, &SIGNED)
}

/// A client of a cluster with a key, that has memory and has sent its proof.
fn proved() -> Handshake {
    let mut handshake = handshake(Some(key()), true);
    let ours = Message::Proof(proof(&key(), Role::Client));
    assert_eq!(handshake.take(challenge(true)).unwrap(), Reply::Send(ours));
    handshake
}

fn told(handshake: &mut Handshake, message: Message) -> String {
    handshake.take(message).unwrap_err().to_string()
}

#[test]
fn memory_is_offered_when_both_have_proved_that_they_hold_the_key() {
    let mut handshake = proved();
    let theirs = welcome(proof(&key(), Role::Server));
    assert_eq!(handshake.take(theirs).unwrap(), Reply::Offer);
    assert_eq!(handshake.take(Message::Ready).unwrap(), Reply::Open(LIMITS));
    assert!(handshake.take(Message::Ready).is_err(), "it is over");
}

#[test]
fn nothing_is_offered_to_a_server_that_does_not_prove_itself() {
    let elsewhere = Signed {
        way: Way::Tcp,
        ..SIGNED
    };
    for wrong in [
        Proof::EMPTY,
        proof(&SigningKey::new(b"other", None), Role::Server),
        // What it has just heard from us, and what another server would have said.
        proof(&key(), Role::Client),
        Proof::new(Some(&key()), Role::Server, &elsewhere),
    ] {
        let mut handshake = proved();
        assert_eq!(
            told(&mut handshake, welcome(wrong)),
            "the peer does not prove itself: it does not hold jwt.signing.read.key"
        );
        // Nor later.
        let right = welcome(proof(&key(), Role::Server));
        assert!(handshake.take(right).is_err());
    }
}

#[test]
fn a_server_cannot_do_without_proofs_where_there_is_a_key() {
    let mut ours = handshake(Some(key()), true);
    assert_eq!(
        told(&mut ours, challenge(false)),
        "the peer does not prove itself: it knows of no jwt.signing.read.key, which is set here"
    );
    assert!(ours.take(welcome(Proof::EMPTY)).is_err());
    let mut without = handshake(None, true);
    assert_eq!(
        told(&mut without, challenge(true)),
        "refused: it wants a proof of jwt.signing.read.key, which is not set here"
    );
}

#[test]
fn without_a_key_the_order_is_the_same_and_proofs_are_empty() {
    let mut ours = handshake(None, true);
    let empty = Reply::Send(Message::Proof(Proof::EMPTY));
    assert_eq!(ours.take(challenge(false)).unwrap(), empty);
    assert_eq!(ours.take(welcome(Proof::EMPTY)).unwrap(), Reply::Offer);
    assert_eq!(ours.take(Message::Ready).unwrap(), Reply::Open(LIMITS));
    let mut ours = handshake(None, true);
    ours.take(challenge(false)).unwrap();
    let told = told(&mut ours, welcome(proof(&key(), Role::Server)));
    assert!(
        told.contains("proves something where there is no key"),
        "{told}"
    );
}

#[test]
fn who_has_no_memory_offers_none() {
    let mut ours = handshake(Some(key()), false);
    ours.take(challenge(true)).unwrap();
    let theirs = welcome(proof(&key(), Role::Server));
    assert_eq!(ours.take(theirs).unwrap(), Reply::Open(LIMITS));
}

#[test]
fn a_server_that_leaves_something_out_is_refused_by_name() {
    let theirs = || welcome(proof(&key(), Role::Server));
    let greeting = || handshake(Some(key()), true);
    let offering = || {
        let mut handshake = proved();
        handshake.take(theirs()).unwrap();
        handshake
    };
    for (mut handshake, message, expected) in [
        (
            greeting(),
            theirs(),
            "its Welcome is out of turn, where Challenge is due",
        ),
        (
            greeting(),
            Message::Ready,
            "its Ready is out of turn, where Challenge is due",
        ),
        (
            proved(),
            Message::Ready,
            "its Ready is out of turn, where Welcome is due",
        ),
        (
            proved(),
            challenge(true),
            "its Challenge is out of turn, where Welcome is due",
        ),
        (
            proved(),
            Message::Ping,
            "its Ping is out of turn, where Welcome is due",
        ),
        (
            offering(),
            theirs(),
            "its Welcome is out of turn, where Ready is due",
        ),
        (
            offering(),
            challenge(true),
            "its Challenge is out of turn, where Ready is due",
        ),
    ] {
        let told = told(&mut handshake, message);
        assert_eq!(told, format!("the peer breaks the protocol: {expected}"));
        assert!(handshake.take(theirs()).is_err(), "it is over");
    }
    for mut handshake in [greeting(), proved(), offering()] {
        let refusal = Message::Refusal(Refusal::new("not you"));
        assert_eq!(told(&mut handshake, refusal), "refused: not you");
    }
}
