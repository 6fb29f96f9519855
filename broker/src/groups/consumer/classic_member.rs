//! Members of the classic protocol in a group of the consumer protocol (KIP-848): JoinGroup, SyncGroup, Heartbeat and
//! LeaveGroup in its terms. A generation is the member's epoch, the coordinator assigns, and nobody leads.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::messages::consumer_protocol::TopicPartition;
use ottla_protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use ottla_protocol::{Message, Str};
use uuid::Uuid;

use super::change::ConsumerChange;
use super::draft::ConsumerDraft;
use super::epoch::Epoch;
use super::heartbeat::{Wishes, go_on};
use super::member::{ClassicMember, Member, MemberMetadata, MemberState};
use super::partitions::PartitionSet;
use crate::groups::classic::{
    Heartbeat, JoinGroup, JoinRefused, Joined, LeaveGroup, LeavingMember, SyncGroup, Synced,
};
use crate::groups::error::GroupError;
use crate::groups::names::{InstanceId, MemberId, ReplyId, TopicName};
use crate::groups::request::Reply;
use crate::groups::topics::TopicCatalog;

const CONSUMER: &str = "consumer";

/// Answered at once: who joins need not wait for the others.
pub(in crate::groups) fn on_join_group(draft: &mut ConsumerDraft<'_>, reply: ReplyId, request: &JoinGroup) {
    let answer = join(draft, request);
    draft.decision.replies.push((reply, Reply::JoinGroup(answer)));
}

fn join(draft: &mut ConsumerDraft<'_>, request: &JoinGroup) -> Result<Joined, JoinRefused> {
    let refuse = |error| JoinRefused { error, member_id: request.member_id.clone() };
    let first = request.protocols.first().filter(|_| &*request.protocol_type == CONSUMER);
    let first = first.ok_or_else(|| refuse(GroupError::InconsistentGroupProtocol))?;
    let subscription = ConsumerProtocolSubscription::decode_versioned_or_newer(first.metadata.clone())
        .map_err(|_| refuse(GroupError::InconsistentGroupProtocol));
    // Who only gets an id now, as in Kafka, is not read yet; everybody else must be readable before a place is made.
    let subscription = if gets_an_id_first(request) { None } else { Some(subscription?) };
    let member_id = find_place(draft, request)?;
    let subscription = subscription.ok_or_else(|| refuse(GroupError::MemberIdRequired))?;
    let topics = request.topics.as_ref().ok_or_else(|| refuse(GroupError::CoordinatorNotAvailable))?;
    let known = draft.group.members.get(&member_id).cloned();
    // Who was removed and does not know it yet must not come back with what others own by now, as a classic group would not
    // let it either. Who only got an id so far owns nothing.
    if known.is_none()
        && request.member_id.is_some()
        && (subscription.generation_id >= 0 || !subscription.owned_partitions.is_empty())
    {
        return Err(refuse(GroupError::UnknownMemberId));
    }
    // What it owned in another epoch than its own says nothing of what it has given up since: it may have missed the answer that
    // told it to, or this may be an old request that comes late.
    let epoch = known.as_ref().map_or(Epoch::JOIN, |member| member.current.epoch);
    let says_when = subscription.generation_id < 0 || Epoch(subscription.generation_id) == epoch;
    let owned = says_when.then(|| owned(&subscription.owned_partitions, &*topics.0));
    let wishes = Wishes {
        member_id: member_id.clone(),
        metadata: MemberMetadata {
            instance_id: request.instance_id.clone(),
            rack_id: subscription.rack_id.as_deref().map(Arc::from),
            client_id: request.client_id.clone(),
            client_host: request.client_host.clone(),
            topic_names: subscription.topics.iter().map(|name| TopicName::from(&**name)).collect(),
            topic_regex: None,
            rebalance_timeout: Some(request.rebalance_timeout),
            server_assignor: None,
            classic: Some(ClassicMember {
                session_timeout: request.session_timeout,
                protocols: request.protocols.iter().map(|p| (p.name.clone(), p.metadata.clone())).collect(),
            }),
        },
        owned: owned.as_ref(),
        topics: topics.clone(),
        session_timeout: request.session_timeout,
        is_new: known.is_none(),
    };
    let current = go_on(draft, &wishes);
    Ok(Joined {
        generation: crate::groups::GenerationId(current.epoch.0),
        protocol_type: Some(Arc::from(CONSUMER)),
        protocol_name: Some(first.name.clone()),
        leader: None,
        skip_assignment: false,
        member_id,
        members: Vec::new(),
    })
}

/// Whether the sender is to come again with the member id that it is given (KIP-394).
fn gets_an_id_first(request: &JoinGroup) -> bool {
    request.knows_member_id_required && request.member_id.is_none() && request.instance_id.is_none()
}

/// The id under which the sender is, or will be, a member.
fn find_place(draft: &mut ConsumerDraft<'_>, request: &JoinGroup) -> Result<MemberId, JoinRefused> {
    let refuse = |error| JoinRefused { error, member_id: request.member_id.clone() };
    let sender = request.member_id.as_ref();
    let bearer = request.instance_id.as_ref().and_then(|id| draft.group.static_members.get(id)).cloned();
    if sender.is_none_or(|sender| !draft.group.members.contains_key(sender))
        && bearer.is_none()
        && draft.group.members.len() >= draft.config.consumer.size_max
    {
        return Err(JoinRefused { error: GroupError::GroupMaxSizeReached, member_id: None });
    }
    match (&request.instance_id, sender, bearer) {
        (Some(_), None, Some(old)) => {
            draft.move_member(&old, &request.fresh_member_id);
            Ok(request.fresh_member_id.clone())
        }
        (Some(_), None, None) => Ok(request.fresh_member_id.clone()),
        (Some(_), Some(_), None) => Err(refuse(GroupError::UnknownMemberId)),
        (Some(_), Some(sender), Some(bearer)) if *sender != bearer => {
            Err(refuse(GroupError::FencedInstanceId))
        }
        (_, Some(sender), _) => Ok(sender.clone()),
        (None, None, _) if gets_an_id_first(request) => Err(JoinRefused {
            error: GroupError::MemberIdRequired,
            member_id: Some(request.fresh_member_id.clone()),
        }),
        (None, None, _) => Ok(request.fresh_member_id.clone()),
    }
}

fn owned(partitions: &[TopicPartition], topics: &dyn TopicCatalog) -> PartitionSet {
    let known =
        partitions.iter().filter_map(|topic| Some((topics.topic(&topic.topic)?.id, &topic.partitions)));
    known.flat_map(|(id, partitions)| partitions.iter().map(move |index| (id, *index))).collect()
}

/// What the coordinator assigned, in the words that members of the classic protocol have for it.
pub(in crate::groups) fn on_sync_group(draft: &mut ConsumerDraft<'_>, reply: ReplyId, request: &SyncGroup) {
    let answer = sync(draft, request);
    draft.decision.replies.push((reply, Reply::SyncGroup(answer)));
}

fn sync(draft: &mut ConsumerDraft<'_>, request: &SyncGroup) -> Result<Synced, GroupError> {
    let epoch = Epoch(request.generation.0);
    let member = classic_member(draft, &request.member_id, request.instance_id.as_ref())?.clone();
    if member.current.epoch != epoch {
        return Err(GroupError::IllegalGeneration);
    }
    let protocols = member.metadata.classic.as_ref().map(|classic| &classic.protocols);
    let protocol = protocols.and_then(|protocols| protocols.first()).cloned();
    let (name, metadata) = protocol.ok_or(GroupError::UnknownMemberId)?;
    if request.protocol_type.as_deref().is_some_and(|said| said != CONSUMER)
        || request.protocol_name.as_ref().is_some_and(|said| *said != name)
    {
        return Err(GroupError::InconsistentGroupProtocol);
    }
    if draft.group.epoch() > epoch && member.current.state != MemberState::UnrevokedPartitions {
        return Err(GroupError::RebalanceInProgress);
    }
    let topics = request.topics.as_ref().ok_or(GroupError::CoordinatorNotAvailable)?;
    let assignment = to_assignment(&member, &*topics.0, &metadata);
    extend_session(draft, &member);
    Ok(Synced { protocol_type: Some(Arc::from(CONSUMER)), protocol_name: Some(name), assignment })
}

fn to_assignment(member: &Member, topics: &dyn TopicCatalog, metadata: &Bytes) -> Bytes {
    let names: BTreeMap<Uuid, &TopicName> = member
        .metadata
        .topic_names
        .iter()
        .filter_map(|name| Some((topics.topic(name.as_str())?.id, name)))
        .collect();
    let assigned_partitions = member.current.assigned.topics().filter_map(|(id, partitions)| {
        Some(TopicPartition {
            topic: Str::from(names.get(&id)?.as_str()),
            partitions: partitions.iter().copied().collect(),
        })
    });
    let assignment = ConsumerProtocolAssignment {
        assigned_partitions: assigned_partitions.collect(),
        ..ConsumerProtocolAssignment::default()
    };
    // In the version that the member speaks.
    let version = ottla_protocol::Reader::new(metadata.clone()).i16().unwrap_or(0);
    let version = version.clamp(0, <ConsumerProtocolAssignment as Message>::VERSIONS.1);
    assignment.encode_versioned(version).unwrap_or_default()
}

/// Tells the member to join again where there is something to give up or to get.
pub(in crate::groups) fn on_heartbeat(draft: &mut ConsumerDraft<'_>, reply: ReplyId, request: &Heartbeat) {
    let answer = beat(draft, request);
    draft.decision.replies.push((reply, Reply::Heartbeat(answer)));
}

fn beat(draft: &mut ConsumerDraft<'_>, request: &Heartbeat) -> Result<(), GroupError> {
    let member = classic_member(draft, &request.member_id, request.instance_id.as_ref())?.clone();
    if member.current.epoch != Epoch(request.generation.0) {
        return Err(GroupError::IllegalGeneration);
    }
    extend_session(draft, &member);
    let is_free = |(topic, partition): (Uuid, i32)| {
        draft.group.holders.get(&(topic, partition)).is_none_or(|holder| *holder == member.id)
    };
    let current = &member.current;
    let has_a_step_to_go = match current.state {
        MemberState::Stable => false,
        MemberState::UnrevokedPartitions | MemberState::Unknown => true,
        MemberState::UnreleasedPartitions => {
            draft.group.target_of(&member.id).difference(&current.assigned).iter().any(is_free)
        }
    };
    match current.epoch < draft.group.epoch() || has_a_step_to_go {
        true => Err(GroupError::RebalanceInProgress),
        false => Ok(()),
    }
}

/// Answers member by member. The caller sees whether only classic members are left.
pub(in crate::groups) fn on_leave_group(draft: &mut ConsumerDraft<'_>, reply: ReplyId, request: &LeaveGroup) {
    let answers = request.members.iter().map(|leaving| let_go(draft, leaving)).collect();
    draft.decision.replies.push((reply, Reply::LeaveGroup(Ok(answers))));
}

fn let_go(draft: &mut ConsumerDraft<'_>, leaving: &LeavingMember) -> Result<(), GroupError> {
    let bearer = leaving.instance_id.as_ref().and_then(|id| draft.group.static_members.get(id)).cloned();
    let member_id = match (&leaving.member_id, bearer) {
        (Some(member_id), _) => member_id.clone(),
        // Only an administrator, or a client that never learnt its id, names a member by its instance id alone.
        (None, Some(bearer)) => bearer,
        (None, None) => return Err(GroupError::UnknownMemberId),
    };
    let member = find_member(draft, &member_id, leaving.instance_id.as_ref())?.id.clone();
    draft.lose_member(&member);
    Ok(())
}

fn classic_member<'a>(
    draft: &'a ConsumerDraft<'_>,
    member_id: &MemberId,
    instance: Option<&InstanceId>,
) -> Result<&'a Arc<Member>, GroupError> {
    let member = find_member(draft, member_id, instance)?;
    if member.metadata.classic.is_some() { Ok(member) } else { Err(GroupError::UnknownMemberId) }
}

fn find_member<'a>(
    draft: &'a ConsumerDraft<'_>,
    member_id: &MemberId,
    instance: Option<&InstanceId>,
) -> Result<&'a Arc<Member>, GroupError> {
    if let Some(instance_id) = instance {
        let bearer = draft.group.static_members.get(instance_id).ok_or(GroupError::UnknownMemberId)?;
        if bearer != member_id {
            return Err(GroupError::FencedInstanceId);
        }
    }
    draft.group.members.get(member_id).ok_or(GroupError::UnknownMemberId)
}

fn extend_session(draft: &mut ConsumerDraft<'_>, member: &Member) {
    let timeout = member.metadata.classic.as_ref().map(|classic| classic.session_timeout).unwrap_or_default();
    let expires_at = draft.now.monotonic + timeout;
    draft.live(ConsumerChange::SessionExtended { member_id: member.id.clone(), expires_at });
}
