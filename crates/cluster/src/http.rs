//! The HTTP requests that tests make to servers: small, blocking, with TLS where asked.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use crate::Certificates;

/// A blocking HTTP client for plain or TLS servers.
#[derive(Debug, Clone)]
pub struct Http {
    agent: ureq::Agent,
    scheme: &'static str,
}

/// What a server answered.
#[derive(Debug, Clone)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Header names (lower case) and values.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Http {
    /// A client for `http://` servers, or `https://` ones that know these certificates.
    ///
    /// # Errors
    /// When the certificates cannot be used.
    pub fn new(certificates: Option<&Certificates>) -> Result<Self> {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_idle_connections_per_host(MAX_IDLE)
            .timeout_global(Some(TIMEOUT));
        let (config, scheme) = match certificates {
            None => (config, "http"),
            Some(certificates) => (config.tls_config(tls(certificates)?), "https"),
        };
        Ok(Self {
            agent: ureq::Agent::new_with_config(config.build()),
            scheme,
        })
    }

    /// Makes one request. `target` is `host:port/path?query`, encoded already;
    /// any status is a [`Response`].
    ///
    /// # Errors
    /// When the server cannot be reached or breaks the protocol.
    pub fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response> {
        let uri = format!("{}://{target}", self.scheme);
        let mut request = ureq::http::Request::builder().method(method).uri(&uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let sent = if body.is_empty() && !matches!(method, "PUT" | "POST") {
            self.agent.run(request.body(())?)
        } else {
            self.agent.run(request.body(body)?)
        };
        let mut response = sent.with_context(|| format!("{method} {uri}"))?;
        let headers = response.headers().iter().map(|(name, value)| {
            (
                name.as_str().to_owned(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        });
        let headers = headers.collect();
        let body = response
            .body_mut()
            .with_config()
            .limit(MAX_BODY)
            .read_to_vec();
        let body = body.with_context(|| format!("body of {method} {uri}"))?;
        Ok(Response {
            status: response.status().as_u16(),
            headers,
            body,
        })
    }
}

impl Response {
    /// The value of a header, by its lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// Itself when the status says success.
    ///
    /// # Errors
    /// When it does not; the text has the status and the start of the body.
    pub fn ok(self) -> Result<Self> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let start = &self.body[..self.body.len().min(300)];
        bail!(
            "HTTP status {}: {}",
            self.status,
            String::from_utf8_lossy(start)
        )
    }
}

/// `path` with everything escaped that may not stand in a URL's path; `/` stays.
pub(crate) fn encode_path(path: &str) -> String {
    use std::fmt::Write;
    let mut encoded = String::with_capacity(path.len());
    for &byte in path.as_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => encoded.push(char::from(byte)),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

fn tls(certificates: &Certificates) -> Result<TlsConfig> {
    let ca = Certificate::from_pem(certificates.ca.as_bytes())?;
    let client = Certificate::from_pem(certificates.client.certificate.as_bytes())?;
    let key = PrivateKey::from_pem(certificates.client.key.as_bytes())?;
    Ok(TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .root_certs(RootCerts::new_with_certs(&[ca]))
        .client_cert(Some(ClientCert::new_with_certs(&[client], key)))
        .build())
}

/// Long enough for a restarting server on a busy machine, short enough for a test to end.
const TIMEOUT: Duration = Duration::from_secs(60);
const MAX_IDLE: usize = 16;
/// No test moves more in one body.
const MAX_BODY: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_keeps_its_slashes_and_nothing_else_that_is_special() {
        assert_eq!(encode_path("/a b/ü?#%.txt"), "/a%20b/%C3%BC%3F%23%25.txt");
    }
}
