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
pub mod k17_sasl_handshake;
pub mod k18_api_versions;
pub mod k19_create_topics;
pub mod k20_delete_topics;
pub mod k21_delete_records;
pub mod k22_init_producer_id;
pub mod k23_offset_for_leader_epoch;
pub mod k24_add_partitions_to_txn;
pub mod k25_add_offsets_to_txn;
pub mod k26_end_txn;
pub mod k27_write_txn_markers;
pub mod k28_txn_offset_commit;
pub mod k29_describe_acls;
pub mod k30_create_acls;
pub mod k31_delete_acls;
pub mod k32_describe_configs;
pub mod k33_alter_configs;
pub mod k34_alter_replica_log_dirs;
pub mod k35_describe_log_dirs;
pub mod k36_sasl_authenticate;
pub mod k37_create_partitions;
pub mod k42_delete_groups;
pub mod k43_elect_leaders;
pub mod k44_incremental_alter_configs;
pub mod k45_alter_partition_reassignments;
pub mod k46_list_partition_reassignments;
pub mod k47_offset_delete;
pub mod k48_describe_client_quotas;
pub mod k49_alter_client_quotas;
pub mod k50_describe_user_scram_credentials;
pub mod k51_alter_user_scram_credentials;
pub mod k52_vote;
pub mod k53_begin_quorum_epoch;
pub mod k54_end_quorum_epoch;
pub mod k55_describe_quorum;
pub mod k56_alter_partition;
pub mod k57_update_features;
pub mod k58_envelope;
pub mod k59_fetch_snapshot;
pub mod k60_describe_cluster;
pub mod k61_describe_producers;
pub mod k62_broker_registration;
pub mod k63_broker_heartbeat;
pub mod k64_unregister_broker;
pub mod k65_describe_transactions;
pub mod k66_list_transactions;
pub mod k67_allocate_producer_ids;
pub mod k68_consumer_group_heartbeat;
pub mod k69_consumer_group_describe;
pub mod k71_get_telemetry_subscriptions;
pub mod k72_push_telemetry;
pub mod k73_assign_replicas_to_dirs;
pub mod k74_list_config_resources;
pub mod k75_describe_topic_partitions;
pub mod k80_add_raft_voter;
pub mod k81_remove_raft_voter;
pub mod k82_update_raft_voter;
pub mod metadata_records;
pub mod principal;
pub mod quorum_records;
pub mod transaction_records;

pub use consumer_protocol::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
pub use group_records::{
    ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue,
    ConsumerGroupMemberMetadataKey, ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataKey,
    ConsumerGroupMetadataValue, ConsumerGroupPartitionMetadataKey, ConsumerGroupRegularExpressionKey,
    ConsumerGroupRegularExpressionValue, ConsumerGroupTargetAssignmentMemberKey,
    ConsumerGroupTargetAssignmentMemberValue, ConsumerGroupTargetAssignmentMetadataKey,
    ConsumerGroupTargetAssignmentMetadataValue, GroupMetadataKey, GroupMetadataValue, OffsetCommitKey,
    OffsetCommitValue,
};
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
pub use k17_sasl_handshake::{SaslHandshakeRequest, SaslHandshakeResponse};
pub use k18_api_versions::{ApiVersionsRequest, ApiVersionsResponse};
pub use k19_create_topics::{CreateTopicsRequest, CreateTopicsResponse};
pub use k20_delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
pub use k21_delete_records::{DeleteRecordsRequest, DeleteRecordsResponse};
pub use k22_init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
pub use k23_offset_for_leader_epoch::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
pub use k24_add_partitions_to_txn::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};
pub use k25_add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
pub use k26_end_txn::{EndTxnRequest, EndTxnResponse};
pub use k27_write_txn_markers::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};
pub use k28_txn_offset_commit::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};
pub use k29_describe_acls::{DescribeAclsRequest, DescribeAclsResponse};
pub use k30_create_acls::{CreateAclsRequest, CreateAclsResponse};
pub use k31_delete_acls::{DeleteAclsRequest, DeleteAclsResponse};
pub use k32_describe_configs::{DescribeConfigsRequest, DescribeConfigsResponse};
pub use k33_alter_configs::{AlterConfigsRequest, AlterConfigsResponse};
pub use k34_alter_replica_log_dirs::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse};
pub use k35_describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResponse};
pub use k36_sasl_authenticate::{SaslAuthenticateRequest, SaslAuthenticateResponse};
pub use k37_create_partitions::{CreatePartitionsRequest, CreatePartitionsResponse};
pub use k42_delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
pub use k43_elect_leaders::{ElectLeadersRequest, ElectLeadersResponse};
pub use k44_incremental_alter_configs::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
pub use k45_alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
};
pub use k46_list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};
pub use k47_offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse};
pub use k48_describe_client_quotas::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};
pub use k49_alter_client_quotas::{AlterClientQuotasRequest, AlterClientQuotasResponse};
pub use k50_describe_user_scram_credentials::{
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
};
pub use k51_alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse,
};
pub use k52_vote::{VoteRequest, VoteResponse};
pub use k53_begin_quorum_epoch::{BeginQuorumEpochRequest, BeginQuorumEpochResponse};
pub use k54_end_quorum_epoch::{EndQuorumEpochRequest, EndQuorumEpochResponse};
pub use k55_describe_quorum::{DescribeQuorumRequest, DescribeQuorumResponse};
pub use k56_alter_partition::{AlterPartitionRequest, AlterPartitionResponse};
pub use k57_update_features::{UpdateFeaturesRequest, UpdateFeaturesResponse};
pub use k58_envelope::{EnvelopeRequest, EnvelopeResponse};
pub use k59_fetch_snapshot::{FetchSnapshotRequest, FetchSnapshotResponse};
pub use k60_describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
pub use k61_describe_producers::{DescribeProducersRequest, DescribeProducersResponse};
pub use k62_broker_registration::{BrokerRegistrationRequest, BrokerRegistrationResponse};
pub use k63_broker_heartbeat::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};
pub use k64_unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse};
pub use k65_describe_transactions::{DescribeTransactionsRequest, DescribeTransactionsResponse};
pub use k66_list_transactions::{ListTransactionsRequest, ListTransactionsResponse};
pub use k67_allocate_producer_ids::{AllocateProducerIdsRequest, AllocateProducerIdsResponse};
pub use k68_consumer_group_heartbeat::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
pub use k69_consumer_group_describe::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};
pub use k71_get_telemetry_subscriptions::{
    GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse,
};
pub use k72_push_telemetry::{PushTelemetryRequest, PushTelemetryResponse};
pub use k73_assign_replicas_to_dirs::{AssignReplicasToDirsRequest, AssignReplicasToDirsResponse};
pub use k74_list_config_resources::{ListConfigResourcesRequest, ListConfigResourcesResponse};
pub use k75_describe_topic_partitions::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
pub use k80_add_raft_voter::{AddRaftVoterRequest, AddRaftVoterResponse};
pub use k81_remove_raft_voter::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};
pub use k82_update_raft_voter::{UpdateRaftVoterRequest, UpdateRaftVoterResponse};
pub use metadata_records::{
    AccessControlEntryRecord, BrokerRegistrationChangeRecord, ClientQuotaRecord, ConfigRecord,
    FeatureLevelRecord, PartitionChangeRecord, PartitionRecord, ProducerIdsRecord, RegisterBrokerRecord,
    RemoveAccessControlEntryRecord, RemoveTopicRecord, RemoveUserScramCredentialRecord, TopicRecord,
    UnregisterBrokerRecord, UserScramCredentialRecord,
};
pub use principal::DefaultPrincipalData;
pub use quorum_records::{KRaftVersionRecord, LeaderChangeMessage, VotersRecord};
pub use transaction_records::{TransactionLogKey, TransactionLogValue};

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
    ApiVersions { key: ApiKey::SaslHandshake, first: 0, last: 1, flexible_from: None },
    ApiVersions { key: ApiKey::ApiVersions, first: 0, last: 4, flexible_from: Some(3) },
    ApiVersions { key: ApiKey::CreateTopics, first: 2, last: 7, flexible_from: Some(5) },
    ApiVersions { key: ApiKey::DeleteTopics, first: 1, last: 6, flexible_from: Some(4) },
    ApiVersions { key: ApiKey::DeleteRecords, first: 0, last: 2, flexible_from: Some(2) },
    ApiVersions { key: ApiKey::InitProducerId, first: 0, last: 5, flexible_from: Some(2) },
    ApiVersions { key: ApiKey::OffsetForLeaderEpoch, first: 2, last: 4, flexible_from: Some(4) },
    ApiVersions { key: ApiKey::AddPartitionsToTxn, first: 0, last: 5, flexible_from: Some(3) },
    ApiVersions { key: ApiKey::AddOffsetsToTxn, first: 0, last: 4, flexible_from: Some(3) },
    ApiVersions { key: ApiKey::EndTxn, first: 0, last: 5, flexible_from: Some(3) },
    ApiVersions { key: ApiKey::WriteTxnMarkers, first: 1, last: 1, flexible_from: Some(1) },
    ApiVersions { key: ApiKey::TxnOffsetCommit, first: 0, last: 5, flexible_from: Some(3) },
    ApiVersions { key: ApiKey::DescribeAcls, first: 1, last: 3, flexible_from: Some(2) },
    ApiVersions { key: ApiKey::CreateAcls, first: 1, last: 3, flexible_from: Some(2) },
    ApiVersions { key: ApiKey::DeleteAcls, first: 1, last: 3, flexible_from: Some(2) },
    ApiVersions { key: ApiKey::DescribeConfigs, first: 1, last: 4, flexible_from: Some(4) },
    ApiVersions { key: ApiKey::AlterConfigs, first: 0, last: 2, flexible_from: Some(2) },
    ApiVersions { key: ApiKey::AlterReplicaLogDirs, first: 1, last: 2, flexible_from: Some(2) },
    ApiVersions { key: ApiKey::DescribeLogDirs, first: 1, last: 4, flexible_from: Some(2) },
    ApiVersions { key: ApiKey::SaslAuthenticate, first: 0, last: 2, flexible_from: Some(2) },
    ApiVersions { key: ApiKey::CreatePartitions, first: 0, last: 3, flexible_from: Some(2) },
    ApiVersions { key: ApiKey::DeleteGroups, first: 0, last: 2, flexible_from: Some(2) },
    ApiVersions { key: ApiKey::ElectLeaders, first: 0, last: 2, flexible_from: Some(2) },
    ApiVersions { key: ApiKey::IncrementalAlterConfigs, first: 0, last: 1, flexible_from: Some(1) },
    ApiVersions { key: ApiKey::AlterPartitionReassignments, first: 0, last: 1, flexible_from: Some(0) },
    ApiVersions { key: ApiKey::ListPartitionReassignments, first: 0, last: 0, flexible_from: Some(0) },
    ApiVersions { key: ApiKey::OffsetDelete, first: 0, last: 0, flexible_from: None },
    ApiVersions { key: ApiKey::DescribeClientQuotas, first: 0, last: 1, flexible_from: Some(1) },
    ApiVersions { key: ApiKey::AlterClientQuotas, first: 0, last: 1, flexible_from: Some(1) },
    ApiVersions { key: ApiKey::DescribeUserScramCredentials, first: 0, last: 0, flexible_from: Some(0) },
    ApiVersions { key: ApiKey::AlterUserScramCredentials, first: 0, last: 0, flexible_from: Some(0) },
    ApiVersions { key: ApiKey::Vote, first: 0, last: 2, flexible_from: Some(0) },
    ApiVersions { key: ApiKey::BeginQuorumEpoch, first: 0, last: 1, flexible_from: Some(1) },
    ApiVersions { key: ApiKey::EndQuorumEpoch, first: 0, last: 1, flexible_from: Some(1) },
    ApiVersions { key: ApiKey::DescribeQuorum, first: 0, last: 2, flexible_from: Some(0) },
    ApiVersions { key: ApiKey::AlterPartition, first: 2, last: 3, flexible_from: Some(0) },
    ApiVersions { key: ApiKey::UpdateFeatures, first: 0, last: 2, flexible_from: Some(0) },
    ApiVersions { key: ApiKey::Envelope, first: 0, last: 0, flexible_from: Some(0) },
    ApiVersions { key: ApiKey::FetchSnapshot, first: 0, last: 1, flexible_from: Some(0) },
    ApiVersions { key: ApiKey::DescribeCluster, first: 0, last: 2, flexible_from: Some(0) },
    ApiVersions { key: ApiKey::DescribeProducers, first: 0, last: 0, flexible_from: Some(0) },
    ApiVersions { key: ApiKey::BrokerRegistration, first: 0, last: 4, flexible_from: Some(0) },
    ApiVersions { key: ApiKey::BrokerHeartbeat, first: 0, last: 1, flexible_from: Some(0) },
    ApiVersions { key: ApiKey::UnregisterBroker, first: 0, last: 0, flexible_from: Some(0) },
    ApiVersions { key: ApiKey::DescribeTransactions, first: 0, last: 0, flexible_from: Some(0) },
    ApiVersions { key: ApiKey::ListTransactions, first: 0, last: 2, flexible_from: Some(0) },
    ApiVersions { key: ApiKey::AllocateProducerIds, first: 0, last: 0, flexible_from: Some(0) },
    ApiVersions { key: ApiKey::ConsumerGroupHeartbeat, first: 0, last: 1, flexible_from: Some(0) },
    ApiVersions { key: ApiKey::ConsumerGroupDescribe, first: 0, last: 1, flexible_from: Some(0) },
    ApiVersions { key: ApiKey::GetTelemetrySubscriptions, first: 0, last: 0, flexible_from: Some(0) },
    ApiVersions { key: ApiKey::PushTelemetry, first: 0, last: 0, flexible_from: Some(0) },
    ApiVersions { key: ApiKey::AssignReplicasToDirs, first: 0, last: 0, flexible_from: Some(0) },
    ApiVersions { key: ApiKey::ListConfigResources, first: 0, last: 1, flexible_from: Some(0) },
    ApiVersions { key: ApiKey::DescribeTopicPartitions, first: 0, last: 0, flexible_from: Some(0) },
    ApiVersions { key: ApiKey::AddRaftVoter, first: 0, last: 0, flexible_from: Some(0) },
    ApiVersions { key: ApiKey::RemoveRaftVoter, first: 0, last: 0, flexible_from: Some(0) },
    ApiVersions { key: ApiKey::UpdateRaftVoter, first: 0, last: 0, flexible_from: Some(0) },
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
            SaslHandshake SaslHandshakeRequest SaslHandshakeResponse;
            ApiVersions ApiVersionsRequest ApiVersionsResponse;
            CreateTopics CreateTopicsRequest CreateTopicsResponse;
            DeleteTopics DeleteTopicsRequest DeleteTopicsResponse;
            DeleteRecords DeleteRecordsRequest DeleteRecordsResponse;
            InitProducerId InitProducerIdRequest InitProducerIdResponse;
            OffsetForLeaderEpoch OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse;
            AddPartitionsToTxn AddPartitionsToTxnRequest AddPartitionsToTxnResponse;
            AddOffsetsToTxn AddOffsetsToTxnRequest AddOffsetsToTxnResponse;
            EndTxn EndTxnRequest EndTxnResponse;
            WriteTxnMarkers WriteTxnMarkersRequest WriteTxnMarkersResponse;
            TxnOffsetCommit TxnOffsetCommitRequest TxnOffsetCommitResponse;
            DescribeAcls DescribeAclsRequest DescribeAclsResponse;
            CreateAcls CreateAclsRequest CreateAclsResponse;
            DeleteAcls DeleteAclsRequest DeleteAclsResponse;
            DescribeConfigs DescribeConfigsRequest DescribeConfigsResponse;
            AlterConfigs AlterConfigsRequest AlterConfigsResponse;
            AlterReplicaLogDirs AlterReplicaLogDirsRequest AlterReplicaLogDirsResponse;
            DescribeLogDirs DescribeLogDirsRequest DescribeLogDirsResponse;
            SaslAuthenticate SaslAuthenticateRequest SaslAuthenticateResponse;
            CreatePartitions CreatePartitionsRequest CreatePartitionsResponse;
            DeleteGroups DeleteGroupsRequest DeleteGroupsResponse;
            ElectLeaders ElectLeadersRequest ElectLeadersResponse;
            IncrementalAlterConfigs IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse;
            AlterPartitionReassignments AlterPartitionReassignmentsRequest AlterPartitionReassignmentsResponse;
            ListPartitionReassignments ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse;
            OffsetDelete OffsetDeleteRequest OffsetDeleteResponse;
            DescribeClientQuotas DescribeClientQuotasRequest DescribeClientQuotasResponse;
            AlterClientQuotas AlterClientQuotasRequest AlterClientQuotasResponse;
            DescribeUserScramCredentials DescribeUserScramCredentialsRequest DescribeUserScramCredentialsResponse;
            AlterUserScramCredentials AlterUserScramCredentialsRequest AlterUserScramCredentialsResponse;
            Vote VoteRequest VoteResponse;
            BeginQuorumEpoch BeginQuorumEpochRequest BeginQuorumEpochResponse;
            EndQuorumEpoch EndQuorumEpochRequest EndQuorumEpochResponse;
            DescribeQuorum DescribeQuorumRequest DescribeQuorumResponse;
            AlterPartition AlterPartitionRequest AlterPartitionResponse;
            UpdateFeatures UpdateFeaturesRequest UpdateFeaturesResponse;
            Envelope EnvelopeRequest EnvelopeResponse;
            FetchSnapshot FetchSnapshotRequest FetchSnapshotResponse;
            DescribeCluster DescribeClusterRequest DescribeClusterResponse;
            DescribeProducers DescribeProducersRequest DescribeProducersResponse;
            BrokerRegistration BrokerRegistrationRequest BrokerRegistrationResponse;
            BrokerHeartbeat BrokerHeartbeatRequest BrokerHeartbeatResponse;
            UnregisterBroker UnregisterBrokerRequest UnregisterBrokerResponse;
            DescribeTransactions DescribeTransactionsRequest DescribeTransactionsResponse;
            ListTransactions ListTransactionsRequest ListTransactionsResponse;
            AllocateProducerIds AllocateProducerIdsRequest AllocateProducerIdsResponse;
            ConsumerGroupHeartbeat ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse;
            ConsumerGroupDescribe ConsumerGroupDescribeRequest ConsumerGroupDescribeResponse;
            GetTelemetrySubscriptions GetTelemetrySubscriptionsRequest GetTelemetrySubscriptionsResponse;
            PushTelemetry PushTelemetryRequest PushTelemetryResponse;
            AssignReplicasToDirs AssignReplicasToDirsRequest AssignReplicasToDirsResponse;
            ListConfigResources ListConfigResourcesRequest ListConfigResourcesResponse;
            DescribeTopicPartitions DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse;
            AddRaftVoter AddRaftVoterRequest AddRaftVoterResponse;
            RemoveRaftVoter RemoveRaftVoterRequest RemoveRaftVoterResponse;
            UpdateRaftVoter UpdateRaftVoterRequest UpdateRaftVoterResponse;
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
            ConsumerGroupMetadataKey;
            ConsumerGroupMetadataValue;
            ConsumerGroupPartitionMetadataKey;
            ConsumerGroupMemberMetadataKey;
            ConsumerGroupMemberMetadataValue;
            ConsumerGroupTargetAssignmentMetadataKey;
            ConsumerGroupTargetAssignmentMetadataValue;
            ConsumerGroupTargetAssignmentMemberKey;
            ConsumerGroupTargetAssignmentMemberValue;
            ConsumerGroupCurrentMemberAssignmentKey;
            ConsumerGroupCurrentMemberAssignmentValue;
            ConsumerGroupRegularExpressionKey;
            ConsumerGroupRegularExpressionValue;
            TopicRecord;
            PartitionRecord;
            PartitionChangeRecord;
            ConfigRecord;
            RemoveTopicRecord;
            ProducerIdsRecord;
            FeatureLevelRecord;
            UserScramCredentialRecord;
            RemoveUserScramCredentialRecord;
            ClientQuotaRecord;
            AccessControlEntryRecord;
            RemoveAccessControlEntryRecord;
            RegisterBrokerRecord;
            UnregisterBrokerRecord;
            BrokerRegistrationChangeRecord;
            DefaultPrincipalData;
            LeaderChangeMessage;
            KRaftVersionRecord;
            VotersRecord;
            TransactionLogKey;
            TransactionLogValue;
        }
    };
}
