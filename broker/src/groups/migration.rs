//! Groups with members that go over to the other protocol (KIP-848, `group.consumer.migration.policy`): a classic one when a
//! member of the consumer protocol joins, one of the consumer protocol when only classic members are left in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ottla_protocol::messages::consumer_protocol::TopicPartition;
use ottla_protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use ottla_protocol::{Message, Str};
use uuid::Uuid;

use super::classic::{Draft, Group, GroupChange, GroupMetadata, StoredMember};
use super::config::GroupConfig;
use super::consumer::{
    ClassicMember, ConsumerDraft, ConsumerGroup, ConsumerRecord, CurrentAssignment, Epoch, GroupEpoch,
    Member, MemberMetadata, MemberState, PartitionSet,
};
use super::decision::{Change, Decision, Record};
use super::error::GroupError;
use super::names::{GenerationId, GroupId, Now, TopicName, WallMs};
use super::topics::{TopicCatalog, Topics};

/// The oldest version, which every client reads.
const ASSIGNMENT_VERSION: i16 = 0;

/// The protocol type of consumers.
const CONSUMER: &str = "consumer";

/// A classic group as one of the consumer protocol: what goes, and what comes in its place. Members keep what they have.
///
/// # Errors
/// Why it must stay classic, for people.
pub(super) fn upgrade<'a>(
    group_id: &'a GroupId,
    group: &'a Group,
    config: &'a GroupConfig,
    topics: &Topics,
    now: Now,
) -> Result<(Decision, ConsumerDraft<'a>), String> {
    let refuse =
        |why: &str| Err(format!("Cannot upgrade classic group {group_id} to consumer group because {why}."));
    if !config.consumer.migration_policy.allows_upgrade() {
        return refuse("online upgrade is disabled");
    }
    if group.protocol_type.as_deref() != Some(CONSUMER) {
        return refuse("the group does not use the consumer embedded protocol");
    }
    if group.members.len() > config.consumer.size_max {
        return refuse("the group size exceeds the consumer group maximum size");
    }
    let Some(members) = converted(group, &*topics.0) else {
        return refuse("the embedded consumer protocol is malformed");
    };
    let epoch = Epoch(group.generation.0);
    let mut draft = Draft::new(group_id, Some(group), config, now);
    draft.refuse_all_parked(GroupError::RebalanceInProgress);
    let mut decision = draft.into_decision();
    decision.changes.push(Change::Record(Record::Group { group: group_id.clone(), value: None }));
    decision.changes.push(Change::Live { group: group_id.clone(), change: GroupChange::Deleted });
    let mut consumer = ConsumerDraft::new(group_id, None, config, now);
    let stored = GroupEpoch { epoch, metadata_hash: 0 };
    for member in &members {
        let value = Some(member.metadata.clone());
        consumer.record(ConsumerRecord::Member { member_id: member.id.clone(), value });
    }
    consumer.record(ConsumerRecord::Group(Some(stored)));
    for member in &members {
        let value = Some(Arc::new(member.current.assigned.clone()));
        consumer.record(ConsumerRecord::Target { member_id: member.id.clone(), value });
    }
    consumer.record(ConsumerRecord::TargetEpoch(Some(epoch)));
    for member in &members {
        let value = Some(member.current.clone());
        consumer.record(ConsumerRecord::Current { member_id: member.id.clone(), value });
    }
    consumer.restart_sessions(config.consumer.session_timeout);
    Ok((decision, consumer))
}

/// `None` when a member does not speak as consumers do.
fn converted(group: &Group, topics: &dyn TopicCatalog) -> Option<Vec<Member>> {
    let mut subscriptions = Vec::with_capacity(group.members.len());
    let mut held = Vec::with_capacity(group.members.len());
    // Clients may have assigned a partition twice; here it has one owner.
    let mut taken: BTreeSet<(Uuid, i32)> = BTreeSet::new();
    let mut take = |partitions: &[TopicPartition]| -> PartitionSet {
        let known = partitions.iter().filter_map(|topic| Some((topics.topic(&topic.topic)?.id, topic)));
        let all = known.flat_map(|(id, topic)| topic.partitions.iter().map(move |index| (id, *index)));
        all.filter(|each| taken.insert(*each)).collect()
    };
    for member in group.members.values() {
        let said = match &group.protocol_name {
            Some(name) => member.metadata(Some(name)),
            None => member.protocols.first()?.metadata.clone(),
        };
        subscriptions.push(ConsumerProtocolSubscription::decode_versioned_or_newer(said).ok()?);
        held.push(match member.assignment.is_empty() {
            true => PartitionSet::default(),
            false => {
                let bytes = member.assignment.clone();
                let assignment = ConsumerProtocolAssignment::decode_versioned_or_newer(bytes).ok()?;
                take(&assignment.assigned_partitions)
            }
        });
    }
    // Amid a rebalance nothing is assigned, or something else than before, but a cooperative member goes on with what it owned
    // when it joined until it is told what it may keep.
    for (subscription, held) in subscriptions.iter().zip(&mut held) {
        held.extend(take(&subscription.owned_partitions).iter());
    }
    let mut members = Vec::with_capacity(group.members.len());
    for ((member, subscription), assigned) in group.members.values().zip(subscriptions).zip(held) {
        let metadata = MemberMetadata {
            instance_id: member.instance_id.clone(),
            rack_id: subscription.rack_id.as_deref().map(Arc::from),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            topic_names: subscription.topics.iter().map(|name| TopicName::from(&**name)).collect(),
            topic_regex: None,
            rebalance_timeout: Some(member.rebalance_timeout),
            server_assignor: None,
            classic: Some(ClassicMember {
                session_timeout: member.session_timeout,
                protocols: member.protocols.iter().map(|p| (p.name.clone(), p.metadata.clone())).collect(),
            }),
        };
        let epoch = Epoch(group.generation.0);
        let current = CurrentAssignment {
            epoch,
            previous_epoch: epoch,
            state: MemberState::Stable,
            assigned,
            pending_revocation: PartitionSet::default(),
        };
        members.push(Member { id: member.id.clone(), metadata: Arc::new(metadata), current });
    }
    Some(members)
}

/// Whether the group, one member fewer, is to become a classic one. Not before the names of its topics are known, which is
/// with the first member that joins or asks after the coordinator's start: a classic group has them in its assignments.
pub(super) fn is_to_be_downgraded(group: &ConsumerGroup, config: &GroupConfig) -> bool {
    config.consumer.migration_policy.allows_downgrade()
        && group.topics_version.is_some()
        && !group.members.is_empty()
        && group.members.len() <= config.size_max
        && group.members.values().all(|member| member.metadata.classic.is_some())
}

/// What is left of a group of the consumer protocol as a classic group in `epoch`, whose members are called to join anew.
pub(super) fn downgrade(
    mut draft: ConsumerDraft<'_>,
    epoch: Epoch,
    config: &GroupConfig,
    now: Now,
) -> Decision {
    let group_id = draft.group_id;
    let metadata = Arc::new(to_classic(&draft.group, epoch, now.wall));
    draft.remove_group();
    let mut decision = draft.into_decision();
    let value = Some(metadata.clone());
    decision.changes.push(Change::Record(Record::Group { group: group_id.clone(), value }));
    let mut classic = Draft::new(group_id, None, config, now);
    let share_a_protocol = metadata.protocol_name.is_some();
    classic.change(GroupChange::Restored { metadata, now: now.monotonic });
    // Without a protocol in common none of them is a member any more, and each is told so.
    if share_a_protocol {
        classic.start_gathering();
    }
    decision.extend(classic.into_decision());
    decision
}

/// What the member may still be reading. It joins anew at once, but if the group goes back to the consumer protocol before it
/// has, nobody else may be given this.
fn held(group: &ConsumerGroup, member: &Member) -> ConsumerProtocolAssignment {
    let mut topics: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in member.current.assigned.iter().chain(member.current.pending_revocation.iter()) {
        topics.entry(topic).or_default().push(partition);
    }
    let named = topics.into_iter().filter_map(|(topic, partitions)| {
        let topic = Str::from(group.topic_names.get(&topic)?.as_str());
        Some(TopicPartition { topic, partitions })
    });
    ConsumerProtocolAssignment { assigned_partitions: named.collect(), user_data: None }
}

fn to_classic(group: &ConsumerGroup, epoch: Epoch, since: WallMs) -> GroupMetadata {
    let protocol_of = |member: &Member| {
        let classic = member.metadata.classic.as_ref()?;
        Some(classic.protocols.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>())
    };
    let mut members = group.members.values();
    let first = members.next().and_then(|member| protocol_of(member)).unwrap_or_default();
    let spoken_by_all = |name: &Arc<str>| {
        group.members.values().all(|member| protocol_of(member).is_some_and(|names| names.contains(name)))
    };
    let protocol_name = first.into_iter().find(spoken_by_all);
    let stored = group.members.values().map(|member| {
        let classic = member.metadata.classic.as_ref();
        let said = classic.and_then(|classic| {
            classic.protocols.iter().find(|(name, _)| Some(name) == protocol_name.as_ref())
        });
        StoredMember {
            id: member.id.clone(),
            instance_id: member.metadata.instance_id.clone(),
            client_id: member.metadata.client_id.clone(),
            client_host: member.metadata.client_host.clone(),
            rebalance_timeout: member.metadata.rebalance_timeout.unwrap_or(Duration::from_secs(300)),
            session_timeout: classic.map(|classic| classic.session_timeout).unwrap_or_default(),
            subscription: said.map(|(_, metadata)| metadata.clone()).unwrap_or_default(),
            assignment: held(group, member).encode_versioned(ASSIGNMENT_VERSION).unwrap_or_default(),
        }
    });
    GroupMetadata {
        protocol_type: Some(Arc::from(CONSUMER)),
        generation: GenerationId(epoch.0),
        leader: group.members.keys().next().cloned(),
        since,
        members: stored.collect(),
        protocol_name,
    }
}
