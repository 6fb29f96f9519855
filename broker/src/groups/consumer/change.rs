//! What happens to a consumer group in memory only: its deadlines. Closed: a new behaviour is a new variant.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::groups::names::{MemberId, Monotonic, TopicName};

/// One step of a group beside its records.
#[derive(Clone, Debug, PartialEq)]
pub enum ConsumerChange {
    /// The member showed life.
    SessionExtended {
        /// Which.
        member_id: MemberId,
        /// When it is given up.
        expires_at: Monotonic,
    },
    /// The member has until then to give up what it must.
    RevocationDue {
        /// Which.
        member_id: MemberId,
        /// When it is removed.
        deadline: Monotonic,
    },
    /// The group's topics were compared with the cluster's.
    TopicsSeen {
        /// [`crate::groups::TopicCatalog::version`].
        version: u64,
        /// Those that it reads, by id.
        names: Arc<BTreeMap<Uuid, TopicName>>,
    },
    /// The group was read from the log: its members have until then to show that they still live.
    Restored {
        /// When it was read.
        now: Monotonic,
        /// How long members may be silent.
        session_timeout: Duration,
    },
}
