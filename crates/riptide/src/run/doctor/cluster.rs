//! The filer, its clock, and which volume servers there are.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use fabric::announce::{Announcement, FOLDER};
use filer::{Filer, FilerConfig};
use hyper::Method;
use seaweed::{Security, ServerAddress};
use serde_json::Value;
use sidecar::client::Client;
use sidecar::peers::registered;

use super::{DoctorOptions, Finding};

/// How long the filers are asked.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer of a master that is read.
const MAX_TOPOLOGY: usize = 64 << 20;
/// From here on leases and tokens suffer.
const SKEW_WARN: Duration = Duration::from_secs(5);
/// From here on tokens of a minute are refused before they are used.
const SKEW_FAIL: Duration = Duration::from_secs(30);

/// What the cluster says about itself.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Sidecars that are registered.
    pub(super) sidecars: Vec<Announcement>,
    /// Volumes by volume server.
    pub(super) volumes: BTreeMap<String, Vec<u32>>,
}

pub(super) async fn findings(
    options: &DoctorOptions,
    security: &Security,
    client: &Client,
) -> (Vec<Finding>, Known) {
    let mut known = Known::default();
    if options.filers.is_empty() {
        let told = Finding::ok("filer", "none given; -filer looks at the cluster as well");
        return (vec![told], known);
    }
    let settings = FilerConfig {
        addresses: options.filers.clone(),
        client_name: "riptide-doctor".to_owned(),
        tls: security.grpc.clone(),
        retry: PATIENCE,
        data_center: String::new(),
    };
    let filer = match Filer::connect(settings).await {
        Ok(filer) => filer,
        Err(error) => {
            let todo = "check -filer, its gRPC port, and grpc.* in security.toml";
            return (vec![Finding::fail("filer", error.to_string(), todo)], known);
        }
    };
    let configuration = filer.configuration();
    let seen = format!(
        "{}, SeaweedFS {}",
        configuration.filer, configuration.version
    );
    let mut all = vec![
        Finding::ok("filer", seen),
        clock(client, &filer.current()).await,
    ];
    match registered(&filer).await {
        Ok(sidecars) if sidecars.is_empty() => {
            let todo = "start riptide sidecar -filer=... beside each volume server";
            all.push(Finding::warn("sidecars", format!("none in {FOLDER}"), todo));
        }
        Ok(sidecars) => {
            all.push(Finding::ok(
                "sidecars",
                format!("{} in {FOLDER}", sidecars.len()),
            ));
            known.sidecars = sidecars;
        }
        Err(error) => {
            all.push(Finding::fail(
                "sidecars",
                error.to_string(),
                "see the filer's log",
            ));
        }
    }
    match topology(client, &configuration.masters).await {
        Ok(volumes) => known.volumes = volumes,
        Err(error) => {
            let todo = "reachability of volumes is judged by the sidecars' own reports only";
            all.push(Finding::warn("master", format!("{error:#}"), todo));
        }
    }
    (all, known)
}

async fn clock(client: &Client, filer: &ServerAddress) -> Finding {
    let start = Instant::now();
    let asked = client
        .send(Method::HEAD, &filer.http(), "/", &[], PATIENCE)
        .await;
    let answer = match asked {
        Ok(answer) => answer,
        Err(error) => {
            let todo = "check https.client in security.toml and the filer's HTTP port";
            return Finding::warn("clock", format!("filer's HTTP: {error:#}"), todo);
        }
    };
    // Every answer has a date, also one that refuses.
    let date = answer
        .headers()
        .get("date")
        .and_then(|date| date.to_str().ok());
    let Some(theirs) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else {
        return Finding::warn("clock", "the filer's HTTP tells no date", "compare by hand");
    };
    judge_clock(skew(theirs, SystemTime::now(), start.elapsed()))
}

/// By how much the clocks differ at least; the date has whole seconds and took its time.
fn skew(theirs: SystemTime, ours: SystemTime, took: Duration) -> Duration {
    let (earlier, later) = (theirs.min(ours), theirs.max(ours));
    let apart = later.duration_since(earlier).unwrap_or_default();
    apart.saturating_sub(took + Duration::from_secs(1))
}

fn judge_clock(skew: Duration) -> Finding {
    let seen = match skew.as_secs() {
        0 => "as the filer's".to_owned(),
        seconds => format!("{seconds} s from the filer's"),
    };
    let todo = "synchronise the clocks (chrony): tokens and leases live for a minute";
    if skew >= SKEW_FAIL {
        Finding::fail("clock", seen, todo)
    } else if skew >= SKEW_WARN {
        Finding::warn("clock", seen, todo)
    } else {
        Finding::ok("clock", seen)
    }
}

/// Volumes by volume server, from the first master that tells.
async fn topology(
    client: &Client,
    masters: &[String],
) -> anyhow::Result<BTreeMap<String, Vec<u32>>> {
    let mut last = anyhow::anyhow!("the filer names no master");
    for master in masters {
        let address: ServerAddress = match master.parse() {
            Ok(address) => address,
            Err(error) => {
                last = anyhow::Error::new(error);
                continue;
            }
        };
        let host = address.http();
        match client
            .document(&host, "/dir/status", MAX_TOPOLOGY, PATIENCE)
            .await
        {
            Ok(document) => return Ok(nodes(&serde_json::from_slice(&document)?)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn nodes(status: &Value) -> BTreeMap<String, Vec<u32>> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut all = BTreeMap::new();
    for center in list(&status["Topology"]["DataCenters"]) {
        for rack in list(&center["Racks"]) {
            for node in list(&rack["DataNodes"]) {
                let url = node["Url"].as_str().unwrap_or_default().to_owned();
                let ids = node["VolumeIds"].as_str().unwrap_or_default();
                all.insert(url, ranges(ids));
            }
        }
    }
    all
}

/// Volumes of a node that are looked at; a master that claims more is not believed.
const MAX_VOLUMES: usize = 1 << 20;

/// Reads ` 1-7 9 12-13`.
fn ranges(text: &str) -> Vec<u32> {
    let parts = text.split_whitespace().flat_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.parse::<u32>(), last.parse::<u32>()) {
            (Ok(first), Ok(last)) => first..=last,
            #[allow(
                clippy::reversed_empty_ranges,
                reason = "what cannot be read is nothing"
            )]
            _ => 1..=0,
        }
    });
    parts.take(MAX_VOLUMES).collect()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use serde_json::json;

    use super::*;
    use crate::run::doctor::Level;

    #[test]
    fn volumes_are_read_as_the_master_writes_them() {
        assert_eq!(ranges(" 1-3 5 7-8"), [1, 2, 3, 5, 7, 8]);
        assert!(ranges("").is_empty() && ranges("x 3-1 -").is_empty());
        assert_eq!(ranges("1-4294967295").len(), MAX_VOLUMES);
        let status = json!({"Topology": {"DataCenters": [{"Racks": [{"DataNodes": [
            {"Url": "127.0.0.1:8080", "VolumeIds": " 1-2"}
        ]}]}]}});
        assert_eq!(nodes(&status)["127.0.0.1:8080"], [1, 2]);
        assert!(nodes(&json!("nonsense")).is_empty());
    }

    #[test]
    fn clocks_are_judged_by_what_cannot_be_the_way() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let second = Duration::from_secs(1);
        for (theirs, ours, level) in [
            (1000, 1000, Level::Ok),
            (1000, 1002, Level::Ok),
            (1000, 1010, Level::Warn),
            (1010, 1000, Level::Warn),
            (1000, 1100, Level::Fail),
        ] {
            let finding = judge_clock(skew(at(theirs), at(ours), second));
            assert_eq!(finding.level, level, "{theirs} {ours}");
        }
    }
}
