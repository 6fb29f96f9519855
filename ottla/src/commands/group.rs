//! `ottla group …`

use ottla_client::OFFSET_LATEST;
use serde_json::json;

use super::connect;
use super::topic::offsets_at;
use crate::cli::{GroupCommand, Output};
use crate::failure::Failure;
use crate::output::{print_json, print_table};

pub async fn run(command: GroupCommand) -> Result<(), Failure> {
    match command {
        GroupCommand::List { output, cluster } => {
            let mut groups = connect(&cluster.bootstrap_server).await?.admin().list_groups().await?;
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
            describe(&connect(&cluster.bootstrap_server).await?, &group, output).await
        }
        GroupCommand::Delete { groups, cluster } => {
            let client = connect(&cluster.bootstrap_server).await?;
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
