//! `ottla group …`

use ottla_client::{Client, OFFSET_EARLIEST, OFFSET_LATEST, TopicPartition};
use serde_json::json;

use super::connect;
use super::topic::offsets_at;
use crate::cli::{GroupCommand, Output, ResetTo};
use crate::failure::Failure;
use crate::output::{print_json, print_table};

pub async fn run(command: GroupCommand) -> Result<(), Failure> {
    match command {
        GroupCommand::List { output, cluster } => {
            let mut groups = connect(&cluster).await?.admin().list_groups().await?;
            groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
            if output == Output::Json {
                let groups: Vec<_> = groups
                    .iter()
                    .map(|group| json!({ "group": group.group_id, "protocol": group.protocol_type, "state": group.state }))
                    .collect();
                return Ok(print_json(&json!(groups))?);
            }
            let rows: Vec<Vec<String>> = groups
                .into_iter()
                .map(|group| vec![group.group_id, group.protocol_type, group.state])
                .collect();
            Ok(print_table(&["group", "protocol", "state"], &rows)?)
        }
        GroupCommand::Describe { group, output, cluster } => {
            describe(&connect(&cluster).await?, &group, output).await
        }
        GroupCommand::ResetOffsets { group, topic, to, execute, output, cluster } => {
            let client = connect(&cluster).await?;
            reset_offsets(&client, &group, topic.as_deref(), &to, execute, output).await
        }
        GroupCommand::Delete { groups, cluster } => {
            let client = connect(&cluster).await?;
            for group in groups {
                let deleted = client.admin().delete_groups(&[&group]).await;
                deleted.map_err(|error| Failure::failed(format!("group {group}: {error}")))?;
                println!("deleted group {group}");
            }
            Ok(())
        }
    }
}

async fn describe(client: &ottla_client::Client, group: &str, output: Output) -> Result<(), Failure> {
    let admin = client.admin();
    let named = |error: ottla_client::ClientError| Failure::failed(format!("group {group}: {error}"));
    let described = admin.describe_groups(&[group]).await.map_err(named)?.pop();
    let described =
        described.ok_or_else(|| Failure::failed(format!("group {group}: the broker says nothing of it")))?;
    let offsets = admin.list_group_offsets(group).await.map_err(named)?;
    if described.state == "Dead" && offsets.is_empty() {
        return Err(Failure::failed(format!("group {group} does not exist")));
    }
    let places: Vec<_> = offsets.keys().cloned().collect();
    let ends = offsets_at(client, &places, OFFSET_LATEST).await?;
    let lag = |place| {
        let end: i64 = ends.get(place).copied()?;
        offsets.get(place).map(|committed| (end, end - committed.offset))
    };
    if output == Output::Json {
        let offsets: Vec<_> = offsets
            .iter()
            .map(|(place, committed)| {
                json!({ "topic": place.topic, "partition": place.partition, "committed": committed.offset,
                        "end": lag(place).map(|(end, _)| end), "lag": lag(place).map(|(_, lag)| lag),
                        "metadata": committed.metadata })
            })
            .collect();
        let members: Vec<_> = described
            .members
            .iter()
            .map(|member| {
                json!({ "member_id": member.member_id, "client_id": member.client_id, "host": member.client_host })
            })
            .collect();
        return Ok(print_json(&json!({ "group": group, "state": described.state, "offsets": offsets,
                                      "members": members }))?);
    }
    println!("group {group}  state {}  members {}", described.state, described.members.len());
    for member in &described.members {
        println!("  {}  {}  {}", member.member_id, member.client_id, member.client_host);
    }
    let rows: Vec<Vec<String>> = offsets
        .iter()
        .map(|(place, committed)| {
            let unknown = || "-".to_owned();
            vec![
                place.topic.clone(),
                place.partition.to_string(),
                committed.offset.to_string(),
                lag(place).map_or_else(unknown, |(end, _)| end.to_string()),
                lag(place).map_or_else(unknown, |(_, lag)| lag.to_string()),
            ]
        })
        .collect();
    Ok(print_table(&["topic", "partition", "committed", "end", "lag"], &rows)?)
}

/// Where each partition is to be read from, within what is there.
async fn reset_offsets(
    client: &Client,
    group: &str,
    topic: Option<&str>,
    to: &ResetTo,
    execute: bool,
    output: Output,
) -> Result<(), Failure> {
    let admin = client.admin();
    let named = |error: ottla_client::ClientError| Failure::failed(format!("group {group}: {error}"));
    let committed = admin.list_group_offsets(group).await.map_err(named)?;
    let places: Vec<TopicPartition> = match topic {
        None => committed.keys().cloned().collect(),
        Some(topic) => {
            let described = admin.describe_topic(topic).await.map_err(named)?;
            let partitions = described.partitions.iter();
            partitions.map(|partition| TopicPartition::new(topic, partition.partition)).collect()
        }
    };
    if places.is_empty() {
        return Err(Failure::failed(format!("group {group} has no offsets; name a topic by --topic")));
    }
    let starts = offsets_at(client, &places, OFFSET_EARLIEST).await?;
    let ends = offsets_at(client, &places, OFFSET_LATEST).await?;
    let at_time = match &to.to_datetime {
        Some(time) => offsets_at(client, &places, millis(time)?).await?,
        None => Default::default(),
    };
    let mut changes: Vec<(TopicPartition, i64)> = Vec::new();
    for place in places {
        let (start, end) = match (starts.get(&place), ends.get(&place)) {
            (Some(start), Some(end)) => (*start, *end),
            _ => return Err(Failure::failed(format!("{place} does not tell its offsets"))),
        };
        let wanted = if to.to_earliest {
            start
        } else if let Some(offset) = to.to_offset {
            offset
        } else if let Some(count) = to.shift_by {
            let before = committed.get(&place).map(|committed| committed.offset);
            let before = before
                .ok_or_else(|| Failure::failed(format!("group {group} has no offset of {place} to shift")))?;
            before.saturating_add(count)
        } else {
            // Without a record of that time or later, its end.
            at_time.get(&place).copied().unwrap_or(end)
        };
        changes.push((place, wanted.clamp(start, end)));
    }
    if execute {
        admin.alter_group_offsets(group, &changes).await.map_err(named)?;
    }
    let before = |place| committed.get(place).map(|committed| committed.offset);
    if output == Output::Json {
        let changes: Vec<_> = changes
            .iter()
            .map(|(place, offset)| json!({ "topic": place.topic, "partition": place.partition, "before": before(place), "after": offset }))
            .collect();
        return Ok(print_json(&json!({ "group": group, "executed": execute, "offsets": changes }))?);
    }
    let rows: Vec<Vec<String>> = changes
        .iter()
        .map(|(place, offset)| {
            let before = before(place).map_or("-".to_owned(), |offset| offset.to_string());
            vec![place.topic.clone(), place.partition.to_string(), before, offset.to_string()]
        })
        .collect();
    print_table(&["topic", "partition", "before", "after"], &rows)?;
    if !execute {
        eprintln!("nothing was changed; --execute does it");
    }
    Ok(())
}

/// Milliseconds since 1970 of a time as RFC 3339 writes it.
fn millis(time: &str) -> Result<i64, Failure> {
    let parsed = chrono::DateTime::parse_from_rfc3339(time);
    let parsed = parsed.map_err(|error| {
        Failure::wrong_words(format!(
            "--to-datetime {time}: {error}; expected a time as 2013-01-31T12:00:00Z"
        ))
    })?;
    Ok(parsed.timestamp_millis())
}
