//! WriteTxnMarkers (27): ends transactions in partitions (KIP-98); by it an operator ends one that hangs (KIP-664).
//! Version 1. Answered when the markers are durable and, in `__consumer_offsets`, the group has applied them.

use std::sync::Arc;

use futures::future::join_all;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::k27_write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerPartitionResult, WritableTxnMarkerResult,
    WritableTxnMarkerTopicResult, WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};
use ottla_protocol::records::EndTxnMarker;

use super::super::context::Context;
use super::super::dispatch::Call;
use crate::ids::{Producer, TopicPartition};
use crate::markers::Unmarked;
use crate::security::acl::CLUSTER_NAME;
use crate::security::{Operation, ResourceType};

pub(in super::super) async fn handle(
    context: Arc<Context>,
    call: Call<WriteTxnMarkersRequest>,
) -> WriteTxnMarkersResponse {
    let may = call.access.sees(&context, Operation::ClusterAction, (ResourceType::Cluster, CLUSTER_NAME))
        || call.access.cluster(&context, Operation::Alter);
    let markers = call.request.markers.iter().map(|marker| write(&context, marker, may));
    WriteTxnMarkersResponse { markers: join_all(markers).await }
}

async fn write(context: &Context, wanted: &WritableTxnMarker, may: bool) -> WritableTxnMarkerResult {
    let producer = Producer { id: wanted.producer_id, epoch: wanted.producer_epoch };
    let marker =
        EndTxnMarker { commit: wanted.transaction_result, coordinator_epoch: wanted.coordinator_epoch };
    let topics = wanted.topics.iter().map(|topic| async {
        let partitions = topic.partition_indexes.iter().map(|partition| async {
            let to = TopicPartition::new(&*topic.name, *partition);
            let code = match may {
                false => ErrorCode::ClusterAuthorizationFailed,
                true => match context.markers.write_one(&to, producer, marker).await {
                    Ok(()) => ErrorCode::None,
                    Err(Unmarked::Gone) => ErrorCode::UnknownTopicOrPartition,
                    Err(Unmarked::Fenced(code) | Unmarked::NotNow(code)) => code,
                },
            };
            WritableTxnMarkerPartitionResult { partition_index: *partition, error_code: code.code() }
        });
        WritableTxnMarkerTopicResult { name: topic.name.clone(), partitions: join_all(partitions).await }
    });
    WritableTxnMarkerResult { producer_id: wanted.producer_id, topics: join_all(topics).await }
}
