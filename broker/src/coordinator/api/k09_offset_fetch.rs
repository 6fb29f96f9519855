//! OffsetFetch v1–10. v2 all topics and a code for the group, v5 leader epoch (KIP-320), v7 require_stable (KIP-447: an
//! offset that an open transaction may change is refused), v8 several groups (KIP-709), v9 member epochs (KIP-848), v10
//! topic ids instead of names (KIP-516).

use std::future::Future;

use futures::future::{Either, join_all, ready};
use ottla_protocol::messages::k09_offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponseGroup,
    OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use ottla_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};
use ottla_protocol::{ErrorCode, Str, Uuid};

use super::{Caller, group_id, text};
use crate::coordinator::{GroupCoordinator, TopicLookup};
use crate::groups::consumer::Epoch;
use crate::groups::offsets::{CommittedOffset, FetchOffsets, FetchedOffset, OffsetSelection};
use crate::groups::{MemberId, Reply, Request, TopicName};

/// What an offset is where none was committed.
const NO_OFFSET: i64 = -1;
const NO_EPOCH: i32 = -1;

impl GroupCoordinator {
    /// Answers when what it tells is durable.
    pub fn offset_fetch(
        &self,
        caller: &Caller,
        request: &OffsetFetchRequest,
    ) -> impl Future<Output = OffsetFetchResponse> + Send + use<> {
        let version = caller.api_version;
        if version < 8 {
            // One group, in fields of its own.
            let topics = request.topics.as_ref().map(|topics| {
                let topics = topics.iter().map(|topic| OffsetFetchRequestTopics {
                    name: topic.name.clone(),
                    topic_id: Uuid::nil(),
                    partition_indexes: topic.partition_indexes.clone(),
                });
                topics.collect()
            });
            let group = OffsetFetchRequestGroup {
                group_id: request.group_id.clone(),
                topics,
                ..OffsetFetchRequestGroup::default()
            };
            let asked = asked_partitions(&group);
            let answer = self.fetch_one(version, request.require_stable, &group);
            return Either::Left(async move { to_single(version, answer.await, asked) });
        }
        let groups =
            request.groups.iter().map(|group| self.fetch_one(version, request.require_stable, group));
        let groups = join_all(groups.collect::<Vec<_>>());
        Either::Right(async move { OffsetFetchResponse { groups: groups.await, ..Default::default() } })
    }

    fn fetch_one(
        &self,
        version: i16,
        require_stable: bool,
        group: &OffsetFetchRequestGroup,
    ) -> impl Future<Output = OffsetFetchResponseGroup> + Send + use<> {
        let name = group.group_id.detached();
        let id = match group_id(&name) {
            Ok(id) => id,
            Err(error) => return Either::Left(ready(refused(name, error))),
        };
        let by_id = version >= 10;
        let (selection, unknown) = resolve(by_id, &*self.topics, group.topics.as_deref());
        // Version 9 says who asks; tools say neither who they are nor in which epoch.
        let asks = version >= 9 && (group.member_id.is_some() || group.member_epoch >= 0);
        let member_id = MemberId::from(group.member_id.as_deref().unwrap_or_default());
        let member = asks.then_some((member_id, Epoch(group.member_epoch)));
        let fetch = FetchOffsets { group: id.clone(), selection, member };
        let reply = self.handle(&id, Request::FetchOffsets(fetch));
        let topics = self.topics.clone();
        Either::Right(async move {
            match reply.await {
                Reply::FetchOffsets(Ok(fetched)) => OffsetFetchResponseGroup {
                    group_id: name,
                    topics: to_topics(by_id, require_stable, &*topics, fetched, unknown),
                    error_code: ErrorCode::None.code(),
                },
                Reply::FetchOffsets(Err(error)) => refused(name, error.into()),
                other => unreachable!("a shard answers what it was asked, not {other:?}"),
            }
        })
    }
}

/// What to ask the shard, and the topics whose ids nobody knows.
fn resolve(
    by_id: bool,
    lookup: &dyn TopicLookup,
    topics: Option<&[OffsetFetchRequestTopics]>,
) -> (OffsetSelection, Vec<OffsetFetchRequestTopics>) {
    let Some(topics) = topics else { return (OffsetSelection::All, Vec::new()) };
    let mut partitions = Vec::new();
    let mut unknown = Vec::new();
    for topic in topics {
        let found = if by_id {
            lookup.topic_name(topic.topic_id).map(|name| (TopicName::from(&*name), topic.topic_id))
        } else {
            // A topic that is gone may still have offsets, which a client may well ask for by name.
            Some((TopicName::from(&*topic.name), lookup.topic_id(&topic.name).unwrap_or_default()))
        };
        match found {
            Some((name, id)) => {
                partitions.extend(topic.partition_indexes.iter().map(|index| (name.clone(), id, *index)));
            }
            None => unknown.push(topic.clone()),
        }
    }
    (OffsetSelection::Partitions(partitions), unknown)
}

/// The shard gives partitions of one topic in a row; each row becomes a topic of the response.
fn to_topics(
    by_id: bool,
    require_stable: bool,
    lookup: &dyn TopicLookup,
    fetched: Vec<FetchedOffset>,
    unknown: Vec<OffsetFetchRequestTopics>,
) -> Vec<OffsetFetchResponseTopics> {
    let mut topics = Vec::new();
    for row in fetched.chunk_by(|a, b| a.topic == b.topic) {
        let Some(FetchedOffset { topic, .. }) = row.first() else { continue };
        let topic_id = lookup.topic_id(topic.as_str());
        if by_id && topic_id.is_none() {
            // Its offsets cannot be named to this client.
            continue;
        }
        topics.push(OffsetFetchResponseTopics {
            name: text(topic.as_str()),
            topic_id: topic_id.unwrap_or_default(),
            partitions: row
                .iter()
                .map(|fetched| match require_stable && fetched.is_unstable {
                    // An open transaction may change it (KIP-447); clients ask again.
                    true => OffsetFetchResponsePartitions {
                        error_code: ErrorCode::UnstableOffsetCommit.code(),
                        ..to_partition(fetched.partition, None)
                    },
                    false => to_partition(fetched.partition, fetched.committed.as_ref()),
                })
                .collect(),
        });
    }
    topics.extend(unknown.into_iter().map(|topic| {
        OffsetFetchResponseTopics {
            name: Str::default(),
            topic_id: topic.topic_id,
            partitions: topic
                .partition_indexes
                .iter()
                .map(|index| OffsetFetchResponsePartitions {
                    error_code: ErrorCode::UnknownTopicId.code(),
                    ..to_partition(*index, None)
                })
                .collect(),
        }
    }));
    topics
}

fn to_partition(partition_index: i32, committed: Option<&CommittedOffset>) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: committed.map_or(NO_OFFSET, |committed| committed.offset),
        committed_leader_epoch: committed.map_or(NO_EPOCH, |committed| committed.leader_epoch),
        metadata: Some(committed.map(|committed| text(&committed.metadata)).unwrap_or_default()),
        error_code: ErrorCode::None.code(),
    }
}

fn refused(group_id: Str, error: ErrorCode) -> OffsetFetchResponseGroup {
    OffsetFetchResponseGroup { group_id, topics: Vec::new(), error_code: error.code() }
}

fn asked_partitions(group: &OffsetFetchRequestGroup) -> Vec<(Str, Vec<i32>)> {
    let topics = group.topics.iter().flatten();
    topics.map(|topic| (topic.name.detached(), topic.partition_indexes.clone())).collect()
}

/// Version 1 has no code for the group, so every partition bears it.
fn to_single(
    version: i16,
    group: OffsetFetchResponseGroup,
    asked: Vec<(Str, Vec<i32>)>,
) -> OffsetFetchResponse {
    let mut topics: Vec<OffsetFetchResponseTopic> = group
        .topics
        .into_iter()
        .map(|topic| OffsetFetchResponseTopic {
            name: topic.name,
            partitions: topic.partitions.into_iter().map(single_partition).collect(),
        })
        .collect();
    if version < 2 && group.error_code != ErrorCode::None.code() {
        topics = asked
            .into_iter()
            .map(|(name, indexes)| OffsetFetchResponseTopic {
                name,
                partitions: indexes
                    .into_iter()
                    .map(|index| OffsetFetchResponsePartition {
                        error_code: group.error_code,
                        ..single_partition(to_partition(index, None))
                    })
                    .collect(),
            })
            .collect();
    }
    OffsetFetchResponse { topics, error_code: group.error_code, ..OffsetFetchResponse::default() }
}

fn single_partition(partition: OffsetFetchResponsePartitions) -> OffsetFetchResponsePartition {
    OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
    }
}
