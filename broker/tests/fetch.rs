//! Fetching over real sockets: sessions, records out of several segments, budgets.

mod wire;

use std::time::{Duration, Instant};

use ottla_broker::{Broker, BrokerConfig};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::*;
use wire::Wire;
use wire::requests::{batch, create, fetch, produce, values};

async fn broker(dir: &std::path::Path) -> (Broker, Wire) {
    let broker = Broker::start(BrokerConfig::new(dir)).await.expect("the broker starts");
    let wire = Wire::connect(broker.address()).await;
    (broker, wire)
}

async fn send(wire: &mut Wire, topic: &str, value: &str) {
    let response = wire.call(9, &produce(topic, batch(&[value], None), 1)).await;
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
}

/// A fetch that belongs to a session; without an offset it names no partition.
fn of_session(id: i32, epoch: i32, topic: &str, offset: Option<i64>) -> FetchRequest {
    let mut request = fetch(topic, offset.unwrap_or(0), 0);
    if offset.is_none() {
        request.topics.clear();
    }
    request.session_id = id;
    request.session_epoch = epoch;
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_answers_only_what_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut wire) = broker(dir.path()).await;
    wire.call(7, &create("t")).await;
    send(&mut wire, "t", "a").await;
    let first = wire.call(12, &of_session(0, 0, "t", Some(0))).await;
    assert_eq!(values(&first), ["a"]);
    let id = first.session_id;
    assert_ne!(id, 0);
    // The consumer moves on: nothing is new at offset 1.
    let second = wire.call(12, &of_session(id, 1, "t", Some(1))).await;
    assert_eq!((second.error_code, second.session_id, second.responses.len()), (0, id, 0));
    send(&mut wire, "t", "b").await;
    let third = wire.call(12, &of_session(id, 2, "t", None)).await;
    assert_eq!(values(&third), ["b"]);
    let again = wire.call(12, &of_session(id, 2, "t", None)).await;
    assert_eq!(again.error_code, ErrorCode::InvalidFetchSessionEpoch.code());
    // Ended by its owner, it is unknown from then on.
    let last = wire.call(12, &of_session(id, -1, "t", Some(0))).await;
    assert_eq!((values(&last), last.session_id), (vec!["a".to_owned(), "b".to_owned()], 0));
    let gone = wire.call(12, &of_session(id, 3, "t", None)).await;
    assert_eq!(gone.error_code, ErrorCode::FetchSessionIdNotFound.code());
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_a_deleted_topic_hears_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut wire) = broker(dir.path()).await;
    let topic_id = wire.call(7, &create("t")).await.topics[0].topic_id;
    let by_id = |id, epoch| {
        let mut request = of_session(id, epoch, "", Some(0));
        request.topics[0].topic_id = topic_id;
        request
    };
    let id = wire.call(13, &by_id(0, 0)).await.session_id;
    assert_ne!(id, 0);
    let deletion = DeleteTopicsRequest {
        topics: vec![k20_delete_topics::DeleteTopicState { topic_id, ..Default::default() }],
        timeout_ms: 5000,
        ..Default::default()
    };
    assert_eq!(wire.call(6, &deletion).await.responses[0].error_code, 0);
    let told = wire.call(13, &of_session(id, 1, "", None)).await;
    assert_eq!(told.responses[0].partitions[0].error_code, ErrorCode::UnknownTopicId.code());
    broker.shutdown().await.unwrap();
}

/// Of topics that have told all they have, only the one with news is looked at: it must be found.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_waits_hears_from_any_of_its_topics() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut wire) = broker(dir.path()).await;
    let mut other = Wire::connect(broker.address()).await;
    for topic in ["t", "u", "v"] {
        other.call(7, &create(topic)).await;
        send(&mut other, topic, "a").await;
    }
    let mut all = of_session(0, 0, "t", Some(1));
    all.topics.extend(["u", "v"].map(|topic| fetch(topic, 1, 0).topics.remove(0)));
    let id = wire.call(12, &all).await.session_id;
    let quiet = wire.call(12, &of_session(id, 1, "t", None)).await;
    assert_eq!((quiet.session_id, quiet.responses.len()), (id, 0));
    let begun = Instant::now();
    let waiting = |epoch| FetchRequest { max_wait_ms: 60_000, ..of_session(id, epoch, "t", None) };
    let topics = |answer: &FetchResponse| {
        answer.responses.iter().map(|topic| topic.topic.to_string()).collect::<Vec<_>>()
    };

    wire.send(12, 99, &waiting(2)).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    send(&mut other, "v", "b").await;
    let (_, answer) = wire.receive::<FetchRequest>(12).await;
    assert_eq!((topics(&answer), values(&answer)), (vec!["v".to_owned()], vec!["b".to_owned()]));
    // Its reader has not moved on, as if the answer had been lost.
    assert_eq!(values(&wire.call(12, &waiting(3)).await), ["b"]);
    let moved = FetchRequest { max_wait_ms: 0, ..of_session(id, 4, "v", Some(2)) };
    assert_eq!(topics(&wire.call(12, &moved).await), [""; 0]);

    // Where a log begins is told with whatever else there is.
    let partition = k21_delete_records::DeleteRecordsPartition { partition_index: 0, offset: 1 };
    let topic = k21_delete_records::DeleteRecordsTopic { name: "t".into(), partitions: vec![partition] };
    let deletion = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 5000 };
    other.call(2, &deletion).await;
    let told = wire.call(12, &of_session(id, 5, "t", None)).await;
    assert_eq!((topics(&told), told.responses[0].partitions[0].log_start_offset), (vec!["t".to_owned()], 1));

    wire.send(12, 99, &waiting(6)).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let topic = k20_delete_topics::DeleteTopicState { name: Some("u".into()), ..Default::default() };
    let deletion = DeleteTopicsRequest { topics: vec![topic], timeout_ms: 5000, ..Default::default() };
    assert_eq!(other.call(6, &deletion).await.responses[0].error_code, 0);
    let (_, answer) = wire.receive::<FetchRequest>(12).await;
    assert_eq!(topics(&answer), ["u"]);
    let code = ErrorCode::from_code(answer.responses[0].partitions[0].error_code);
    assert_eq!(code, ErrorCode::UnknownTopicOrPartition);

    // What is forgotten is heard of no more.
    let mut forgets = FetchRequest { max_wait_ms: 300, ..of_session(id, 7, "v", None) };
    let forgotten = |topic: &str| k01_fetch::ForgottenTopic {
        topic: topic.into(),
        partitions: vec![0],
        ..Default::default()
    };
    forgets.forgotten_topics_data = ["u", "v"].map(forgotten).into();
    wire.send(12, 99, &forgets).await;
    send(&mut other, "v", "c").await;
    let (_, answer) = wire.receive::<FetchRequest>(12).await;
    assert_eq!((answer.error_code, topics(&answer).len()), (0, 0));
    let again = of_session(id, 8, "v", Some(2));
    assert_eq!(values(&wire.call(12, &again).await), ["c"]);
    assert!(begun.elapsed() < Duration::from_secs(30), "nothing waited for its time to be over");
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_many_segments_come_whole_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut wire) = broker(dir.path()).await;
    let mut topic = create("t");
    topic.topics[0].configs = vec![k19_create_topics::CreatableTopicConfig {
        name: "internal.segment.bytes".into(),
        value: Some("4096".into()),
    }];
    wire.call(7, &topic).await;
    let sent: Vec<String> = (0..200).map(|i| format!("{i:0>500}")).collect();
    for value in &sent {
        send(&mut wire, "t", value).await;
    }
    for bytes_max in [1, 700, 5000, 1 << 20] {
        let mut got: Vec<String> = Vec::new();
        while got.len() < sent.len() {
            let mut request = fetch("t", got.len() as i64, 0);
            request.topics[0].partitions[0].partition_max_bytes = bytes_max;
            let more = values(&wire.call(12, &request).await);
            assert!(!more.is_empty());
            got.extend(more);
        }
        assert_eq!(got, sent, "at most {bytes_max} bytes each");
    }
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_ends_with_the_first_record_and_not_before_its_time_without() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut wire) = broker(dir.path()).await;
    wire.call(7, &create("t")).await;
    let started = Instant::now();
    let nothing = wire.call(12, &fetch("t", 0, 150)).await;
    assert!(values(&nothing).is_empty());
    assert!(started.elapsed() >= Duration::from_millis(150));
    for acks in [1, -1] {
        let offset = i64::from(acks == -1);
        wire.send(12, 99, &fetch("t", offset, 20_000)).await;
        let mut producer = Wire::connect(broker.address()).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        producer.call(9, &produce("t", batch(&["x"], None), acks)).await;
        let (_, response) = wire.receive::<FetchRequest>(12).await;
        assert_eq!(values(&response), ["x"], "acks={acks}");
    }
    assert!(started.elapsed() < Duration::from_secs(15));
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_large_requests_waits_for_memory_and_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let config = BrokerConfig { queued_request_bytes_max: 2 << 20, ..BrokerConfig::new(dir.path()) };
    let broker = Broker::start(config).await.unwrap();
    let mut wire = Wire::connect(broker.address()).await;
    wire.call(7, &create("t")).await;
    let value = "v".repeat(900_000);
    let floods = (0..4).map(|_| {
        let (address, value) = (broker.address(), value.clone());
        tokio::spawn(async move {
            let mut wire = Wire::connect(address).await;
            for correlation_id in 0..8 {
                wire.send(9, correlation_id, &produce("t", batch(&[&value], None), -1)).await;
            }
            for correlation_id in 0..8 {
                let (id, response) = wire.receive::<ProduceRequest>(9).await;
                assert_eq!(id, correlation_id);
                assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
            }
        })
    });
    for flood in floods.collect::<Vec<_>>() {
        flood.await.unwrap();
    }
    broker.shutdown().await.unwrap();
}
