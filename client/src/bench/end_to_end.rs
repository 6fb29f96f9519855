//! End-to-end load: records at a rate through a producer, and the time until a consumer has each.

use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use ottla_protocol::records::Compression;

use super::{BenchError, Report};
use crate::client::Client;
use crate::consumer::ConsumerConfig;
use crate::producer::{Acks, ProducerConfig};
use crate::record::Record;
use crate::topic_partition::TopicPartition;

/// Records of this time at the start do not count: connections open, caches fill.
const WARM_UP: Duration = Duration::from_secs(1);
/// Nothing came for so long: records were lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// What to send and to wait for.
#[derive(Debug, Clone)]
pub struct EndToEndLoad {
    /// Through this topic, over all of its partitions.
    pub topic: String,
    /// Records per second.
    pub rate: f64,
    /// How long, besides a warm-up.
    pub duration: Duration,
    /// Bytes of a record's value; at least 16.
    pub record_bytes: usize,
    /// What the producer waits for; the consumer reads what is committed.
    pub acks: Acks,
    /// Of each batch.
    pub compression: Compression,
}

/// Sends and reads until all is read. Latencies are from the moment at which a record was due.
///
/// # Errors
/// What producer and consumer meet.
pub async fn end_to_end(client: &Client, load: EndToEndLoad) -> Result<Report, BenchError> {
    let partitions = client.admin().describe_topic(&load.topic).await?.partition_count();
    let consumer = client.consumer(ConsumerConfig::default()).await?;
    let places: Vec<(TopicPartition, i64)> = (0..partitions)
        .map(|partition| (TopicPartition::new(load.topic.as_str(), partition), crate::OFFSET_LATEST))
        .collect();
    let ends = client.admin().list_offsets(&places).await?;
    consumer.assign(ends.into_iter().map(|(place, found)| (place, found.offset)).collect()).await?;
    let count = ((WARM_UP + load.duration).as_secs_f64() * load.rate) as u64;
    let interval = Duration::from_secs_f64(1.0 / load.rate);
    let start = Instant::now();
    let sending = send_all(client.clone(), load.clone(), partitions, count, start);
    let runtime = tokio::runtime::Handle::current();
    let producing = tokio::task::spawn_blocking(move || runtime.block_on(sending));
    let mut report = Report::default();
    let (mut received, mut last) = (0, Instant::now());
    while received < count {
        for fetched in consumer.poll(Duration::from_millis(500)).await? {
            for record in &fetched.records {
                let Some(number) = number_of(record.value.as_deref()) else { continue };
                (received, last) = (received + 1, Instant::now());
                let due = interval.mul_f64(number as f64);
                if due >= WARM_UP {
                    report.records += 1;
                    report.bytes += load.record_bytes as u64;
                    report.latencies.record(start.elapsed().saturating_sub(due));
                }
            }
        }
        if producing.is_finished() && last.elapsed() > PATIENCE {
            return Err(BenchError::Lost { sent: count, received });
        }
    }
    report.elapsed = start.elapsed().saturating_sub(WARM_UP);
    producing.await.map_err(|_| BenchError::Lost { sent: count, received })??;
    consumer.close().await?;
    Ok(report)
}

/// Sends every record when it is due. Sleeps as a thread of its own: the runtime's timers are no more exact than a
/// millisecond, which would count as latency.
async fn send_all(
    client: Client,
    load: EndToEndLoad,
    partitions: i32,
    count: u64,
    start: Instant,
) -> Result<(), BenchError> {
    let config = ProducerConfig {
        acks: load.acks,
        enable_idempotence: load.acks == Acks::All,
        compression: load.compression,
        linger: Duration::ZERO,
        ..ProducerConfig::default()
    };
    let producer = client.producer(config).await?;
    let interval = Duration::from_secs_f64(1.0 / load.rate);
    let mut number = 0;
    while number < count {
        let due = (start.elapsed().as_secs_f64() / interval.as_secs_f64()) as u64;
        while number <= due.min(count - 1) {
            let mut value = BytesMut::zeroed(load.record_bytes.max(16));
            (&mut value[..8]).put_u64(MARK);
            (&mut value[8..16]).put_u64(number);
            let partition = (number % partitions.max(1) as u64) as i32;
            // How it ends shows at the consumer.
            drop(producer.send(&load.topic, Some(partition), Record::of_value(value.freeze())).await?);
            number += 1;
        }
        let due = start + interval.mul_f64(number as f64);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(producer.close().await?)
}

/// Tells our records from what else is in the topic.
const MARK: u64 = 0x6f74_746c_6120_6232;

fn number_of(value: Option<&[u8]>) -> Option<u64> {
    let (mark, rest) = value?.split_first_chunk::<8>()?;
    let number = rest.first_chunk::<8>()?;
    (u64::from_be_bytes(*mark) == MARK).then(|| u64::from_be_bytes(*number))
}
