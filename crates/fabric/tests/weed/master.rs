//! Assigns, uploads and looks up by the master's HTTP.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use cluster::{Cluster, Http};
use context::Context;
use fabric::{Locate, LocateError, Location};
use seaweed::FileId;
use serde_json::Value;

/// Long enough for a server that starts on a busy machine.
const READY: Duration = Duration::from_secs(30);

/// What a client knows of the master.
pub(crate) struct Master {
    http: Http,
    address: String,
    known: Mutex<HashMap<u32, Arc<[Location]>>>,
}

impl Master {
    /// The master of `cluster`, once all of its `volume_servers` answer.
    pub(crate) fn of(cluster: &Cluster, volume_servers: usize) -> Arc<Self> {
        for i in 0..volume_servers {
            let status = format!("{}/status", cluster.volume_http(i));
            let answers = || cluster.http().send("GET", &status, &[], b"").is_ok();
            let began = Instant::now();
            while !answers() {
                assert!(began.elapsed() < READY, "volume server {i} does not answer");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Arc::new(Self {
            http: cluster.http().clone(),
            address: cluster.master_http(),
            known: Mutex::default(),
        })
    }

    /// Stores `body` under a new id.
    pub(crate) fn upload(&self, body: &[u8]) -> FileId {
        self.upload_as(body, "application/octet-stream", &[])
    }

    pub(crate) fn upload_as(&self, body: &[u8], mime: &str, more: &[(&str, &str)]) -> FileId {
        let assign = format!("{}/dir/assign", self.address);
        let answer = self
            .http
            .send("GET", &assign, &[], b"")
            .unwrap()
            .ok()
            .unwrap();
        let json: Value = serde_json::from_slice(&answer.body).unwrap();
        let id = json["fid"].as_str().unwrap();
        let target = format!("{}/{id}", json["url"].as_str().unwrap());
        let token = answer
            .header("authorization")
            .unwrap_or_default()
            .to_owned();
        let mut fields = vec![("Content-Type", mime)];
        if !token.is_empty() {
            fields.push(("Authorization", &token));
        }
        fields.extend(more);
        self.http
            .send("POST", &target, &fields, body)
            .unwrap()
            .ok()
            .unwrap();
        id.parse().unwrap()
    }

    pub(crate) fn delete(&self, needle: FileId) {
        let places = self.ask(needle.volume).unwrap();
        let target = format!("{}/{needle}", places[0].url);
        self.http
            .send("DELETE", &target, &[], b"")
            .unwrap()
            .ok()
            .unwrap();
    }

    /// Answers from now on with these places for all volumes looked up anew.
    pub(crate) fn pretend(&self, volume: u32, places: Arc<[Location]>) {
        self.known.lock().unwrap().insert(volume, places);
    }

    pub(crate) fn ask(&self, volume: u32) -> Result<Arc<[Location]>, LocateError> {
        let target = format!("{}/dir/lookup?volumeId={volume}", self.address);
        let unavailable = |reason: String| LocateError::Unavailable { volume, reason };
        let answer = self.http.send("GET", &target, &[], b"");
        let answer = answer.map_err(|error| unavailable(error.to_string()))?;
        let json: Value =
            serde_json::from_slice(&answer.body).map_err(|error| unavailable(error.to_string()))?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let places: Arc<[Location]> = json["locations"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|place| Location {
                url: text(&place["url"]),
                public_url: text(&place["publicUrl"]),
                data_center: text(&place["dataCenter"]),
            })
            .collect();
        match places.is_empty() {
            true => Err(LocateError::Unknown { volume }),
            false => Ok(places),
        }
    }
}

impl Locate for Master {
    fn locate(&self, _: &Context<'_>, volume: u32) -> Result<Arc<[Location]>, LocateError> {
        if let Some(places) = self.known.lock().unwrap().get(&volume) {
            return Ok(places.clone());
        }
        let places = self.ask(volume)?;
        self.known.lock().unwrap().insert(volume, places.clone());
        Ok(places)
    }

    fn forget(&self, volume: u32) {
        self.known.lock().unwrap().remove(&volume);
    }
}
