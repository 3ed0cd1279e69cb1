//! Mutual TLS as SeaweedFS does it.
//!
//! A cluster has one private authority. Server and client present
//! certificates signed by it, and neither looks at host names: the operator's
//! certificates carry a component's name, seldom an address. So the chain and
//! the validity are verified here as everywhere, and only the name is not.
//! The verifier below is the webpki one of rustls minus its last step; the
//! handshake signature, which proves possession of the key, is checked too.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore,
    SignatureScheme, SupportedProtocolVersion,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use seaweed::security::{GrpcTls, TlsVersion, TlsVersions};

/// Why the TLS settings cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TlsError {
    /// A PEM file could not be read, or holds nothing of the expected kind.
    #[error("TLS: {path}: {reason}; expected a PEM file with {expected}")]
    File {
        /// The file.
        path: PathBuf,
        /// What it should contain.
        expected: &'static str,
        /// What went wrong.
        reason: String,
    },
    /// The files do not fit together, or the versions leave nothing to speak.
    #[error("TLS: {0}")]
    Unusable(String),
}

/// Reads the files and builds the settings of every connection.
pub(crate) fn load(tls: &GrpcTls) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&tls.ca, "the authority's certificate")? {
        roots
            .add(certificate)
            .map_err(|e| file(&tls.ca, "the authority's certificate", &e))?;
    }
    let chain = certificates(&tls.certificate, "the client's certificate")?;
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .map_err(|e| file(&tls.key, "the client's private key", &e))?;

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = ChainVerifier {
        roots,
        algorithms: provider.signature_verification_algorithms,
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&spoken(tls.versions)?)
        .map_err(|e| TlsError::Unusable(e.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(chain, key)
        .map_err(|e| {
            let (certificate, key) = (tls.certificate.display(), tls.key.display());
            TlsError::Unusable(format!("{certificate} and {key}: {e}"))
        })?;
    // Go's gRPC server refuses connections that do not ask for HTTP/2.
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn spoken(wanted: TlsVersions) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
    let oldest = wanted.min.unwrap_or(TlsVersion::Tls12);
    let newest = wanted.max.unwrap_or(TlsVersion::Tls13);
    if oldest > newest {
        let text = format!("min_version {oldest} is newer than max_version {newest}");
        return Err(TlsError::Unusable(text));
    }
    let known = [
        (TlsVersion::Tls12, &rustls::version::TLS12),
        (TlsVersion::Tls13, &rustls::version::TLS13),
    ];
    let within = known
        .into_iter()
        .filter(|(v, _)| (oldest..=newest).contains(v));
    Ok(within.map(|(_, version)| version).collect())
}

/// Verifies that a certificate descends from our authority, whatever its name.
#[derive(Debug)]
struct ChainVerifier {
    roots: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for ChainVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// What an operator can do about a refused handshake.
pub(crate) fn hint(error: &rustls::Error) -> Option<&'static str> {
    match error {
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => Some("the filer's certificate was not signed by grpc.ca"),
        rustls::Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::UnsupportedCertificate,
        ) => Some("the filer refused our grpc.client certificate"),
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            Some("the filer speaks none of the versions that tls.* allows")
        }
        rustls::Error::InvalidMessage(_) => Some("the filer does not speak TLS on this port"),
        _ => None,
    }
}

fn certificates(
    path: &Path,
    expected: &'static str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    let found = read().map_err(|e| file(path, expected, &e))?;
    if found.is_empty() {
        return Err(file(path, expected, &"no certificate found"));
    }
    Ok(found)
}

fn file(path: &Path, expected: &'static str, reason: &dyn std::fmt::Display) -> TlsError {
    TlsError::File {
        path: path.to_owned(),
        expected,
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_named() {
        let tls = GrpcTls {
            ca: "/nonexistent/ca.crt".into(),
            certificate: "/nonexistent/client.crt".into(),
            key: "/nonexistent/client.key".into(),
            versions: TlsVersions::default(),
        };
        let text = load(&tls).expect_err("no such file").to_string();
        assert!(text.contains("/nonexistent/ca.crt"), "{text}");
    }

    #[test]
    fn versions_are_a_range_that_must_not_be_empty() {
        let (min, max) = (Some(TlsVersion::Tls13), Some(TlsVersion::Tls12));
        let count = |min, max| spoken(TlsVersions { min, max }).map(|v| v.len()).ok();
        assert_eq!(count(None, None), Some(2));
        assert_eq!(count(min, None), Some(1));
        assert_eq!(count(None, max), Some(1));
        assert_eq!(count(min, max), None);
    }

    #[test]
    fn the_authority_matters_and_the_name_does_not() {
        let authority = cluster::Certificates::generate().unwrap();
        let server = CertificateDer::from_pem_slice(authority.server.certificate.as_bytes());
        let server = server.unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let verify = |ca: &str| {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap())
                .unwrap();
            let algorithms = provider.signature_verification_algorithms;
            let name = ServerName::try_from("somebody.else.example").unwrap();
            ChainVerifier { roots, algorithms }
                .verify_server_cert(&server, &[], &name, &[], UnixTime::now())
                .map(|_| ())
        };
        assert_eq!(verify(&authority.ca), Ok(()));
        let other = cluster::Certificates::generate().unwrap();
        let refusal = verify(&other.ca).unwrap_err();
        assert!(hint(&refusal).is_some(), "{refusal}");
    }
}
