//! The bug bank of decisions about replicas: mistakes that others have made, or that are near at hand, each behind a switch that
//! only simulations have. That a simulation catches every one of them is the proof that it sees.

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A replica whose broker is fenced, or about to stop, joins the in-sync replicas (before KIP-841).
    FencedReplicaJoins,
    /// A replica joins of which the leader heard in an earlier run of its broker (before KIP-903).
    StaleBrokerEpochJoins,
    /// The last replica that is in sync stays so however it stopped, and no other is eligible (before KIP-966).
    LastReplicaStanding,
    /// A broker that stopped without order stays eligible for what it may have lost (KIP-966).
    UncleanRestartKeepsSeat,
    /// A broker stays in sync or eligible for what was on a log dir that it has no more.
    ReplacedDiskKeepsSeat,
    /// A leader of an earlier epoch says who is in sync.
    StaleLeaderAlters,
    /// A leader that does not know the last change says who is in sync.
    StaleChangeAlters,
    /// Any live replica may lead where no other is left, although nobody has allowed that.
    ElectAnybody,
    /// Replicas stay eligible when enough others are in sync again to go on without them.
    EligibleForEver,
}

#[cfg(test)]
impl Bug {
    pub(crate) const ALL: [Bug; 9] = [
        Bug::FencedReplicaJoins,
        Bug::StaleBrokerEpochJoins,
        Bug::LastReplicaStanding,
        Bug::UncleanRestartKeepsSeat,
        Bug::ReplacedDiskKeepsSeat,
        Bug::StaleLeaderAlters,
        Bug::StaleChangeAlters,
        Bug::ElectAnybody,
        Bug::EligibleForEver,
    ];
}

/// How it is decided about replicas: by the rules, unless a simulation wants a mistake.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PartitionRules {
    #[cfg(test)]
    pub bug: Option<Bug>,
}

impl PartitionRules {
    /// Whether they have this mistake.
    #[cfg(test)]
    pub(super) fn has(self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Whether they have this mistake: never.
    #[cfg(not(test))]
    pub(super) fn has(self, _: Bug) -> bool {
        false
    }
}
