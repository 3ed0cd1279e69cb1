//! A certificate authority for one test, and certificates of servers and clients by it.

use std::fs;
use std::path::Path;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// PEM texts: one authority, one server and one client signed by it.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// Certificate of the authority.
    pub ca: String,
    /// For servers on 127.0.0.1 and localhost.
    pub server: Identity,
    /// For clients.
    pub client: Identity,
}

/// A certificate and its private key, both PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl Certificates {
    /// Makes new ones.
    ///
    /// # Errors
    /// When the cryptography library fails.
    pub fn generate() -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "throw-away authority");
        let ca = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        Ok(Self {
            ca,
            server: identity("throw-away server", &issuer)?,
            client: identity("throw-away client", &issuer)?,
        })
    }

    /// Writes `ca.crt`, `server.crt`, `server.key`, `client.crt` and `client.key` into `dir`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        fs::write(dir.join("ca.crt"), &self.ca)?;
        for (name, identity) in [("server", &self.server), ("client", &self.client)] {
            fs::write(dir.join(format!("{name}.crt")), &identity.certificate)?;
            fs::write(dir.join(format!("{name}.key")), &identity.key)?;
        }
        Ok(())
    }
}

fn identity(name: &str, issuer: &Issuer<'_, KeyPair>) -> Result<Identity> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, name);
    let certificate = params.signed_by(&key, issuer)?.pem();
    Ok(Identity {
        certificate,
        key: key.serialize_pem(),
    })
}
