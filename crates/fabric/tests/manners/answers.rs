//! What is asked, and which answers count as one.

use std::time::{Duration, SystemTime};

use fabric::{Access, HttpConfig, RouteError};
use seaweed::jwt::SigningKey;

use crate::puppet::*;
use crate::read;

#[test]
fn a_range_request_says_what_it_wants_and_nothing_else() {
    let data = pattern(10_000);
    let puppet = Puppet::repeating(part(&data, 100, 4096));
    let route = route_to(quick(), &[&puppet]);
    assert_eq!(read(&route, 100, 4096).unwrap(), data[100..4196]);
    let head = &puppet.heads()[0];
    assert!(
        head.starts_with("GET /3,1637037d6037 HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains(&format!("\r\nHost: {}\r\n", puppet.address())),
        "{head}"
    );
    assert!(head.contains("\r\nRange: bytes=100-4195\r\n"), "{head}");
    assert!(!head.contains("Accept-Encoding"), "{head}");
    assert!(!head.contains("Authorization"), "{head}");
}

#[test]
fn an_answer_about_something_else_is_refused() {
    let wrong = [
        answer("206 x", "Content-Range: bytes 1-3/9\r\n", b"bcd"),
        answer("206 x", "Content-Range: bytes 0-3/9\r\n", b"abcd"),
        answer("206 x", "Content-Range: bytes 0-2/9\r\n", b"abcd"),
        answer("206 x", "Content-Range: bytes 0-2/9\r\n", b"ab"),
        answer("206 x", "", b"abc"),
        answer(
            "206 x",
            "Content-Range: bytes 0-2/9\r\nContent-Encoding: gzip\r\n",
            b"abc",
        ),
        answer("200 x", "Content-Encoding: gzip\r\n", b"abc"),
        b"HTTP/1.1 206 x\r\nContent-Range: bytes 0-2/9\r\n\r\nabc".to_vec(),
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n".to_vec(),
        "HTTP/1.1 100 Continue\r\n\r\n".repeat(20).into_bytes(),
    ];
    for bytes in wrong {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let puppet = Puppet::new(move |_| vec![Step::Send(bytes.clone()), Step::Close]);
        let route = route_to(quick(), &[&puppet]);
        let failure = read(&route, 0, 3).unwrap_err();
        assert!(
            matches!(failure, RouteError::Malformed { .. }),
            "{text}: {failure}"
        );
        assert_eq!(route.stats().errors("malformed"), 1);
    }
}

#[test]
fn interim_answers_are_passed_over() {
    let mut bytes = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".to_vec();
    bytes.extend(answer("206 x", "Content-Range: bytes 0-2/9\r\n", b"abc"));
    let puppet = Puppet::repeating(bytes);
    assert_eq!(read(&route_to(quick(), &[&puppet]), 0, 3).unwrap(), b"abc");
}

#[test]
fn a_whole_body_in_place_of_a_range_is_cut_to_it() {
    let data = pattern(50_000);
    let puppet = Puppet::repeating(all(&data));
    let route = route_to(quick(), &[&puppet]);
    assert_eq!(read(&route, 30_000, 5_000).unwrap(), data[30_000..35_000]);
    assert_eq!(read(&route, 49_999, 1).unwrap(), data[49_999..]);
    // The first left 15,000 bytes to skip, the second none: both times the line is clear.
    assert_eq!(route.stats().opened.get(), 1);
    let failure = read(&route, 49_999, 2).unwrap_err();
    assert!(
        matches!(
            failure,
            RouteError::PastEnd {
                offset: 49_999,
                len: 2,
                ..
            }
        ),
        "{failure}"
    );
}

#[test]
fn past_the_end_is_an_error_of_its_own() {
    let clipped = answer("206 x", "Content-Range: bytes 5-8/9\r\n", b"abcd");
    let outside = answer("416 x", "Content-Range: bytes */9\r\n", b"out of range");
    for bytes in [clipped, outside] {
        let puppet = Puppet::repeating(bytes);
        let route = route_to(quick(), &[&puppet]);
        let failure = read(&route, 5, 5).unwrap_err();
        assert!(matches!(failure, RouteError::PastEnd { .. }), "{failure}");
        // The answers were complete, so the line is clear.
        assert_eq!(route.idle_connections(), 1);
    }
}

#[test]
fn a_redirection_is_followed_once() {
    let data = pattern(5_000);
    let target = Puppet::repeating(part(&data, 1_000, 10));
    let url = format!("http://{}/3,1637037d6037?proxied=true", target.address());
    let source = Puppet::repeating(answer("302 Found", &format!("Location: {url}\r\n"), b"<a>"));
    let route = route_to(quick(), &[&source]);
    assert_eq!(read(&route, 1_000, 10).unwrap(), data[1_000..1_010]);
    let head = &target.heads()[0];
    assert!(
        head.starts_with("GET /3,1637037d6037?proxied=true HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(head.contains("Range: bytes=1000-1009"), "{head}");
    assert_eq!(route.stats().redirects.get(), 1);
}

#[test]
fn redirections_in_a_circle_or_to_nowhere_end() {
    let circle = Puppet::new(|request| {
        let host = request.head.split("Host: ").nth(1).unwrap();
        let host = host.split("\r\n").next().unwrap();
        let field = format!("Location: http://{host}/3,01\r\n");
        vec![Step::Send(answer("302 Found", &field, b""))]
    });
    let route = route_to(quick(), &[&circle]);
    assert!(matches!(
        read(&route, 0, 1),
        Err(RouteError::Malformed { .. })
    ));
    assert_eq!(circle.heads().len(), 2);
    for field in [
        "",
        "Location: /relative\r\n",
        "Location: ftp://x/\r\n",
        "Location: http://a b/c\r\n",
    ] {
        let puppet = Puppet::repeating(answer("301 x", field, b""));
        let route = route_to(quick(), &[&puppet]);
        assert!(
            matches!(read(&route, 0, 1), Err(RouteError::Malformed { .. })),
            "{field}"
        );
    }
}

#[test]
fn a_denial_is_final_and_not_repeated() {
    for status in ["401 Unauthorized", "403 Forbidden"] {
        let puppet = Puppet::repeating(answer(status, "", b"no"));
        let mut config = quick();
        config.retry = Duration::from_secs(5);
        let route = route_to(config, &[&puppet]);
        assert!(matches!(read(&route, 0, 1), Err(RouteError::Denied { .. })));
        assert_eq!(puppet.heads().len(), 1);
    }
}

#[test]
fn every_number_is_exported_under_one_name() {
    let puppet = Puppet::repeating(answer("206 x", "Content-Range: bytes 0-2/9\r\n", b"abc"));
    let route = route_to(quick(), &[&puppet]);
    read(&route, 0, 3).unwrap();
    #[derive(Default)]
    struct Seen(Vec<(String, u64)>);
    impl stats::Exporter for Seen {
        fn counter(&mut self, name: &str, _: &str, labels: stats::Labels<'_>, value: u64) {
            self.0.push((format!("{name}{labels:?}"), value));
        }
        fn gauge(&mut self, _: &str, _: &str, _: stats::Labels<'_>, _: f64) {}
        fn histogram(
            &mut self,
            name: &str,
            _: &str,
            labels: stats::Labels<'_>,
            value: &stats::Snapshot,
        ) {
            self.0.push((format!("{name}{labels:?}"), value.count()));
        }
    }
    let mut seen = Seen::default();
    stats::Export::export(&**route.stats(), &mut seen);
    let value = |name: &str| seen.0.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
    assert_eq!(value("http_requests[]"), Some(1));
    assert_eq!(value("http_bytes[]"), Some(3));
    assert_eq!(value("http_errors[(\"kind\", \"corrupt\")]"), Some(0));
    assert_eq!(value("http_read_seconds[(\"kind\", \"range\")]"), Some(1));
    let mut names: Vec<_> = seen.0.iter().map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), seen.0.len());
}

#[test]
fn a_refusal_counts_even_when_nothing_says_where_it_ends() {
    let bytes = b"HTTP/1.0 404 Not Found\r\n\r\n<html>".to_vec();
    let puppet = Puppet::new(move |_| vec![Step::Send(bytes.clone()), Step::Close]);
    let route = route_to(quick(), &[&puppet]);
    assert!(matches!(
        read(&route, 0, 1),
        Err(RouteError::NotFound { .. })
    ));
    assert_eq!(route.idle_connections(), 0);
}

#[test]
fn a_token_is_minted_for_the_needle_and_for_whom_is_asked() {
    let key = |secret: &[u8]| Some(SigningKey::new(secret, Some(Duration::from_secs(60))));
    let puppet = Puppet::repeating(answer("206 x", "Content-Range: bytes 0-2/9\r\n", b"abc"));
    for (access, secret) in [
        (Access::Direct, b"volume"),
        (Access::FilerProxy(vec![puppet.address()]), b"filers"),
    ] {
        let config = HttpConfig {
            access,
            read_key: key(b"volume"),
            filer_read_key: key(b"filers"),
            ..quick()
        };
        let route = route_to(config, &[&puppet]);
        assert_eq!(read(&route, 0, 3).unwrap(), b"abc");
        let head = puppet.heads().pop().unwrap();
        let token = head.split("\r\nAuthorization: Bearer ").nth(1).unwrap();
        let token = token.split("\r\n").next().unwrap();
        let now = SystemTime::now();
        key(secret).unwrap().verify(token, NEEDLE, now).unwrap();
    }
}
