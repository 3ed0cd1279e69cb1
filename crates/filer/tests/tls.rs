//! Filers that demand mutual TLS.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::time::Duration;

use cluster::{Certificates, Cluster};
use common::entries::{create, file};
use common::{config, event, subscribe};
use filer::{Filer, FilerError};
use seaweed::security::{GrpcTls, TlsVersion, TlsVersions};

fn tls(folder: &Path) -> GrpcTls {
    GrpcTls {
        ca: folder.join("ca.crt"),
        certificate: folder.join("client.crt"),
        key: folder.join("client.key"),
        versions: TlsVersions::default(),
    }
}

async fn connect(cluster: &Cluster, tls: Option<GrpcTls>) -> Result<Filer, FilerError> {
    let mut config = config(&[cluster.filer_http()]);
    config.tls = tls;
    config.retry = Duration::from_millis(300);
    Filer::connect(config).await
}

async fn refusal(cluster: &Cluster, tls: Option<GrpcTls>) -> String {
    let text = connect(cluster, tls).await.unwrap_err().to_string();
    println!("{text}");
    assert!(text.contains(&cluster.filer_http()), "{text}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_the_cluster_is_accepted_and_any_other_refused_with_a_reason() {
    let cluster = Cluster::builder().tls(true).start().unwrap();
    let good = tls(cluster.home());

    // The server's certificate names 127.0.0.1 and localhost, never mind.
    let filer = connect(&cluster, Some(good.clone())).await.unwrap();
    let mut notices = subscribe(&filer).await;
    create(&filer.client(), "/a", file("f", "1")).await;
    event(&mut notices, "f").await;

    for only in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let mut limited = good.clone();
        limited.versions = TlsVersions {
            min: Some(only),
            max: Some(only),
        };
        connect(&cluster, Some(limited)).await.unwrap();
    }

    let folder = tempfile::tempdir().unwrap();
    Certificates::generate()
        .unwrap()
        .write(folder.path())
        .unwrap();
    let foreign = tls(folder.path());

    let text = refusal(&cluster, Some(foreign.clone())).await;
    assert!(text.contains("was not signed by grpc.ca"), "{text}");
    let unknown = GrpcTls {
        ca: good.ca.clone(),
        ..foreign
    };
    let text = refusal(&cluster, Some(unknown)).await;
    assert!(
        text.contains("refused our grpc.client certificate"),
        "{text}"
    );
    let text = refusal(&cluster, None).await;
    assert!(text.contains("TLS"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_to_a_filer_without_it_says_so() {
    let cluster = common::start(1);
    let folder = tempfile::tempdir().unwrap();
    Certificates::generate()
        .unwrap()
        .write(folder.path())
        .unwrap();
    let text = refusal(&cluster, Some(tls(folder.path()))).await;
    assert!(text.contains("does not speak TLS"), "{text}");
}
