//! [`Groups`] as the runtime sees it: its records as they lie in `__consumer_offsets`, its refusals in its own words.

use ottla_protocol::EncodeError;

use super::machine::{Decided, LogEntry, Machine, Unavailable, UnreadableEntry};
use crate::groups::classic::GroupChange;
use crate::groups::consumer::{ConsumerRecord, GroupEpoch};
use crate::groups::records::{Decoded, decode, encode};
use crate::groups::{Change, GroupConfig, GroupError, GroupId, Groups, Record, Reply, Request};
use crate::ids::Producer;
use crate::machine::{Monotonic, Now, ReplyId};

impl Machine for Groups {
    type Config = GroupConfig;
    type Request = Request;
    type Reply = Reply;
    type Change = Change;
    type Effect = std::convert::Infallible;

    fn empty(config: &GroupConfig) -> Groups {
        Groups::new(config.clone())
    }

    fn decide(&self, now: Now, reply: ReplyId, request: &Request) -> Decided<Groups> {
        self.decide(now, reply, request)
    }

    fn on_loaded(&self, now: Now) -> Decided<Groups> {
        self.on_loaded(now)
    }

    fn on_deadline(&self, now: Now) -> Decided<Groups> {
        self.on_deadline(now)
    }

    fn next_deadline(&self) -> Option<Monotonic> {
        self.next_deadline()
    }

    fn apply(&mut self, change: &Change) {
        self.apply(change);
    }

    fn to_entry(change: &Change) -> Result<Option<LogEntry>, EncodeError> {
        let to_record = |record: &Record, producer: Option<Producer>| -> Result<LogEntry, EncodeError> {
            let (key, value) = encode(record)?;
            Ok(LogEntry::Record { key: Some(key), value, producer })
        };
        Ok(match change {
            Change::Record(record) => Some(to_record(record, None)?),
            Change::Pending { producer, record } => Some(to_record(record, Some(*producer))?),
            Change::EndTransaction { producer, coordinator_epoch, commit } => Some(LogEntry::Marker {
                producer: *producer,
                coordinator_epoch: *coordinator_epoch,
                commit: *commit,
            }),
            Change::Live { .. } | Change::LiveConsumer { .. } | Change::OffsetsChecked { .. } => None,
        })
    }

    fn to_change(entry: LogEntry) -> Result<Option<Change>, UnreadableEntry> {
        let (key, value, producer) = match entry {
            LogEntry::Record { key, value, producer } => (key, value, producer),
            LogEntry::Marker { producer, coordinator_epoch, commit } => {
                return Ok(Some(Change::EndTransaction { producer, coordinator_epoch, commit }));
            }
        };
        match decode(key, value).map_err(|error| UnreadableEntry(error.to_string()))? {
            Decoded::Unknown { key_version } => {
                tracing::debug!(key_version, "left a record of an unknown kind alone");
                Ok(None)
            }
            Decoded::Record(record) => Ok(Some(match producer {
                Some(producer) => Change::Pending { producer, record },
                None => Change::Record(record),
            })),
        }
    }

    fn refuse(request: &Request, why: Unavailable) -> Reply {
        request.refused(why.into())
    }

    fn refuse_decided(reply: &Reply, why: Unavailable) -> Reply {
        reply.refused(why.into())
    }

    fn tell(change: &Change) {
        match change {
            Change::Live { group, change } => tell_of_group(group, change),
            Change::Record(Record::Consumer { group, record }) => tell_of_consumer_group(group, record),
            _ => {}
        }
    }
}

impl From<Unavailable> for GroupError {
    fn from(why: Unavailable) -> GroupError {
        match why {
            Unavailable::Loading => GroupError::CoordinatorLoadInProgress,
            Unavailable::NotNow => GroupError::CoordinatorNotAvailable,
            Unavailable::NotHere => GroupError::NotCoordinator,
        }
    }
}

/// The same of groups of the consumer protocol, whose life is in their records.
fn tell_of_consumer_group(group: &GroupId, record: &ConsumerRecord) {
    match record {
        ConsumerRecord::Group(Some(GroupEpoch { epoch, .. })) => {
            tracing::info!(%group, %epoch, "a consumer group is in a new epoch");
        }
        ConsumerRecord::Group(None) => tracing::info!(%group, "a consumer group was deleted"),
        ConsumerRecord::Member { member_id, value: None } => {
            tracing::info!(%group, member = %member_id, "a member is out");
        }
        record => tracing::trace!(%group, ?record, "changed"),
    }
}

/// What an operator wants to know of a group's life is at INFO; the rest at TRACE.
fn tell_of_group(group: &GroupId, change: &GroupChange) {
    match change {
        GroupChange::GenerationStarted { generation, protocol_name, .. } => {
            tracing::info!(%group, %generation, %protocol_name, "a generation started");
        }
        GroupChange::Emptied { generation } => tracing::info!(%group, %generation, "the group is empty"),
        GroupChange::MemberRemoved { member_id } => {
            tracing::info!(%group, member = %member_id, "a member is out")
        }
        GroupChange::StaticMemberReplaced { instance_id, new, .. } => {
            tracing::info!(%group, %instance_id, member = %new, "a static member came back");
        }
        GroupChange::Deleted => tracing::info!(%group, "the group was deleted"),
        change => tracing::trace!(%group, ?change, "changed"),
    }
}
