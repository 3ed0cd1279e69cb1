//! What a filer says about its cluster.

use seaweed::ServerAddress;
use seaweed::pb;

/// The answer to GetFilerConfiguration, as far as a client uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// Who said it.
    pub filer: ServerAddress,
    /// Identity of that filer's store; it outlives a restart.
    pub signature: i32,
    /// Clients must encrypt what they write.
    pub cipher: bool,
    /// Identity of the cluster.
    pub cluster_id: String,
    /// Folder of the buckets, `/buckets` by default.
    pub dir_buckets: String,
    /// Version text, such as `8000GB 4.48`.
    pub version: String,
    /// Version as numbers; both zero when the filer is too old to say.
    pub version_number: (i32, i32),
    /// Default collection.
    pub collection: String,
    /// Default replication.
    pub replication: String,
    /// Chunk size of the filer's own uploads in MiB.
    pub max_mb: u32,
    /// The masters as the filer knows them.
    pub masters: Vec<String>,
    /// Group of filers that share metadata.
    pub filer_group: String,
}

impl Configuration {
    /// What is known before a filer has answered.
    pub(crate) fn unknown(filer: ServerAddress) -> Self {
        Self::new(filer, pb::GetFilerConfigurationResponse::default())
    }

    pub(crate) fn new(filer: ServerAddress, answer: pb::GetFilerConfigurationResponse) -> Self {
        Self {
            filer,
            signature: answer.signature,
            cipher: answer.cipher,
            cluster_id: answer.cluster_id,
            dir_buckets: answer.dir_buckets,
            version: answer.version,
            version_number: (answer.major_version, answer.minor_version),
            collection: answer.collection,
            replication: answer.replication,
            max_mb: answer.max_mb,
            masters: answer.masters,
            filer_group: answer.filer_group,
        }
    }
}
