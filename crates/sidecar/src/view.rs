//! What the daemon says about itself: to mounts, to the filer, to people.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use fabric::announce::{Announcement, Endpoints};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::rdma::RdmaProvider;
use crate::shelves::{VolumeReport, VolumeState};

/// The state that everybody is told of.
pub struct View {
    announcement: ArcSwap<Announcement>,
    servers: Mutex<Vec<ServerReport>>,
    warnings: Mutex<BTreeMap<&'static str, String>>,
    rdma: RdmaProvider,
}

/// A volume server beside this sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerReport {
    /// `host:port`, or the first data folder where no server is named.
    pub name: String,
    /// Its data folders; none as long as they are not known.
    pub dirs: Vec<String>,
    /// Why its needles are not served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl View {
    /// A sidecar that serves nothing yet.
    pub fn new(rdma: RdmaProvider) -> Self {
        Self {
            announcement: ArcSwap::from_pointee(Announcement {
                http: String::new(),
                fabric: Endpoints::default(),
                volume_servers: Vec::new(),
                volumes: Vec::new(),
                generation: 0,
                data_center: String::new(),
                rack: String::new(),
            }),
            servers: Mutex::default(),
            warnings: Mutex::default(),
            rdma,
        }
    }

    /// What mounts go by.
    pub fn announcement(&self) -> Arc<Announcement> {
        self.announcement.load_full()
    }

    /// Changes it; whether there was a difference. The generation counts up when volumes differ.
    pub fn announce(&self, change: impl Fn(&mut Announcement)) -> bool {
        let mut changed = false;
        self.announcement.rcu(|old| {
            let mut new = Announcement::clone(old);
            change(&mut new);
            if new.volumes != old.volumes {
                new.generation = old.generation + 1;
            }
            changed = new != **old;
            new
        });
        changed
    }

    /// Which volumes mounts may ask for.
    pub fn announce_volumes(&self, reports: &[VolumeReport]) -> bool {
        let served = reports.iter().filter(|r| r.state != VolumeState::Declined);
        let volumes: Vec<u32> = served.map(|report| report.id).collect();
        self.announce(|announcement| announcement.volumes.clone_from(&volumes))
    }

    /// Tells of a volume server.
    pub fn report_server(&self, report: ServerReport) {
        let mut servers = self.servers.lock();
        match servers.iter_mut().find(|known| known.name == report.name) {
            Some(known) => *known = report,
            None => servers.push(report),
        }
    }

    /// Something that does not keep needles from being served; nothing when it is over.
    pub fn warn(&self, subject: &'static str, text: Option<String>) {
        let mut warnings = self.warnings.lock();
        match text {
            Some(text) => warnings.insert(subject, text),
            None => warnings.remove(subject),
        };
    }

    /// Why needles of some server are not served.
    pub fn problems(&self) -> Vec<String> {
        let servers = self.servers.lock();
        let told = servers.iter().filter_map(|server| {
            let problem = server.problem.as_ref()?;
            Some(format!("{}: {problem}", server.name))
        });
        told.collect()
    }

    /// Whether needles of all servers are served.
    pub fn is_healthy(&self) -> bool {
        let servers = self.servers.lock();
        !servers.is_empty() && servers.iter().all(|server| server.problem.is_none())
    }

    /// Whether needles of any server are served.
    pub fn is_serving(&self) -> bool {
        let servers = self.servers.lock();
        servers.iter().any(|server| server.problem.is_none())
    }

    /// Whether RDMA is offered.
    pub fn is_rdma_connected(&self) -> bool {
        (self.rdma)().connected
    }

    /// The document behind `/health`: what stock mounts look at, the announcement's fields, and
    /// the rest for people.
    pub fn health(&self, volumes: &[VolumeReport], timestamp: String) -> Value {
        let mut root = match serde_json::to_value(&*self.announcement()) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        let rdma = (self.rdma)();
        let status = if self.is_healthy() {
            "healthy"
        } else if self.is_serving() {
            "degraded"
        } else {
            "starting"
        };
        root.insert("status".into(), json!(status));
        root.insert("timestamp".into(), json!(timestamp));
        root.insert("version".into(), json!(env!("CARGO_PKG_VERSION")));
        root.insert("reasons".into(), json!(self.problems()));
        let warnings: Vec<String> = self.warnings.lock().values().cloned().collect();
        root.insert("warnings".into(), json!(warnings));
        // A stock mount reads "enabled" as "there is a faster way than the volume server".
        let told = json!({
            "enabled": self.is_serving(),
            "connected": rdma.connected,
            "reason": rdma.reason,
            "devices": rdma.devices,
        });
        root.insert("rdma".into(), told);
        root.insert("servers".into(), json!(*self.servers.lock()));
        root.insert("volume_states".into(), json!(volumes));
        Value::Object(root)
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View")
            .field("announcement", &self.announcement.load())
            .finish_non_exhaustive()
    }
}
