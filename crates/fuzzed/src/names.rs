//! Names of needles and servers.

use seaweed::{FileId, ServerAddress};

use crate::bytes_of::text;

/// File ids: what is accepted reads the same after it was written.
pub fn file_id(data: &[u8]) {
    if let Ok(id) = text(data).parse::<FileId>() {
        let written = id.to_string();
        assert_eq!(written.parse(), Ok(id));
        assert!(written.ends_with(&id.needle_part()));
    }
}

/// Addresses and lists of them: what is accepted reads the same after it was written, and
/// could stand in a URL.
pub fn address(data: &[u8]) {
    let Ok(list) = ServerAddress::parse_list(&text(data)) else {
        return;
    };
    assert!(!list.is_empty());
    for address in &list {
        assert_eq!(address.to_string().parse().as_ref(), Ok(address));
        assert!(address.port() != 0 && address.grpc_port() != 0);
        for url_part in [address.http(), address.grpc()] {
            assert!(
                !url_part.contains(['/', '?', '#', '@', ' ', '\r', '\n']),
                "{url_part:?}"
            );
        }
    }
}
