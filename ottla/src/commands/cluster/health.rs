//! `ottla cluster health`: what is wrong with a cluster, worst first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ottla_client::{
    Admin, ClusterDescription, ConfigResource, ErrorCode, LogDirDescription, QuorumDescription,
    TopicDescription,
};
use serde_json::json;

use super::super::connect;
use super::ANSWER_MAX;
use crate::cli::{ClusterArguments, Output};
use crate::failure::Failure;
use crate::output::print_json;

/// Between two looks while it is waited.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Names that are shown of what has many.
const NAMED_MAX: usize = 5;
/// Controllers fetch at least every second; one that has not for so long is not there.
const VOTER_SILENT_MAX_MS: i64 = 10_000;

/// Asks until all is well, for at most so many seconds.
pub async fn run(wait_s: u64, output: Output, cluster: &ClusterArguments) -> Result<(), Failure> {
    let until = Instant::now() + Duration::from_secs(wait_s);
    let client = connect(cluster).await?;
    let findings = loop {
        let findings = judge(&State::of(&client.admin()).await?);
        if is_well(&findings) || Instant::now() >= until {
            break findings;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    };
    let is_well = is_well(&findings);
    if output == Output::Json {
        let findings: Vec<_> = findings
            .iter()
            .map(|finding| json!({ "severity": finding.severity.name(), "what": finding.what, "count": finding.names.len(), "names": finding.names }))
            .collect();
        print_json(&json!({ "healthy": is_well, "findings": findings }))?;
    } else {
        for finding in &findings {
            println!("{}: {}", finding.severity.name(), finding.text());
        }
        if is_well {
            println!("all is well");
        }
    }
    // What is wrong was said.
    if is_well { Ok(()) } else { Err(Failure::failed("the cluster is not well")) }
}

/// How much something matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    /// Something cannot be read or written.
    Critical,
    /// All works, and less may fail than should.
    Warning,
    /// Nothing is wrong.
    Note,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Finding {
    severity: Severity,
    what: &'static str,
    /// Of the partitions or brokers concerned.
    names: Vec<String>,
}

impl Finding {
    fn text(&self) -> String {
        let shown: Vec<&str> = self.names.iter().take(NAMED_MAX).map(String::as_str).collect();
        let more = if self.names.len() > NAMED_MAX { ", …" } else { "" };
        match self.names.len() {
            0 => self.what.to_owned(),
            count => format!("{}: {count} ({}{more})", self.what, shown.join(", ")),
        }
    }
}

fn is_well(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.severity == Severity::Note)
}

/// What is asked of a cluster.
struct State {
    cluster: ClusterDescription,
    topics: Vec<TopicDescription>,
    /// `min.insync.replicas` of the topics that have a partition with too few replicas in sync.
    min_isr: BTreeMap<String, usize>,
    /// `None` while nobody leads it.
    quorum: Option<QuorumDescription>,
    /// Of the brokers that answer.
    log_dirs: BTreeMap<i32, Vec<LogDirDescription>>,
    moving: Vec<String>,
}

impl State {
    async fn of(admin: &Admin) -> Result<State, Failure> {
        let cluster = admin.describe_cluster().await?;
        let topics = admin.list_topics().await?;
        let mut min_isr = BTreeMap::new();
        let short = |topic: &&TopicDescription| {
            topic.partitions.iter().any(|partition| partition.isr.len() < partition.replicas.len())
        };
        for topic in topics.iter().filter(short) {
            // One that was just deleted has none.
            let configs = admin.describe_configs(&ConfigResource::Topic(topic.name.clone())).await;
            let configs = configs.unwrap_or_default();
            let found = configs.iter().find(|config| config.name == "min.insync.replicas");
            let count = found.and_then(|config| config.value.as_deref()?.parse().ok());
            min_isr.extend(count.map(|count| (topic.name.clone(), count)));
        }
        let log_dirs = super::log_dirs(admin, &cluster, false).await;
        let moving = admin.list_reassignments().await?;
        Ok(State {
            cluster,
            topics,
            min_isr,
            quorum: tokio::time::timeout(ANSWER_MAX, admin.describe_quorum()).await.ok().and_then(Result::ok),
            log_dirs,
            moving: moving.iter().map(|moving| moving.partition.to_string()).collect(),
        })
    }
}

/// What is to be said of a cluster, worst first.
fn judge(state: &State) -> Vec<Finding> {
    let mut findings = Vec::new();
    if state.quorum.is_none() {
        let what = "no controller leads, so nothing about the cluster can change";
        findings.push(Finding { severity: Severity::Critical, what, names: Vec::new() });
    }
    let mut find = |severity, what, names: Vec<String>| {
        if !names.is_empty() {
            findings.push(Finding { severity, what, names });
        }
    };
    let serving: BTreeSet<i32> = state
        .cluster
        .brokers
        .iter()
        .filter(|broker| !broker.is_fenced)
        .map(|broker| broker.broker_id)
        .collect();
    let all = || {
        state.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |partition| (topic, partition)))
    };
    let named = |topic: &TopicDescription, number: i32| format!("{}-{number}", topic.name);

    let offline = all().filter(|(_, partition)| partition.leader.is_none());
    find(
        Severity::Critical,
        "partitions without a leader, which can be neither read nor written",
        offline.map(|(topic, partition)| named(topic, partition.partition)).collect(),
    );
    let below = all().filter(|(topic, partition)| {
        let min = state.min_isr.get(&topic.name).copied().unwrap_or(1);
        partition.leader.is_some() && partition.isr.len() < min
    });
    find(
        Severity::Critical,
        "partitions with fewer in-sync replicas than min.insync.replicas, which take no acks=all",
        below.map(|(topic, partition)| named(topic, partition.partition)).collect(),
    );
    if let Some(quorum) = &state.quorum {
        let silent = quorum.voters.iter().filter(|voter| {
            voter.node_id != quorum.leader_id
                && voter.silent_ms.is_none_or(|silent| silent > VOTER_SILENT_MAX_MS)
        });
        find(
            Severity::Warning,
            "controllers that do not follow the one that leads",
            silent.map(|voter| voter.node_id.to_string()).collect(),
        );
    }
    let fenced = state.cluster.brokers.iter().filter(|broker| broker.is_fenced);
    find(
        Severity::Warning,
        "brokers that are registered and do not serve",
        fenced.map(|broker| broker.broker_id.to_string()).collect(),
    );
    let short = all().filter(|(_, partition)| partition.isr.len() < partition.replicas.len());
    find(
        Severity::Warning,
        "under-replicated partitions",
        short.map(|(topic, partition)| named(topic, partition.partition)).collect(),
    );
    let dirs = state.log_dirs.iter().flat_map(|(broker, dirs)| dirs.iter().map(move |dir| (broker, dir)));
    let broken = dirs.filter(|(_, dir)| dir.error != ErrorCode::None);
    find(
        Severity::Warning,
        "log dirs that cannot be used",
        broken.map(|(broker, dir)| format!("broker {broker} {}", dir.path)).collect(),
    );
    find(Severity::Note, "partitions on their way to other brokers", state.moving.clone());
    let others_lead = all().filter(|(_, partition)| {
        let preferred = partition.replicas.first();
        partition.leader.is_some()
            && partition.leader.as_ref() != preferred
            && preferred.is_some_and(|preferred| serving.contains(preferred))
    });
    find(
        Severity::Note,
        "partitions that another than their preferred replica leads",
        others_lead.map(|(topic, partition)| named(topic, partition.partition)).collect(),
    );
    findings.sort_by_key(|finding| finding.severity);
    findings
}

#[cfg(test)]
mod tests {
    use ottla_client::{BrokerDescription, PartitionDescription, QuorumReplica, Uuid};

    use super::*;

    fn broker(id: i32, is_fenced: bool) -> BrokerDescription {
        BrokerDescription { broker_id: id, host: "h".to_owned(), port: 1, rack: None, is_fenced }
    }

    fn voter(node_id: i32, silent_ms: Option<i64>) -> QuorumReplica {
        QuorumReplica { node_id, directory_id: Uuid::nil(), log_end_offset: 9, silent_ms }
    }

    fn state(partitions: &[(Option<i32>, &[i32])]) -> State {
        let partitions = (0..).zip(partitions).map(|(number, (leader, isr))| PartitionDescription {
            partition: number,
            leader: *leader,
            leader_epoch: 0,
            replicas: vec![1, 2, 3],
            isr: isr.to_vec(),
        });
        let topic = TopicDescription {
            name: "t".to_owned(),
            topic_id: Uuid::nil(),
            is_internal: false,
            partitions: partitions.collect(),
        };
        let voters = vec![voter(1, None), voter(2, Some(300)), voter(3, Some(500))];
        State {
            cluster: ClusterDescription {
                cluster_id: "c".to_owned(),
                controller_id: Some(1),
                brokers: (1..=3).map(|id| broker(id, false)).collect(),
            },
            topics: vec![topic],
            min_isr: BTreeMap::from([("t".to_owned(), 2)]),
            quorum: Some(QuorumDescription {
                leader_id: 1,
                leader_epoch: 1,
                high_watermark: 9,
                voters,
                observers: Vec::new(),
            }),
            log_dirs: BTreeMap::new(),
            moving: Vec::new(),
        }
    }

    fn texts(state: &State) -> Vec<String> {
        judge(state)
            .iter()
            .map(|finding| format!("{}: {}", finding.severity.name(), finding.text()))
            .collect()
    }

    #[test]
    fn a_cluster_in_which_all_follow_is_well() {
        assert_eq!(judge(&state(&[(Some(1), &[1, 2, 3][..]); 9])), []);
    }

    #[test]
    fn what_is_wrong_is_said_worst_first() {
        let mut state = state(&[(Some(1), &[1, 2]), (None, &[3]), (Some(1), &[1]), (Some(2), &[1, 2, 3])]);
        state.cluster.brokers[2].is_fenced = true;
        state.quorum.as_mut().unwrap().voters[2].silent_ms = Some(60_000);
        let dir = |error| LogDirDescription {
            path: "/data".to_owned(),
            error,
            total_bytes: None,
            usable_bytes: None,
            replicas: BTreeMap::new(),
        };
        state.log_dirs.insert(2, vec![dir(ErrorCode::None), dir(ErrorCode::KafkaStorageError)]);
        state.moving.push("t-0".to_owned());
        assert_eq!(
            texts(&state),
            [
                "critical: partitions without a leader, which can be neither read nor written: 1 (t-1)",
                "critical: partitions with fewer in-sync replicas than min.insync.replicas, which take no acks=all: 1 (t-2)",
                "warning: controllers that do not follow the one that leads: 1 (3)",
                "warning: brokers that are registered and do not serve: 1 (3)",
                "warning: under-replicated partitions: 3 (t-0, t-1, t-2)",
                "warning: log dirs that cannot be used: 1 (broker 2 /data)",
                "note: partitions on their way to other brokers: 1 (t-0)",
                "note: partitions that another than their preferred replica leads: 1 (t-3)",
            ]
        );
        assert!(!is_well(&judge(&state)));
    }

    #[test]
    fn notes_alone_are_no_trouble() {
        let mut state = state(&[(Some(1), &[1, 2, 3])]);
        state.moving = (0..9).map(|number| format!("t-{number}")).collect();
        let findings = judge(&state);
        assert_eq!(
            findings[0].text(),
            "partitions on their way to other brokers: 9 (t-0, t-1, t-2, t-3, t-4, …)"
        );
        assert!(is_well(&findings));
        state.quorum = None;
        assert!(!is_well(&judge(&state)));
        assert_eq!(
            texts(&state)[0],
            "critical: no controller leads, so nothing about the cluster can change"
        );
    }
}
