//! Every message that Ottla speaks: a module per API key, and what group coordinator and consumers store.
//!
//! Generated from `protocol/messages/` by `just generate`; not to be edited here.

pub mod consumer_protocol;
pub mod group_records;
pub mod k00_produce;
pub mod k01_fetch;
pub mod k02_list_offsets;
pub mod k03_metadata;
pub mod k08_offset_commit;
pub mod k09_offset_fetch;
pub mod k10_find_coordinator;
pub mod k11_join_group;
pub mod k12_heartbeat;
pub mod k13_leave_group;
pub mod k14_sync_group;
pub mod k15_describe_groups;
pub mod k16_list_groups;
pub mod k18_api_versions;
pub mod k19_create_topics;
pub mod k20_delete_topics;
pub mod k22_init_producer_id;
pub mod k23_offset_for_leader_epoch;
pub mod k32_describe_configs;
pub mod k37_create_partitions;
pub mod k42_delete_groups;
pub mod k60_describe_cluster;
pub mod metadata_records;

pub use consumer_protocol::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
pub use group_records::{GroupMetadataKey, GroupMetadataValue, OffsetCommitKey, OffsetCommitValue};
pub use k00_produce::{ProduceRequest, ProduceResponse};
pub use k01_fetch::{FetchRequest, FetchResponse};
pub use k02_list_offsets::{ListOffsetsRequest, ListOffsetsResponse};
pub use k03_metadata::{MetadataRequest, MetadataResponse};
pub use k08_offset_commit::{OffsetCommitRequest, OffsetCommitResponse};
pub use k09_offset_fetch::{OffsetFetchRequest, OffsetFetchResponse};
pub use k10_find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
pub use k11_join_group::{JoinGroupRequest, JoinGroupResponse};
pub use k12_heartbeat::{HeartbeatRequest, HeartbeatResponse};
pub use k13_leave_group::{LeaveGroupRequest, LeaveGroupResponse};
pub use k14_sync_group::{SyncGroupRequest, SyncGroupResponse};
pub use k15_describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
pub use k16_list_groups::{ListGroupsRequest, ListGroupsResponse};
pub use k18_api_versions::{ApiVersionsRequest, ApiVersionsResponse};
pub use k19_create_topics::{CreateTopicsRequest, CreateTopicsResponse};
pub use k20_delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
pub use k22_init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
pub use k23_offset_for_leader_epoch::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
pub use k32_describe_configs::{DescribeConfigsRequest, DescribeConfigsResponse};
pub use k37_create_partitions::{CreatePartitionsRequest, CreatePartitionsResponse};
pub use k42_delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
pub use k60_describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
pub use metadata_records::{
    ConfigRecord, PartitionRecord, ProducerIdsRecord, RemoveTopicRecord, TopicRecord,
};

use crate::api_key::{ApiKey, ApiVersions};

/// Every API defined here, by rising key. What a broker advertises is its own choice.
pub const APIS: &[ApiVersions] = &[
    ApiVersions { key: ApiKey::Produce, first: 3, last: 13, flexible_from: Some(9) },
    ApiVersions { key: ApiKey::Fetch, first: 4, last: 18, flexible_from: Some(12) },
    ApiVersions { key: ApiKey::ListOffsets, first: 1, last: 11, flexible_from: Some(6) },
    ApiVersions { key: ApiKey::Metadata, first: 0, last: 13, flexible_from: Some(9) },
    ApiVersions { key: ApiKey::OffsetCommit, first: 2, last: 10, flexible_from: Some(8) },
    ApiVersions { key: ApiKey::OffsetFetch, first: 1, last: 10, flexible_from: Some(6) },
    ApiVersions { key: ApiKey::FindCoordinator, first: 0, last: 6, flexible_from: Some(3) },
    ApiVersions { key: ApiKey::JoinGroup, first: 0, last: 9, flexible_from: Some(6) },
    ApiVersions { key: ApiKey::Heartbeat, first: 0, last: 4, flexible_from: Some(4) },
    ApiVersions { key: ApiKey::LeaveGroup, first: 0, last: 5, flexible_from: Some(4) },
    ApiVersions { key: ApiKey::SyncGroup, first: 0, last: 5, flexible_from: Some(4) },
    ApiVersions { key: ApiKey::DescribeGroups, first: 0, last: 6, flexible_from: Some(5) },
    ApiVersions { key: ApiKey::ListGroups, first: 0, last: 5, flexible_from: Some(3) },
    ApiVersions { key: ApiKey::ApiVersions, first: 0, last: 4, flexible_from: Some(3) },
    ApiVersions { key: ApiKey::CreateTopics, first: 2, last: 7, flexible_from: Some(5) },
    ApiVersions { key: ApiKey::DeleteTopics, first: 1, last: 6, flexible_from: Some(4) },
    ApiVersions { key: ApiKey::InitProducerId, first: 0, last: 5, flexible_from: Some(2) },
    ApiVersions { key: ApiKey::OffsetForLeaderEpoch, first: 2, last: 4, flexible_from: Some(4) },
    ApiVersions { key: ApiKey::DescribeConfigs, first: 1, last: 4, flexible_from: Some(4) },
    ApiVersions { key: ApiKey::CreatePartitions, first: 0, last: 3, flexible_from: Some(2) },
    ApiVersions { key: ApiKey::DeleteGroups, first: 0, last: 2, flexible_from: Some(2) },
    ApiVersions { key: ApiKey::DescribeCluster, first: 0, last: 2, flexible_from: Some(0) },
];

/// Calls `$callback! { Name Request Response; … }` with every API: what must be said of each is said once.
#[macro_export]
macro_rules! for_each_api {
    ($callback:ident) => {
        $callback! {
            Produce ProduceRequest ProduceResponse;
            Fetch FetchRequest FetchResponse;
            ListOffsets ListOffsetsRequest ListOffsetsResponse;
            Metadata MetadataRequest MetadataResponse;
            OffsetCommit OffsetCommitRequest OffsetCommitResponse;
            OffsetFetch OffsetFetchRequest OffsetFetchResponse;
            FindCoordinator FindCoordinatorRequest FindCoordinatorResponse;
            JoinGroup JoinGroupRequest JoinGroupResponse;
            Heartbeat HeartbeatRequest HeartbeatResponse;
            LeaveGroup LeaveGroupRequest LeaveGroupResponse;
            SyncGroup SyncGroupRequest SyncGroupResponse;
            DescribeGroups DescribeGroupsRequest DescribeGroupsResponse;
            ListGroups ListGroupsRequest ListGroupsResponse;
            ApiVersions ApiVersionsRequest ApiVersionsResponse;
            CreateTopics CreateTopicsRequest CreateTopicsResponse;
            DeleteTopics DeleteTopicsRequest DeleteTopicsResponse;
            InitProducerId InitProducerIdRequest InitProducerIdResponse;
            OffsetForLeaderEpoch OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse;
            DescribeConfigs DescribeConfigsRequest DescribeConfigsResponse;
            CreatePartitions CreatePartitionsRequest CreatePartitionsResponse;
            DeleteGroups DeleteGroupsRequest DeleteGroupsResponse;
            DescribeCluster DescribeClusterRequest DescribeClusterResponse;
        }
    };
}

/// Calls `$callback! { Name; … }` with every message that is stored or passed on, not sent by itself.
#[macro_export]
macro_rules! for_each_data {
    ($callback:ident) => {
        $callback! {
            ConsumerProtocolAssignment;
            ConsumerProtocolSubscription;
            OffsetCommitKey;
            OffsetCommitValue;
            GroupMetadataKey;
            GroupMetadataValue;
            TopicRecord;
            PartitionRecord;
            ConfigRecord;
            RemoveTopicRecord;
            ProducerIdsRecord;
        }
    };
}
