//! Texts that are more than a word or a number.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use seaweed::host_and_port;

use crate::flags::{FlagError, Values};
use crate::options::Sidecars;

/// Replaces a leading `~`, which a shell leaves alone in `-dir=~/x`.
pub(super) fn expand_home(path: &Path, home: Option<OsString>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) if !home.is_empty() => PathBuf::from(home).join(rest),
        _ => path.to_owned(),
    }
}

pub(super) fn folder(name: &'static str, values: &Values) -> Result<PathBuf, FlagError> {
    let path = values.os(name);
    if path.is_empty() {
        return Err(FlagError::bad(name, "", "the path of a folder"));
    }
    Ok(expand_home(Path::new(path), std::env::var_os("HOME")))
}

pub(super) fn filer_path(text: &str) -> Result<String, FlagError> {
    let bad = || FlagError::bad("filer.path", text, "an absolute path without . or ..");
    if !text.starts_with('/') || text.contains('\0') {
        return Err(bad());
    }
    let mut path = String::with_capacity(text.len());
    for part in text.split('/').filter(|part| !part.is_empty()) {
        if part == "." || part == ".." {
            return Err(bad());
        }
        path.push('/');
        path.push_str(part);
    }
    Ok(if path.is_empty() { "/".into() } else { path })
}

pub(super) fn replication(text: &str) -> Result<String, FlagError> {
    let three_digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !three_digits && !text.is_empty() {
        return Err(FlagError::bad(
            "replication",
            text,
            "three digits, such as 001",
        ));
    }
    Ok(text.to_owned())
}

pub(super) fn umask(text: &str) -> Result<u32, FlagError> {
    let octal = text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mask| octal && *mask <= 0o777)
        .ok_or_else(|| FlagError::bad("umask", text, "an octal number from 000 to 0777"))
}

pub(super) fn id_pairs(name: &'static str, text: &str) -> Result<Vec<(u32, u32)>, FlagError> {
    let mut pairs: Vec<(u32, u32)> = Vec::new();
    for word in text.split(',').filter(|word| !word.trim().is_empty()) {
        let (local, filer) = word
            .split_once(':')
            .and_then(|(local, filer)| {
                Some((local.trim().parse().ok()?, filer.trim().parse().ok()?))
            })
            .ok_or_else(|| {
                FlagError::bad(
                    name,
                    text,
                    "pairs local:filer of numbers, separated by commas",
                )
            })?;
        if pairs.iter().any(|pair| pair.0 == local || pair.1 == filer) {
            return Err(FlagError::bad(
                name,
                text,
                "each number only once on each side",
            ));
        }
        pairs.push((local, filer));
    }
    Ok(pairs)
}

pub(super) fn sidecars(text: &str) -> Result<Sidecars, FlagError> {
    let members = text.split(',').map(str::trim);
    let members: Vec<_> = members.filter(|member| !member.is_empty()).collect();
    match members[..] {
        [] if text.is_empty() => Ok(Sidecars::Registered),
        [word] if word == AUTO => Ok(Sidecars::Registered),
        [] => Err(()),
        _ if members.iter().any(|member| host_and_port(member).is_none()) => Err(()),
        _ => Ok(Sidecars::Listed(
            members.into_iter().map(str::to_owned).collect(),
        )),
    }
    .map_err(|()| {
        let expected = format!("{AUTO}, or host:port of each sidecar, separated by commas");
        FlagError::bad("rdma.sidecar", text, expected)
    })
}

/// Stands for whatever sidecars there are.
const AUTO: &str = "auto";

pub(super) fn metrics(values: &Values) -> Result<Option<SocketAddr>, FlagError> {
    let text = values.text("metricsIp")?;
    let ip: IpAddr = text
        .parse()
        .map_err(|_| FlagError::bad("metricsIp", text, "an IP address, such as 127.0.0.1 or ::"))?;
    let port: u16 = values.count("metricsPort");
    Ok((port > 0).then(|| SocketAddr::new(ip, port)))
}

/// The default of `-rdma.shortCircuitIndexMB`.
const SHORT_CIRCUIT_INDEX_MB: i64 = 256;

/// Bytes for the indexes of volumes that are read without the sidecar; none where none are.
pub(super) fn short_circuit(values: &Values) -> Result<Option<u64>, FlagError> {
    const INDEX: &str = "rdma.shortCircuitIndexMB";
    if values.switch("rdma.shortCircuit") {
        return Ok(Some(values.mib(INDEX)));
    }
    match values.int(INDEX) {
        SHORT_CIRCUIT_INDEX_MB => Ok(None),
        other => {
            let expected = "none, since -rdma.shortCircuit is off";
            Err(FlagError::bad(INDEX, other.to_string(), expected))
        }
    }
}
