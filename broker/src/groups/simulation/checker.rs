//! What clients may be told, whatever happens: judged from requests, replies and the durable log alone, without the
//! machine's own bookkeeping.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::client::{group, topic};
use crate::groups::classic::{GroupMetadata, Joined};
use crate::groups::*;

/// A member by what lasts: its instance id if it has one.
type Identity = String;

#[derive(Default)]
pub(super) struct Checker {
    /// Who was given a partition in a generation.
    owners: BTreeMap<(GenerationId, u8), Identity>,
    /// Who the leader of a generation was told to assign to.
    rosters: BTreeMap<GenerationId, BTreeSet<Identity>>,
    generation_told: GenerationId,
    generation_assigned: GenerationId,
    /// Where in the log the newest acknowledged commit of a partition is.
    acknowledged: BTreeMap<i32, usize>,
    /// The floor for an answer to each fetch that was asked.
    fetch_floors: BTreeMap<ReplyId, BTreeMap<i32, usize>>,
}

impl Checker {
    /// A request has reached the coordinator.
    pub fn on_request(&mut self, id: ReplyId, request: &Request) {
        if let Request::FetchOffsets(_) = request {
            self.fetch_floors.insert(id, self.acknowledged.clone());
        }
    }

    /// The coordinator has decided to grant a commit.
    pub fn on_commit_granted(&self, generation: GenerationId) {
        assert!(
            generation >= self.generation_assigned,
            "a commit of generation {generation} is granted after {} was assigned",
            self.generation_assigned
        );
    }

    /// A reply leaves the coordinator; `log` is durable.
    pub fn on_reply(&mut self, id: ReplyId, request: &Request, reply: &Reply, log: &[Record]) {
        match (request, reply) {
            (Request::JoinGroup(_), Reply::JoinGroup(Ok(joined))) => self.on_joined(joined, log),
            (Request::SyncGroup(sync), Reply::SyncGroup(Ok(synced))) => {
                self.generation_assigned = self.generation_assigned.max(sync.generation);
                let identity = match &sync.instance_id {
                    Some(instance_id) => instance_id.to_string(),
                    None => sync.member_id.to_string(),
                };
                for partition in &synced.assignment {
                    let owner =
                        self.owners.entry((sync.generation, *partition)).or_insert_with(|| identity.clone());
                    assert_eq!(*owner, identity, "partition {partition} in generation {}", sync.generation);
                }
            }
            (Request::CommitOffsets(commit), Reply::CommitOffsets(Ok(_))) => {
                for offset in &commit.offsets {
                    let at = position(log, offset.partition, offset.offset)
                        .expect("an acknowledged commit is durable");
                    let newest = self.acknowledged.entry(offset.partition).or_default();
                    *newest = (*newest).max(at);
                }
            }
            (Request::FetchOffsets(_), Reply::FetchOffsets(Ok(fetched))) => {
                let floors = self.fetch_floors.remove(&id).unwrap_or_default();
                for (partition, floor) in floors {
                    let found = fetched.iter().find(|offset| offset.partition == partition);
                    let value = found
                        .and_then(|offset| offset.committed.as_ref())
                        .expect("an acknowledged commit lasts");
                    let at = position(log, partition, value.offset).expect("what is told is durable");
                    assert!(at >= floor, "partition {partition} went back behind an acknowledged commit");
                }
            }
            _ => {}
        }
    }

    fn on_joined(&mut self, joined: &Joined, log: &[Record]) {
        assert!(joined.generation >= self.generation_told, "the generation told never goes back");
        self.generation_told = joined.generation;
        let durable = stored(log).map_or(GenerationId(0), |metadata| metadata.generation);
        assert!(durable >= joined.generation, "a generation is durable before it is told");
        if !joined.members.is_empty() {
            let roster: BTreeSet<Identity> = joined
                .members
                .iter()
                .map(|member| match &member.instance_id {
                    Some(instance_id) => instance_id.to_string(),
                    None => member.member_id.to_string(),
                })
                .collect();
            let first = self.rosters.entry(joined.generation).or_insert_with(|| roster.clone());
            assert_eq!(*first, roster, "generation {} has one set of members", joined.generation);
        }
    }
}

/// The machine's image is what reading the records one by one gives.
pub(super) fn check_image(groups: &Groups, log: &[Record], pending: &[Record]) {
    let all: Vec<Record> = log.iter().chain(pending).cloned().collect();
    let (stored_groups, offsets) = groups.image();
    assert_eq!(stored_groups.get(&group()).cloned(), stored(&all));
    let mut newest = BTreeMap::new();
    for record in &all {
        if let Record::Offset { partition, value: Some(value), .. } = record {
            newest.insert(*partition, value.clone());
        }
    }
    let found: BTreeMap<_, _> =
        offsets.iter().map(|(_, _, partition, value)| (partition, value.clone())).collect();
    assert_eq!(found, newest);
}

fn stored(log: &[Record]) -> Option<Arc<GroupMetadata>> {
    log.iter().rev().find_map(|record| match record {
        Record::Group { value, .. } => Some(value.clone()),
        Record::Offset { .. } | Record::Consumer { .. } => None,
    })?
}

fn position(log: &[Record], partition: i32, offset: i64) -> Option<usize> {
    log.iter().rposition(|record| {
        matches!(record, Record::Offset { topic: t, partition: p, value: Some(value), .. }
            if *t == topic() && *p == partition && value.offset == offset)
    })
}
