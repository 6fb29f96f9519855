//! Produce of idempotent and transactional producers.

use bytes::Bytes;
use ottla_protocol::messages::ProduceRequest;
use ottla_protocol::records::{BatchBuilder, BatchOptions};

use super::probe::{Probe, names};
use super::transactions::{Producer, begin, init};
use super::wire::requests::{create, produce};

/// The last before transactions of version 2 are spoken is 11.
const VERSIONS: std::ops::RangeInclusive<i16> = 3..=12;

fn batch(producer: Producer, sequence: i32, transactional: bool) -> Bytes {
    let mut builder = BatchBuilder::default();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    builder.push(now.as_millis() as i64, Some(b"k"), Some(b"v"), &[]);
    builder.build(BatchOptions {
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        base_sequence: sequence,
        transactional,
        ..BatchOptions::default()
    })
}

async fn send(probe: &mut Probe, version: i16, topic: &str, id: Option<&str>, records: Bytes) -> String {
    let request = ProduceRequest { transactional_id: id.map(Into::into), ..produce(topic, records, -1) };
    let answer = probe.call(version, &request).await;
    let codes = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
    names(codes.map(|partition| partition.error_code))
}

/// One transactional batch to topic `t`.
pub async fn sent(
    probe: &mut Probe,
    version: i16,
    id: Option<&str>,
    producer: Producer,
    sequence: i32,
) -> String {
    send(probe, version, "t", id, batch(producer, sequence, true)).await
}

pub async fn ask(probe: &mut Probe) {
    probe
        .each("Produce, idempotent: a gap at once, the first, it again, a gap, another epoch, its first, the old one", VERSIONS, async |probe, version| {
            let topic = probe.fresh("produce");
            probe.call(7, &create(&topic)).await;
            let producer = Producer { id: 2_000_000, epoch: 0 };
            let next = Producer { epoch: 1, ..producer };
            let mut said = Vec::new();
            for (producer, sequence) in
                [(producer, 5), (producer, 6), (producer, 6), (producer, 9), (next, 3), (next, 0), (producer, 7)]
            {
                said.push(send(probe, version, &topic, None, batch(producer, sequence, false)).await);
            }
            said.join(" ")
        })
        .await;
    probe
        .each("Produce, idempotent: six batches, the first again", VERSIONS, async |probe, version| {
            let topic = probe.fresh("produce");
            probe.call(7, &create(&topic)).await;
            let producer = Producer { id: 2_000_001, epoch: 0 };
            for sequence in 0..6 {
                send(probe, version, &topic, None, batch(producer, sequence, false)).await;
            }
            send(probe, version, &topic, None, batch(producer, 0, false)).await
        })
        .await;
    probe
        .each(
            "Produce, in a transaction: not added, added, a gap, outside the transaction",
            VERSIONS,
            async |probe, version| {
                let id = probe.fresh("produce");
                let producer = init(probe, &id).await;
                let mut said = vec![sent(probe, version, Some(&id), producer, 0).await];
                begin(probe, &id, producer).await;
                let from = i32::from(version >= 12);
                said.push(sent(probe, version, Some(&id), producer, from).await);
                said.push(sent(probe, version, Some(&id), producer, from + 5).await);
                said.push(send(probe, version, "t", None, batch(producer, from + 1, false)).await);
                said.join(" ")
            },
        )
        .await;
    probe
        .each("Produce, in a transaction: nobody's id, no id, an empty id, another producer id, stale epoch, future epoch", VERSIONS, async |probe, version| {
            let id = probe.fresh("produce");
            let producer = init(probe, &id).await;
            let producer = Producer { epoch: producer.epoch + 1, ..producer };
            assert_eq!(init(probe, &id).await, producer);
            begin(probe, &id, producer).await;
            let other = Producer { id: producer.id + 1000, ..producer };
            let (stale, future) = (Producer { epoch: 0, ..producer }, Producer { epoch: 5, ..producer });
            let mut said = Vec::new();
            for (id, producer) in [
                (Some("never-used"), producer),
                (None, producer),
                (Some(""), producer),
                (Some(&*id), other),
                (Some(&*id), stale),
                (Some(&*id), future),
            ] {
                said.push(sent(probe, version, id, producer, 0).await);
            }
            said.join(" ")
        })
        .await;
}
