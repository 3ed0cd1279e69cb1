//! Vacuums, one after the other, by the calls of volume_server.proto that a master makes. A master pauses for seconds
//! between two volumes: in the time of a test it vacuums three.

use prost::Message;
use seaweed::ServerAddress;
use tokio::runtime::{Builder, Runtime};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

/// A connection to a volume server.
pub(super) struct Vacuum {
    runtime: Runtime,
    grpc: Grpc<Channel>,
}

#[derive(Clone, PartialEq, Message)]
struct OfVolume {
    #[prost(uint32, tag = "1")]
    id: u32,
}

/// What is answered is of no interest.
#[derive(Clone, PartialEq, Message)]
struct Progress {}

impl Vacuum {
    pub(super) fn connect(server: &str) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let server: ServerAddress = server.parse().unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{}", server.grpc())).unwrap();
        let channel = runtime.block_on(endpoint.connect()).unwrap();
        let grpc = Grpc::new(channel);
        Self { runtime, grpc }
    }

    /// Writes what is left of a volume to new files, and has them take the place of the old ones.
    pub(super) fn run(&mut self, id: u32) -> Result<(), Status> {
        let Self { runtime, grpc } = self;
        runtime.block_on(async {
            for step in ["Compact", "Commit", "Cleanup"] {
                let path = format!("/volume_server_pb.VolumeServer/VacuumVolume{step}");
                let path = PathAndQuery::try_from(path).unwrap();
                let codec = ProstCodec::<OfVolume, Progress>::default();
                grpc.ready().await.unwrap();
                // A call with one answer is a stream of one.
                let request = Request::new(OfVolume { id });
                let mut answers = grpc
                    .server_streaming(request, path, codec)
                    .await?
                    .into_inner();
                while answers.message().await?.is_some() {}
            }
            Ok(())
        })
    }
}
