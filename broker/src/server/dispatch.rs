//! Which APIs are served at which versions, and the way from a frame to its handler.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use ottla_protocol::frame::RequestHeader;
use ottla_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use ottla_protocol::wire::{DecodeError, EncodeError, Message, Reader, Request};
use ottla_protocol::{ApiKey, ErrorCode};
use thiserror::Error;

use super::access::{Access, denied};
use super::context::Context;
use super::forwarding::{self, Arrived};
use super::handlers;
use super::meter::Meter;
use super::peer::{Peer, Unwelcome};
use super::reply::Reply;
use crate::log::FileRange;
use crate::metrics::Waits;
use crate::security::{Operation, ResourceType};

/// An API that is served, with the versions that ApiVersions advertises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Which.
    pub key: ApiKey,
    /// First and last version.
    pub versions: (i16, i16),
}

const fn serve(key: ApiKey, first: i16, last: i16) -> Served {
    Served { key, versions: (first, last) }
}

/// Everything that is served. Produce is advertised from 0 although 0 to 2 are refused: librdkafka before 2.11 turns
/// compression off where version 0 is missing (KAFKA-18659).
pub const SERVED: &[Served] = &[
    serve(ApiKey::Produce, 0, 13),
    serve(ApiKey::Fetch, 4, 18),
    serve(ApiKey::ListOffsets, 1, 11),
    serve(ApiKey::Metadata, 0, 13),
    serve(ApiKey::OffsetCommit, 2, 10),
    serve(ApiKey::OffsetFetch, 1, 10),
    serve(ApiKey::FindCoordinator, 0, 6),
    serve(ApiKey::JoinGroup, 0, 9),
    serve(ApiKey::Heartbeat, 0, 4),
    serve(ApiKey::LeaveGroup, 0, 5),
    serve(ApiKey::SyncGroup, 0, 5),
    serve(ApiKey::DescribeGroups, 0, 6),
    serve(ApiKey::ListGroups, 0, 5),
    serve(ApiKey::SaslHandshake, 0, 1),
    serve(ApiKey::ApiVersions, 0, 4),
    serve(ApiKey::CreateTopics, 2, 7),
    serve(ApiKey::DeleteTopics, 1, 6),
    serve(ApiKey::DeleteRecords, 0, 2),
    serve(ApiKey::InitProducerId, 0, 5),
    serve(ApiKey::OffsetForLeaderEpoch, 2, 4),
    serve(ApiKey::AddPartitionsToTxn, 0, 5),
    serve(ApiKey::AddOffsetsToTxn, 0, 4),
    serve(ApiKey::EndTxn, 0, 5),
    serve(ApiKey::WriteTxnMarkers, 1, 1),
    serve(ApiKey::TxnOffsetCommit, 0, 5),
    serve(ApiKey::DescribeAcls, 1, 3),
    serve(ApiKey::CreateAcls, 1, 3),
    serve(ApiKey::DeleteAcls, 1, 3),
    serve(ApiKey::DescribeConfigs, 1, 4),
    serve(ApiKey::AlterConfigs, 0, 2),
    serve(ApiKey::AlterReplicaLogDirs, 1, 2),
    serve(ApiKey::DescribeLogDirs, 1, 4),
    serve(ApiKey::SaslAuthenticate, 0, 2),
    serve(ApiKey::CreatePartitions, 0, 3),
    serve(ApiKey::DeleteGroups, 0, 2),
    serve(ApiKey::ElectLeaders, 0, 2),
    serve(ApiKey::IncrementalAlterConfigs, 0, 1),
    serve(ApiKey::AlterPartitionReassignments, 0, 1),
    serve(ApiKey::ListPartitionReassignments, 0, 0),
    serve(ApiKey::OffsetDelete, 0, 0),
    serve(ApiKey::DescribeClientQuotas, 0, 1),
    serve(ApiKey::AlterClientQuotas, 0, 1),
    serve(ApiKey::DescribeUserScramCredentials, 0, 0),
    serve(ApiKey::AlterUserScramCredentials, 0, 0),
    serve(ApiKey::DescribeQuorum, 0, 2),
    serve(ApiKey::UpdateFeatures, 0, 2),
    serve(ApiKey::DescribeCluster, 0, 2),
    serve(ApiKey::DescribeProducers, 0, 0),
    serve(ApiKey::UnregisterBroker, 0, 0),
    serve(ApiKey::DescribeTransactions, 0, 0),
    serve(ApiKey::ListTransactions, 0, 2),
    serve(ApiKey::ConsumerGroupHeartbeat, 0, 1),
    serve(ApiKey::ConsumerGroupDescribe, 0, 1),
    serve(ApiKey::GetTelemetrySubscriptions, 0, 0),
    serve(ApiKey::PushTelemetry, 0, 0),
    serve(ApiKey::ListConfigResources, 0, 1),
    serve(ApiKey::DescribeTopicPartitions, 0, 0),
    serve(ApiKey::AddRaftVoter, 0, 0),
    serve(ApiKey::RemoveRaftVoter, 0, 0),
];

/// Why a connection must end: its next bytes cannot be trusted to be a request.
#[derive(Debug, Error)]
pub enum Violation {
    /// The header or the body is damaged.
    #[error("request cannot be read: {0}")]
    Decode(#[from] DecodeError),
    /// The API or its version is not served.
    #[error("{key:?} version {version} is not served")]
    NotServed {
        /// Which.
        key: ApiKey,
        /// At which version.
        version: i16,
    },
    /// Who sent it has not shown who they are.
    #[error("{0}")]
    Unwelcome(&'static str),
    /// The reply does not fit the version: a fault of ours.
    #[error("reply cannot be written: {0}")]
    Encode(#[from] EncodeError),
}

/// A reply in the making, or none for a request that wants no answer.
pub type ReplyFuture = BoxFuture<'static, Result<Option<Reply>, Violation>>;

/// A request that was taken in.
pub struct Started {
    /// Which API it calls.
    pub key: ApiKey,
    /// What the handler waits for besides its own work.
    pub waits: Arc<Waits>,
    /// The handler.
    pub reply: ReplyFuture,
}

/// A request with what its header said.
pub(super) struct Call<R> {
    pub header: RequestHeader,
    pub request: R,
    pub peer: Peer,
    /// Whether the sender may.
    pub access: Access,
    /// Where the handler notes what it waits for.
    pub waits: Arc<Waits>,
}

impl<R> Call<R> {
    pub fn version(&self) -> i16 {
        self.header.api_version
    }
}

/// Starts a request: what fixes its order is done when this returns.
pub fn dispatch(context: &Arc<Context>, peer: &Peer, frame: Bytes) -> Result<Started, Violation> {
    if let Some(reply) = handlers::sasl::token(context, peer, &frame) {
        return Ok(Started { key: ApiKey::SaslAuthenticate, waits: Arc::default(), reply });
    }
    let mut reader = Reader::new(frame.clone());
    let header = RequestHeader::decode(&mut reader)?;
    let (key, waits) = (header.api_key, Arc::new(Waits::default()));
    let meter = Meter::of(context, peer, &header, frame.len());
    let arrived = Arrived { header, frame, reader, waits: waits.clone(), meter };
    let reply = start(context, peer, arrived)?;
    Ok(Started { key, waits, reply })
}

fn start(context: &Arc<Context>, peer: &Peer, arrived: Arrived) -> Result<ReplyFuture, Violation> {
    let key = arrived.header.api_key;
    peer.admits(key).map_err(|why| match why {
        Unwelcome::Unknown => Violation::Unwelcome("a request came before authentication"),
        Unwelcome::Failed => Violation::Unwelcome("a request came after a failed authentication"),
        Unwelcome::Expired => {
            Violation::Unwelcome("the session has ended and the client did not authenticate again")
        }
    })?;
    if forwarding::is_for_another_node(context, key) {
        check_served(&arrived.header)?;
        return Ok(forwarding::pass_on(context, peer, arrived));
    }
    start_here(context, peer, arrived)
}

fn check_served(header: &RequestHeader) -> Result<(), Violation> {
    let (key, version) = (header.api_key, header.api_version);
    let served = SERVED.iter().find(|served| served.key == key);
    match served.is_some_and(|served| (served.versions.0..=served.versions.1).contains(&version)) {
        true => Ok(()),
        false => Err(Violation::NotServed { key, version }),
    }
}

/// Starts a request of whoever is welcome with this node's own handler.
pub(super) fn start_here(
    context: &Arc<Context>,
    peer: &Peer,
    arrived: Arrived,
) -> Result<ReplyFuture, Violation> {
    let Arrived { header, reader, waits, meter, .. } = arrived;
    let (key, version) = (header.api_key, header.api_version);
    if key == ApiKey::ApiVersions && version > <ApiVersionsRequest as Message>::VERSIONS.1 {
        return refuse_api_versions(header.correlation_id);
    }
    check_served(&header)?;
    use Operation::{Alter, AlterConfigs, Describe, DescribeConfigs};
    let mut start = Start { context, peer, header, reader, waits, meter };
    match key {
        ApiKey::Produce => start.with_optional_reply(handlers::k00_produce::handle),
        ApiKey::Fetch => start.with_files(handlers::k01_fetch::handle),
        ApiKey::ListOffsets => start.with(handlers::k02_list_offsets::handle),
        ApiKey::Metadata => start.with(handlers::k03_metadata::handle),
        ApiKey::OffsetCommit => start.with(handlers::groups::offset_commit),
        ApiKey::OffsetFetch => start.with(handlers::groups::offset_fetch),
        ApiKey::FindCoordinator => start.with(handlers::k10_find_coordinator::handle),
        ApiKey::JoinGroup => start.with(handlers::groups::join_group),
        ApiKey::Heartbeat => start.with(handlers::groups::heartbeat),
        ApiKey::LeaveGroup => start.with(handlers::groups::leave_group),
        ApiKey::SyncGroup => start.with(handlers::groups::sync_group),
        ApiKey::DescribeGroups => start.with(handlers::groups::describe_groups),
        ApiKey::ListGroups => start.with(handlers::groups::list_groups),
        ApiKey::SaslHandshake => start.with(handlers::sasl::handshake),
        ApiKey::SaslAuthenticate => start.with(handlers::sasl::authenticate),
        ApiKey::ApiVersions => start.with(handlers::k18_api_versions::handle),
        ApiKey::CreateTopics => start.with(handlers::k19_create_topics::handle),
        ApiKey::DeleteTopics => start.with(handlers::k20_delete_topics::handle),
        ApiKey::DeleteRecords => start.with(handlers::k21_delete_records::handle),
        ApiKey::InitProducerId => start.with(handlers::k22_init_producer_id::handle),
        ApiKey::OffsetForLeaderEpoch => start.with(handlers::k23_offset_for_leader_epoch::handle),
        ApiKey::AddPartitionsToTxn => start.with(handlers::k24_add_partitions_to_txn::handle),
        ApiKey::AddOffsetsToTxn => start.with(handlers::k25_add_offsets_to_txn::handle),
        ApiKey::EndTxn => start.with(handlers::k26_end_txn::handle),
        ApiKey::WriteTxnMarkers => start.with(handlers::k27_write_txn_markers::handle),
        ApiKey::TxnOffsetCommit => start.with(handlers::k28_txn_offset_commit::handle),
        ApiKey::DescribeAcls => {
            start.guarded(Describe, handlers::acls::describe, handlers::acls::describe_refused)
        }
        ApiKey::CreateAcls => start.guarded(Alter, handlers::acls::create, handlers::acls::create_refused),
        ApiKey::DeleteAcls => start.guarded(Alter, handlers::acls::delete, handlers::acls::delete_refused),
        ApiKey::DescribeConfigs => start.with(handlers::k32_describe_configs::handle),
        ApiKey::AlterConfigs => start.with(handlers::k33_alter_configs::handle),
        ApiKey::AlterReplicaLogDirs => start.guarded(
            Alter,
            handlers::k34_alter_replica_log_dirs::handle,
            handlers::k34_alter_replica_log_dirs::refused,
        ),
        ApiKey::DescribeLogDirs => start.guarded(
            Describe,
            handlers::k35_describe_log_dirs::handle,
            handlers::k35_describe_log_dirs::refused,
        ),
        ApiKey::CreatePartitions => start.with(handlers::k37_create_partitions::handle),
        ApiKey::DeleteGroups => start.with(handlers::groups::delete_groups),
        ApiKey::ElectLeaders => {
            start.guarded(Alter, handlers::k43_elect_leaders::handle, handlers::k43_elect_leaders::refused)
        }
        ApiKey::IncrementalAlterConfigs => start.with(handlers::k44_incremental_alter_configs::handle),
        ApiKey::AlterPartitionReassignments => start.guarded(
            Alter,
            handlers::k45_alter_partition_reassignments::handle,
            handlers::k45_alter_partition_reassignments::refused,
        ),
        ApiKey::ListPartitionReassignments => start.guarded(
            Describe,
            handlers::k46_list_partition_reassignments::handle,
            handlers::k46_list_partition_reassignments::refused,
        ),
        ApiKey::OffsetDelete => start.with(handlers::groups::offset_delete),
        ApiKey::DescribeClientQuotas => start.guarded(
            DescribeConfigs,
            handlers::client_quotas::describe,
            handlers::client_quotas::describe_refused,
        ),
        ApiKey::AlterClientQuotas => start.guarded(
            AlterConfigs,
            handlers::client_quotas::alter,
            handlers::client_quotas::alter_refused,
        ),
        ApiKey::DescribeUserScramCredentials => start.guarded(
            Describe,
            handlers::scram_credentials::describe,
            handlers::scram_credentials::describe_refused,
        ),
        ApiKey::AlterUserScramCredentials => start.guarded(
            Alter,
            handlers::scram_credentials::alter,
            handlers::scram_credentials::alter_refused,
        ),
        ApiKey::DescribeQuorum => start.guarded(
            Describe,
            handlers::k55_describe_quorum::handle,
            handlers::k55_describe_quorum::refused,
        ),
        ApiKey::UpdateFeatures => start.guarded(
            Alter,
            handlers::k57_update_features::handle,
            handlers::k57_update_features::refused,
        ),
        ApiKey::DescribeCluster => start.with(handlers::k60_describe_cluster::handle),
        ApiKey::DescribeProducers => start.with(handlers::k61_describe_producers::handle),
        ApiKey::UnregisterBroker => start.guarded(
            Alter,
            handlers::k64_unregister_broker::handle,
            handlers::k64_unregister_broker::refused,
        ),
        ApiKey::AddRaftVoter => {
            start.guarded(Alter, handlers::k80_add_raft_voter::handle, handlers::k80_add_raft_voter::refused)
        }
        ApiKey::RemoveRaftVoter => start.guarded(
            Alter,
            handlers::k81_remove_raft_voter::handle,
            handlers::k81_remove_raft_voter::refused,
        ),
        ApiKey::DescribeTransactions => start.with(handlers::k65_describe_transactions::handle),
        ApiKey::ListTransactions => start.with(handlers::k66_list_transactions::handle),
        ApiKey::ConsumerGroupHeartbeat => start.with(handlers::groups::consumer_group_heartbeat),
        ApiKey::ConsumerGroupDescribe => start.with(handlers::groups::consumer_group_describe),
        ApiKey::GetTelemetrySubscriptions => start.with(handlers::k71_get_telemetry_subscriptions::handle),
        ApiKey::PushTelemetry => start.with(handlers::k72_push_telemetry::handle),
        ApiKey::ListConfigResources => start.guarded(
            DescribeConfigs,
            handlers::k74_list_config_resources::handle,
            handlers::k74_list_config_resources::refused,
        ),
        ApiKey::DescribeTopicPartitions => start.with(handlers::k75_describe_topic_partitions::handle),
        _ => Err(Violation::NotServed { key, version }),
    }
}

struct Start<'a> {
    context: &'a Arc<Context>,
    peer: &'a Peer,
    header: RequestHeader,
    reader: Reader,
    waits: Arc<Waits>,
    meter: Option<Meter>,
}

impl Start<'_> {
    fn call<R: Request>(&mut self) -> Result<Call<R>, Violation> {
        let request = R::decode(&mut self.reader, self.header.api_version)?;
        let access = Access {
            principal: self.peer.principal(),
            host: self.peer.host.clone(),
            client_id: self.header.client_id.clone(),
            api: self.header.api_key,
        };
        let (header, peer, waits) = (self.header.clone(), self.peer.clone(), self.waits.clone());
        Ok(Call { header, request, peer, access, waits })
    }

    /// Starts a handler that always answers.
    fn with<R: Request, F>(
        &mut self,
        handler: fn(Arc<Context>, Call<R>) -> F,
    ) -> Result<ReplyFuture, Violation>
    where
        F: Future<Output = R::Response> + Send + 'static,
        R::Response: Send,
    {
        let call = self.call::<R>()?;
        Ok(self.answered(handler, call))
    }

    /// The reply of a handler that always answers.
    fn answered<R: Request, F>(
        &mut self,
        handler: fn(Arc<Context>, Call<R>) -> F,
        call: Call<R>,
    ) -> ReplyFuture
    where
        F: Future<Output = R::Response> + Send + 'static,
        R::Response: Send,
    {
        let (version, correlation_id) = (call.header.api_version, call.header.correlation_id);
        let reply = handler(self.context.clone(), call);
        let meter = self.meter.take();
        let encoded = async move {
            let (mut reply, meter) = Meter::over(meter, reply).await;
            if let Some(meter) = meter {
                meter.charge::<R>(&mut reply, 0);
            }
            encode::<R>(version, correlation_id, &reply, Vec::new()).map(Some)
        };
        encoded.boxed()
    }

    /// Starts a handler that is only for those who may do the operation with the cluster.
    fn guarded<R: Request, F>(
        &mut self,
        operation: Operation,
        handler: fn(Arc<Context>, Call<R>) -> F,
        refused: fn(&R, ErrorCode) -> R::Response,
    ) -> Result<ReplyFuture, Violation>
    where
        F: Future<Output = R::Response> + Send + 'static,
        R::Response: Send,
    {
        let call = self.call::<R>()?;
        let (version, correlation_id) = (call.header.api_version, call.header.correlation_id);
        if !call.access.cluster(self.context, operation) {
            let reply = refused(&call.request, denied(ResourceType::Cluster));
            let encoded = encode::<R>(version, correlation_id, &reply, Vec::new()).map(Some);
            return Ok(futures::future::ready(encoded).boxed());
        }
        Ok(self.answered(handler, call))
    }

    /// Starts a handler whose reply announces records that are sent out of files.
    fn with_files<R: Request, F>(
        &mut self,
        handler: fn(Arc<Context>, Call<R>) -> F,
    ) -> Result<ReplyFuture, Violation>
    where
        F: Future<Output = (R::Response, Vec<FileRange>)> + Send + 'static,
        R::Response: Send,
    {
        let call = self.call::<R>()?;
        let (version, correlation_id) = (call.header.api_version, call.header.correlation_id);
        let reply = handler(self.context.clone(), call);
        let meter = self.meter.take();
        let encoded = async move {
            let ((mut reply, files), meter) = Meter::over(meter, reply).await;
            let Some(meter) = meter else {
                return encode::<R>(version, correlation_id, &reply, files).map(Some);
            };
            // How large it is shows when it is made; what it says of waiting does not change that.
            let made = encode::<R>(version, correlation_id, &reply, files.clone())?;
            match meter.charge::<R>(&mut reply, made.len()) {
                true => encode::<R>(version, correlation_id, &reply, files).map(Some),
                false => Ok(Some(made)),
            }
        };
        Ok(encoded.boxed())
    }

    /// Starts a handler that may answer nothing, as produce does with `acks=0`.
    fn with_optional_reply<R: Request, F>(
        &mut self,
        handler: fn(Arc<Context>, Call<R>) -> F,
    ) -> Result<ReplyFuture, Violation>
    where
        F: Future<Output = Option<R::Response>> + Send + 'static,
        R::Response: Send,
    {
        let call = self.call::<R>()?;
        let (version, correlation_id) = (call.header.api_version, call.header.correlation_id);
        let reply = handler(self.context.clone(), call);
        let meter = self.meter.take();
        let encoded = async move {
            let (mut reply, meter) = Meter::over(meter, reply).await;
            if let Some(meter) = meter {
                meter.charge_optional::<R>(reply.as_mut());
            }
            let encode = |reply| encode::<R>(version, correlation_id, &reply, Vec::new());
            reply.map(encode).transpose()
        };
        Ok(encoded.boxed())
    }
}

fn encode<R: Request>(
    version: i16,
    correlation_id: i32,
    reply: &R::Response,
    files: Vec<FileRange>,
) -> Result<Reply, Violation> {
    Reply::encode::<R>(version, correlation_id, reply, files).map_err(|error| {
        tracing::error!(api = ?R::API_KEY, version, %error, "a reply does not fit its version");
        error.into()
    })
}

/// An ApiVersions version from the future is answered in version 0, naming what is served, so that the client can
/// ask again (KIP-511).
fn refuse_api_versions(correlation_id: i32) -> Result<ReplyFuture, Violation> {
    let reply = ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        api_keys: handlers::k18_api_versions::advertised(),
        ..ApiVersionsResponse::default()
    };
    let reply = Reply::encode::<ApiVersionsRequest>(0, correlation_id, &reply, Vec::new())?;
    Ok(futures::future::ready(Ok(Some(reply))).boxed())
}
