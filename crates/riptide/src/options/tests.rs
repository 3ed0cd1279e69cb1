//! What flags become.

use std::ffi::OsStr;
use std::path::Path;

use super::read::expand_home;
use super::*;
use crate::flags::mount::ALL;
use crate::flags::{Kind, Origin, State, flags};

fn options(given: &[(&str, &str)]) -> Result<MountOptions, FlagError> {
    MountOptions::from_values(&Values::new(&ALL, given.iter().map(os))?)
}

fn os<'a>((name, text): &(&'a str, &'a str)) -> (&'a str, &'a OsStr) {
    (name, OsStr::new(*text))
}

/// A value other than the default for each honoured flag that a rule cannot make up.
fn sample(name: &str) -> Option<&'static str> {
    Some(match name {
        "filer" => "a:1,b:2.3",
        "filer.path" => "/a",
        "replication" => "001",
        "map.uid" | "map.gid" => "1000:0,5:6",
        "umask" => "077",
        "readRetryTime" => "7s",
        "volumeServerAccess" => "filerProxy",
        "atime" => "relative",
        "fuse.transport" => "uring",
        "directIO" => "always",
        "concurrentReaders" => "3",
        "metricsIp" => "::1",
        "rdma.sidecar" => "a:1,[::1]:2",
        "rdma.sidecarUser" => "root,998",
        _ => return None,
    })
}

#[test]
fn every_honoured_flag_changes_something_and_no_other_does() {
    // These are honoured elsewhere: by `invocation` and by `LogOptions`.
    let elsewhere = ["options", "v", "debug.fuse"];
    let port = ("metricsPort", "9");
    let plain = |base: &[(&str, &str)]| format!("{:?}", options(base).unwrap());
    for flag in flags(&ALL).filter(|flag| !elsewhere.contains(&flag.name)) {
        let text = sample(flag.name).unwrap_or(match flag.kind {
            Kind::Bool if flag.default == "true" => "false",
            Kind::Bool => "true",
            Kind::Int(..) => "12",
            Kind::Duration => "12s",
            _ => "other",
        });
        let given = (flag.name, text);
        let has_effect = |base: &[(&str, &str)]| {
            let changed = plain(base) != plain(&[base, &[given]].concat());
            let values = Values::new(&ALL, base.iter().chain([&given]).map(os)).unwrap();
            let warnings = values.warnings(&ALL);
            assert_eq!(warnings.is_empty(), changed, "-{}={text}", flag.name);
            assert!(warnings.iter().all(|warning| warning.name == flag.name));
            changed
        };
        match flag.state {
            State::Honoured => assert!(has_effect(&[port]) || elsewhere.contains(&flag.name)),
            State::Ignored(_) => assert!(!has_effect(&[port])),
            State::Needs { switch, .. } => {
                assert!(!has_effect(&[port]) && has_effect(&[port, (switch, "true")]));
            }
        }
    }
}

#[test]
fn defaults_are_those_of_weed() {
    let options = options(&[]).unwrap();
    assert_eq!(options.tree.filers[0].http(), "localhost:8888");
    assert_eq!(options.tree.filers[0].grpc_port(), 18888);
    assert_eq!(options.tree.path, "/");
    assert_eq!(options.point.dir, Path::new("."));
    assert_eq!(options.point.umask, 0o22);
    assert!(options.point.allow_others && options.point.default_permissions);
    assert_eq!(options.data.memory_bytes, 256 << 20);
    assert_eq!(options.data.disk_bytes, 128 << 20);
    assert_eq!(options.data.cache_dir, Path::new("/tmp"));
    assert_eq!(options.data.retry, Duration::from_secs(6));
    assert_eq!(options.data.access, VolumeServerAccess::Direct);
    assert_eq!(options.metadata.dir_max_entries, 100_000);
    assert_eq!(options.kernel.max_background, 128);
    assert_eq!(options.metrics, None);
}

#[test]
fn values_are_brought_to_one_form() {
    let path = |text| options(&[("filer.path", text)]).unwrap().tree.path;
    assert_eq!(path("//a/b//"), "/a/b");
    assert_eq!(path("/"), "/");
    let metrics = |ip| {
        options(&[("metricsPort", "9"), ("metricsIp", ip)])
            .unwrap()
            .metrics
    };
    assert_eq!(metrics("::").unwrap().to_string(), "[::]:9");
    let many = options(&[("concurrentReaders", "1000")]).unwrap();
    assert_eq!(many.data.concurrent_readers, 128);
    let soon = options(&[("readRetryTime", "10ms")]).unwrap();
    assert_eq!(soon.data.retry, Duration::from_secs(1));
    let hinted = options(&[("fuse.readAheadKB", "0")]).unwrap();
    assert_eq!(hinted.kernel.read_ahead_kb, None);
}

#[test]
fn a_bad_value_is_named_with_its_flag_and_what_is_allowed() {
    for (name, value, expected) in [
        ("umask", "999", "an octal number from 000 to 0777"),
        ("umask", "0o22", "an octal number from 000 to 0777"),
        ("umask", "+22", "an octal number from 000 to 0777"),
        ("umask", "", "an octal number from 000 to 0777"),
        ("filer.path", "a", "an absolute path without . or .."),
        ("filer.path", "/a/../b", "an absolute path without . or .."),
        (
            "map.uid",
            "5",
            "pairs local:filer of numbers, separated by commas",
        ),
        (
            "map.gid",
            "5:-1",
            "pairs local:filer of numbers, separated by commas",
        ),
        ("map.uid", "5:1,5:2", "each number only once on each side"),
        (
            "volumeServerAccess",
            "public",
            "one of direct, publicUrl, filerProxy",
        ),
        (
            "cacheCapacityMB",
            "-5",
            "a whole number from 0 to 1099511627776",
        ),
        (
            "readerCacheSizeMB",
            "0",
            "a whole number from 1 to 1099511627776",
        ),
        ("metricsPort", "65536", "a whole number from 0 to 65535"),
        (
            "metricsIp",
            "localhost",
            "an IP address, such as 127.0.0.1 or ::",
        ),
        (
            "fuse.maxBackground",
            "70000",
            "a whole number from 1 to 65535",
        ),
        ("replication", "01", "three digits, such as 001"),
        (
            "readRetryTime",
            "-1s",
            "a duration that is not negative, such as 6s or 1m30s",
        ),
        ("dir", "", "the path of a folder"),
    ] {
        let error = options(&[(name, value)]).unwrap_err().to_string();
        let wanted = format!("flag -{name}: {value:?} is not allowed: expected {expected}");
        assert_eq!(error, wanted);
    }
    for filer in ["", "localhost", "localhost:0", "a:1,b", "localhost:99999"] {
        let error = options(&[("filer", filer)]).unwrap_err().to_string();
        assert!(error.starts_with("flag -filer: "), "{error}");
        assert!(error.contains("expected host:port"), "{error}");
    }
}

#[test]
fn the_fabric_is_off_by_default_and_has_the_defaults_of_weed_when_it_is_on() {
    assert_eq!(options(&[("rdma.fallback", "false")]).unwrap().fabric, None);
    let on = |sidecars| options(&[("rdma.enabled", "true"), ("rdma.sidecar", sidecars)]);
    let fabric = on("").unwrap().fabric.unwrap();
    let expected = FabricOptions {
        sidecars: Sidecars::Registered,
        sidecar_users: Vec::new(),
        huge_pages: false,
        rack: String::new(),
        fallback: true,
        read_only: false,
        short_circuit: Some(256 << 20),
        max_concurrent: 64,
        timeout: Duration::from_secs(5),
    };
    assert_eq!(fabric, expected);
    assert_eq!(on("auto").unwrap().fabric, Some(expected));
    let reads = options(&[("rdma.enabled", "true"), ("rdma.readOnly", "true")]);
    assert!(reads.unwrap().fabric.unwrap().read_only);
    let short = |more: &[(&str, &str)]| {
        let base = [("rdma.enabled", "true")];
        options(&[&base, more].concat()).map(|it| it.fabric.unwrap().short_circuit)
    };
    let index = ("rdma.shortCircuitIndexMB", "9");
    let off = ("rdma.shortCircuit", "false");
    assert_eq!(short(&[index]).unwrap(), Some(9 << 20));
    assert_eq!(short(&[off]).unwrap(), None);
    let error = short(&[off, index]).unwrap_err().to_string();
    assert!(
        error.contains("expected none, since -rdma.shortCircuit is off"),
        "{error}"
    );
    let listed = on(" a:1 , [::1]:8081,").unwrap().fabric.unwrap().sidecars;
    assert_eq!(
        listed,
        Sidecars::Listed(vec!["a:1".into(), "[::1]:8081".into()])
    );
    for bad in [
        "a",
        "auto,a:1",
        "a:0",
        "a:65536",
        "::1:8081",
        ",",
        "a:1/x",
        "http://a:1",
    ] {
        let error = on(bad).unwrap_err().to_string();
        let start = format!("flag -rdma.sidecar: {bad:?} is not allowed: expected auto, or ");
        assert!(error.starts_with(&start), "{error}");
    }
    let old = flags(&ALL).filter(|flag| flag.origin == Origin::OldWeed);
    assert_eq!(old.count(), 6);
}

#[test]
fn a_home_is_put_in_front_where_the_shell_did_not() {
    let home = |path: &str| expand_home(Path::new(path), Some("/home/me".into()));
    assert_eq!(home("~/x"), Path::new("/home/me/x"));
    assert_eq!(home("~"), Path::new("/home/me/"));
    assert_eq!(home("~you/x"), Path::new("~you/x"));
    assert_eq!(home("/a/~"), Path::new("/a/~"));
    assert_eq!(expand_home(Path::new("~/x"), None), Path::new("~/x"));
}
