//! From the flags to shelves: the folders that are named, or those the volume servers tell of.
//!
//! A volume server may start after the sidecar, and may come back with other folders. So each is
//! asked until it answers, and now and then after that. What keeps a server's
//! needles from being served is shown in `/health` all the time, and logged once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use seaweed::ServerAddress;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::client::Client;
use crate::servers::Status;
use crate::shelves::{Shelves, Stock};
use crate::view::{ServerReport, View};

/// How often a server that does not answer is asked.
const RETRY: Duration = Duration::from_secs(2);
/// How often one that answered is asked whether its folders are still the same.
const RECHECK: Duration = Duration::from_secs(60);

/// Opens the shelf of data folders and, where it is another one, the folder of index files.
pub type OpenShelf<S> = Arc<dyn Fn(&[PathBuf], Option<&Path>) -> anyhow::Result<S> + Send + Sync>;

/// Puts up shelves.
pub struct Discovery<S> {
    /// Where they are put.
    pub shelves: Arc<Shelves<S>>,
    /// How they are opened.
    pub open: OpenShelf<S>,
    /// The folder of index files.
    pub idx_dir: Option<PathBuf>,
    /// For asking volume servers.
    pub client: Client,
    /// Who is told.
    pub view: Arc<View>,
}

impl<S> Clone for Discovery<S> {
    fn clone(&self) -> Self {
        Self {
            shelves: Arc::clone(&self.shelves),
            open: Arc::clone(&self.open),
            idx_dir: self.idx_dir.clone(),
            client: self.client.clone(),
            view: Arc::clone(&self.view),
        }
    }
}

impl<S: Stock> Discovery<S> {
    /// Puts up the shelf of folders that are known.
    ///
    /// # Errors
    /// When they cannot be used.
    pub async fn put_up(&self, name: &str, dirs: Vec<PathBuf>) -> anyhow::Result<()> {
        let (open, idx_dir, paths) = (Arc::clone(&self.open), self.idx_dir.clone(), dirs.clone());
        let opened = spawn_blocking(move || open(&paths, idx_dir.as_deref())).await;
        let shelf = opened.context("opening the data folders")??;
        self.shelves.put(name, &Arc::new(shelf));
        let dirs: Vec<_> = dirs.iter().map(|dir| dir.display().to_string()).collect();
        tracing::info!(server = name, dirs = dirs.join(","), "serving needles");
        self.view.report_server(ServerReport {
            name: name.to_owned(),
            dirs,
            problem: None,
        });
        Ok(())
    }

    /// Follows a volume server for ever.
    pub async fn follow(self, server: ServerAddress) {
        let name = server.http();
        let mut known: Vec<PathBuf> = Vec::new();
        let mut told = None;
        loop {
            match self.look(&server, &known).await {
                Ok(Some(dirs)) => known = dirs,
                Ok(None) => {}
                // What was served before is served on: the files are there, and a server that is
                // down writes nothing.
                Err(_) if !known.is_empty() => {}
                Err(error) => {
                    let text = format!("{error:#}");
                    self.view.report_server(ServerReport {
                        name: name.clone(),
                        dirs: Vec::new(),
                        problem: Some(text.clone()),
                    });
                    if told.as_ref() != Some(&text) {
                        tracing::warn!(server = name, reason = text, "needles are not served yet");
                        told = Some(text);
                    }
                }
            }
            sleep(if known.is_empty() { RETRY } else { RECHECK }).await;
        }
    }

    async fn look(
        &self,
        server: &ServerAddress,
        known: &[PathBuf],
    ) -> anyhow::Result<Option<Vec<PathBuf>>> {
        let status = Status::ask(&self.client, server).await?;
        let dirs = spawn_blocking(move || status.folders()).await??;
        if dirs == known {
            return Ok(None);
        }
        self.put_up(&server.http(), dirs.clone()).await?;
        Ok(Some(dirs))
    }
}
