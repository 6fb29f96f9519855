//! Transactions: InitProducerId, AddPartitionsToTxn, AddOffsetsToTxn, EndTxn, TxnOffsetCommit, WriteTxnMarkers.

use std::time::Duration;

use ottla_protocol::messages::*;

use super::groups::stable;
use super::probe::{Probe, names, settled};

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Producer {
    pub id: i64,
    pub epoch: i16,
}

impl Producer {
    fn with_epoch(self, epoch: i16) -> Producer {
        Producer { epoch, ..self }
    }

    fn with_id(self, id: i64) -> Producer {
        Producer { id, ..self }
    }
}

const NOBODY: Producer = Producer { id: -1, epoch: -1 };

fn init_request(id: Option<&str>, expected: Producer) -> InitProducerIdRequest {
    InitProducerIdRequest {
        transactional_id: id.map(Into::into),
        transaction_timeout_ms: 60_000,
        producer_id: expected.id,
        producer_epoch: expected.epoch,
    }
}

/// A producer has the id from now on.
pub async fn init(probe: &mut Probe, id: &str) -> Producer {
    let mut producer = NOBODY;
    let code = settled(async || {
        let answer = probe.call(4, &init_request(Some(id), NOBODY)).await;
        producer = Producer { id: answer.producer_id, epoch: answer.producer_epoch };
        answer.error_code
    })
    .await;
    assert_eq!(code, 0, "{id} has a producer");
    producer
}

fn add(id: &str, producer: Producer, topic: &str) -> AddPartitionsToTxnRequest {
    AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: id.into(),
        v3_and_below_producer_id: producer.id,
        v3_and_below_producer_epoch: producer.epoch,
        v3_and_below_topics: vec![k24_add_partitions_to_txn::AddPartitionsToTxnTopicV3 {
            name: topic.into(),
            partitions: vec![0],
        }],
        ..AddPartitionsToTxnRequest::default()
    }
}

fn added(answer: &AddPartitionsToTxnResponse) -> i16 {
    answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
}

/// The transaction is going to write to topic `t`.
pub async fn begin(probe: &mut Probe, id: &str, producer: Producer) {
    let request = add(id, producer, "t");
    assert_eq!(settled(async || added(&probe.call(3, &request).await)).await, 0, "{id} has begun");
}

fn end_request(id: &str, producer: Producer, commit: bool) -> EndTxnRequest {
    EndTxnRequest {
        transactional_id: id.into(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        committed: commit,
    }
}

async fn end(probe: &mut Probe, version: i16, id: &str, producer: Producer, commit: bool) -> i16 {
    let request = end_request(id, producer, commit);
    settled(async || probe.call(version, &request).await.error_code).await
}

pub async fn ask(probe: &mut Probe) {
    let find =
        FindCoordinatorRequest { key: "first".into(), key_type: 1, ..FindCoordinatorRequest::default() };
    assert_eq!(settled(async || probe.call(1, &find).await.error_code).await, 0);
    init(probe, "first").await;
    ask_init(probe).await;
    ask_add(probe).await;
    ask_add_of_brokers(probe).await;
    ask_add_offsets(probe).await;
    ask_end(probe).await;
    ask_offsets(probe).await;
    ask_markers(probe).await;
    ask_too_late(probe).await;
}

async fn ask_init(probe: &mut Probe) {
    let case = async |probe: &mut Probe,
                      name: &str,
                      first: i16,
                      change: fn(&mut InitProducerIdRequest, Producer)| {
        let ask = async |probe: &mut Probe, version: i16| {
            let id = probe.fresh("init");
            let producer = init(probe, &id).await;
            let mut request = init_request(Some(&id), NOBODY);
            change(&mut request, producer);
            let answer = probe.call(version, &request).await;
            let what = match answer.producer_id {
                -1 => "nobody",
                id if id == producer.id => "the same id",
                _ => "another id",
            };
            format!("{} {what} epoch {}", names([answer.error_code]), answer.producer_epoch)
        };
        probe.each(&format!("InitProducerId, {name}"), first..=5, ask).await;
    };
    case(probe, "again", 0, |_, _| {}).await;
    case(probe, "no transactional id", 0, |request, _| request.transactional_id = None).await;
    case(probe, "an empty transactional id", 0, |request, _| request.transactional_id = Some("".into()))
        .await;
    case(probe, "timeout 0", 0, |request, _| request.transaction_timeout_ms = 0).await;
    case(probe, "negative timeout", 0, |request, _| request.transaction_timeout_ms = -1).await;
    case(probe, "timeout too long", 0, |request, _| request.transaction_timeout_ms = 900_001).await;
    case(probe, "without transaction, timeout 0", 0, |request, _| {
        (request.transactional_id, request.transaction_timeout_ms) = (None, 0);
    })
    .await;
    fn says(request: &mut InitProducerIdRequest, producer: Producer) {
        (request.producer_id, request.producer_epoch) = (producer.id, producer.epoch);
    }
    case(probe, "of its own epoch", 3, says).await;
    case(probe, "of a stale epoch", 3, |request, producer| {
        says(request, producer.with_epoch(producer.epoch - 1));
    })
    .await;
    case(probe, "of a future epoch", 3, |request, producer| says(request, producer.with_epoch(9))).await;
    case(probe, "of another producer id", 3, |request, producer| {
        says(request, producer.with_id(producer.id + 1000));
    })
    .await;
    case(probe, "a producer id without epoch", 3, |request, producer| says(request, producer.with_epoch(-1)))
        .await;
    case(probe, "an epoch without producer id", 3, |request, producer| says(request, producer.with_id(-1)))
        .await;
    case(probe, "of a new transactional id with a producer", 3, |request, producer| {
        request.transactional_id = Some("never-used".into());
        says(request, producer);
    })
    .await;
    case(probe, "without transaction, with a producer", 3, |request, producer| {
        request.transactional_id = None;
        says(request, producer);
    })
    .await;
    probe
        .each(
            "InitProducerId of its own epoch, three times, then of the first",
            3..=5,
            async |probe, version| {
                let id = probe.fresh("init");
                let first = init(probe, &id).await;
                let mut said = Vec::new();
                for expected in [first, first, first.with_epoch(first.epoch + 1), first] {
                    let answer = probe.call(version, &init_request(Some(&id), expected)).await;
                    said.push(format!("{} epoch {}", names([answer.error_code]), answer.producer_epoch));
                }
                said.join(", ")
            },
        )
        .await;
    probe
        .each(
            "InitProducerId while a transaction is open, then once it is over",
            0..=5,
            async |probe, version| {
                let id = probe.fresh("init");
                let producer = init(probe, &id).await;
                begin(probe, &id, producer).await;
                let first = probe.call(version, &init_request(Some(&id), NOBODY)).await.error_code;
                let mut epoch = 0;
                let then = settled(async || {
                    let answer = probe.call(version, &init_request(Some(&id), NOBODY)).await;
                    epoch = answer.producer_epoch;
                    answer.error_code
                })
                .await;
                let late = end(probe, version.min(4), &id, producer, true).await;
                format!("{} epoch {epoch}, the old commits {}", names([first, then]), names([late]))
            },
        )
        .await;
}

async fn ask_add(probe: &mut Probe) {
    let case = async |probe: &mut Probe, name: &str, change: fn(&mut AddPartitionsToTxnRequest, Producer)| {
        let ask = async |probe: &mut Probe, version: i16| {
            let id = probe.fresh("add");
            let producer = init(probe, &id).await;
            let mut request = add(&id, producer, "t");
            change(&mut request, producer);
            let answer = probe.call(version, &request).await;
            let topics = answer.results_by_topic_v3_and_below.iter();
            names(
                topics
                    .flat_map(|topic| &topic.results_by_partition)
                    .map(|partition| partition.partition_error_code),
            )
        };
        probe.each(&format!("AddPartitionsToTxn, {name}"), 0..=3, ask).await;
    };
    case(probe, "well", |_, _| {}).await;
    case(probe, "nobody's id", |request, _| request.v3_and_below_transactional_id = "never-used".into())
        .await;
    case(probe, "an empty id", |request, _| request.v3_and_below_transactional_id = "".into()).await;
    case(probe, "another producer id", |request, _| request.v3_and_below_producer_id += 1000).await;
    case(probe, "stale epoch", |request, _| request.v3_and_below_producer_epoch -= 1).await;
    case(probe, "future epoch", |request, _| request.v3_and_below_producer_epoch += 1).await;
    case(probe, "no such topic", |request, _| request.v3_and_below_topics[0].name = "nothing".into()).await;
    case(probe, "one partition of two is not there", |request, _| {
        request.v3_and_below_topics[0].partitions = vec![0, 9];
    })
    .await;
    case(probe, "negative partition", |request, _| request.v3_and_below_topics[0].partitions = vec![-1])
        .await;
    case(probe, "no topics", |request, _| request.v3_and_below_topics.clear()).await;
}

async fn ask_add_of_brokers(probe: &mut Probe) {
    type Transaction = k24_add_partitions_to_txn::AddPartitionsToTxnTransaction;
    let case = async |probe: &mut Probe, name: &str, verify_only: bool, change: fn(&mut Transaction)| {
        let ask = async |probe: &mut Probe, version: i16| {
            let id = probe.fresh("add");
            let producer = init(probe, &id).await;
            let mut transaction = Transaction {
                transactional_id: id.as_str().into(),
                producer_id: producer.id,
                producer_epoch: producer.epoch,
                verify_only,
                topics: vec![k24_add_partitions_to_txn::AddPartitionsToTxnTopic {
                    name: "t".into(),
                    partitions: vec![0],
                }],
            };
            change(&mut transaction);
            let request = AddPartitionsToTxnRequest {
                transactions: vec![transaction],
                ..AddPartitionsToTxnRequest::default()
            };
            let answer = probe.call(version, &request).await;
            let results = answer.results_by_transaction.iter().flat_map(|result| &result.topic_results);
            let codes = results.flat_map(|topic| &topic.results_by_partition);
            format!(
                "{} [{}]",
                names([answer.error_code]),
                names(codes.map(|partition| partition.partition_error_code))
            )
        };
        let kind = if verify_only { "verified" } else { "added" };
        probe.each(&format!("AddPartitionsToTxn of a broker, {kind}, {name}"), 4..=5, ask).await;
    };
    for verify_only in [false, true] {
        case(probe, "well", verify_only, |_| {}).await;
        case(probe, "nobody's id", verify_only, |one| one.transactional_id = "never-used".into()).await;
        case(probe, "an empty id", verify_only, |one| one.transactional_id = "".into()).await;
        case(probe, "another producer id", verify_only, |one| one.producer_id += 1000).await;
        case(probe, "stale epoch", verify_only, |one| one.producer_epoch -= 1).await;
        case(probe, "future epoch", verify_only, |one| one.producer_epoch += 1).await;
        case(probe, "no such topic", verify_only, |one| one.topics[0].name = "nothing".into()).await;
    }
}

async fn ask_add_offsets(probe: &mut Probe) {
    let case = async |probe: &mut Probe, name: &str, change: fn(&mut AddOffsetsToTxnRequest)| {
        let ask = async |probe: &mut Probe, version: i16| {
            let id = probe.fresh("offsets");
            let producer = init(probe, &id).await;
            let mut request = AddOffsetsToTxnRequest {
                transactional_id: id.as_str().into(),
                producer_id: producer.id,
                producer_epoch: producer.epoch,
                group_id: "g".into(),
            };
            change(&mut request);
            names([probe.call(version, &request).await.error_code])
        };
        probe.each(&format!("AddOffsetsToTxn, {name}"), 0..=4, ask).await;
    };
    case(probe, "well", |_| {}).await;
    case(probe, "nobody's id", |request| request.transactional_id = "never-used".into()).await;
    case(probe, "an empty id", |request| request.transactional_id = "".into()).await;
    case(probe, "another producer id", |request| request.producer_id += 1000).await;
    case(probe, "stale epoch", |request| request.producer_epoch -= 1).await;
    case(probe, "future epoch", |request| request.producer_epoch += 1).await;
    case(probe, "no group", |request| request.group_id = "".into()).await;
}

async fn ask_end(probe: &mut Probe) {
    for commit in [true, false] {
        let what = if commit { "commit" } else { "abort" };
        let case = async |probe: &mut Probe, name: &str, begins: bool, change: fn(&mut EndTxnRequest)| {
            let ask = async |probe: &mut Probe, version: i16| {
                let id = probe.fresh("end");
                let producer = init(probe, &id).await;
                if begins {
                    begin(probe, &id, producer).await;
                }
                let mut request = end_request(&id, producer, commit);
                change(&mut request);
                let answer = probe.call(version, &request).await;
                let said = names([answer.error_code]);
                match answer.producer_id {
                    -1 => said,
                    id if id == producer.id => format!("{said} epoch {}", answer.producer_epoch),
                    _ => format!("{said} another id"),
                }
            };
            probe.each(&format!("EndTxn, {what}, {name}"), 0..=5, ask).await;
        };
        case(probe, "well", true, |_| {}).await;
        case(probe, "nothing begun", false, |_| {}).await;
        case(probe, "nobody's id", true, |request| request.transactional_id = "never-used".into()).await;
        case(probe, "an empty id", true, |request| request.transactional_id = "".into()).await;
        case(probe, "another producer id", true, |request| request.producer_id += 1000).await;
        case(probe, "stale epoch", true, |request| request.producer_epoch -= 1).await;
        case(probe, "future epoch", true, |request| request.producer_epoch += 1).await;
        for again in [true, false] {
            let second = if again { "commit" } else { "abort" };
            probe
                .each(
                    &format!("EndTxn, {what}, then {second} by the same epoch"),
                    0..=5,
                    async |probe, version| {
                        let id = probe.fresh("end");
                        let producer = init(probe, &id).await;
                        begin(probe, &id, producer).await;
                        let first = end(probe, version, &id, producer, commit).await;
                        let second = end(probe, version, &id, producer, again).await;
                        names([first, second])
                    },
                )
                .await;
            probe
                .each(
                    &format!("EndTxn v5, {what}, then {second} by the next epoch"),
                    5..=5,
                    async |probe, version| {
                        let id = probe.fresh("end");
                        let producer = init(probe, &id).await;
                        begin(probe, &id, producer).await;
                        let first = end(probe, version, &id, producer, commit).await;
                        let next = producer.with_epoch(producer.epoch + 1);
                        let mut codes = vec![first];
                        for producer in [next, next, producer] {
                            codes.push(end(probe, version, &id, producer, again).await);
                        }
                        names(codes)
                    },
                )
                .await;
        }
    }
    probe
        .each("EndTxn, then AddPartitionsToTxn by the same epoch", 0..=5, async |probe, version| {
            let id = probe.fresh("end");
            let producer = init(probe, &id).await;
            begin(probe, &id, producer).await;
            let ended = end(probe, version, &id, producer, true).await;
            let request = add(&id, producer, "t");
            let added = settled(async || added(&probe.call(3, &request).await)).await;
            names([ended, added])
        })
        .await;
}

fn txn_offsets(id: &str, group: &str, producer: Producer) -> TxnOffsetCommitRequest {
    TxnOffsetCommitRequest {
        transactional_id: id.into(),
        group_id: group.into(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        topics: vec![k28_txn_offset_commit::TxnOffsetCommitRequestTopic {
            name: "t".into(),
            partitions: vec![k28_txn_offset_commit::TxnOffsetCommitRequestPartition {
                partition_index: 0,
                committed_offset: 3,
                committed_metadata: Some("".into()),
                ..Default::default()
            }],
        }],
        ..TxnOffsetCommitRequest::default()
    }
}

fn committed(answer: &TxnOffsetCommitResponse) -> String {
    names(answer.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code))
}

async fn begin_offsets(probe: &mut Probe, id: &str, producer: Producer, group: &str) {
    let request = AddOffsetsToTxnRequest {
        transactional_id: id.into(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        group_id: group.into(),
    };
    assert_eq!(settled(async || probe.call(3, &request).await.error_code).await, 0);
}

async fn ask_offsets(probe: &mut Probe) {
    let case = async |probe: &mut Probe, name: &str, first: i16, change: fn(&mut TxnOffsetCommitRequest)| {
        let ask = async |probe: &mut Probe, version: i16| {
            let (id, group) = (probe.fresh("offsets"), probe.fresh("group"));
            let producer = init(probe, &id).await;
            begin_offsets(probe, &id, producer, &group).await;
            let mut request = txn_offsets(&id, &group, producer);
            change(&mut request);
            committed(&probe.call(version, &request).await)
        };
        probe.each(&format!("TxnOffsetCommit, {name}"), first..=5, ask).await;
    };
    case(probe, "well", 0, |_| {}).await;
    case(probe, "nobody's id", 0, |request| request.transactional_id = "never-used".into()).await;
    case(probe, "an empty id", 0, |request| request.transactional_id = "".into()).await;
    case(probe, "another producer id", 0, |request| request.producer_id += 1000).await;
    case(probe, "stale epoch", 0, |request| request.producer_epoch -= 1).await;
    case(probe, "future epoch", 0, |request| request.producer_epoch += 1).await;
    case(probe, "no group", 0, |request| request.group_id = "".into()).await;
    case(probe, "no such topic", 0, |request| request.topics[0].name = "nothing".into()).await;
    case(probe, "metadata too large", 0, |request| {
        request.topics[0].partitions[0].committed_metadata = Some("x".repeat(4097).as_str().into());
    })
    .await;
    case(probe, "a generation of no group", 3, |request| request.generation_id = 1).await;
    case(probe, "a member of no group", 3, |request| request.member_id = "forged".into()).await;
    case(probe, "a member and a generation of no group", 3, |request| {
        (request.member_id, request.generation_id) = ("forged".into(), 1);
    })
    .await;
    case(probe, "an instance of no group", 3, |request| request.group_instance_id = Some("i".into())).await;
    probe
        .each("TxnOffsetCommit, nothing added", 0..=5, async |probe, version| {
            let (id, group) = (probe.fresh("offsets"), probe.fresh("group"));
            let producer = init(probe, &id).await;
            committed(&probe.call(version, &txn_offsets(&id, &group, producer)).await)
        })
        .await;
    let member = async |probe: &mut Probe, name: &str, change: fn(&mut TxnOffsetCommitRequest)| {
        let ask = async |probe: &mut Probe, version: i16| {
            let (id, group, mut wire) = (probe.fresh("offsets"), probe.fresh("group"), probe.another().await);
            let (generation, member) = stable(&mut wire, &group, Some("i")).await;
            let producer = init(probe, &id).await;
            begin_offsets(probe, &id, producer, &group).await;
            let mut request = txn_offsets(&id, &group, producer);
            (request.generation_id, request.member_id) = (generation, member.as_str().into());
            change(&mut request);
            committed(&probe.call(version, &request).await)
        };
        probe.each(&format!("TxnOffsetCommit of a member, {name}"), 3..=5, ask).await;
    };
    member(probe, "well", |_| {}).await;
    member(probe, "from outside", |request| (request.generation_id, request.member_id) = (-1, "".into()))
        .await;
    member(probe, "forged member", |request| request.member_id = "forged".into()).await;
    member(probe, "stale generation", |request| request.generation_id -= 1).await;
    member(probe, "a member without generation", |request| request.generation_id = -1).await;
    member(probe, "unknown instance", |request| request.group_instance_id = Some("other".into())).await;
    member(probe, "fenced instance", |request| {
        (request.member_id, request.group_instance_id) = ("forged".into(), Some("i".into()));
    })
    .await;
}

async fn ask_markers(probe: &mut Probe) {
    let marker =
        |producer: Producer, topic: &str, partition: i32, coordinator_epoch: i32| WriteTxnMarkersRequest {
            markers: vec![k27_write_txn_markers::WritableTxnMarker {
                producer_id: producer.id,
                producer_epoch: producer.epoch,
                transaction_result: false,
                topics: vec![k27_write_txn_markers::WritableTxnMarkerTopic {
                    name: topic.into(),
                    partition_indexes: vec![partition],
                }],
                coordinator_epoch,
            }],
        };
    probe
        .each(
            "WriteTxnMarkers: no topic, no partition, unknown producer, stale epoch, stale coordinator",
            1..=1,
            async |probe, version| {
                let producer = Producer { id: 1_000_000, epoch: 5 };
                let mut codes = Vec::new();
                for request in [
                    marker(producer, "nothing", 0, 3),
                    marker(producer, "t", 9, 3),
                    marker(producer, "t", 0, 3),
                    marker(producer.with_epoch(4), "t", 0, 3),
                    marker(producer, "t", 0, 2),
                ] {
                    codes.push(
                        probe.call(version, &request).await.markers[0].topics[0].partitions[0].error_code,
                    );
                }
                names(codes)
            },
        )
        .await;
    probe
        .each("DescribeTransactions: nobody's id, an empty id", 0..=0, async |probe, version| {
            let request =
                DescribeTransactionsRequest { transactional_ids: vec!["never-used".into(), "".into()] };
            names(probe.call(version, &request).await.transaction_states.iter().map(|state| state.error_code))
        })
        .await;
}

/// Transactions that have taken too long and were aborted.
async fn ask_too_late(probe: &mut Probe) {
    let late = async |probe: &mut Probe, group: &str| {
        let id = probe.fresh("late");
        let mut request = init_request(Some(&id), NOBODY);
        request.transaction_timeout_ms = 100;
        let answer = probe.call(4, &request).await;
        let producer = Producer { id: answer.producer_id, epoch: answer.producer_epoch };
        begin(probe, &id, producer).await;
        begin_offsets(probe, &id, producer, group).await;
        let describe = DescribeTransactionsRequest { transactional_ids: vec![id.as_str().into()] };
        for _ in 0..400 {
            let state = probe.call(0, &describe).await.transaction_states[0].transaction_state.to_string();
            if state == "CompleteAbort" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        (id, producer)
    };
    for commit in [true, false] {
        let what = if commit { "commit" } else { "abort" };
        probe
            .each(&format!("EndTxn, {what}, too late"), 0..=5, async |probe, version| {
                let (id, producer) = late(probe, "late").await;
                names([end(probe, version, &id, producer, commit).await])
            })
            .await;
    }
    probe
        .each("AddPartitionsToTxn, too late", 0..=3, async |probe, version| {
            let (id, producer) = late(probe, "late").await;
            names([added(&probe.call(version, &add(&id, producer, "t")).await)])
        })
        .await;
    probe
        .each("TxnOffsetCommit, too late", 0..=5, async |probe, version| {
            let (id, producer) = late(probe, "late").await;
            committed(&probe.call(version, &txn_offsets(&id, "late", producer)).await)
        })
        .await;
    probe
        .each("InitProducerId of its own epoch, too late", 3..=5, async |probe, version| {
            let (id, producer) = late(probe, "late").await;
            let answer = probe.call(version, &init_request(Some(&id), producer)).await;
            format!("{} epoch {}", names([answer.error_code]), answer.producer_epoch)
        })
        .await;
    probe
        .each("Produce, too late", 7..=12, async |probe, version| {
            let (id, producer) = late(probe, "late").await;
            super::produce::sent(probe, version, Some(&id), producer, 0).await
        })
        .await;
}
