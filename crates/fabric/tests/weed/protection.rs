//! Clusters that want to see tokens or certificates.

use std::time::Duration;

use cluster::{Cluster, READ_KEY};
use fabric::http::client_config;
use fabric::{Access, HttpConfig, RouteError, Stored};
use seaweed::jwt::SigningKey;
use seaweed::security::{HttpsClient, TlsVersion, TlsVersions};

use crate::master::Master;
use crate::{fetch, noise, once, read, route_to};

#[test]
fn a_cluster_with_read_tokens_serves_only_who_has_the_key() {
    let cluster = Cluster::builder().jwt(true).start().unwrap();
    let master = Master::of(&cluster, 1);
    let data = noise(50_000, 1);
    let needle = master.upload(&data);
    let with = |secret: &str, access| HttpConfig {
        read_key: Some(SigningKey::new(
            secret.as_bytes(),
            Some(Duration::from_secs(60)),
        )),
        access,
        ..once()
    };
    let through_filer = HttpConfig {
        access: Access::FilerProxy(vec![cluster.filer_http()]),
        ..once()
    };
    // The filer has the key as well, and signs for whoever asks through it.
    for config in [with(READ_KEY, Access::Direct), through_filer] {
        let route = route_to(&master, config);
        assert!(fetch(&route, needle, Stored::Plain).unwrap() == data);
        assert!(read(&route, needle, 100, 900).unwrap() == data[100..1_000]);
    }
    for config in [once(), with("another key", Access::Direct)] {
        let route = route_to(&master, config);
        let failure = read(&route, needle, 0, 1).unwrap_err();
        assert!(matches!(failure, RouteError::Denied { .. }), "{failure}");
    }
}

#[test]
fn a_cluster_with_certificates_is_read_over_https() {
    let cluster = Cluster::builder().tls(true).start().unwrap();
    let master = Master::of(&cluster, 1);
    let data = noise(5 << 20, 2);
    let needle = master.upload(&data);
    let file = |name: &str| cluster.home().join(name);
    let proper = HttpsClient {
        ca: Some(file("ca.crt")),
        identity: Some((file("client.crt"), file("client.key"))),
        insecure_skip_verify: false,
        versions: TlsVersions::default(),
    };
    let with = |settings: &HttpsClient| HttpConfig {
        tls: Some(client_config(settings).unwrap()),
        ..once()
    };
    let only = |version| HttpsClient {
        versions: TlsVersions {
            min: Some(version),
            max: Some(version),
        },
        ..proper.clone()
    };
    let gullible = HttpsClient {
        ca: None,
        insecure_skip_verify: true,
        ..proper.clone()
    };
    for settings in [
        &proper,
        &only(TlsVersion::Tls12),
        &only(TlsVersion::Tls13),
        &gullible,
    ] {
        let route = route_to(&master, with(settings));
        assert!(fetch(&route, needle, Stored::Plain).unwrap() == data);
        for at in 0..20 {
            let (from, to) = (at * 250_000, at * 250_000 + 4096);
            assert!(read(&route, needle, from as u64, 4096).unwrap() == data[from..to]);
        }
        assert_eq!(route.stats().opened.get(), 1);
    }
    let stranger = HttpsClient {
        identity: None,
        ..proper.clone()
    };
    // Any certificate will do, as long as it is not the authority that signed the server's.
    let suspicious = HttpsClient {
        ca: Some(file("client.crt")),
        ..proper.clone()
    };
    for config in [with(&stranger), with(&suspicious), once()] {
        let route = route_to(&master, config);
        let failure = read(&route, needle, 0, 1).unwrap_err();
        let expected = matches!(
            failure,
            RouteError::Unreachable { .. } | RouteError::Status { status: 400, .. }
        );
        assert!(expected, "{failure}");
        println!("{failure}");
    }
}

#[test]
fn useless_certificate_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (absent, empty) = (dir.path().join("absent.crt"), dir.path().join("empty.crt"));
    std::fs::write(&empty, "no certificate here").unwrap();
    for path in [absent, empty] {
        let settings = HttpsClient {
            ca: Some(path.clone()),
            identity: None,
            insecure_skip_verify: false,
            versions: TlsVersions::default(),
        };
        let failure = client_config(&settings).unwrap_err().to_string();
        assert!(failure.contains(path.to_str().unwrap()), "{failure}");
    }
}
