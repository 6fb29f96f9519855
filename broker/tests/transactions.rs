//! Transactions over real sockets, of version 1 (KIP-98) and 2 (KIP-890).

mod wire;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use ottla_broker::{Broker, BrokerConfig};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::*;
use ottla_protocol::records::{BatchBuilder, BatchOptions};
use wire::Wire;
use wire::requests::{create, fetch, produce, values};

const ID: &str = "copier";

/// The last version of Produce at which a partition must be added first, and the first at which it need not.
const PRODUCE_V1: i16 = 11;
const PRODUCE_V2: i16 = 12;

async fn broker(dir: &std::path::Path) -> (Broker, Wire) {
    let broker = Broker::start(BrokerConfig::new(dir)).await.expect("the broker starts");
    let wire = Wire::connect(broker.address()).await;
    (broker, wire)
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Producer {
    id: i64,
    epoch: i16,
}

/// Asks again for as long as the last transaction is being completed, as clients do.
async fn until_completed<T>(mut ask: impl AsyncFnMut() -> (i16, T)) -> (i16, T) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let (code, answer) = ask().await;
        if code != ErrorCode::ConcurrentTransactions.code() || Instant::now() > deadline {
            return (code, answer);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn init(wire: &mut Wire) -> Producer {
    let find = FindCoordinatorRequest {
        key_type: 1,
        coordinator_keys: vec![ID.into()],
        ..FindCoordinatorRequest::default()
    };
    let found = wire.call(4, &find).await;
    assert_eq!(found.coordinators[0].error_code, 0);
    let request = InitProducerIdRequest {
        transactional_id: Some(ID.into()),
        transaction_timeout_ms: 60_000,
        ..InitProducerIdRequest::default()
    };
    let (code, producer) = until_completed(async || {
        let response = wire.call(4, &request).await;
        (response.error_code, Producer { id: response.producer_id, epoch: response.producer_epoch })
    })
    .await;
    assert_eq!(code, 0);
    producer
}

fn batch(producer: Producer, sequence: i32, value: &str) -> Bytes {
    let mut builder = BatchBuilder::default();
    // Of now, as the markers are: else they would begin a segment, and a fetch ends with one.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    builder.push(now, None, Some(value.as_bytes()), &[]);
    builder.build(BatchOptions {
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        base_sequence: sequence,
        transactional: true,
        ..BatchOptions::default()
    })
}

async fn send(wire: &mut Wire, version: i16, producer: Producer, sequence: i32, value: &str) -> i16 {
    let mut request = produce("t", batch(producer, sequence, value), -1);
    request.transactional_id = Some(ID.into());
    let (code, ()) = until_completed(async || {
        let response = wire.call(version, &request).await;
        (response.responses[0].partition_responses[0].error_code, ())
    })
    .await;
    code
}

async fn add_partition(wire: &mut Wire, producer: Producer) -> i16 {
    let request = AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: ID.into(),
        v3_and_below_producer_id: producer.id,
        v3_and_below_producer_epoch: producer.epoch,
        v3_and_below_topics: vec![k24_add_partitions_to_txn::AddPartitionsToTxnTopicV3 {
            name: "t".into(),
            partitions: vec![0],
        }],
        ..AddPartitionsToTxnRequest::default()
    };
    let (code, ()) = until_completed(async || {
        let response = wire.call(3, &request).await;
        (response.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code, ())
    })
    .await;
    code
}

async fn end(wire: &mut Wire, version: i16, producer: Producer, committed: bool) -> (i16, Producer) {
    let request = EndTxnRequest {
        transactional_id: ID.into(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        committed,
    };
    let response = wire.call(version, &request).await;
    (response.error_code, Producer { id: response.producer_id, epoch: response.producer_epoch })
}

/// What a `read_committed` consumer hands on: no records of transactions that were aborted.
async fn committed(wire: &mut Wire) -> Vec<String> {
    let mut request = fetch("t", 0, 0);
    request.isolation_level = 1;
    let response = wire.call(12, &request).await;
    let partition = &response.responses[0].partitions[0];
    let records = partition.records.clone().unwrap_or_default().into_bytes();
    let mut aborted: Vec<(i64, i64)> = partition
        .aborted_transactions
        .iter()
        .flatten()
        .map(|aborted| (aborted.first_offset, aborted.producer_id))
        .collect();
    let mut open = std::collections::BTreeSet::new();
    let mut found = Vec::new();
    for batch in ottla_protocol::records::Batches::new(records) {
        let batch = batch.unwrap();
        let id = batch.header.producer_id;
        aborted.retain(|(first, producer)| {
            let begins = *producer == id && *first <= batch.header.base_offset;
            begins.then(|| open.insert(id));
            !begins
        });
        if batch.header.is_control() {
            open.remove(&id);
        } else if !open.contains(&id) {
            let values = batch.records(1 << 20).unwrap().map(|record| record.unwrap().value.unwrap());
            found.extend(values.map(|value| String::from_utf8(value.to_vec()).unwrap()));
        }
    }
    found
}

async fn until_committed(wire: &mut Wire, expected: &[&str]) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let found = committed(wire).await;
        if found == expected || Instant::now() > deadline {
            return assert_eq!(found, expected);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn latest(wire: &mut Wire, isolation_level: i8) -> i64 {
    let request = ListOffsetsRequest {
        replica_id: -1,
        isolation_level,
        topics: vec![k02_list_offsets::ListOffsetsTopic {
            name: "t".into(),
            partitions: vec![k02_list_offsets::ListOffsetsPartition { timestamp: -1, ..Default::default() }],
        }],
        ..ListOffsetsRequest::default()
    };
    wire.call(6, &request).await.topics[0].partitions[0].offset
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_what_is_committed_sees_committed_transactions_whole_and_no_aborted_one() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut wire) = broker(dir.path()).await;
    wire.call(7, &create("t")).await;
    let producer = init(&mut wire).await;
    assert_eq!(add_partition(&mut wire, producer).await, 0);
    assert_eq!(send(&mut wire, PRODUCE_V1, producer, 0, "a").await, 0);
    assert_eq!(committed(&mut wire).await, Vec::<String>::new());
    assert_eq!((latest(&mut wire, 0).await, latest(&mut wire, 1).await), (1, 0));
    assert_eq!(values(&wire.call(12, &fetch("t", 0, 0)).await), ["a"], "anybody else sees it at once");
    assert_eq!(end(&mut wire, 3, producer, true).await.0, 0);
    until_committed(&mut wire, &["a"]).await;

    assert_eq!(add_partition(&mut wire, producer).await, 0);
    assert_eq!(send(&mut wire, PRODUCE_V1, producer, 1, "b").await, 0);
    assert_eq!(end(&mut wire, 3, producer, false).await.0, 0);
    assert_eq!(add_partition(&mut wire, producer).await, 0);
    assert_eq!(send(&mut wire, PRODUCE_V1, producer, 2, "c").await, 0);
    assert_eq!(end(&mut wire, 3, producer, true).await.0, 0);
    until_committed(&mut wire, &["a", "c"]).await;
    broker.shutdown().await.unwrap();

    // The index of aborted transactions is read back.
    let broker = Broker::start(BrokerConfig::new(dir.path())).await.unwrap();
    let mut wire = Wire::connect(broker.address()).await;
    until_committed(&mut wire, &["a", "c"]).await;
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn version_2_adds_partitions_by_producing_and_bumps_the_epoch_with_each_end() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut wire) = broker(dir.path()).await;
    wire.call(7, &create("t")).await;
    let first = init(&mut wire).await;
    assert_eq!(send(&mut wire, PRODUCE_V2, first, 0, "a").await, 0);
    let (code, second) = end(&mut wire, 5, first, true).await;
    assert_eq!((code, second), (0, Producer { epoch: first.epoch + 1, ..first }));
    assert_eq!(send(&mut wire, PRODUCE_V2, second, 0, "b").await, 0);
    // What a delayed request of the last transaction brings is refused; its end was heard already.
    let late = send(&mut wire, PRODUCE_V2, first, 1, "late").await;
    assert_eq!(late, ErrorCode::InvalidProducerEpoch.code());
    assert_eq!(end(&mut wire, 5, first, true).await.0, ErrorCode::ProducerFenced.code());
    let (code, third) = end(&mut wire, 5, second, false).await;
    assert_eq!(code, 0);
    assert_eq!(send(&mut wire, PRODUCE_V2, third, 0, "c").await, 0);
    let (code, fourth) = end(&mut wire, 5, third, true).await;
    assert_eq!(code, 0);
    let (code, again) = until_completed(async || end(&mut wire, 5, third, true).await).await;
    assert_eq!((code, again), (0, fourth), "a retry is told the same");
    until_committed(&mut wire, &["a", "c"]).await;
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_was_not_added_takes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut wire) = broker(dir.path()).await;
    wire.call(7, &create("t")).await;
    let producer = init(&mut wire).await;
    let refused = send(&mut wire, PRODUCE_V1, producer, 0, "a").await;
    assert_eq!(refused, ErrorCode::TransactionAbortable.code());
    assert_eq!(send(&mut wire, 10, producer, 0, "a").await, ErrorCode::InvalidTxnState.code());
    assert_eq!(latest(&mut wire, 0).await, 0);
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_producer_fences_the_older_and_aborts_what_it_left() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut wire) = broker(dir.path()).await;
    wire.call(7, &create("t")).await;
    let older = init(&mut wire).await;
    assert_eq!(add_partition(&mut wire, older).await, 0);
    assert_eq!(send(&mut wire, PRODUCE_V1, older, 0, "older").await, 0);
    let newer = init(&mut wire).await;
    assert!(newer.id == older.id && newer.epoch > older.epoch, "{older:?} {newer:?}");
    assert_eq!(add_partition(&mut wire, older).await, ErrorCode::ProducerFenced.code());
    assert_eq!(end(&mut wire, 3, older, true).await.0, ErrorCode::ProducerFenced.code());
    assert_eq!(end(&mut wire, 1, older, true).await.0, ErrorCode::InvalidProducerEpoch.code());
    let zombie = send(&mut wire, PRODUCE_V1, older, 1, "zombie").await;
    assert_eq!(zombie, ErrorCode::InvalidProducerEpoch.code());
    assert_eq!(add_partition(&mut wire, newer).await, 0);
    assert_eq!(send(&mut wire, PRODUCE_V1, newer, 0, "newer").await, 0);
    assert_eq!(end(&mut wire, 3, newer, true).await.0, 0);
    until_committed(&mut wire, &["newer"]).await;
    broker.shutdown().await.unwrap();
}

async fn committed_offset(wire: &mut Wire, require_stable: bool) -> (i16, i64) {
    let request = OffsetFetchRequest {
        groups: vec![k09_offset_fetch::OffsetFetchRequestGroup {
            group_id: "g".into(),
            topics: Some(vec![k09_offset_fetch::OffsetFetchRequestTopics {
                name: "t".into(),
                partition_indexes: vec![0],
                ..Default::default()
            }]),
            ..Default::default()
        }],
        require_stable,
        ..OffsetFetchRequest::default()
    };
    let response = wire.call(8, &request).await;
    let partition = &response.groups[0].topics[0].partitions[0];
    (partition.error_code, partition.committed_offset)
}

async fn commit_offset(wire: &mut Wire, version: i16, producer: Producer, offset: i64) -> i16 {
    let request = TxnOffsetCommitRequest {
        transactional_id: ID.into(),
        group_id: "g".into(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        topics: vec![k28_txn_offset_commit::TxnOffsetCommitRequestTopic {
            name: "t".into(),
            partitions: vec![k28_txn_offset_commit::TxnOffsetCommitRequestPartition {
                committed_offset: offset,
                ..Default::default()
            }],
        }],
        ..TxnOffsetCommitRequest::default()
    };
    let (code, ()) = until_completed(async || {
        let response = wire.call(version, &request).await;
        (response.topics[0].partitions[0].error_code, ())
    })
    .await;
    code
}

async fn until_offset(wire: &mut Wire, expected: i64) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let found = committed_offset(wire, true).await;
        if found == (0, expected) || Instant::now() > deadline {
            return assert_eq!(found, (0, expected));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_committed_in_a_transaction_count_with_its_end_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut wire) = broker(dir.path()).await;
    wire.call(7, &create("t")).await;
    let producer = init(&mut wire).await;
    let refused = commit_offset(&mut wire, 3, producer, 1).await;
    assert_eq!(refused, ErrorCode::InvalidTxnState.code(), "the group was not added");
    let add = AddOffsetsToTxnRequest {
        transactional_id: ID.into(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        group_id: "g".into(),
    };
    assert_eq!(wire.call(3, &add).await.error_code, 0);
    assert_eq!(commit_offset(&mut wire, 3, producer, 5).await, 0);
    assert_eq!(committed_offset(&mut wire, false).await, (0, -1));
    assert_eq!(committed_offset(&mut wire, true).await.0, ErrorCode::UnstableOffsetCommit.code());
    broker.shutdown().await.unwrap();

    let broker = Broker::start(BrokerConfig::new(dir.path())).await.unwrap();
    let mut wire = Wire::connect(broker.address()).await;
    assert_eq!(committed_offset(&mut wire, true).await.0, ErrorCode::UnstableOffsetCommit.code());
    assert_eq!(end(&mut wire, 3, producer, true).await.0, 0);
    until_offset(&mut wire, 5).await;
    // Version 2 adds the group by itself.
    let producer = init(&mut wire).await;
    assert_eq!(commit_offset(&mut wire, 5, producer, 7).await, 0);
    let (code, producer) = end(&mut wire, 5, producer, false).await;
    assert_eq!(code, 0);
    until_offset(&mut wire, 5).await;
    assert_eq!(commit_offset(&mut wire, 5, producer, 8).await, 0);
    assert_eq!(end(&mut wire, 5, producer, true).await.0, 0);
    until_offset(&mut wire, 8).await;
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_are_listed_and_described_and_an_operator_can_end_one_that_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut wire) = broker(dir.path()).await;
    wire.call(7, &create("t")).await;
    let producer = init(&mut wire).await;
    assert_eq!(send(&mut wire, PRODUCE_V2, producer, 0, "a").await, 0);
    let list = |states: &[&str], pattern: Option<&str>| ListTransactionsRequest {
        state_filters: states.iter().map(|state| (*state).into()).collect(),
        transactional_id_pattern: pattern.map(Into::into),
        ..ListTransactionsRequest::default()
    };
    let listed = wire.call(2, &list(&["Ongoing", "Nonsense"], Some("cop.*"))).await;
    assert_eq!(listed.unknown_state_filters, ["Nonsense"]);
    assert_eq!(listed.transaction_states[0].transactional_id, ID);
    assert!(wire.call(2, &list(&["Empty"], None)).await.transaction_states.is_empty());
    assert!(wire.call(2, &list(&[], Some("op"))).await.transaction_states.is_empty());
    let malformed = wire.call(2, &list(&[], Some("("))).await.error_code;
    assert_eq!(malformed, ErrorCode::InvalidRegularExpression.code());

    let describe = DescribeTransactionsRequest { transactional_ids: vec![ID.into(), "nobody".into()] };
    let described = wire.call(0, &describe).await.transaction_states;
    assert_eq!((&*described[0].transaction_state, &*described[0].topics[0].topic), ("Ongoing", "t"));
    assert_eq!(described[1].error_code, ErrorCode::TransactionalIdNotFound.code());

    let producers = DescribeProducersRequest {
        topics: vec![k61_describe_producers::TopicRequest { name: "t".into(), partition_indexes: vec![0] }],
    };
    let open = wire.call(0, &producers).await.topics[0].partitions[0].active_producers[0].clone();
    assert_eq!((open.producer_id, open.current_txn_start_offset), (producer.id, 0));
    let abort = WriteTxnMarkersRequest {
        markers: vec![k27_write_txn_markers::WritableTxnMarker {
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            transaction_result: false,
            topics: vec![k27_write_txn_markers::WritableTxnMarkerTopic {
                name: "t".into(),
                partition_indexes: vec![0],
            }],
            coordinator_epoch: 0,
        }],
    };
    assert_eq!(wire.call(1, &abort).await.markers[0].topics[0].partitions[0].error_code, 0);
    assert_eq!(latest(&mut wire, 1).await, 2);
    assert_eq!(committed(&mut wire).await, Vec::<String>::new());
    broker.shutdown().await.unwrap();
}
