//! How things are, for a plan, and how a plan is shown and carried out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ottla_client::placement::{PlacedPartition, PlacementChange};
use ottla_client::{Admin, ClusterDescription, TopicPartition};
use serde_json::{Value, json};

use crate::cli::{CarryingOut, Output};
use crate::failure::Failure;
use crate::output::{print_json, print_table};

/// Between two looks at what is under way.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// The partitions of some topics (none: of all), and how large they are where that is known.
pub async fn placed(
    admin: &Admin,
    cluster: &ClusterDescription,
    topics: &[String],
) -> Result<Vec<PlacedPartition>, Failure> {
    let mut sizes: BTreeMap<TopicPartition, u64> = BTreeMap::new();
    let dirs = super::log_dirs(admin, cluster, true).await;
    for (place, replica) in dirs.into_values().flatten().flat_map(|dir| dir.replicas) {
        if !replica.is_future {
            let size = sizes.entry(place).or_default();
            *size = (*size).max(u64::try_from(replica.size_bytes).unwrap_or(0));
        }
    }
    let listed = admin.list_topics().await?;
    if let Some(unknown) = topics.iter().find(|topic| listed.iter().all(|listed| listed.name != **topic)) {
        return Err(Failure::failed(format!("topic {unknown} does not exist")));
    }
    let wanted = listed.iter().filter(|topic| topics.is_empty() || topics.contains(&topic.name));
    let all = wanted.flat_map(|topic| topic.partitions.iter().map(move |partition| (topic, partition)));
    let placed = all.map(|(topic, partition)| {
        let place = TopicPartition::new(topic.name.as_str(), partition.partition);
        let size_bytes = sizes.get(&place).copied().unwrap_or(0);
        PlacedPartition { partition: place, replicas: partition.replicas.clone(), size_bytes }
    });
    Ok(placed.collect())
}

/// Refuses to plan while partitions are on their way: the plan would be for what is not so any more.
pub async fn refuse_while_moving(admin: &Admin) -> Result<(), Failure> {
    let moving = admin.list_reassignments().await?;
    let Some(first) = moving.first() else { return Ok(()) };
    Err(Failure::failed(format!(
        "{} partitions are on their way to other brokers (the first is {}): wait for them, or take them back with \
         `ottla cluster rebalance --cancel`",
        moving.len(),
        first.partition
    )))
}

/// Prints a plan.
pub fn show(changes: &[PlacementChange], output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        let changes: Vec<Value> = changes
            .iter()
            .map(|change| {
                json!({ "topic": change.partition.topic, "partition": change.partition.partition, "from": change.from,
                        "to": change.to, "copied_bytes": change.copied_bytes() })
            })
            .collect();
        return Ok(print_json(&json!({ "changes": changes }))?);
    }
    let ids = |ids: &[i32]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let rows: Vec<Vec<String>> = changes
        .iter()
        .map(|change| {
            let bytes = change.copied_bytes().to_string();
            vec![change.partition.to_string(), ids(&change.from), ids(&change.to), bytes]
        })
        .collect();
    Ok(print_table(&["partition", "from", "to", "copied bytes"], &rows)?)
}

/// What a plan comes to, in a line.
pub fn summary(changes: &[PlacementChange]) -> String {
    let copied: u64 = changes.iter().map(PlacementChange::copied_bytes).sum();
    let copies: usize = changes.iter().map(|change| change.added().count()).sum();
    format!("{} partitions change, {copies} replicas of {copied} bytes are copied", changes.len())
}

/// Carries a plan out, so many partitions at once, and has the partitions led by their preferred replicas. Says on stderr how far it is.
///
/// # Errors
/// What the cluster refuses, and partitions that are not as planned in the end, as when somebody takes their move back.
pub async fn carry_out(admin: &Admin, changes: &[PlacementChange], how: &CarryingOut) -> Result<(), Failure> {
    let mut waiting = changes.iter();
    let mut begun: BTreeSet<TopicPartition> = BTreeSet::new();
    loop {
        let moving = admin.list_reassignments().await?;
        begun.retain(|place| moving.iter().any(|moving| moving.partition == *place));
        let free = usize::from(how.at_once).saturating_sub(begun.len());
        let next: Vec<&PlacementChange> = waiting.by_ref().take(free).collect();
        let done = changes.len() - waiting.len() - begun.len() - next.len();
        eprintln!(
            "{done} of {} partitions are done, {} on their way",
            changes.len(),
            begun.len() + next.len()
        );
        if next.is_empty() && begun.is_empty() {
            break;
        }
        if !next.is_empty() {
            let wanted: Vec<(TopicPartition, Option<Vec<i32>>)> =
                next.iter().map(|change| (change.partition.clone(), Some(change.to.clone()))).collect();
            admin.alter_reassignments(&wanted).await?;
            begun.extend(wanted.into_iter().map(|(place, _)| place));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    let topics = admin.list_topics().await?;
    let now: BTreeMap<TopicPartition, &Vec<i32>> = topics
        .iter()
        .flat_map(|topic| {
            topic.partitions.iter().map(move |partition| {
                (TopicPartition::new(topic.name.as_str(), partition.partition), &partition.replicas)
            })
        })
        .collect();
    // A topic that was deleted meanwhile needs nothing.
    let missed =
        changes.iter().find(|change| now.get(&change.partition).is_some_and(|now| **now != change.to));
    if let Some(missed) = missed {
        return Err(Failure::failed(format!(
            "{} is on the brokers {:?} and not on {:?}: somebody took the move back, or began another",
            missed.partition, now[&missed.partition], missed.to
        )));
    }
    let moved: Vec<TopicPartition> = changes
        .iter()
        .filter(|change| now.contains_key(&change.partition))
        .map(|change| change.partition.clone())
        .collect();
    if !moved.is_empty() {
        // The controller gives those that cannot be led so now to their preferred leaders when they can.
        admin.elect_preferred_leaders(Some(&moved)).await?;
    }
    Ok(())
}
