//! Gathering members and forming a generation.

use std::time::Duration;

use super::change::GroupChange;
use super::draft::Draft;
use super::group::{InitialDelay, Phase};
use super::request::{Joined, JoinedMember};
use crate::groups::error::GroupError;
use crate::groups::names::MemberId;

/// A gathering that nobody has rejoined is looked at again no sooner than this, whatever the members' timeouts say.
const POSTPONE_MIN: Duration = Duration::from_secs(1);

impl Draft<'_> {
    /// After a member came, went or changed its wishes: begins a rebalance, or ends one that waited only for this.
    pub(super) fn rebalance(&mut self) {
        match self.group.phase {
            Phase::PreparingRebalance { .. } => self.end_gathering_if_complete(),
            Phase::Empty | Phase::CompletingRebalance(_) | Phase::Stable(_) => self.start_gathering(),
        }
    }

    /// Calls all members to join again.
    pub(in crate::groups) fn start_gathering(&mut self) {
        self.refuse_parked_syncs(GroupError::RebalanceInProgress);
        let now = self.now.monotonic;
        if self.group.phase == Phase::Empty {
            let delay = self.config.initial_rebalance_delay;
            let remaining = self.group.rebalance_timeout().saturating_sub(delay);
            let initial = Some(InitialDelay { delay, remaining, member_added: false });
            self.change(GroupChange::RebalanceStarted { deadline: now + delay, initial });
        } else {
            let deadline = now + self.group.rebalance_timeout();
            self.change(GroupChange::RebalanceStarted { deadline, initial: None });
            self.end_gathering_if_complete();
        }
    }

    /// Forms the generation if nobody is missing. During the initial delay somebody may be who is not known yet.
    pub(super) fn end_gathering_if_complete(&mut self) {
        if let Phase::PreparingRebalance { initial: None, .. } = self.group.phase
            && self.group.has_all_members_joined()
        {
            self.end_gathering();
        }
    }

    /// The gathering's time is up: waits on if the group is new and still growing, or forms the generation.
    pub(super) fn gathering_deadline_passed(&mut self) {
        let Phase::PreparingRebalance { initial, .. } = self.group.phase else { return };
        match initial {
            Some(InitialDelay { delay, remaining, member_added: true }) if !remaining.is_zero() => {
                let next = self.config.initial_rebalance_delay.min(remaining);
                let remaining = remaining.saturating_sub(delay);
                let initial = Some(InitialDelay { delay: next, remaining, member_added: false });
                let deadline = self.now.monotonic + next;
                self.change(GroupChange::RebalanceExtended { deadline, initial });
            }
            _ => self.end_gathering(),
        }
    }

    /// Leaves the late behind and forms the generation of those who joined.
    fn end_gathering(&mut self) {
        // Static members are expected back: they keep their place until their session ends (KIP-345).
        let late =
            self.group.members.values().filter(|m| m.awaiting_join.is_none() && m.instance_id.is_none());
        for member_id in late.map(|member| member.id.clone()).collect::<Vec<MemberId>>() {
            self.remove_member(&member_id, GroupError::UnknownMemberId);
        }
        if self.group.members.is_empty() {
            self.change(GroupChange::Emptied { generation: self.group.generation.next() });
            self.store_generation();
            return;
        }
        if !self.elect_leader_among_joined() {
            // Only static members that did not come back: give them until their sessions end.
            let deadline = self.now.monotonic + self.group.rebalance_timeout().max(POSTPONE_MIN);
            self.change(GroupChange::RebalanceExtended { deadline, initial: None });
            return;
        }
        self.start_generation();
    }

    /// The leader must be there to assign. `false` when nobody is.
    fn elect_leader_among_joined(&mut self) -> bool {
        let joined = |member_id: &MemberId| {
            self.group.members.get(member_id).is_some_and(|member| member.awaiting_join.is_some())
        };
        if self.group.leader.as_ref().is_some_and(joined) {
            return true;
        }
        let Some(member_id) = self.group.members.keys().find(|member_id| joined(member_id)).cloned() else {
            return false;
        };
        self.change(GroupChange::LeaderElected { member_id });
        true
    }

    fn start_generation(&mut self) {
        // Nobody is let in, and nobody may change, without a protocol in common with everyone (see `supports`).
        let protocol_name = self.group.select_protocol().expect("the members of a group share a protocol");
        let generation = self.group.generation.next();
        let sync_deadline = self.now.monotonic + self.group.rebalance_timeout();
        self.change(GroupChange::GenerationStarted { generation, protocol_name, sync_deadline });
        self.store_generation();
        for member_id in self.group.members.keys().cloned().collect::<Vec<MemberId>>() {
            self.answer_joined(&member_id);
        }
    }

    fn answer_joined(&mut self, member_id: &MemberId) {
        let Some(reply) = self.group.members.get(member_id).and_then(|member| member.awaiting_join) else {
            return;
        };
        let joined = self.joined(member_id, self.group.is_leader(member_id));
        self.change(GroupChange::JoinAnswered {
            member_id: member_id.clone(),
            expires_at: self.session_end(member_id),
        });
        self.answer_join(reply, Ok(joined));
    }

    /// The answer to a join in the present generation.
    pub(super) fn joined(&self, member_id: &MemberId, with_members: bool) -> Joined {
        let group = &self.group;
        let members = group.members.values().filter(|_| with_members).map(|member| JoinedMember {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(group.protocol_name.as_deref()),
        });
        Joined {
            generation: group.generation,
            protocol_type: group.protocol_type.clone(),
            protocol_name: group.protocol_name.clone(),
            leader: group.leader.clone(),
            skip_assignment: false,
            member_id: member_id.clone(),
            members: members.collect(),
        }
    }

    /// Answers everything that waits with `error`, before the group goes away.
    pub(in crate::groups) fn refuse_all_parked(&mut self, error: GroupError) {
        self.refuse_parked_syncs(error);
        let joining =
            self.group.members.values().filter_map(|m| m.awaiting_join.map(|reply| (m.id.clone(), reply)));
        for (member_id, reply) in joining.collect::<Vec<_>>() {
            let expires_at = self.session_end(&member_id);
            self.change(GroupChange::JoinAnswered { member_id: member_id.clone(), expires_at });
            self.refuse_join(reply, error, Some(&member_id));
        }
    }

    fn refuse_parked_syncs(&mut self, error: GroupError) {
        let waiting =
            self.group.members.values().filter_map(|m| m.awaiting_sync.map(|reply| (m.id.clone(), reply)));
        for (member_id, reply) in waiting.collect::<Vec<_>>() {
            let expires_at = self.session_end(&member_id);
            self.change(GroupChange::SyncAnswered { member_id, expires_at });
            self.answer_sync(reply, Err(error));
        }
    }
}
