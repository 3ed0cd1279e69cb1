use super::*;

fn parse(text: &str) -> Result<Security, SecurityError> {
    Security::parse(text, Some(Path::new("/etc/security.toml")), &|_| None)
}

fn refused(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

/// The secret shows in nothing but the tokens made with it.
fn signs_like(key: Option<&SigningKey>, secret: &str, seconds: u64) {
    let expected = SigningKey::new(secret.as_bytes(), Some(Duration::from_secs(seconds)));
    let token = |key: &SigningKey| {
        let needle = "3,01637037d6".parse().unwrap();
        key.mint(needle, std::time::UNIX_EPOCH)
    };
    assert_eq!(key.map(token), Some(token(&expected)));
}

#[test]
fn the_template_of_weed_asks_for_nothing() {
    let security = parse(include_str!("template.toml")).unwrap();
    assert!(security.grpc.is_none() && security.https.is_none());
    assert!(security.write_key.is_none() && security.read_key.is_none());
    assert!(security.filer_write_key.is_none() && security.filer_read_key.is_none());
}

#[test]
fn everything_a_client_needs_is_read() {
    let security = parse(
        r#"
        [jwt.signing]
        key = "write"
        [jwt.signing.read]
        key = "read"
        expires_after_seconds = 7
        [jwt.filer_signing]
        key = "filer"
        expires_after_seconds = "8"
        [grpc]
        ca = "/certs/ca.crt"
        [grpc.client]
        cert = "/certs/client.crt"
        key = "/certs/client.key"
        [https.client]
        enabled = true
        ca = "https.crt"
        [https.volume]
        cert = "/certs/volume.crt"
        key = "/certs/volume.key"
        ca = "/certs/clients.crt"
        [tls]
        min_version = "TLS 1.2"
        max_version = "TLS 1.3"
        "#,
    )
    .unwrap();
    signs_like(security.write_key.as_ref(), "write", 10);
    signs_like(security.read_key.as_ref(), "read", 7);
    signs_like(security.filer_write_key.as_ref(), "filer", 8);
    let versions = TlsVersions {
        min: Some(TlsVersion::Tls12),
        max: Some(TlsVersion::Tls13),
    };
    let grpc = GrpcTls {
        ca: "/certs/ca.crt".into(),
        certificate: "/certs/client.crt".into(),
        key: "/certs/client.key".into(),
        versions,
    };
    assert_eq!(security.grpc, Some(grpc));
    let https = HttpsClient {
        ca: Some("https.crt".into()),
        identity: None,
        insecure_skip_verify: false,
        versions,
    };
    assert_eq!(security.https, Some(https));
    let server = HttpsServer {
        certificate: "/certs/volume.crt".into(),
        key: "/certs/volume.key".into(),
        client_ca: Some("/certs/clients.crt".into()),
        versions,
    };
    assert_eq!(security.https_volume, Some(server));
}

#[test]
fn every_spelling_of_a_key_is_found() {
    for text in [
        "[jwt.signing.read]\nkey = \"x\"",
        "jwt.signing.read.key = \"x\"",
        "[jwt]\nsigning.read.key = \"x\"",
        "[\"jwt.signing\".read]\nkey = \"x\"",
        "\"jwt.signing.read.key\" = \"x\"",
        "[JWT.Signing.Read]\nKey = \"x\"",
        "[jwt.signing]\nkey = \"\"\n[jwt.signing.read]\nkey = \"x\"",
    ] {
        signs_like(parse(text).unwrap().read_key.as_ref(), "x", 60);
    }
}

#[test]
fn the_environment_wins() {
    let variable = |name: &str| match name {
        "WEED_JWT_SIGNING_READ_KEY" => Some("from outside".to_owned()),
        "WEED_JWT_SIGNING_READ_EXPIRES_AFTER_SECONDS" => Some("5".to_owned()),
        "WEED_JWT_SIGNING_KEY" => Some(String::new()),
        _ => None,
    };
    let text = "jwt.signing.key = \"w\"\njwt.signing.read.key = \"r\"";
    let security = Security::parse(text, None, &variable).unwrap();
    signs_like(security.read_key.as_ref(), "from outside", 5);
    signs_like(security.write_key.as_ref(), "w", 10);
}

#[test]
fn bad_values_are_named_and_not_shown() {
    let error = refused("a = 1\n[jwt.signing.read]\nkey = secret");
    assert!(error.starts_with("/etc/security.toml: line 3: "), "{error}");
    assert!(!error.contains("secret"), "{error}");
    for (text, key) in [
        ("jwt.signing.key = 5", "jwt.signing.key"),
        (
            "jwt.signing.read.expires_after_seconds = -1",
            "jwt.signing.read.expires_after_seconds",
        ),
        ("https.client.enabled = \"perhaps\"", "https.client.enabled"),
        ("grpc.client.cert = \"a\"", "grpc.client.key"),
        ("grpc.client.key = \"a\"", "grpc.client.cert"),
        ("grpc.client = { cert = \"a\", key = \"b\" }", "grpc.ca"),
        (
            "https.client = { enabled = true, cert = \"a\" }",
            "https.client.key",
        ),
        ("tls.min_version = \"TLS 1.4\"", "tls.min_version"),
        ("tls.max_version = \"TLS 1.1\"", "tls.max_version"),
        (
            "tls = { min_version = \"TLS 1.3\", max_version = \"TLS 1.2\" }",
            "tls.min_version",
        ),
    ] {
        let error = refused(text);
        let expected = format!("/etc/security.toml: {key}: ");
        assert!(error.starts_with(&expected), "{text}: {error}");
    }
    let variable = |name: &str| (name == "WEED_HTTPS_CLIENT_ENABLED").then(|| "maybe".to_owned());
    let error = Security::parse("", None, &variable)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("environment variable WEED_HTTPS_CLIENT_ENABLED: "),
        "{error}"
    );
}

#[test]
fn old_versions_of_tls_may_be_allowed_but_not_demanded() {
    for old in ["TLS 1.0", "TLS 1.1", "SSLv3"] {
        assert!(
            parse(&format!("tls.min_version = {old:?}")).is_ok(),
            "{old}"
        );
    }
    for same in ["TLS 1.3", "1.3", "TLSv1.3"] {
        let text = format!("tls.min_version = {same:?}\nhttps.client.enabled = true");
        let https = parse(&text).unwrap().https.unwrap();
        assert_eq!(https.versions.min, Some(TlsVersion::Tls13), "{same}");
    }
}

#[test]
fn a_server_without_client_certificate_is_no_error() {
    assert!(parse("grpc.ca = \"ca.crt\"").unwrap().grpc.is_none());
}

#[test]
fn places_are_tried_in_the_order_of_weed() {
    let places = candidates(Some(Path::new("/given")), Some(Path::new("/home/me")));
    let expected = [
        "/given/security.toml",
        "./security.toml",
        "/home/me/.seaweedfs/security.toml",
        "/usr/local/etc/seaweedfs/security.toml",
        "/etc/seaweedfs/security.toml",
    ];
    assert_eq!(places, expected.map(PathBuf::from));
    assert_eq!(candidates(None, None).len(), 3);
}

#[test]
fn a_given_directory_is_read_first() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FILE), "jwt.signing.read.key = \"x\"").unwrap();
    let security = Security::load(Some(dir.path())).unwrap();
    signs_like(security.read_key.as_ref(), "x", 60);
    assert_eq!(security.source, Some(dir.path().join(FILE)));
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(FILE)).unwrap();
    let error = Security::load(Some(dir.path())).unwrap_err().to_string();
    assert!(error.contains("security.toml"), "{error}");
    let long = tempfile::tempdir().unwrap();
    fs::write(long.path().join(FILE), vec![b'#'; MAX_FILE as usize + 1]).unwrap();
    let error = Security::load(Some(long.path())).unwrap_err().to_string();
    assert!(error.contains("is longer than"), "{error}");
}

#[test]
fn a_white_list_is_noticed_where_it_is_not_empty() {
    let has = |text: &str| parse(text).unwrap().has_white_list;
    assert!(!has("") && !has("[guard]\nwhite_list = \"\"\n"));
    assert!(has("[guard]\nwhite_list = \"10.0.0.0/8\"\n"));
    assert!(!has("[s3.trusted_proxies]\nwhite_list = \"10.0.0.0/8\"\n"));
}
