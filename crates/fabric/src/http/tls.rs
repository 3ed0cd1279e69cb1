//! HTTPS as `security.toml` describes it.
//!
//! Like weed's own client: the server's certificate must be valid for the name it is reached
//! by and lead to the given authority, or to the system's where none is given; a client
//! certificate is shown when there is one.

mod gullible;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use seaweed::security::{HttpsClient, TlsVersion, TlsVersions};

use gullible::Gullible;

/// Turns `https.client` into a configuration for [`HttpConfig`](super::HttpConfig). Reads the
/// files it names.
///
/// # Errors
/// [`TlsError`], which names the file.
pub fn client_config(settings: &HttpsClient) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions(settings.versions))
        .map_err(TlsError::Library)?;
    let builder = match settings.insecure_skip_verify {
        true => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Gullible::new(provider))),
        false => builder.with_root_certificates(authorities(settings.ca.as_deref())?),
    };
    let config = match &settings.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let private = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::File {
                path: key.clone(),
                source,
            })?;
            let checked = builder.with_client_auth_cert(chain, private);
            checked.map_err(|source| TlsError::Rejected {
                path: certificate.clone(),
                source,
            })?
        }
    };
    Ok(Arc::new(config))
}

fn authorities(given: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = given else {
        let path = SYSTEM_AUTHORITIES
            .iter()
            .map(Path::new)
            .find(|p| p.exists());
        // A system's bundle may hold relics that rustls does not take.
        roots.add_parsable_certificates(certificates(path.ok_or(TlsError::NoAuthorities)?)?);
        return Ok(roots);
    };
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|source| TlsError::Rejected {
                path: path.to_owned(),
                source,
            })?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let file = |source| TlsError::File {
        path: path.to_owned(),
        source,
    };
    let all = CertificateDer::pem_file_iter(path).map_err(file)?;
    let all = all.collect::<Result<Vec<_>, _>>().map_err(file)?;
    if all.is_empty() {
        return Err(file(pem::Error::NoItemsFound));
    }
    Ok(all)
}

fn versions(limits: TlsVersions) -> Vec<&'static SupportedProtocolVersion> {
    let within = |version| {
        limits.min.is_none_or(|min| min <= version) && limits.max.is_none_or(|max| version <= max)
    };
    [(TlsVersion::Tls12, &TLS12), (TlsVersion::Tls13, &TLS13)]
        .into_iter()
        .filter_map(|(version, supported)| within(version).then_some(supported))
        .collect()
}

/// Why HTTPS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or is not PEM.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// A certificate or key is of no use.
    #[error("{}: {source}", path.display())]
    Rejected {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// No authority is configured, and the system has none either.
    #[error("https.client.ca is not set and no system certificate bundle was found")]
    NoAuthorities,
    /// The TLS library cannot be set up, such as without a version left to speak.
    #[error("TLS: {0}")]
    Library(rustls::Error),
}

/// Where distributions keep their authorities: Debian, Fedora, Alpine and SUSE, in this order.
const SYSTEM_AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];
