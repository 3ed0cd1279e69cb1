//! Changes made behind the client's back, with the raw client.

use filer::{Filer, RawClient};
use seaweed::pb;

pub fn file(name: &str, content: &str) -> pb::Entry {
    pb::Entry {
        name: name.to_owned(),
        content: content.to_owned().into(),
        attributes: Some(pb::FuseAttributes {
            file_size: content.len() as u64,
            mtime: 1_700_000_000,
            file_mode: 0o644,
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub async fn create(client: &RawClient, directory: &str, entry: pb::Entry) {
    let request = pb::CreateEntryRequest {
        directory: directory.to_owned(),
        entry: Some(entry),
        ..Default::default()
    };
    let answer = client
        .clone()
        .create_entry(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.error, "");
}

pub async fn update(client: &RawClient, directory: &str, entry: pb::Entry) {
    let request = pb::UpdateEntryRequest {
        directory: directory.to_owned(),
        entry: Some(entry),
        ..Default::default()
    };
    client.clone().update_entry(request).await.unwrap();
}

pub async fn delete(client: &RawClient, directory: &str, name: &str) {
    let request = pb::DeleteEntryRequest {
        directory: directory.to_owned(),
        name: name.to_owned(),
        ..Default::default()
    };
    let answer = client
        .clone()
        .delete_entry(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.error, "");
}

pub async fn rename(client: &RawClient, from: (&str, &str), to: (&str, &str)) {
    let request = pb::AtomicRenameEntryRequest {
        old_directory: from.0.to_owned(),
        old_name: from.1.to_owned(),
        new_directory: to.0.to_owned(),
        new_name: to.1.to_owned(),
        ..Default::default()
    };
    client.clone().atomic_rename_entry(request).await.unwrap();
}

/// Many entries, some requests in flight at a time.
pub async fn create_many(filer: &Filer, directory: &str, names: impl Iterator<Item = String>) {
    use futures::stream::{StreamExt as _, iter};
    let client = filer.client();
    iter(names)
        .for_each_concurrent(32, |name| {
            let client = client.clone();
            async move { create(&client, directory, file(&name, "x")).await }
        })
        .await;
}
