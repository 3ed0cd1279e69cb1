//! Requests to volume servers and to other sidecars: plain or with the cluster's TLS.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use seaweed::security::HttpsClient;
use tokio::time::timeout;

/// Time to establish a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a connection that nobody uses is kept.
const IDLE: Duration = Duration::from_secs(30);

/// Makes requests. Clones share connections.
#[derive(Debug, Clone)]
pub struct Client {
    pool: Pool<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    scheme: &'static str,
}

impl Client {
    /// For `https://` servers when there are settings for it, else for `http://` ones.
    ///
    /// # Errors
    /// When the certificates cannot be used.
    pub fn new(settings: Option<&HttpsClient>) -> anyhow::Result<Self> {
        let (tls, scheme) = match settings {
            Some(settings) => {
                let config = fabric::http::client_config(settings);
                (config.context("https.client in security.toml")?, "https")
            }
            // Never used, but the connector wants one.
            None => (Arc::new(trusting_nobody()?), "http"),
        };
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(ClientConfig::clone(&tls))
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let pool = Pool::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self { pool, scheme })
    }

    /// Asks `host:port` for a path with a query; the answer's head has to come within `limit`.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(
        &self,
        method: Method,
        server: &str,
        path: &str,
        headers: &[(&'static str, &str)],
        limit: Duration,
    ) -> anyhow::Result<Response<Incoming>> {
        let uri: Uri = format!("{}://{server}{path}", self.scheme).parse()?;
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::new())?;
        match timeout(limit, self.pool.request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(error).with_context(|| format!("asking {server}")),
            Err(_) => bail!("{server} did not answer within {limit:?}"),
        }
    }

    /// Gets a document of at most `max` bytes within `limit`.
    ///
    /// # Errors
    /// When there is none, or it is longer.
    pub async fn document(
        &self,
        server: &str,
        path: &str,
        max: usize,
        limit: Duration,
    ) -> anyhow::Result<Bytes> {
        let answer = self.send(Method::GET, server, path, &[], limit).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), max).collect();
        let body = timeout(limit, body)
            .await
            .with_context(|| format!("{server}{path} did not come within {limit:?}"))?
            .map_err(|error| anyhow::anyhow!("{server}{path}: {error}"))?;
        if !status.is_success() {
            bail!("{server}{path}: HTTP status {status}");
        }
        Ok(body.to_bytes())
    }
}

fn trusting_nobody() -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}
