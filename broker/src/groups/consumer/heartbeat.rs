//! ConsumerGroupHeartbeat: a member says what it wants and owns; the group's epoch, its target assignment and the member
//! each go one step on if there is one to go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::assignor;
use super::change::ConsumerChange;
use super::draft::ConsumerDraft;
use super::epoch::Epoch;
use super::group::ConsumerGroup;
use super::leave::on_leave;
use super::member::{CurrentAssignment, Member, MemberMetadata, MemberState};
use super::partitions::PartitionSet;
use super::reconcile::Reconciliation;
use super::record::{ConsumerRecord, GroupEpoch};
use super::request::{ConsumerHeartbeat, ConsumerRefused, MemberAnswer};
use super::static_member::find_static_member;
use super::subscription::{compile, metadata_hash, resolve_regexes, subscribed_topics};
use crate::groups::decision::{Change, Decision};
use crate::groups::error::GroupError;
use crate::groups::names::{MemberId, Now, ReplyId, TopicName};
use crate::groups::request::Reply;
use crate::groups::topics::Topics;

/// How long a member that does not say may take to give partitions up.
const REBALANCE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5 * 60);

/// The answer to the heartbeat of a member for whom nothing changes, which is nearly every one. `None` when there is
/// more to it. Decides without a draft, as the group need not be copied.
pub(in crate::groups) fn on_steady_heartbeat(
    group: &ConsumerGroup,
    now: Now,
    reply: ReplyId,
    request: &ConsumerHeartbeat,
) -> Option<Decision> {
    let member = group.members.get(&request.member_id)?;
    let says_nothing_new = request.rebalance_timeout.is_none()
        && request.topic_names.is_none()
        && request.topic_regex.is_none()
        && request.server_assignor.is_none()
        && request.rack_id.is_none()
        && request.client_id == member.metadata.client_id
        && request.client_host == member.metadata.client_host
        && request.instance_id == member.metadata.instance_id;
    let is_steady = request.epoch == member.current.epoch
        && request.epoch > Epoch::JOIN
        && says_nothing_new
        && member.metadata.classic.is_none()
        && group.epoch() == group.assignment_epoch()
        && member.current.is_reconciled_to(group.assignment_epoch())
        && group.topics_version == Some(request.topics.0.version());
    if !is_steady {
        return None;
    }
    let answer = MemberAnswer {
        member_id: request.member_id.clone(),
        epoch: member.current.epoch,
        heartbeat_interval: request.heartbeat_interval,
        assigned: None,
    };
    let mut decision = Decision::reply(reply, Reply::ConsumerHeartbeat(Ok(answer)));
    let change = ConsumerChange::SessionExtended {
        member_id: request.member_id.clone(),
        expires_at: now.monotonic + request.session_timeout,
    };
    decision.changes.push(Change::LiveConsumer { group: request.group.clone(), change });
    Some(decision)
}

/// Any other heartbeat.
pub(in crate::groups) fn on_heartbeat(
    draft: &mut ConsumerDraft<'_>,
    reply: ReplyId,
    request: &ConsumerHeartbeat,
) {
    if request.epoch < Epoch::JOIN {
        return on_leave(draft, reply, request);
    }
    let answer = admit(draft, request).map(|admitted| answer(draft, request, admitted));
    draft.answer(reply, answer);
}

/// A member that may go on, and what of its request counts.
struct Admitted<'a> {
    /// What the member owns, if it can be believed.
    owned: Option<&'a PartitionSet>,
    /// As the member last knew it.
    before: CurrentAssignment,
    is_new: bool,
}

fn admit<'a>(
    draft: &mut ConsumerDraft<'_>,
    request: &'a ConsumerHeartbeat,
) -> Result<Admitted<'a>, ConsumerRefused> {
    if let Some(name) = &request.server_assignor
        && draft.config.consumer.assignor(name).is_none()
    {
        return Err(unsupported_assignor(draft, name));
    }
    if let Some(regex) = request.topic_regex.as_deref().filter(|regex| !regex.is_empty()) {
        compile(regex)?;
    }
    let size_max = draft.config.consumer.size_max;
    if !draft.group.members.contains_key(&request.member_id)
        && draft.group.members.len() >= size_max
        && !takes_a_place_again(draft, request)
    {
        let message = format!("The consumer group has reached its maximum capacity of {size_max} members.");
        return Err(ConsumerRefused::with(GroupError::GroupMaxSizeReached, message));
    }
    if let Some(instance_id) = &request.instance_id {
        find_static_member(draft, instance_id, request)?;
    }
    let Some(member) = draft.group.members.get(&request.member_id) else {
        if request.epoch != Epoch::JOIN {
            let message = format!("Member {} is not a member of group {}.", request.member_id, request.group);
            return Err(ConsumerRefused::with(GroupError::UnknownMemberId, message));
        }
        let before = CurrentAssignment::default();
        return Ok(Admitted { owned: request.owned.as_ref(), before, is_new: true });
    };
    let is_late = check_epoch(member, request)?;
    // Who repeats a request of an earlier epoch may have given nothing up since.
    let owned = request.owned.as_ref().filter(|_| !is_late);
    // Without a target it is one of whose joining only the beginning reached the log.
    let is_new = !draft.group.target.contains_key(&request.member_id);
    Ok(Admitted { owned, before: member.current.clone(), is_new })
}

/// `group.consumer.max.size` is not exceeded by a static member that comes back.
fn takes_a_place_again(draft: &ConsumerDraft<'_>, request: &ConsumerHeartbeat) -> bool {
    request.instance_id.as_ref().is_some_and(|id| draft.group.static_members.contains_key(id))
}

/// Whether the request was made before its sender heard the last answer.
///
/// # Errors
/// `FencedMemberEpoch` when the sender must give everything up and join again.
fn check_epoch(member: &Member, request: &ConsumerHeartbeat) -> Result<bool, ConsumerRefused> {
    let (said, known) = (request.epoch, member.current.epoch);
    let fenced = |how: &str| {
        let message = format!(
            "The consumer group member has a {how} member epoch ({said}) than the one known by the group coordinator \
             ({known}). The member must abandon all its partitions and rejoin."
        );
        Err(ConsumerRefused::with(GroupError::FencedMemberEpoch, message))
    };
    if said > known {
        return fenced("greater");
    }
    if said == known {
        return Ok(false);
    }
    // The answer that took the member to its epoch may be lost. It is given again to one that owns no more than that.
    let repeats = said == member.current.previous_epoch
        && request.owned.as_ref().is_some_and(|owned| owned.is_subset(&member.current.assigned));
    if repeats { Ok(true) } else { fenced("smaller") }
}

fn unsupported_assignor(draft: &ConsumerDraft<'_>, name: &str) -> ConsumerRefused {
    let known: Vec<&str> = draft.config.consumer.assignors.iter().map(|assignor| assignor.as_str()).collect();
    let message =
        format!("ServerAssignor {name} is not supported. Supported assignors: {}.", known.join(", "));
    ConsumerRefused::with(GroupError::UnsupportedAssignor, message)
}

fn answer(
    draft: &mut ConsumerDraft<'_>,
    request: &ConsumerHeartbeat,
    admitted: Admitted<'_>,
) -> MemberAnswer {
    let wishes = Wishes {
        member_id: request.member_id.clone(),
        metadata: wanted(draft, request),
        owned: admitted.owned,
        topics: request.topics.clone(),
        session_timeout: request.session_timeout,
        is_new: admitted.is_new,
    };
    let current = go_on(draft, &wishes);
    let tell = request.epoch == Epoch::JOIN
        || request.is_full()
        || current.assigned != admitted.before.assigned
        || request.epoch != admitted.before.epoch;
    MemberAnswer {
        member_id: request.member_id.clone(),
        epoch: current.epoch,
        heartbeat_interval: request.heartbeat_interval,
        assigned: tell.then_some(current.assigned),
    }
}

/// What the member says of itself: what it said before, and what is new.
fn wanted(draft: &ConsumerDraft<'_>, request: &ConsumerHeartbeat) -> MemberMetadata {
    let before =
        draft.group.members.get(&request.member_id).map(|member| member.metadata.clone()).unwrap_or_default();
    let regex = match &request.topic_regex {
        Some(regex) => Some(regex.clone()).filter(|regex| !regex.is_empty()),
        None => before.topic_regex.clone(),
    };
    MemberMetadata {
        instance_id: request.instance_id.clone().or_else(|| before.instance_id.clone()),
        rack_id: request.rack_id.clone().or_else(|| before.rack_id.clone()),
        client_id: request.client_id.clone(),
        client_host: request.client_host.clone(),
        topic_names: request.topic_names.clone().unwrap_or_else(|| before.topic_names.clone()),
        topic_regex: regex,
        rebalance_timeout: request.rebalance_timeout.or(before.rebalance_timeout),
        server_assignor: request.server_assignor.clone().or_else(|| before.server_assignor.clone()),
        classic: None,
    }
}

/// What a member that was admitted wants, in whichever protocol it said so.
pub(super) struct Wishes<'a> {
    pub member_id: MemberId,
    pub metadata: MemberMetadata,
    /// What it owns, if it said so and can be believed.
    pub owned: Option<&'a PartitionSet>,
    pub topics: Topics,
    pub session_timeout: Duration,
    pub is_new: bool,
}

/// Brings the group and the member one step on.
pub(super) fn go_on(draft: &mut ConsumerDraft<'_>, wishes: &Wishes<'_>) -> CurrentAssignment {
    let subscription_changed = update_metadata(draft, wishes) || wishes.is_new;
    follow_topics(draft, &wishes.topics, subscription_changed);
    if draft.group.epoch() > draft.group.assignment_epoch() {
        assignor::assign(draft, &*wishes.topics.0);
    }
    let current = reconcile(draft, &wishes.member_id, wishes.owned);
    let expires_at = draft.now.monotonic + wishes.session_timeout;
    draft.live(ConsumerChange::SessionExtended { member_id: wishes.member_id.clone(), expires_at });
    current
}

/// Writes down what the member says of itself. Whether it asks for other topics now.
fn update_metadata(draft: &mut ConsumerDraft<'_>, wishes: &Wishes<'_>) -> bool {
    let known = draft.group.members.get(&wishes.member_id).map(|member| member.metadata.clone());
    let changed = known.as_ref().is_none_or(|known| {
        known.topic_names != wishes.metadata.topic_names || known.topic_regex != wishes.metadata.topic_regex
    });
    if known.as_deref() != Some(&wishes.metadata) {
        let value = Some(Arc::new(wishes.metadata.clone()));
        draft.record(ConsumerRecord::Member { member_id: wishes.member_id.clone(), value });
    }
    changed
}

/// Takes the group to a new epoch if its subscriptions, or the topics that they stand for, have changed.
fn follow_topics(draft: &mut ConsumerDraft<'_>, topics: &Topics, subscription_changed: bool) {
    let version = topics.0.version();
    if !subscription_changed && draft.group.topics_version == Some(version) {
        return;
    }
    resolve_regexes(draft, topics);
    let subscribed = subscribed_topics(&draft.group, &*topics.0);
    let metadata_hash = metadata_hash(&subscribed);
    let stored = draft.group.stored.unwrap_or_default();
    if subscription_changed || metadata_hash != stored.metadata_hash {
        let epoch = stored.epoch.next();
        draft.record(ConsumerRecord::Group(Some(GroupEpoch { epoch, metadata_hash })));
    }
    let names: BTreeMap<Uuid, TopicName> = subscribed.into_iter().map(|(name, (id, _))| (id, name)).collect();
    if draft.group.topics_version != Some(version) || *draft.group.topic_names != names {
        draft.live(ConsumerChange::TopicsSeen { version, names: Arc::new(names) });
    }
}

fn reconcile(
    draft: &mut ConsumerDraft<'_>,
    member_id: &MemberId,
    owned: Option<&PartitionSet>,
) -> CurrentAssignment {
    let Some(member) = draft.group.members.get(member_id).cloned() else {
        return CurrentAssignment::default();
    };
    let target = draft.group.target_of(member_id);
    let holders = &draft.group.holders;
    let reconciliation = Reconciliation {
        target_epoch: draft.target_epoch(),
        target: &target,
        owned,
        is_held_by_other: &|topic, partition| {
            holders.get(&(topic, partition)).is_some_and(|holder| holder != member_id)
        },
    };
    let next = reconciliation.step(&member.current);
    if next != member.current {
        draft.set_current(member_id, next.clone());
        if next.state == MemberState::UnrevokedPartitions {
            let timeout = member.metadata.rebalance_timeout.unwrap_or(REBALANCE_TIMEOUT_DEFAULT);
            let deadline = draft.now.monotonic + timeout;
            draft.live(ConsumerChange::RevocationDue { member_id: member_id.clone(), deadline });
        }
    }
    next
}
