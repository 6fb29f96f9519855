//! `ottla acl …`

use ottla_client::{ACL_ANY, AclEntry};
use serde_json::json;

use super::connect;
use crate::cli::{AclArguments, AclCommand, AclFilterArguments, ClusterArguments, Output};
use crate::failure::Failure;
use crate::output::{print_json, print_table};

/// Kafka's numbers (KIP-140).
const OPERATIONS: &[(&str, i8)] = &[
    ("all", 2),
    ("read", 3),
    ("write", 4),
    ("create", 5),
    ("delete", 6),
    ("alter", 7),
    ("describe", 8),
    ("cluster-action", 9),
    ("describe-configs", 10),
    ("alter-configs", 11),
    ("idempotent-write", 12),
    ("create-tokens", 13),
    ("describe-tokens", 14),
    ("two-phase-commit", 15),
];
const RESOURCES: &[(&str, i8)] = &[
    ("topic", 2),
    ("group", 3),
    ("cluster", 4),
    ("transactional-id", 5),
    ("delegation-token", 6),
    ("user", 7),
];
const PERMISSIONS: &[(&str, i8)] = &[("deny", DENY), ("allow", ALLOW)];
const DENY: i8 = 2;
const ALLOW: i8 = 3;
const LITERAL: i8 = 3;
const PREFIXED: i8 = 4;
const CLUSTER_NAME: &str = "kafka-cluster";

pub async fn run(command: AclCommand) -> Result<(), Failure> {
    match command {
        AclCommand::List { entry, output, cluster } => {
            let filter = filter(&entry)?;
            let entries = connect(&cluster).await?.admin().describe_acls(&filter).await?;
            print(&entries, output)
        }
        AclCommand::Allow { entry, cluster } => add(&entry, ALLOW, &cluster).await,
        AclCommand::Deny { entry, cluster } => add(&entry, DENY, &cluster).await,
        AclCommand::Remove { entry, cluster } => {
            if entry.principal.is_none() && entry.resource.is_none() {
                return Err(Failure::wrong_words("say which entries by --principal, --resource or both"));
            }
            let filter = filter(&entry)?;
            let removed = connect(&cluster).await?.admin().delete_acls(&filter).await?;
            println!("removed {removed}");
            Ok(())
        }
    }
}

async fn add(arguments: &AclArguments, permission: i8, cluster: &ClusterArguments) -> Result<(), Failure> {
    let (resource_type, name, pattern_type) = resource(&arguments.resource)?;
    let operations = arguments.operations.iter().map(|word| number(OPERATIONS, "operation", word));
    let operations: Vec<i8> = operations.collect::<Result<_, _>>()?;
    let client = connect(cluster).await?;
    for operation in operations {
        let entry = AclEntry {
            resource_type,
            resource_name: Some(name.clone()),
            pattern_type,
            principal: Some(arguments.principal.clone()),
            host: Some(arguments.host.clone()),
            operation,
            permission,
        };
        client.admin().create_acl(&entry).await?;
        println!("{}", described(&entry).join(" "));
    }
    Ok(())
}

/// Type, name and pattern type of `topic:NAME`, `topic:BEGINNING*` or `cluster`.
fn resource(text: &str) -> Result<(i8, String, i8), Failure> {
    let (kind, name) = text.split_once(':').unwrap_or((text, ""));
    let resource_type = number(RESOURCES, "resource", kind)?;
    match name {
        "" if kind == "cluster" => Ok((resource_type, CLUSTER_NAME.to_owned(), LITERAL)),
        "" => Err(Failure::wrong_words(format!("resource {text}: expected {kind}:NAME"))),
        "*" => Ok((resource_type, name.to_owned(), LITERAL)),
        name => match name.strip_suffix('*') {
            Some(beginning) => Ok((resource_type, beginning.to_owned(), PREFIXED)),
            None => Ok((resource_type, name.to_owned(), LITERAL)),
        },
    }
}

fn filter(arguments: &AclFilterArguments) -> Result<AclEntry, Failure> {
    let wanted = arguments.resource.as_deref().map(resource).transpose()?;
    let (resource_type, resource_name, pattern_type) = match wanted {
        Some((resource_type, name, pattern_type)) => (resource_type, Some(name), pattern_type),
        None => (ACL_ANY, None, ACL_ANY),
    };
    Ok(AclEntry {
        resource_type,
        resource_name,
        pattern_type,
        principal: arguments.principal.clone(),
        host: None,
        operation: ACL_ANY,
        permission: ACL_ANY,
    })
}

fn number(words: &[(&str, i8)], what: &str, word: &str) -> Result<i8, Failure> {
    let found = words.iter().find(|(known, _)| *known == word).map(|(_, number)| *number);
    found.ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(known, _)| *known).collect();
        Failure::wrong_words(format!("{what} {word:?} is not known; expected {}", known.join(", ")))
    })
}

fn word(words: &[(&str, i8)], number: i8) -> String {
    let found = words.iter().find(|(_, known)| *known == number);
    found.map_or_else(|| number.to_string(), |(word, _)| (*word).to_owned())
}

/// Permission, principal, operation, resource and host, in the words that the commands take.
fn described(entry: &AclEntry) -> Vec<String> {
    let name = entry.resource_name.as_deref().unwrap_or_default();
    let beginning = if entry.pattern_type == PREFIXED { "*" } else { "" };
    let resource = match word(RESOURCES, entry.resource_type) {
        cluster if cluster == "cluster" => cluster,
        kind => format!("{kind}:{name}{beginning}"),
    };
    vec![
        word(PERMISSIONS, entry.permission),
        entry.principal.clone().unwrap_or_default(),
        word(OPERATIONS, entry.operation),
        resource,
        entry.host.clone().unwrap_or_default(),
    ]
}

fn print(entries: &[AclEntry], output: Output) -> Result<(), Failure> {
    let headers = ["permission", "principal", "operation", "resource", "host"];
    let rows: Vec<Vec<String>> = entries.iter().map(described).collect();
    if output == Output::Json {
        let object = |row: &Vec<String>| -> serde_json::Map<String, serde_json::Value> {
            headers.iter().zip(row).map(|(header, cell)| ((*header).to_owned(), json!(cell))).collect()
        };
        return Ok(print_json(&json!(rows.iter().map(object).collect::<Vec<_>>()))?);
    }
    Ok(print_table(&headers, &rows)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_said_and_shown_in_the_same_words() {
        for text in ["topic:orders", "topic:ord*", "topic:*", "group:g", "cluster", "transactional-id:x"] {
            let (resource_type, name, pattern_type) = resource(text).unwrap();
            let entry = AclEntry {
                resource_type,
                resource_name: Some(name),
                pattern_type,
                principal: None,
                host: None,
                operation: 3,
                permission: ALLOW,
            };
            assert_eq!(described(&entry)[3], text);
        }
        for wrong in ["topic", "topics:a", ":a", ""] {
            assert!(resource(wrong).is_err(), "{wrong}");
        }
    }
}
