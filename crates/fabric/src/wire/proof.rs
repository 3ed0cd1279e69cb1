//! How a client proves that it holds the cluster's read key without showing it.

use seaweed::jwt::SigningKey;

use super::Proof;

impl Proof {
    /// The proof for these nonces; nothing is proved without a key.
    pub fn new(key: Option<&SigningKey>, client: &[u8; 16], server: &[u8; 16]) -> Self {
        let mac = match key {
            Some(key) => key.mac(&signed(client, server)),
            None => [0; 32],
        };
        Self { mac }
    }

    /// Whether it was made with this key, in a time that does not tell how nearly.
    pub fn is_good(&self, key: &SigningKey, client: &[u8; 16], server: &[u8; 16]) -> bool {
        key.is_mac(&signed(client, server), &self.mac)
    }
}

/// Keeps these codes apart from those of tokens, which the same key signs.
const PURPOSE: &[u8; 16] = b"riptide fabric 1";

fn signed(client: &[u8; 16], server: &[u8; 16]) -> [u8; 48] {
    let mut signed = [0; 48];
    signed[..16].copy_from_slice(PURPOSE);
    signed[16..32].copy_from_slice(client);
    signed[32..].copy_from_slice(server);
    signed
}
