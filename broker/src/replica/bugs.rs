//! The bug bank of replication: mistakes that others have made, each behind a switch that only the simulation has
//! (`simulation/`). That it catches every one of them is the proof that it sees.

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    /// A leader counts on whom the controller has put in sync, not on whom it has asked for (before KIP-497).
    CountOnDecidedIsr,
    /// A follower is taken for in sync before it has what this leader began with.
    JoinBehind,
    /// Records are committed while fewer are in sync than `min.insync.replicas` (before KIP-966).
    CommitBelowMinIsr,
    /// `acks=all` is answered before this disk has the records.
    AnswerBeforeTheDisk,
    /// A follower fetches on, which says that it has what is before, although its disk has not.
    FetchBeforeTheDisk,
    /// A follower cuts its log back to its high watermark (before KIP-101).
    CutToHighWatermark,
    /// A follower cuts its log back to where the leader's epoch ends, whatever it has of that epoch itself (before KIP-279).
    CutToTheLeadersEnd,
    /// A new leader takes what it has followed for what is on its disk.
    TakeOverUnsynced,
    /// A leader takes a proposal that was refused for one that never counts.
    BelieveRefusals,
    /// A leader that has no epoch as old as that of a follower's last record takes their logs to be the same.
    #[cfg(test)]
    ShareUnknownEpochs,
    /// A broker that starts again leads what its last run led.
    #[cfg(test)]
    LeadByAnOldImage,
    /// A leader looks at where a follower's log ends only, not at its epoch (before KIP-101).
    #[cfg(test)]
    IgnoreDivergence,
}

#[cfg(test)]
impl Bug {
    pub(super) const ALL: [Bug; 12] = [
        Bug::CountOnDecidedIsr,
        Bug::JoinBehind,
        Bug::CommitBelowMinIsr,
        Bug::AnswerBeforeTheDisk,
        Bug::FetchBeforeTheDisk,
        Bug::CutToHighWatermark,
        Bug::CutToTheLeadersEnd,
        Bug::TakeOverUnsynced,
        Bug::BelieveRefusals,
        Bug::ShareUnknownEpochs,
        Bug::LeadByAnOldImage,
        Bug::IgnoreDivergence,
    ];
}

/// Which mistake a machine makes: in a broker, none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bugs(#[cfg(test)] pub(super) Option<Bug>);

impl Bugs {
    /// Whether it makes this one.
    #[cfg(test)]
    pub(super) fn has(self, bug: Bug) -> bool {
        self.0 == Some(bug)
    }

    /// Whether it makes this one: never.
    #[cfg(not(test))]
    pub(super) fn has(self, _: Bug) -> bool {
        false
    }
}
