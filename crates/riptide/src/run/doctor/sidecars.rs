//! Each sidecar, over each carrier, and which volumes can be reached that way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use context::Context;
use fabric::announce::{Announcement, Endpoints, MAX_BYTES, this_host};
use fabric::carrier::{Borrowed, Dial, DialError, Dialer, DialerConfig};
use fabric::memory::{Arena, ArenaConfig};
use fabric::wire::{Borrow, Lent};
use seaweed::Security;
use serde_json::Value;
use sidecar::client::Client;
use tokio::task::spawn_blocking;

use super::cluster::Known;
use super::{DoctorOptions, Finding, rdma};

/// How long a sidecar is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// Memory that is shared for a trial; none of it is used.
const ARENA: usize = 16 << 20;

pub(super) async fn findings(
    options: &DoctorOptions,
    security: &Security,
    client: &Client,
    known: &Known,
) -> Vec<Finding> {
    let registered = known.sidecars.iter().map(|sidecar| sidecar.http.clone());
    let given = options.sidecars.iter().map(|sidecar| sidecar.http());
    let addresses: BTreeSet<String> = registered.chain(given).collect();
    let mut all = Vec::new();
    let mut reached: Vec<(Announcement, Vec<&'static str>)> = Vec::new();
    for address in addresses {
        match health(client, &address).await {
            Ok((announcement, document, took)) => {
                all.push(state(&address, &document, took));
                let asker = Asker { security, options };
                let (lanes, carriers) = lanes(asker, &announcement).await;
                all.extend(lanes);
                all.extend(lends(asker, &announcement).await);
                reached.push((announcement, carriers));
            }
            Err(error) => {
                let todo = "start it, or open its port; its entry at the filer ends after a minute";
                let about = format!("sidecar {address}");
                all.push(Finding::fail(about, format!("{error:#}"), todo));
            }
        }
    }
    all.extend(coverage(&known.volumes, &reached));
    all
}

/// As what we come.
#[derive(Clone, Copy)]
struct Asker<'a> {
    security: &'a Security,
    options: &'a DoctorOptions,
}

async fn health(client: &Client, address: &str) -> anyhow::Result<(Announcement, Value, Duration)> {
    let start = Instant::now();
    let document = client
        .document(address, "/health", MAX_BYTES, PATIENCE)
        .await?;
    let took = start.elapsed();
    let document: Value = serde_json::from_slice(&document)?;
    Ok((serde_json::from_value(document.clone())?, document, took))
}

fn state(address: &str, document: &Value, took: Duration) -> Finding {
    let about = format!("sidecar {address}");
    let status = document["status"].as_str().unwrap_or("unknown");
    let volumes = document["volumes"].as_array().map_or(0, Vec::len);
    let mut seen = format!(
        "{status}, {volumes} volumes, answers in {} ms",
        took.as_millis()
    );
    if let Some(reason) = document["rdma"]["reason"].as_str() {
        seen += &format!("; no RDMA: {reason}");
    }
    if document["fabric"]["writes"] != true {
        seen += "; takes no writes";
    }
    if status == "healthy" {
        return Finding::ok(about, seen);
    }
    let reasons = document["reasons"].as_array().cloned().unwrap_or_default();
    let reasons: Vec<_> = reasons.iter().filter_map(Value::as_str).collect();
    Finding::warn(about, seen, reasons.join("; "))
}

/// Opens a lane over each carrier that is offered; the carriers that work come second.
async fn lanes(asker: Asker<'_>, to: &Announcement) -> (Vec<Finding>, Vec<&'static str>) {
    let all = &to.fabric;
    let here = this_host().unwrap_or_default();
    let mut offers = Vec::new();
    if all.unix.is_some() && all.host == here && !here.is_empty() {
        let only = Endpoints {
            tcp: None,
            rdma: Vec::new(),
            ..all.clone()
        };
        offers.push(("shm", only));
    }
    // A machine without a device has no use for rails, which is nothing to complain about.
    for rail in all.rdma.iter().filter(|_| rdma::has_device()) {
        let only = Endpoints {
            unix: None,
            tcp: None,
            rdma: vec![rail.clone()],
            ..all.clone()
        };
        offers.push(("rdma", only));
    }
    if all.tcp.is_some() {
        let only = Endpoints {
            unix: None,
            rdma: Vec::new(),
            ..all.clone()
        };
        offers.push(("tcp", only));
    }
    let (mut findings, mut carriers) = (Vec::new(), Vec::new());
    for (carrier, only) in offers {
        let about = match only.rdma.first() {
            Some(rail) if carrier == "rdma" => format!("rdma {rail}"),
            _ => format!("{carrier} {}", to.http),
        };
        match open(asker, only, here.clone()).await {
            Ok(took) => {
                let seen = format!("a lane opens in {} µs", took.as_micros());
                findings.push(Finding::ok(about, seen));
                if !carriers.contains(&carrier) {
                    carriers.push(carrier);
                }
            }
            Err(error) if let Some(user) = stranger(&error) => {
                findings.push(Finding::warn(about, format!("{error:#}"), trust(user)));
            }
            Err(error) if carrier == "rdma" => {
                let todo = "see the RDMA lines above, here and there; the rail's network has to lead \
                            from device to device";
                findings.push(Finding::warn(about, format!("{error:#}"), todo));
            }
            Err(error) => {
                let todo = match carrier {
                    "shm" => "the folder of the socket has to be visible here, see -socket",
                    _ => {
                        "open the fabric's port (-fabric-port) in the firewall; compare the read keys"
                    }
                };
                findings.push(Finding::fail(about, format!("{error:#}"), todo));
            }
        }
    }
    (findings, carriers)
}

/// Whether files of its volumes are lent to whoever runs this. Nothing of a sidecar of another host, or one
/// without volumes.
async fn lends(asker: Asker<'_>, to: &Announcement) -> Option<Finding> {
    let here = this_host().unwrap_or_default();
    let endpoints = to.fabric.clone();
    let volume = *to.volumes.first()?;
    if here.is_empty() || endpoints.host != here || endpoints.unix.is_none() {
        return None;
    }
    let about = format!("short-circuit {}", to.http);
    if !endpoints.lends {
        let seen = "it lends no files: mounts of this host read over shared memory";
        return Some(Finding::ok(about, seen));
    }
    let dialer = match dialer(asker, here, None) {
        Ok(dialer) => dialer,
        Err(error) => {
            return Some(Finding::fail(
                about,
                format!("{error:#}"),
                "see security.toml",
            ));
        }
    };
    let asked = spawn_blocking(move || -> anyhow::Result<_> {
        let ctx = Context::background(PATIENCE);
        let start = Instant::now();
        let mut lender = dialer.lender(&ctx, &endpoints)?;
        let borrow = Borrow { volume, held: None };
        Ok((lender.borrow(&ctx, borrow)?, start.elapsed()))
    });
    let asked = asked.await.map_err(anyhow::Error::from).flatten();
    Some(match asked {
        Ok((Borrowed::Files(..), took)) => {
            let took = took.as_micros();
            Finding::ok(
                about,
                format!("lends the files of volume {volume} in {took} µs"),
            )
        }
        Ok((Borrowed::Otherwise(Lent::Refused), _)) => Finding::warn(
            about,
            "it lends no files to this user",
            "run mounts as root or as the user of the sidecar, or go on over shared memory",
        ),
        Ok((Borrowed::Otherwise(lent), _)) => Finding::ok(
            about,
            format!(
                "lends files, but not those of volume {volume}: {}",
                lent.name()
            ),
        ),
        Err(error) => {
            let todo = match stranger(&error) {
                Some(user) => trust(user),
                None => "mounts of this host read over shared memory until that is mended".into(),
            };
            Finding::warn(about, format!("{error:#}"), todo)
        }
    })
}

/// The user of a sidecar with whom a mount would share nothing.
fn stranger(error: &anyhow::Error) -> Option<u32> {
    Some(error.downcast_ref::<DialError>()?.stranger()?.0)
}

fn trust(user: u32) -> String {
    format!(
        "give mounts of this host -rdma.sidecarUser={user}, and this command as well, if that user may see \
         all that they read and write; otherwise they read over TCP"
    )
}

async fn open(asker: Asker<'_>, to: Endpoints, host: String) -> anyhow::Result<Duration> {
    // As a mount does, which looks at whom it gives its memory to.
    let arena = to.unix.is_some().then(|| {
        Arena::new(ArenaConfig {
            size: ARENA,
            keep: 0,
            quarantine: ARENA,
            reserved_pages: false,
        })
    });
    let dialer = dialer(asker, host, arena.transpose()?)?;
    spawn_blocking(move || {
        let start = Instant::now();
        let lane = dialer.dial(&Context::background(PATIENCE), &to)?;
        let took = start.elapsed();
        lane.close();
        Ok(took)
    })
    .await?
}

fn dialer(asker: Asker<'_>, host: String, arena: Option<Arena>) -> anyhow::Result<Dialer> {
    let Asker { security, options } = asker;
    let tls = security.https.as_ref().map(fabric::http::client_config);
    Ok(Dialer::new(DialerConfig {
        name: "riptide doctor".to_owned(),
        host,
        read_key: security.read_key.clone(),
        tls: tls.transpose()?,
        arena,
        remote_reads: false,
        trusted: options.sidecar_users.clone(),
        patience: PATIENCE,
    }))
}

/// For each volume server, over which carriers its volumes can be reached.
fn coverage(
    servers: &BTreeMap<String, Vec<u32>>,
    reached: &[(Announcement, Vec<&'static str>)],
) -> Vec<Finding> {
    let mut all = Vec::new();
    for (server, volumes) in servers {
        let about = format!("volumes {server}");
        let beside = reached
            .iter()
            .find(|(sidecar, _)| sidecar.volume_servers.contains(server));
        let Some((sidecar, carriers)) = beside else {
            let seen = format!("{} volumes over HTTP only", volumes.len());
            all.push(Finding::warn(
                about,
                seen,
                "start a sidecar beside this volume server",
            ));
            continue;
        };
        let missing: Vec<_> = volumes
            .iter()
            .filter(|id| !sidecar.volumes.contains(id))
            .collect();
        let over = match carriers.is_empty() {
            true => "no carrier".to_owned(),
            false => carriers.join(", "),
        };
        let served = volumes.len() - missing.len();
        let seen = format!(
            "{served} of {} over {over} from {}",
            volumes.len(),
            sidecar.http
        );
        if carriers.is_empty() {
            all.push(Finding::fail(
                about,
                seen,
                "see the lines of this sidecar above",
            ));
        } else if missing.is_empty() {
            all.push(Finding::ok(about, seen));
        } else {
            let named: Vec<_> = missing.iter().take(10).map(ToString::to_string).collect();
            let todo = format!(
                "volumes {} go over HTTP; /health of the sidecar says why (volume_states)",
                named.join(", ")
            );
            all.push(Finding::warn(about, seen, todo));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;
    use std::thread;

    use rustix::process::{Uid, geteuid};
    use rustix::thread::set_thread_res_uid;

    use super::*;
    use crate::run::doctor::Level;

    #[tokio::test]
    async fn shared_memory_is_tried_with_the_check_that_a_mount_makes() {
        const STRANGER: u32 = 61_234;
        if !geteuid().is_root() {
            return println!("skipped: only root can become another user");
        }
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        let path = folder.path().join("socket");
        let at = path.clone();
        let bound = thread::spawn(move || {
            let uid = Uid::from_raw(STRANGER);
            set_thread_res_uid(uid, uid, uid).unwrap();
            UnixListener::bind(at).unwrap()
        });
        // Hangs up on whoever comes.
        let listener = bound.join().unwrap();
        thread::spawn(move || listener.incoming().for_each(drop));
        let to = Endpoints {
            version: fabric::wire::VERSION,
            host: this_host().unwrap(),
            unix: Some(path.to_str().unwrap().to_owned()),
            ..Endpoints::default()
        };
        for (sidecar_users, told) in [(vec![], Some(STRANGER)), (vec![STRANGER], None)] {
            let asker = Asker {
                security: &Security::default(),
                options: &DoctorOptions {
                    filers: Vec::new(),
                    sidecars: Vec::new(),
                    sidecar_users,
                    config_dir: None,
                },
            };
            let error = open(asker, to.clone(), to.host.clone()).await.unwrap_err();
            assert_eq!(stranger(&error), told, "{error:#}");
        }
        assert!(trust(STRANGER).contains("-rdma.sidecarUser=61234"));
    }

    #[test]
    fn each_volume_server_is_judged_by_the_sidecar_beside_it() {
        let sidecar = |server: &str, volumes: &[u32]| Announcement {
            http: format!("{server}1"),
            fabric: Endpoints::default(),
            volume_servers: vec![server.to_owned()],
            volumes: volumes.to_vec(),
            generation: 1,
            data_center: String::new(),
            rack: String::new(),
        };
        let servers = ["a:1", "b:1", "c:1", "d:1"].map(|name| (name.to_owned(), vec![1, 2]));
        let reached = [
            (sidecar("a:1", &[1, 2]), vec!["shm", "tcp"]),
            (sidecar("b:1", &[1]), vec!["tcp"]),
            (sidecar("c:1", &[1, 2]), vec![]),
        ];
        let all = coverage(&BTreeMap::from(servers), &reached);
        let levels: Vec<_> = all.iter().map(|finding| finding.level).collect();
        assert_eq!(levels, [Level::Ok, Level::Warn, Level::Fail, Level::Warn]);
        assert!(all[0].seen.contains("2 of 2 over shm, tcp"), "{}", all[0]);
        assert!(
            all[1]
                .todo
                .as_ref()
                .unwrap()
                .contains("volumes 2 go over HTTP")
        );
        assert!(all[3].seen.contains("HTTP only"));
    }
}
