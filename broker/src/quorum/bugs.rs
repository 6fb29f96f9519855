//! The bug bank: mistakes that others have made, or that are near at hand, each behind a switch that only the simulation has. That
//! it catches every one of them is the proof that it sees.

use super::machine::Quorum;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    /// A vote is forgotten in a crash. In the simulation's disk, not here.
    #[cfg(test)]
    VoteNotOnDisk,
    /// A voter whose disk was replaced votes again (before KIP-853).
    VoterWithoutDirectory,
    /// A vote for whoever asks first, whatever its log.
    VoteWithoutComparingLogs,
    /// A vote for whoever asks.
    VoteTwiceInAnEpoch,
    /// A leader counts what it has not on its disk.
    CountBeforeTheDisk,
    /// A follower asks for more, which says that it has the rest, before it has it on its disk.
    FetchBeforeTheDisk,
    /// What a majority has is taken from followers in the order of their ids (openraft #1802).
    CountUnsorted,
    /// Records of earlier epochs count as replicated before one of this epoch is.
    CountOtherEpochs,
    /// A leader that hears of nobody goes on (KAFKA-15489).
    LeadAlone,
    /// A leader looks at where a follower's log ends only, not at its epoch (before KIP-101).
    IgnoreDivergence,
    /// A follower takes an answer to a fetch that it has made for another log end.
    TakeStaleAnswers,
    /// A follower believes the leader's high watermark past what it has.
    HighWatermarkPastTheEnd,
    /// A leader whose log begins with a snapshot takes a follower that ends there for one that has what is in it.
    TakeAnyEpochAtTheStart,
    /// A snapshot is put before the rest of a log that has another history.
    KeepTailBehindSnapshot,
    /// A follower cuts its log back to its high watermark when it hears of a leader (before KIP-101).
    TruncateToHighWatermark,
    /// A change of the voters is begun before the one before it is committed.
    TwoChangesAtOnce,
    /// A leader changes the voters before anything of its epoch is committed (Raft's dissertation had it, until 2015).
    ChangeBeforeOwnRecord,
    /// A replica gets a vote before it has caught up.
    AddBeforeCaughtUp,
    /// A log is cut, and the voters that were recorded in what is gone stay.
    KeepVotersAtTruncation,
    /// A leader that was removed counts itself for a voter.
    RemovedLeaderCounts,
    /// A leader that was removed goes on when that is committed.
    RemovedLeaderStays,
    /// Who hears of no leader stands at once, so that one that was removed, or is cut off, disturbs the others for ever (before
    /// KIP-996).
    StandUnasked,
    /// A restarted leader goes on leading its epoch. In the simulation, not here.
    #[cfg(test)]
    LeadOnAfterRestart,
}

#[cfg(test)]
impl Bug {
    pub(super) const ALL: [Bug; 23] = [
        Bug::VoteNotOnDisk,
        Bug::VoterWithoutDirectory,
        Bug::VoteWithoutComparingLogs,
        Bug::VoteTwiceInAnEpoch,
        Bug::CountBeforeTheDisk,
        Bug::FetchBeforeTheDisk,
        Bug::CountUnsorted,
        Bug::CountOtherEpochs,
        Bug::LeadAlone,
        Bug::IgnoreDivergence,
        Bug::TakeStaleAnswers,
        Bug::HighWatermarkPastTheEnd,
        Bug::TakeAnyEpochAtTheStart,
        Bug::KeepTailBehindSnapshot,
        Bug::TruncateToHighWatermark,
        Bug::LeadOnAfterRestart,
        Bug::TwoChangesAtOnce,
        Bug::ChangeBeforeOwnRecord,
        Bug::AddBeforeCaughtUp,
        Bug::KeepVotersAtTruncation,
        Bug::RemovedLeaderCounts,
        Bug::RemovedLeaderStays,
        Bug::StandUnasked,
    ];
}

impl Quorum {
    /// Whether it makes this mistake.
    #[cfg(test)]
    pub(super) fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Whether it makes this mistake: never.
    #[cfg(not(test))]
    pub(super) fn has(&self, _: Bug) -> bool {
        false
    }
}
