//! The configs that hold replication back (KIP-73, KIP-113): how many bytes a second a broker takes, and which replicas that counts
//! for. `kafka-reassign-partitions --throttle` sets them and `--verify` takes them away.

use std::collections::BTreeSet;

use super::configs::{ConfigType, ConfigValue, Definition, Rule, define, set_on_brokers};
use super::image::{ClusterImage, ResourceType, TopicImage};
use crate::ids::NodeId;
use crate::quotas::UNLIMITED;

/// Bytes a second that a broker gives to followers of throttled replicas.
const LEADER_RATE: &str = "leader.replication.throttled.rate";
/// Bytes a second that a broker fetches for throttled replicas.
const FOLLOWER_RATE: &str = "follower.replication.throttled.rate";
/// Bytes a second that a broker copies from one of its log dirs to another.
const LOG_DIRS_RATE: &str = "replica.alter.log.dirs.io.max.bytes.per.second";

/// Of a topic: `PARTITION:BROKER,…` of leaders, `*` for all of them.
pub(super) const LEADER_REPLICAS: &str = "leader.replication.throttled.replicas";
/// Of a topic: the same of followers.
pub(super) const FOLLOWER_REPLICAS: &str = "follower.replication.throttled.replicas";

const RATE: Rule = Rule::Integer { min: 0, max: i64::MAX };
const NO_LIMIT: &str = "9223372036854775807";

/// The configs of a broker that are set while it runs and are no defaults of topics. As in Kafka they are told only where they are set.
const DEFINITIONS: &[Definition] = &[
    define(FOLLOWER_RATE, ConfigType::Long, NO_LIMIT, RATE, None),
    define(LEADER_RATE, ConfigType::Long, NO_LIMIT, RATE, None),
    define(LOG_DIRS_RATE, ConfigType::Long, NO_LIMIT, RATE, None),
];

/// The definition of one of the rates.
pub(crate) fn rate_definition(name: &str) -> Option<&'static Definition> {
    DEFINITIONS.iter().find(|definition| definition.name == name)
}

/// The rates that are set, on one broker or on all of them.
pub(super) fn rates_that_are_set(
    image: &ClusterImage,
    node_id: Option<NodeId>,
) -> impl Iterator<Item = ConfigValue> {
    DEFINITIONS.iter().filter_map(move |definition| {
        let layers = set_on_brokers(image, node_id, definition.name);
        let (name, config_type) = (definition.name, definition.config_type);
        (!layers.is_empty()).then_some(ConfigValue { name, config_type, read_only: false, layers })
    })
}

/// Of which broker's part a throttle is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThrottledRole {
    /// It is fetched from.
    Leader,
    /// It fetches.
    Follower,
}

/// Bytes a second that a broker allows itself; [`UNLIMITED`] where nothing is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThrottleRates {
    /// Given to followers of throttled replicas.
    pub leader: u64,
    /// Fetched for throttled replicas.
    pub follower: u64,
    /// Copied from one log dir to another.
    pub log_dirs: u64,
}

impl ThrottleRates {
    /// What an image says of a broker: what is set on it, else on all brokers.
    pub fn of(image: &ClusterImage, node_id: NodeId) -> ThrottleRates {
        let own = image.configs(ResourceType::Broker, &node_id.to_string());
        let all = image.configs(ResourceType::Broker, "");
        let rate = |name| {
            let set = own.get(name).or_else(|| all.get(name));
            set.and_then(|value| value.trim().parse().ok()).unwrap_or(UNLIMITED)
        };
        ThrottleRates {
            leader: rate(LEADER_RATE),
            follower: rate(FOLLOWER_RATE),
            log_dirs: rate(LOG_DIRS_RATE),
        }
    }
}

/// Which partitions of a topic are throttled at one broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ThrottledReplicas {
    /// All of them.
    All,
    /// These.
    Partitions(BTreeSet<i32>),
}

impl ThrottledReplicas {
    /// What a topic's config says of a broker.
    pub fn of(topic: &TopicImage, role: ThrottledRole, node_id: NodeId) -> ThrottledReplicas {
        let name = match role {
            ThrottledRole::Leader => LEADER_REPLICAS,
            ThrottledRole::Follower => FOLLOWER_REPLICAS,
        };
        let value = topic.configs.get(name).map_or("", |value| value.trim());
        if value == "*" {
            return ThrottledReplicas::All;
        }
        let entries = value.split(',').filter_map(entry);
        let own = entries.filter(|(_, broker)| *broker == node_id.0).map(|(partition, _)| partition);
        ThrottledReplicas::Partitions(own.collect())
    }

    /// Whether a partition is among them.
    pub fn contains(&self, partition: i32) -> bool {
        match self {
            ThrottledReplicas::All => true,
            ThrottledReplicas::Partitions(partitions) => partitions.contains(&partition),
        }
    }
}

/// Partition and broker of `PARTITION:BROKER`.
fn entry(text: &str) -> Option<(i32, i32)> {
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().ok()).flatten()
    };
    let (partition, broker) = text.trim().split_once(':')?;
    Some((number(partition)?, number(broker)?))
}

/// Checks a list of throttled replicas as Kafka does; the error is why not.
pub(super) fn check_replicas(value: &str) -> Result<(), &'static str> {
    let value = value.trim();
    match value.is_empty() || value == "*" || value.split(',').all(|text| entry(text).is_some()) {
        true => Ok(()),
        false => Err("must be the literal '*' or a list of replicas in the following format: \
                      [partitionId]:[brokerId],[partitionId]:[brokerId],..."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn topic(leaders: &str) -> TopicImage {
        TopicImage {
            name: "t".to_owned(),
            id: Uuid::from_u128(1),
            partitions: Vec::new(),
            configs: [(LEADER_REPLICAS.to_owned(), leaders.to_owned())].into(),
        }
    }

    #[test]
    fn a_broker_throttles_what_is_listed_for_it() {
        let at = |leaders, broker| {
            let listed = ThrottledReplicas::of(&topic(leaders), ThrottledRole::Leader, NodeId(broker));
            (0..4).filter(|partition| listed.contains(*partition)).collect::<Vec<_>>()
        };
        assert_eq!(at("0:1,1:2, 3:1", 1), [0, 3]);
        assert_eq!(at("0:1,1:2,3:1", 2), [1]);
        assert_eq!(at("0:1,1:2,3:1", 3), [0; 0]);
        assert_eq!(at(" * ", 3), [0, 1, 2, 3]);
        assert_eq!(at("", 1), [0; 0]);
        let followers = ThrottledReplicas::of(&topic("*"), ThrottledRole::Follower, NodeId(1));
        assert!(!followers.contains(0));
    }

    #[test]
    fn lists_are_checked_as_kafka_checks_them() {
        for good in ["", " ", "*", "0:1", "0:1,12:345", "0:1, 2:3"] {
            assert_eq!(check_replicas(good), Ok(()), "{good:?}");
        }
        for bad in ["**", "0", "0:", ":1", "0:1,", "0:1;1:2", "-1:1", "a:1", "0:1:2", "99999999999:1"] {
            assert!(check_replicas(bad).is_err(), "{bad:?}");
        }
    }
}
