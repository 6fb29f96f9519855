//! The topic `ottla-plugins`: components by their sha256, in parts, so that every server of the cluster has what the
//! statements in `ottla-sql` need, and the names under which plugins are installed. Compacted, one partition; made with the
//! first of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use bytes::Bytes;
use ottla_client::{Client, ClientError, ErrorCode, NewTopic, ProducerConfig, Record};
use ottla_plugins::sha256_hex;

use super::EngineError;
use super::installed::InstalledPlugin;
use crate::runtime::topics;
use crate::state::changelog::Offsets;

/// Where modules are kept.
pub(super) const TOPIC: &str = "ottla-plugins";

/// A module is larger than a record may be, so it is cut. Half of Kafka's default for the largest batch.
const PART_BYTES: usize = 512 << 10;

/// What the key begins with of a record that names an installed plugin.
const NAMED: &[u8] = b"plugin:";

/// Keeps a module; it is durable when this returns.
pub(super) async fn keep(client: &Client, sha256: &str, module: &Bytes) -> Result<(), ClientError> {
    let topic = NewTopic::new(TOPIC, 1).with_config("cleanup.policy", "compact");
    match client.admin().create_topics(&[topic]).await {
        Err(error) if error.code() != Some(ErrorCode::TopicAlreadyExists) => return Err(error),
        _ => {}
    }
    let parts = parts(module.len()).map(|(part, from, to)| (key(sha256, part), Some(module.slice(from..to))));
    write(client, parts).await
}

/// Forgets a module of this size.
pub(super) async fn forget(client: &Client, sha256: &str, bytes: usize) -> Result<(), ClientError> {
    write(client, parts(bytes).map(|(part, _, _)| (key(sha256, part), None))).await
}

/// Keeps or forgets the name of a plugin whose module is kept; it is durable when this returns.
pub(super) async fn keep_name(
    client: &Client,
    name: &str,
    plugin: Option<&InstalledPlugin>,
) -> Result<(), EngineError> {
    let value = plugin.map(serde_json::to_vec).transpose();
    let value = value.map_err(|error| EngineError::Store { topic: TOPIC, reason: error.to_string() })?;
    let key = [NAMED, name.as_bytes()].concat();
    Ok(write(client, std::iter::once((key, value.map(Bytes::from)))).await?)
}

/// What the topic has.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Of the modules that were asked for those that are whole, by their sha256.
    pub modules: BTreeMap<String, Bytes>,
    /// All plugins that are installed, by their names.
    pub installed: BTreeMap<String, InstalledPlugin>,
}

/// The modules with these hashes, and all names.
pub(super) async fn read(client: &Client, wanted: &BTreeSet<String>) -> Result<Found, EngineError> {
    if !client.admin().list_topics().await?.iter().any(|topic| topic.name == TOPIC) {
        return Ok(Found::default());
    }
    let partitions = topics::partitions(client, TOPIC).await?;
    let consumer = topics::reader(client).await?;
    let ends = topics::end_offsets(&consumer, &partitions).await?;
    consumer.close().await?;
    let mut found: BTreeMap<String, BTreeMap<usize, Bytes>> = BTreeMap::new();
    let mut named: BTreeMap<String, Bytes> = BTreeMap::new();
    let begin = Offsets::new();
    let read = topics::read_range(client, TOPIC, &begin, &ends, |_, records| {
        for record in records {
            let key = record.key.unwrap_or_default();
            if let Some(name) = key.strip_prefix(NAMED) {
                let name = String::from_utf8_lossy(name).into_owned();
                match record.value {
                    Some(value) => named.insert(name, value),
                    None => named.remove(&name),
                };
                continue;
            }
            let Some((sha256, part)) = key_parts(&key).filter(|(sha256, _)| wanted.contains(*sha256)) else {
                continue;
            };
            let module = found.entry(sha256.to_owned()).or_default();
            match record.value {
                Some(value) => module.insert(part, value),
                None => module.remove(&part),
            };
        }
        ControlFlow::Continue(())
    });
    let _all_of_it = read.await?;
    let whole = found.into_iter().filter_map(|(sha256, parts)| {
        let module: Vec<u8> = parts.into_values().flatten().collect();
        (sha256_hex(&module) == sha256).then(|| (sha256, Bytes::from(module)))
    });
    Ok(Found { modules: whole.collect(), installed: installed(named) })
}

/// What is known of plugins by their records. One that cannot be read is installed under no name, and keeps nothing else from
/// running.
fn installed(named: BTreeMap<String, Bytes>) -> BTreeMap<String, InstalledPlugin> {
    let plugins = named.into_iter().filter_map(|(name, value)| match serde_json::from_slice(&value) {
        Ok(plugin) => Some((name, plugin)),
        Err(error) => {
            tracing::error!(plugin = name, %error, "the topic {TOPIC} holds a plugin that cannot be read: install it again");
            None
        }
    });
    plugins.collect()
}

/// Numbers, beginnings and ends of a module's parts.
fn parts(bytes: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..bytes.div_ceil(PART_BYTES)).map(move |part| {
        let from = part * PART_BYTES;
        (part, from, (from + PART_BYTES).min(bytes))
    })
}

fn key(sha256: &str, part: usize) -> Vec<u8> {
    format!("{sha256}/{part}").into_bytes()
}

fn key_parts(key: &[u8]) -> Option<(&str, usize)> {
    let (sha256, part) = std::str::from_utf8(key).ok()?.split_once('/')?;
    Some((sha256, part.parse().ok()?))
}

async fn write(
    client: &Client,
    records: impl Iterator<Item = (Vec<u8>, Option<Bytes>)>,
) -> Result<(), ClientError> {
    let producer = client.producer(ProducerConfig::default()).await?;
    for (key, value) in records {
        let record = Record { key: Some(Bytes::from(key)), value, ..Record::default() };
        producer.send_batch(TOPIC, 0, vec![record]).await?.await?;
    }
    producer.close().await
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_plugin_that_cannot_be_read_keeps_no_other_from_being_there() {
        let plugin = InstalledPlugin {
            sha256: "00".repeat(32),
            world: "transform".to_owned(),
            functions: Vec::new(),
            bytes: 7,
        };
        let named =
            [("a", serde_json::to_vec(&plugin).unwrap()), ("b", b"no JSON".to_vec()), ("c", b"{}".to_vec())];
        let named = named.map(|(name, value)| (name.to_owned(), Bytes::from(value)));
        assert_eq!(installed(named.into()), [("a".to_owned(), plugin)].into());
    }

    proptest! {
        #[test]
        fn a_key_is_read_as_it_was_written(sha256 in "[0-9a-f]{64}", part in any::<usize>()) {
            let written = key(&sha256, part);
            prop_assert_eq!(key_parts(&written), Some((sha256.as_str(), part)));
        }

        #[test]
        fn the_parts_of_a_module_are_all_of_it(bytes in 0..(PART_BYTES * 4)) {
            let mut end = 0;
            for (number, (part, from, to)) in parts(bytes).enumerate() {
                prop_assert_eq!((part, from), (number, end));
                prop_assert!(to > from && to - from <= PART_BYTES);
                end = to;
            }
            prop_assert_eq!(end, bytes);
        }
    }
}
