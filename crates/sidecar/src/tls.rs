//! HTTPS as the volume server serves it: section `https.volume` of security.toml.
//!
//! Its certificate and key are shown; where `ca` is set, clients have to show one as well that
//! leads to that authority.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use seaweed::security::{HttpsServer, TlsVersion, TlsVersions};

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ServerTlsError {
    /// A file cannot be read.
    #[error("https.volume: {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// The authority is of no use.
    #[error("https.volume.ca: {}: {reason}", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The library does not take it, such as a key that does not fit the certificate.
    #[error("https.volume: {0}")]
    Library(#[from] rustls::Error),
}

/// Reads the files.
///
/// # Errors
/// [`ServerTlsError`], which names the file.
pub fn server_config(settings: &HttpsServer) -> Result<Arc<ServerConfig>, ServerTlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(settings.versions))?;
    let builder = match &settings.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let authority = |reason: String| ServerTlsError::Authority {
                path: path.clone(),
                reason,
            };
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                let added = roots.add(certificate);
                added.map_err(|error| authority(error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
                .build()
                .map_err(|error| authority(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let file = |source| ServerTlsError::File {
        path: settings.key.clone(),
        source,
    };
    let key = PrivateKeyDer::from_pem_file(&settings.key).map_err(file)?;
    let config = builder.with_single_cert(certificates(&settings.certificate)?, key)?;
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ServerTlsError> {
    let file = |source| ServerTlsError::File {
        path: path.to_owned(),
        source,
    };
    let all = CertificateDer::pem_file_iter(path).map_err(file)?;
    let all = all.collect::<Result<Vec<_>, _>>().map_err(file)?;
    match all.is_empty() {
        true => Err(file(pem::Error::NoItemsFound)),
        false => Ok(all),
    }
}

fn versions(limits: TlsVersions) -> Vec<&'static SupportedProtocolVersion> {
    let all = [(TlsVersion::Tls12, &TLS12), (TlsVersion::Tls13, &TLS13)];
    let within = |version| {
        limits.min.is_none_or(|min| version >= min) && limits.max.is_none_or(|max| version <= max)
    };
    let kept = all.into_iter().filter(|(version, _)| within(*version));
    kept.map(|(_, spoken)| spoken).collect()
}
