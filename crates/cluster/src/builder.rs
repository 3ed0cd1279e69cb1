//! What kind of cluster is wanted, and its start.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::running::{Cluster, Parts};
use crate::scratch::Scratch;
use crate::security::Protection;
use crate::{Certificates, Http, PortPair, Process, Spec, free_port_pair, weed};

/// The wanted shape of a [`Cluster`]: one volume server, one filer, nothing
/// replicated, encrypted or protected unless asked for.
#[derive(Debug, Clone)]
pub struct Builder {
    volume_servers: usize,
    filers: usize,
    replication: String,
    encrypted: bool,
    protection: Protection,
    volume_size_limit_mb: u32,
    max_volumes: u32,
    filer_args: Vec<String>,
    volume_args: Vec<String>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            volume_servers: 1,
            filers: 1,
            replication: "000".to_owned(),
            encrypted: false,
            protection: Protection::default(),
            volume_size_limit_mb: 1024,
            max_volumes: 64,
            filer_args: Vec::new(),
            volume_args: Vec::new(),
        }
    }

    /// Number of volume servers.
    #[must_use]
    pub fn volume_servers(mut self, count: usize) -> Self {
        self.volume_servers = count;
        self
    }

    /// Number of filers. Each has its own store; they follow each other's changes.
    #[must_use]
    pub fn filers(mut self, count: usize) -> Self {
        self.filers = count;
        self
    }

    /// The default replica placement, such as `001`. Volume servers all stand in one rack.
    #[must_use]
    pub fn replication(mut self, placement: &str) -> Self {
        placement.clone_into(&mut self.replication);
        self
    }

    /// Whether filers encrypt the chunks they write, and tell clients to.
    #[must_use]
    pub fn encrypted(mut self, yes: bool) -> Self {
        self.encrypted = yes;
        self
    }

    /// Whether volume servers ask for signed tokens ([`crate::READ_KEY`], [`crate::WRITE_KEY`]).
    #[must_use]
    pub fn jwt(mut self, yes: bool) -> Self {
        self.protection.jwt = yes;
        self
    }

    /// Whether gRPC is mutual TLS and HTTP is HTTPS that asks for client certificates.
    #[must_use]
    pub fn tls(mut self, yes: bool) -> Self {
        self.protection.tls = yes;
        self
    }

    /// Size at which the master stops filling a volume.
    #[must_use]
    pub fn volume_size_limit_mb(mut self, megabytes: u32) -> Self {
        self.volume_size_limit_mb = megabytes;
        self
    }

    /// Files are split into chunks of this size by the filer's HTTP upload.
    #[must_use]
    pub fn max_mb(self, megabytes: u32) -> Self {
        self.filer_arg(&format!("-maxMB={megabytes}"))
    }

    /// Smaller uploads are kept inside the entry, without any chunk.
    #[must_use]
    pub fn save_to_filer_limit(self, bytes: u64) -> Self {
        self.filer_arg(&format!("-saveToFilerLimit={bytes}"))
    }

    /// One more argument for each `weed filer`.
    #[must_use]
    pub fn filer_arg(mut self, argument: &str) -> Self {
        self.filer_args.push(argument.to_owned());
        self
    }

    /// One more argument for each `weed volume`.
    #[must_use]
    pub fn volume_arg(mut self, argument: &str) -> Self {
        self.volume_args.push(argument.to_owned());
        self
    }

    /// Starts it and waits until a file written through each filer reads back.
    ///
    /// # Errors
    /// When there is no `weed`, or a server does not come up; its log is part of the text.
    pub fn start(self) -> Result<Cluster> {
        let weed = weed()?;
        let root = Scratch::new()?;
        let home = root.path().join("home");
        fs::create_dir(&home)?;
        let certificates = self.write_security(&home)?;
        let place = Place {
            weed,
            home,
            root: root.path().to_owned(),
        };

        let master_ports = free_port_pair()?;
        let master = place.process("master", &master_ports, &self.master_args())?;
        let http = Http::new(certificates.as_ref())?;
        let mut cluster = Cluster::from(Parts {
            home: place.home.clone(),
            weed: place.weed.clone(),
            root,
            certificates,
            http,
            master: (master, master_ports),
        });
        cluster.wait_for_master()?;
        for i in 0..self.volume_servers {
            let (name, ports) = (format!("volume{i}"), free_port_pair()?);
            let args = self.volume_args(cluster.master_ports());
            let process = place.process(&name, &ports, &args)?;
            cluster.volumes.push((process, ports));
        }
        cluster.wait_for_registration()?;
        for i in 0..self.filers {
            // One after the other: a filer copies the entries of those that are there, and
            // ends when one of them does not answer yet.
            let (name, ports) = (format!("filer{i}"), free_port_pair()?);
            let args = self.filer_args(&name, cluster.master_ports(), cluster.root());
            let process = place.process(&name, &ports, &args)?;
            cluster.add_filer(process, ports)?;
        }
        Ok(cluster)
    }

    fn write_security(&self, home: &Path) -> Result<Option<Certificates>> {
        let mut certificates = None;
        if self.protection.tls {
            let made = Certificates::generate().context("make certificates")?;
            made.write(home)?;
            certificates = Some(made);
        }
        if let Some(text) = self.protection.security_toml(home) {
            fs::write(home.join("security.toml"), text)?;
        }
        Ok(certificates)
    }

    fn master_args(&self) -> Vec<String> {
        vec![
            "master".to_owned(),
            // One master needs no election, so it leads at once.
            "-peers=none".to_owned(),
            "-telemetry=false".to_owned(),
            format!("-volumeSizeLimitMB={}", self.volume_size_limit_mb),
            format!("-defaultReplication={}", self.replication),
            "-mdir=data".to_owned(),
        ]
    }

    fn volume_args(&self, master: &PortPair) -> Vec<String> {
        let mut args = vec![
            "volume".to_owned(),
            "-dir=data".to_owned(),
            format!("-master=127.0.0.1:{}", master.http()),
            format!("-max={}", self.max_volumes),
            // A nearly full disk must not make the volumes read-only.
            "-minFreeSpace=1".to_owned(),
            "-preStopSeconds=0".to_owned(),
        ];
        args.extend(self.volume_args.iter().cloned());
        args
    }

    fn filer_args(&self, name: &str, master: &PortPair, root: &Path) -> Vec<String> {
        let socket = root.join(format!("{name}.sock"));
        let mut args = vec![
            "filer".to_owned(),
            "-defaultStoreDir=data".to_owned(),
            format!("-master=127.0.0.1:{}", master.http()),
            format!("-localSocket={}", socket.display()),
            format!("-encryptVolumeData={}", self.encrypted),
        ];
        args.extend(self.filer_args.iter().cloned());
        args
    }
}

/// Where the processes of one cluster live.
struct Place {
    weed: PathBuf,
    home: PathBuf,
    root: PathBuf,
}

impl Place {
    fn process(&self, name: &str, ports: &PortPair, args: &[String]) -> Result<Process> {
        let data = self.root.join(name);
        fs::create_dir(&data)?;
        let resolve = |arg: &String| OsString::from(resolve_data(arg, &data));
        let mut all = vec![OsString::from("-logtostderr=true")];
        all.extend(args.iter().map(resolve));
        all.extend(["-ip=127.0.0.1", "-ip.bind=127.0.0.1"].map(OsString::from));
        all.push(format!("-port={}", ports.http()).into());
        Process::start(Spec {
            name: name.to_owned(),
            program: self.weed.clone(),
            args: all,
            home: self.home.clone(),
            log: self.root.join(format!("{name}.log")),
            env: Vec::new(),
        })
    }
}

/// `-dir=data` names the process's own folder.
fn resolve_data(argument: &str, data: &Path) -> String {
    match argument.strip_suffix("=data") {
        Some(flag) => format!("{flag}={}", data.display()),
        None => argument.to_owned(),
    }
}
