//! The machine itself: its state, its events and effects, and what every role has in common.

use std::time::Duration;

use super::bugs::Bug;
use super::epochs::EpochLog;
use super::role::{Following, Role};
use super::types::{
    Answer, ChangeRefusal, ElectionState, Epoch, LogEnd, Refusal, ReplicaKey, Request, Response, VoterChange,
    Voters,
};
use super::voter_history::VoterHistory;
use crate::ids::{NodeId, Offset};
use crate::machine::Monotonic;

/// Told to the driver with a request that has to be answered, and given back with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Who it is and how long it waits. The names are those of Kafka's configs without `controller.quorum.`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Who it is.
    pub me: ReplicaKey,
    /// `election.timeout.ms`: how long an election may take. Each is as long again by chance.
    pub election_timeout: Duration,
    /// `fetch.timeout.ms`: how long a leader may be silent, and how long it may go unheard before it steps down.
    pub fetch_timeout: Duration,
    /// `election.backoff.max.ms`: how long who has lost waits at most.
    pub election_backoff_max: Duration,
    /// `request.timeout.ms`: how long an answer is waited for.
    pub request_timeout: Duration,
    /// `retry.backoff.ms`: how long after a failure, or an empty answer, a follower asks again.
    pub retry_backoff: Duration,
    /// Where the chance begins; differs between nodes.
    pub seed: u64,
    /// Who else may know who leads, besides the voters: a new node knows of no voters.
    pub bootstrap: Vec<NodeId>,
}

/// What happens to a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// Another asks; [`Effect::Respond`] names the request again.
    Request {
        /// To be given back.
        id: RequestId,
        /// What is asked.
        request: Request,
    },
    /// An operator, or a voter itself, wants other voters; [`Effect::VotersChanged`] names the request again.
    ChangeVoters {
        /// To be given back.
        id: RequestId,
        /// What is wanted.
        change: VoterChange,
    },
    /// An answer came.
    Response {
        /// Who answers.
        from: NodeId,
        /// What was asked.
        request: Request,
        /// The answer.
        response: Response,
        /// Of what came with [`Answer::Records`]: the runs of epochs with where each ends.
        records: Vec<(Epoch, Offset)>,
        /// And the voters that are recorded in it, with where.
        voters: Vec<(Offset, Voters)>,
    },
    /// No answer will come.
    Failed {
        /// Who was asked.
        to: NodeId,
        /// What.
        request: Request,
        /// Whether nobody listens there: the system there refuses connections.
        is_refused: bool,
    },
    /// The leader's own records came to the end of its log.
    Appended {
        /// Where it ends now.
        end: Offset,
    },
    /// The record of [`Effect::AppendVoters`] came to the end of the log.
    VotersAppended {
        /// What it says.
        voters: Voters,
        /// Where it ends now; the record is the last.
        end: Offset,
    },
    /// The log is durable this far.
    Flushed {
        /// Where what is durable ends.
        end: Offset,
    },
    /// A snapshot is in place of the log: it begins, and ends, where that does. Not one that ends below what may be applied.
    SnapshotInstalled {
        /// Of the snapshot.
        end: LogEnd,
        /// Who votes by it, if it says so.
        voters: Option<Voters>,
    },
    /// Records before this are in a snapshot and gone from the log. Not past what may be applied.
    Trimmed {
        /// Where the log begins now, which is where the snapshot ends.
        start: LogEnd,
    },
    /// The leader is to step down, because its process stops.
    Resign,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write down the election state.
    Persist(ElectionState),
    /// Ask another member.
    Send {
        /// Whom.
        to: NodeId,
        /// What.
        request: Request,
    },
    /// Answer a request. With [`Answer::Records`] the driver sends what the log has from there.
    Respond {
        /// Which.
        id: RequestId,
        /// The answer.
        response: Response,
    },
    /// Append the record that says who leads (LeaderChangeMessage), in this epoch, and tell of it by [`Event::Appended`].
    AppendLeaderChange {
        /// Whose.
        epoch: Epoch,
    },
    /// Append the record that says who votes, in this epoch, and tell of it by [`Event::VotersAppended`].
    AppendVoters {
        /// The leader's.
        epoch: Epoch,
        /// They.
        voters: Voters,
        /// Whether no log had voters so far, so that it is to be recorded too that there are such records from here on.
        is_first: bool,
    },
    /// Answer an [`Event::ChangeVoters`].
    VotersChanged {
        /// Which.
        id: RequestId,
        /// It is committed, or not done.
        outcome: Result<(), ChangeRefusal>,
    },
    /// Append the records that came; tell when they are durable.
    Append,
    /// Cut the log, durably.
    Truncate {
        /// The end that it gets.
        end: Offset,
    },
    /// Fetch this snapshot from the leader; tell when it is in place.
    FetchSnapshot {
        /// From whom.
        from: NodeId,
        /// Which.
        end: LogEnd,
    },
    /// What is below may be applied; it will not be taken back.
    HighWatermark(Offset),
}

/// What came with an answer to a fetch.
#[derive(Debug)]
pub(super) struct Came {
    pub records: Vec<(Epoch, Offset)>,
    pub voters: Vec<(Offset, Voters)>,
}

/// A change of the voters that was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingChange {
    /// Whom to answer.
    pub id: RequestId,
    /// What has to be committed for it, once it is in the log.
    pub end: Option<Offset>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Quorum {
    pub(super) config: Config,
    pub(super) history: VoterHistory,
    /// Those in force.
    pub(super) voters: Voters,
    /// The change of the voters that waits to be committed.
    pub(super) change: Option<PendingChange>,
    pub(super) election: ElectionState,
    pub(super) role: Role,
    pub(super) log: EpochLog,
    /// How far its own log is durable.
    pub(super) flushed: Offset,
    pub(super) high_watermark: Offset,
    /// The epoch whose leader it has given up before its time because nobody listened there: once is enough to find out whether most others
    /// think so too.
    pub(super) hurried_in: Option<Epoch>,
    chance: u64,
    #[cfg(test)]
    pub(super) bug: Option<Bug>,
}

impl Quorum {
    /// A member as it starts, with what it finds on its disk, all of which is durable.
    pub fn new(
        config: Config,
        history: VoterHistory,
        election: ElectionState,
        log: EpochLog,
        now: Monotonic,
    ) -> Quorum {
        let chance = config.seed ^ 0x9e37_79b9_7f4a_7c15;
        let flushed = log.end().offset;
        let voters = history.in_force().clone();
        // Who votes alone has committed whatever is on its disk, and waits for nobody.
        let is_alone = voters.len() == 1 && voters.contains(config.me);
        let high_watermark = if is_alone { flushed } else { log.start().offset };
        let mut quorum = Quorum {
            config,
            history,
            voters,
            change: None,
            election,
            role: Role::Unattached { election_at: now },
            log,
            flushed,
            high_watermark,
            hurried_in: None,
            chance,
            #[cfg(test)]
            bug: None,
        };
        let me = quorum.config.me.id;
        let mut election_at = || if is_alone { now } else { now + quorum.random_timeout() };
        let role = match election.leader {
            // It led, and what it had promised then is forgotten.
            Some(leader) if leader == me => Role::Resigned {
                election_at: election_at(),
                untold: Default::default(),
                successors: Vec::new(),
                tell_at: now,
            },
            Some(leader) if !is_alone => Role::Follower(quorum.following(leader, now)),
            _ => Role::Unattached { election_at: election_at() },
        };
        quorum.role = role;
        quorum
    }

    /// What it is.
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// Who votes.
    pub fn voters(&self) -> &Voters {
        &self.voters
    }

    /// Since when, and who voted before.
    pub fn voter_history(&self) -> &VoterHistory {
        &self.history
    }

    /// The newest epoch it has heard of, the leader and its own vote.
    pub fn election(&self) -> ElectionState {
        self.election
    }

    /// What is below may be applied.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Its log.
    pub fn log(&self) -> &EpochLog {
        &self.log
    }

    /// Whether it takes records.
    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// Takes one event.
    pub fn step(&mut self, now: Monotonic, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Tick => {}
            Event::Request { id, request } => self.on_request(now, id, &request, &mut effects),
            Event::ChangeVoters { id, change } => self.change_voters(now, id, &change, &mut effects),
            Event::Response { from, request, response, records, voters } => {
                let came = Came { records, voters };
                self.on_response(now, from, &request, &response, came, &mut effects);
            }
            Event::Failed { to, request, is_refused } => self.on_failed(now, to, &request, is_refused),
            Event::Appended { end } => {
                self.log.append(self.election.epoch, end);
                self.record_voters(&mut effects);
            }
            Event::VotersAppended { voters, end } => self.on_voters_appended(voters, end),
            Event::Flushed { end } => {
                self.flushed = end.min(self.log.end().offset);
                self.on_flushed(now, &mut effects);
            }
            Event::SnapshotInstalled { end, voters } => {
                match self.has(Bug::KeepTailBehindSnapshot) {
                    true => self.log.trim(end),
                    false => self.log = EpochLog::starting_at(end),
                }
                self.history.start_anew(voters);
                self.use_voters();
                self.flushed = end.offset;
                self.raise_high_watermark(end.offset, &mut effects);
                self.on_flushed(now, &mut effects);
            }
            Event::Trimmed { start } => {
                self.log.trim(start);
                self.history.trim(start.offset);
            }
            Event::Resign => self.resign(now),
        }
        self.settle_change(now, &mut effects);
        self.on_time(now, &mut effects);
        self.give_up_change(&mut effects);
        effects
    }

    /// The next moment for [`Event::Tick`].
    pub fn next_deadline(&self) -> Option<Monotonic> {
        match &self.role {
            Role::Unattached { election_at } => Some(*election_at),
            Role::Prospective(election) | Role::Candidate(election) => {
                Some(election.ends_at.min(election.ask_at))
            }
            Role::Resigned { election_at, tell_at, untold, .. } => {
                let tell = (!untold.is_empty()).then_some(*tell_at);
                [Some(*election_at), tell].into_iter().flatten().min()
            }
            Role::Leader(leading) => self.leader_deadline(leading),
            Role::Follower(following) => {
                let fetch = (!following.is_busy).then_some(following.fetch_at);
                [fetch, Some(following.leader_gone_at)].into_iter().flatten().min()
            }
        }
    }

    pub(super) fn is_voter(&self) -> bool {
        self.voters.contains(self.config.me)
    }

    fn on_time(&mut self, now: Monotonic, effects: &mut Vec<Effect>) {
        match &self.role {
            Role::Leader(_) => self.on_leader_time(now, effects),
            Role::Follower(_) => self.on_follower_time(now, effects),
            _ => self.on_election_time(now, effects),
        }
    }

    fn on_request(&mut self, now: Monotonic, id: RequestId, request: &Request, effects: &mut Vec<Effect>) {
        let outcome = match request {
            Request::Vote { epoch, candidate, voter, log_end, is_pre_vote } => {
                self.on_vote_request(now, *epoch, *candidate, *voter, *log_end, *is_pre_vote, effects)
            }
            Request::BeginEpoch { epoch, leader, voter } => {
                self.on_begin_epoch(now, *epoch, *leader, *voter, effects)
            }
            Request::EndEpoch { epoch, leader, successors } => {
                self.on_end_epoch(now, *epoch, *leader, successors, effects)
            }
            Request::Fetch { epoch, replica, log_end } => {
                self.on_fetch(now, *epoch, *replica, *log_end, effects)
            }
        };
        let leads_no_more = matches!(self.role, Role::Resigned { .. });
        let leader = self.election.leader.filter(|_| !leads_no_more);
        let response = Response { epoch: self.election.epoch, leader, outcome };
        effects.push(Effect::Respond { id, response });
    }

    fn on_response(
        &mut self,
        now: Monotonic,
        from: NodeId,
        request: &Request,
        response: &Response,
        came: Came,
        effects: &mut Vec<Effect>,
    ) {
        self.hear_of(now, response.epoch, response.leader, effects);
        match (request, &response.outcome) {
            (Request::Vote { epoch, voter, .. }, Ok(Answer::Vote { is_granted, is_pre_vote })) => {
                self.on_vote(now, *epoch, *voter, *is_granted, *is_pre_vote, effects);
            }
            (Request::BeginEpoch { epoch, voter, .. }, Ok(_)) => self.on_told(*epoch, *voter),
            (Request::EndEpoch { .. }, Ok(_)) => {
                if let Role::Resigned { untold, .. } = &mut self.role {
                    untold.retain(|replica| replica.id != from);
                }
            }
            (Request::Fetch { epoch, log_end, .. }, Ok(answer)) => {
                self.on_fetched(now, from, (*epoch, *log_end), answer, came, effects);
            }
            (Request::Fetch { .. }, Err(_)) => self.on_failed(now, from, request, false),
            _ => {}
        }
    }

    /// What another says of epoch and leader.
    pub(super) fn hear_of(
        &mut self,
        now: Monotonic,
        epoch: Epoch,
        leader: Option<NodeId>,
        effects: &mut Vec<Effect>,
    ) {
        let leader = leader.filter(|leader| *leader != self.config.me.id);
        if epoch > self.election.epoch {
            match leader {
                Some(leader) => self.follow(now, epoch, leader, effects),
                None => self.detach(now, epoch, effects),
            }
        } else if epoch == self.election.epoch
            && self.election.leader.is_none()
            && let Some(leader) = leader
        {
            self.follow(now, epoch, leader, effects);
        }
    }

    /// Is in a newer epoch, without a leader.
    pub(super) fn detach(&mut self, now: Monotonic, epoch: Epoch, effects: &mut Vec<Effect>) {
        // A candidate in wait keeps its own clock: hearing of epochs must not put its election off for ever.
        let election_at = match &self.role {
            Role::Unattached { election_at } => *election_at,
            Role::Prospective(election) | Role::Candidate(election) => election.ends_at,
            Role::Follower(following) => following.leader_gone_at,
            _ => now + self.random_timeout(),
        };
        self.set_election(ElectionState { epoch, leader: None, voted: None }, effects);
        self.role = Role::Unattached { election_at };
    }

    /// Follows a leader, in its own epoch or in a newer one.
    pub(super) fn follow(&mut self, now: Monotonic, epoch: Epoch, leader: NodeId, effects: &mut Vec<Effect>) {
        let voted = if epoch == self.election.epoch { self.election.voted } else { None };
        self.set_election(ElectionState { epoch, leader: Some(leader), voted }, effects);
        if self.has(Bug::TruncateToHighWatermark) {
            self.truncate(self.high_watermark, effects);
        }
        self.role = Role::Follower(self.following(leader, now));
    }

    fn following(&mut self, leader: NodeId, now: Monotonic) -> Following {
        Following {
            leader,
            has_fetched: false,
            leader_gone_at: now + self.config.fetch_timeout,
            refusals: 0,
            fetch_at: now,
            is_busy: self.flushed < self.log.end().offset,
        }
    }

    pub(super) fn set_election(&mut self, election: ElectionState, effects: &mut Vec<Effect>) {
        if self.election != election {
            self.election = election;
            effects.push(Effect::Persist(election));
        }
    }

    pub(super) fn raise_high_watermark(&mut self, to: Offset, effects: &mut Vec<Effect>) {
        if to > self.high_watermark {
            self.high_watermark = to;
            effects.push(Effect::HighWatermark(to));
        }
    }

    /// Between once and twice the election timeout, so that two seldom stand at the same time.
    pub(super) fn random_timeout(&mut self) -> Duration {
        self.config.election_timeout + self.random_below(self.config.election_timeout)
    }

    /// Less than `limit`.
    pub(super) fn random_below(&mut self, limit: Duration) -> Duration {
        // SplitMix64.
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.chance;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let limit = limit.as_micros().max(1) as u64;
        Duration::from_micros((mixed ^ (mixed >> 31)) % limit)
    }

    pub(super) fn refuse_other_epochs(&self, epoch: Epoch) -> Result<(), Refusal> {
        match epoch.cmp(&self.election.epoch) {
            std::cmp::Ordering::Less => Err(Refusal::FencedEpoch),
            std::cmp::Ordering::Greater => Err(Refusal::UnknownEpoch),
            std::cmp::Ordering::Equal => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::quorum::QuorumTimeouts;

    #[test]
    fn who_votes_alone_leads_at_once_and_has_committed_what_it_has() {
        let me = ReplicaKey { id: NodeId(1), directory: Uuid::from_u128(5) };
        let other = ReplicaKey { id: NodeId(2), directory: Uuid::from_u128(6) };
        for (leader, voted) in [(None, None), (Some(me.id), Some(me)), (Some(other.id), None)] {
            let mut log = EpochLog::default();
            log.append(Epoch(3), Offset(7));
            let election = ElectionState { epoch: Epoch(3), leader, voted };
            let config = QuorumTimeouts::default().config(me, 1);
            let now = Monotonic::from_millis(10);
            let voters = VoterHistory::fixed([me].into_iter().collect());
            let mut quorum = Quorum::new(config, voters, election, log, now);
            assert_eq!(quorum.high_watermark(), Offset(7));
            assert_eq!(quorum.next_deadline(), Some(now));
            let effects = quorum.step(now, Event::Tick);
            assert!(quorum.is_leader(), "{effects:?}");
            let Some(Effect::AppendLeaderChange { epoch }) = effects.last() else { panic!("{effects:?}") };
            assert!(*epoch > Epoch(3));
            quorum.step(now, Event::Appended { end: Offset(8) });
            let effects = quorum.step(now, Event::Flushed { end: Offset(8) });
            assert_eq!(effects, [Effect::HighWatermark(Offset(8))]);
        }
    }

    /// The first that one which was taken its vote asks another, within so many of its deadlines.
    fn asks_for_votes(history: VoterHistory) -> Option<(Quorum, Monotonic, Request)> {
        let me = ReplicaKey { id: NodeId(2), directory: Uuid::from_u128(6) };
        let mut log = EpochLog::default();
        log.append(Epoch(3), Offset(10));
        let election = ElectionState { epoch: Epoch(4), leader: None, voted: None };
        let mut now = Monotonic::from_millis(10);
        let mut quorum = Quorum::new(QuorumTimeouts::default().config(me, 1), history, election, log, now);
        for _ in 0..100 {
            now = quorum.next_deadline()?.max(now);
            let asked = quorum.step(now, Event::Tick).into_iter().find_map(|effect| match effect {
                Effect::Send { request: request @ Request::Vote { .. }, .. } => Some(request),
                _ => None,
            });
            if let Some(request) = asked {
                return Some((quorum, now, request));
            }
        }
        None
    }

    /// Found by the simulation: the other has a shorter log and a quorum of two, so it cannot be elected, and would wait for ever.
    #[test]
    fn who_alone_has_the_record_that_takes_its_vote_stands_and_has_it_committed() {
        let other = ReplicaKey { id: NodeId(1), directory: Uuid::from_u128(5) };
        let me = ReplicaKey { id: NodeId(2), directory: Uuid::from_u128(6) };
        let mut history = VoterHistory::formed([other, me].into_iter().collect());
        history.append(Offset(9), [other].into_iter().collect());
        let (mut quorum, now, mut request) = asks_for_votes(history).expect("it stands");
        for is_pre_vote in [true, false] {
            assert!(!quorum.is_leader(), "its own vote does not count");
            let Request::Vote { epoch, .. } = &request else { panic!("{request:?}") };
            let outcome = Ok(Answer::Vote { is_granted: true, is_pre_vote });
            let response = Response { epoch: *epoch, leader: None, outcome };
            let (from, records, voters) = (other.id, Vec::new(), Vec::new());
            let effects = quorum
                .step(now, Event::Response { from, request: request.clone(), response, records, voters });
            for effect in effects {
                if let Effect::Send { request: next @ Request::Vote { .. }, .. } = effect {
                    request = next;
                }
            }
        }
        assert!(quorum.is_leader());
        let gone = VoterHistory::of_snapshot([other].into_iter().collect());
        assert!(asks_for_votes(gone).is_none(), "once that is settled it does not stand");
    }
}
