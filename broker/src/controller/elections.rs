//! Elections that somebody asks for, or that follow from configs: of preferred leaders, so that leaderships are spread as they were
//! placed, and of any that is left where an operator wants that (KIP-460). Pure.

use ottla_protocol::ErrorCode;

use super::bugs::PartitionRules;
use super::image::{
    ClusterImage, MIN_INSYNC_REPLICAS, PartitionImage, ResourceType, TopicImage, UNCLEAN_ELECTION,
};
use super::partition_change::{Change, Election, Live};
use super::records::MetadataRecord;
use super::topics::{Refusal, refuse};

/// Which leader is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElectionType {
    /// The first of the replicas, if it is in sync.
    Preferred,
    /// Any that lives, where nobody leads.
    Unclean,
}

/// An election that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElectLeader {
    /// The partition's topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// Which leader.
    pub election_type: ElectionType,
}

/// Leaderships that move at a time when they are balanced.
const BALANCED_MAX: usize = 1_000;

/// Decides about one election.
pub(crate) fn decide_elect(
    image: &ClusterImage,
    rules: PartitionRules,
    wanted: &ElectLeader,
) -> Result<Vec<MetadataRecord>, Refusal> {
    let unknown = ErrorCode::UnknownTopicOrPartition;
    let Some(topic) = image.topic(&wanted.topic) else {
        return refuse(unknown, format!("No such topic as {}", wanted.topic));
    };
    let number = usize::try_from(wanted.partition).unwrap_or(usize::MAX);
    let Some(partition) = topic.partitions.get(number) else {
        return refuse(unknown, format!("No such partition as {}-{}", wanted.topic, wanted.partition));
    };
    let (is_needed, impossible) = match wanted.election_type {
        ElectionType::Preferred => {
            (partition.leader != partition.replicas.first().copied(), ErrorCode::PreferredLeaderNotAvailable)
        }
        ElectionType::Unclean => (partition.leader.is_none(), ErrorCode::EligibleLeadersNotAvailable),
    };
    if !is_needed {
        return refuse(ErrorCode::ElectionNotNeeded, ErrorCode::ElectionNotNeeded.message());
    }
    let mut change = Change::of(rules, Live::of(image), topic, wanted.partition, partition);
    change.election = match wanted.election_type {
        ElectionType::Preferred => Election::Preferred,
        ElectionType::Unclean => Election::Unclean,
    };
    match change.record() {
        Some(record) => Ok(vec![record]),
        None => refuse(impossible, impossible.message()),
    }
}

/// Records that give leaderships back to preferred leaders that are in sync.
pub(crate) fn decide_balance(image: &ClusterImage, rules: PartitionRules) -> Vec<MetadataRecord> {
    let is_elsewhere = |partition: &PartitionImage| {
        partition.leader.is_some()
            && partition.replicas.first().is_some_and(|preferred| {
                partition.leader != Some(*preferred) && partition.isr.contains(preferred)
            })
    };
    let changes = image.topics().flat_map(|topic| {
        let elsewhere = (0i32..).zip(&topic.partitions).filter(|(_, partition)| is_elsewhere(partition));
        elsewhere.filter_map(|(number, partition)| {
            let mut change = Change::of(rules, Live::of(image), topic, number, partition);
            change.election = Election::Preferred;
            change.record()
        })
    });
    changes.take(BALANCED_MAX).collect()
}

/// What follows for partitions from configs that records change; `image` has these records. Belongs into the same batch: where fewer
/// replicas have to be in sync than before, whoever is eligible and not needed any more may lack what is committed from then on.
pub(crate) fn decide_follow_configs(
    image: &ClusterImage,
    rules: PartitionRules,
    records: &[MetadataRecord],
) -> Vec<MetadataRecord> {
    let (mut all, mut named) = (false, Vec::new());
    for record in records {
        let MetadataRecord::Config(config) = record else { continue };
        if [MIN_INSYNC_REPLICAS, UNCLEAN_ELECTION].contains(&&*config.name) {
            match ResourceType::from_code(config.resource_type) {
                Some(ResourceType::Topic) => named.push(&*config.resource_name),
                Some(ResourceType::Broker) if config.resource_name.is_empty() => all = true,
                _ => {}
            }
        }
    }
    let is_named = |topic: &TopicImage| all || named.contains(&topic.name.as_str());
    let is_concerned = |partition: &PartitionImage| {
        partition.leader.is_none() || !partition.eligible_leader_replicas.is_empty()
    };
    let changes = image.topics().filter(|topic| is_named(topic)).flat_map(|topic| {
        let concerned = (0i32..).zip(&topic.partitions).filter(|(_, partition)| is_concerned(partition));
        concerned.filter_map(|(number, partition)| {
            Change::of(rules, Live::of(image), topic, number, partition).record()
        })
    });
    changes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::brokers::{decide_fence, decide_unfence};
    use crate::controller::partition_change::tests::{RULES, apply, cluster, config, told};
    use crate::ids::NodeId;

    fn elect(image: &ClusterImage, election_type: ElectionType) -> Result<Vec<MetadataRecord>, ErrorCode> {
        let wanted = ElectLeader { topic: "t".to_owned(), partition: 0, election_type };
        decide_elect(image, RULES, &wanted).map_err(|refusal| refusal.code)
    }

    /// Joins the in-sync replicas.
    fn joins(image: &mut ClusterImage, isr: &[i32]) {
        let topic_id = image.topic("t").unwrap().id;
        let isr = Some(isr.to_vec());
        let record = ottla_protocol::messages::metadata_records::PartitionChangeRecord {
            topic_id,
            partition_id: 0,
            isr,
            ..Default::default()
        };
        apply(image, vec![MetadataRecord::PartitionChange(record)]);
    }

    #[test]
    fn the_preferred_leader_leads_again_once_it_is_in_sync() {
        let mut image = cluster(3, &[1, 2, 3]);
        assert_eq!(elect(&image, ElectionType::Preferred), Err(ErrorCode::ElectionNotNeeded));
        let records = decide_fence(&image, RULES, NodeId(1));
        apply(&mut image, records);
        let records = decide_unfence(&image, RULES, NodeId(1));
        apply(&mut image, records);
        assert_eq!(elect(&image, ElectionType::Preferred), Err(ErrorCode::PreferredLeaderNotAvailable));
        assert!(decide_balance(&image, RULES).is_empty(), "it is not in sync");
        joins(&mut image, &[2, 3, 1]);
        let records = elect(&image, ElectionType::Preferred).unwrap();
        assert_eq!(decide_balance(&image, RULES), records);
        apply(&mut image, records);
        assert_eq!(told(&image), "1,2,3 in sync 2,3,1 eligible  leader 1");
        assert_eq!(elect(&image, ElectionType::Unclean), Err(ErrorCode::ElectionNotNeeded));
        let unknown =
            ElectLeader { topic: "t".to_owned(), partition: 1, election_type: ElectionType::Preferred };
        assert_eq!(
            decide_elect(&image, RULES, &unknown).unwrap_err().code,
            ErrorCode::UnknownTopicOrPartition
        );
    }

    #[test]
    fn an_operator_may_give_up_what_only_the_lost_have() {
        let mut image = cluster(2, &[1, 2]);
        for id in [2, 1] {
            let records = decide_fence(&image, RULES, NodeId(id));
            apply(&mut image, records);
        }
        assert_eq!(elect(&image, ElectionType::Unclean), Err(ErrorCode::EligibleLeadersNotAvailable));
        let records = decide_unfence(&image, RULES, NodeId(2));
        apply(&mut image, records);
        assert_eq!(told(&image), "1,2 in sync  eligible 1 leader -");
        let records = elect(&image, ElectionType::Unclean).unwrap();
        apply(&mut image, records);
        assert_eq!(told(&image), "1,2 in sync 2 eligible  leader 2");
    }

    #[test]
    fn nobody_stays_eligible_who_is_not_needed_any_more_when_fewer_must_be_in_sync() {
        let mut image = cluster(3, &[1, 2, 3]);
        apply(&mut image, vec![config("min.insync.replicas", "3")]);
        let records = decide_fence(&image, RULES, NodeId(3));
        apply(&mut image, records);
        assert_eq!(told(&image), "1,2,3 in sync 1,2 eligible 3 leader 1");
        for (value, expected) in [
            ("3", "1,2,3 in sync 1,2 eligible 3 leader 1"),
            ("2", "1,2,3 in sync 1,2 eligible  leader 1"),
            ("3", "1,2,3 in sync 1,2 eligible  leader 1"),
        ] {
            let changed = vec![config("min.insync.replicas", value)];
            apply(&mut image, changed.clone());
            let follow = decide_follow_configs(&image, RULES, &changed);
            apply(&mut image, follow);
            assert_eq!(told(&image), expected, "{value}");
        }
        let records = decide_fence(&image, RULES, NodeId(2));
        apply(&mut image, records);
        let records = decide_fence(&image, RULES, NodeId(1));
        apply(&mut image, records);
        let records = decide_unfence(&image, RULES, NodeId(3));
        apply(&mut image, records);
        assert_eq!(told(&image), "1,2,3 in sync  eligible 1,2 leader -");
        let changed = vec![config("unclean.leader.election.enable", "true")];
        apply(&mut image, changed.clone());
        let follow = decide_follow_configs(&image, RULES, &changed);
        apply(&mut image, follow);
        assert_eq!(told(&image), "1,2,3 in sync 3 eligible  leader 3");
    }
}
