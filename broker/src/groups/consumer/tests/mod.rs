//! Groups of the consumer protocol through `decide` and `apply`, request by request.

mod heartbeat;
mod migration;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::groups::*;

/// Topics that tests make up, by name.
#[derive(Clone, Default)]
pub(super) struct FixedTopics {
    version: u64,
    topics: BTreeMap<String, TopicInfo>,
}

impl FixedTopics {
    fn add(&mut self, name: &str, id: u128, partition_count: i32) {
        self.version += 1;
        self.topics.insert(name.to_owned(), TopicInfo { id: Uuid::from_u128(id), partition_count });
    }

    fn remove(&mut self, name: &str) {
        self.version += 1;
        self.topics.remove(name);
    }
}

impl TopicCatalog for FixedTopics {
    fn version(&self) -> u64 {
        self.version
    }

    fn topic(&self, name: &str) -> Option<TopicInfo> {
        self.topics.get(name).copied()
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.topics.keys().map(String::as_str))
    }
}

/// One partition's machine, its log and the topics.
pub(super) struct Bench {
    pub groups: Groups,
    pub log: Vec<Record>,
    pub topics: FixedTopics,
    config: GroupConfig,
    now_ms: u64,
    replies: u64,
}

pub(super) const SESSION_MS: u64 = 45_000;

impl Bench {
    pub fn new() -> Bench {
        Bench::with(GroupConfig::default())
    }

    pub fn with(config: GroupConfig) -> Bench {
        let mut topics = FixedTopics::default();
        topics.add("t", 1, 4);
        let groups = Groups::new(config.clone());
        Bench { groups, log: Vec::new(), topics, config, now_ms: 1_000, replies: 0 }
    }

    pub fn now(&self) -> Now {
        Now { monotonic: Monotonic::from_millis(self.now_ms), wall: WallMs(self.now_ms as i64) }
    }

    pub fn ask(&mut self, request: Request) -> Reply {
        self.replies += 1;
        let id = ReplyId(self.replies);
        let mut decision = self.groups.decide(self.now(), id, &request);
        self.take(&decision);
        let (to, reply) = decision.replies.pop().expect("answered at once");
        assert_eq!(to, id);
        reply
    }

    fn take(&mut self, decision: &Decision) {
        self.groups.apply_all(decision);
        self.log.extend(decision.records().cloned());
        self.groups.invariants();
    }

    pub fn pass(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while let Some(at) = self.groups.next_deadline().filter(|at| at.0.as_millis() as u64 <= end) {
            self.now_ms = self.now_ms.max(at.0.as_millis() as u64);
            let decision = self.groups.on_deadline(self.now());
            self.take(&decision);
        }
        self.now_ms = end;
    }

    /// The coordinator starts anew from its log, through the records' bytes.
    pub fn restart(&mut self) {
        self.groups = Groups::new(self.config.clone());
        for record in &self.log {
            let (key, value) = records::encode(record).unwrap();
            let records::Decoded::Record(record) = records::decode(Some(key), value).unwrap() else {
                panic!()
            };
            self.groups.apply(&Change::Record(record));
        }
        let decision = self.groups.on_loaded(self.now());
        self.take(&decision);
    }

    pub fn beat(&self, member: &str, epoch: i32) -> ConsumerHeartbeat {
        ConsumerHeartbeat {
            group: group(),
            member_id: MemberId::from(member),
            epoch: Epoch(epoch),
            instance_id: None,
            rack_id: None,
            client_id: Arc::from("client"),
            client_host: Arc::from("/127.0.0.1"),
            rebalance_timeout: None,
            topic_names: None,
            topic_regex: None,
            server_assignor: None,
            owned: None,
            topics: Topics(Arc::new(self.topics.clone())),
            session_timeout: Duration::from_millis(SESSION_MS),
            heartbeat_interval: Duration::from_secs(5),
        }
    }

    pub fn joining(&self, member: &str) -> ConsumerHeartbeat {
        ConsumerHeartbeat {
            rebalance_timeout: Some(Duration::from_secs(30)),
            topic_names: Some([TopicName::from("t")].into()),
            owned: Some(PartitionSet::default()),
            ..self.beat(member, 0)
        }
    }

    pub fn send(&mut self, heartbeat: ConsumerHeartbeat) -> Result<MemberAnswer, ConsumerRefused> {
        match self.ask(Request::ConsumerHeartbeat(Box::new(heartbeat))) {
            Reply::ConsumerHeartbeat(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    pub fn refused(&mut self, heartbeat: ConsumerHeartbeat) -> GroupError {
        self.send(heartbeat).unwrap_err().error
    }

    /// Sends a heartbeat that tells what is owned; gives epoch and what may be owned, if told.
    pub fn owns(&mut self, member: &str, epoch: i32, owned: &[i32]) -> (i32, Option<Vec<i32>>) {
        let heartbeat = ConsumerHeartbeat { owned: Some(set(owned)), ..self.beat(member, epoch) };
        told(self.send(heartbeat).unwrap())
    }

    pub fn state(&self) -> &'static str {
        self.groups.consumer_groups()[&group()].state().as_str()
    }
}

pub(super) fn group() -> GroupId {
    GroupId::from("g")
}

pub(super) fn set(partitions: &[i32]) -> PartitionSet {
    partitions.iter().map(|partition| (Uuid::from_u128(1), *partition)).collect()
}

pub(super) fn told(answer: MemberAnswer) -> (i32, Option<Vec<i32>>) {
    (
        answer.epoch.0,
        answer.assigned.map(|assigned| assigned.iter().map(|(_, partition)| partition).collect()),
    )
}
