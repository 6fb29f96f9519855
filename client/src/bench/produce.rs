//! Produce load: batches that were made once, as fast as they are acknowledged or at a rate.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use ottla_protocol::frame::{RequestHeader, decode_response, encode_request};
use ottla_protocol::messages::ProduceRequest;
use ottla_protocol::messages::k00_produce::{PartitionProduceData, TopicProduceData};
use ottla_protocol::records::{BatchBuilder, BatchOptions, Compression};
use ottla_protocol::{ApiKey, ErrorCode};
use rand::{Rng, SeedableRng};

use super::socket::Socket;
use super::{BenchError, Report, Share, run_shares, shares};
use crate::client::Client;
use crate::error::ClientError;
use crate::producer::Acks;

const VERSION: i16 = 9;

/// What to send.
#[derive(Debug, Clone)]
pub struct ProduceLoad {
    /// To this topic, to all of its partitions alike.
    pub topic: String,
    /// How many records in all, rounded up to whole requests.
    pub records: u64,
    /// Ends the run before that.
    pub duration: Option<Duration>,
    /// Bytes of a record's value.
    pub record_bytes: usize,
    /// Bytes of values in a batch; each request has one batch for each partition of its connection.
    pub batch_bytes: usize,
    /// Of each batch.
    pub compression: Compression,
    /// What is waited for.
    pub acks: Acks,
    /// Connections per broker, each with a thread.
    pub connections: usize,
    /// Requests on their way on a connection.
    pub in_flight: usize,
    /// Records per second in all; without it, as many as can be.
    pub rate: Option<f64>,
}

/// Sends it all. Latencies are of requests, at a rate from the moment at which they were due.
///
/// # Errors
/// What the broker answers, and what the connection meets.
pub async fn produce(client: &Client, load: ProduceLoad) -> Result<Report, BenchError> {
    let shares = shares(client, &load.topic, load.connections).await?;
    let count = shares.len().max(1);
    let partitions: usize = shares.iter().map(|share| share.partitions.len()).sum();
    run_shares(shares, move |share| {
        let part = share.partitions.len() as f64 / partitions as f64;
        let mut load = load.clone();
        // A number too large to be reached stays so: the conversion saturates.
        load.records = (load.records as f64 * part).ceil() as u64;
        load.rate = load.rate.map(|rate| rate / count as f64);
        run(&load, &share)
    })
    .await
}

fn run(load: &ProduceLoad, share: &Share) -> Result<Report, BenchError> {
    let per_batch = (load.batch_bytes / load.record_bytes.max(1)).max(1);
    let batch = batch(load, per_batch);
    let mut frame = request(load, share, &batch)?;
    let per_request = (per_batch * share.partitions.len()) as u64;
    let batch_bytes = (batch.len() * share.partitions.len()) as u64;
    let interval = load.rate.map(|rate| Duration::from_secs_f64(per_request as f64 / rate));
    let mut socket = Socket::connect(&share.host, share.port, &share.access)?;
    let mut report = Report::default();
    let mut waiting: VecDeque<Instant> = VecDeque::new();
    let start = Instant::now();
    let requests = load.records.div_ceil(per_request);
    for number in 0..requests {
        let mut since = Instant::now();
        if load.duration.is_some_and(|duration| since - start >= duration) {
            break;
        }
        if let Some(interval) = interval {
            let due = start + interval.mul_f64(number as f64);
            std::thread::sleep(due.saturating_duration_since(since));
            since = due;
        }
        socket.send(&mut frame, number as i32)?;
        if load.acks == Acks::None {
            report.records += per_request;
            report.bytes += batch_bytes;
            continue;
        }
        waiting.push_back(since);
        while waiting.len() >= load.in_flight.max(1) {
            acknowledged(&mut socket, &mut waiting, &mut report, per_request, batch_bytes)?;
        }
    }
    while !waiting.is_empty() {
        acknowledged(&mut socket, &mut waiting, &mut report, per_request, batch_bytes)?;
    }
    report.elapsed = start.elapsed();
    Ok(report)
}

fn acknowledged(
    socket: &mut Socket,
    waiting: &mut VecDeque<Instant>,
    report: &mut Report,
    records: u64,
    bytes: u64,
) -> Result<(), BenchError> {
    let frame = socket.receive()?;
    let (_, response) = decode_response::<ProduceRequest>(frame, VERSION)?;
    for partition in response.responses.iter().flat_map(|topic| &topic.partition_responses) {
        let code = ErrorCode::from_code(partition.error_code);
        if code != ErrorCode::None {
            return Err(ClientError::broker("producing", code).into());
        }
    }
    if let Some(since) = waiting.pop_front() {
        report.latencies.record(since.elapsed());
    }
    report.records += records;
    report.bytes += bytes;
    Ok(())
}

/// Text that compresses about as well as log lines do.
fn batch(load: &ProduceLoad, records: usize) -> Bytes {
    let mut random = rand::rngs::SmallRng::seed_from_u64(42);
    let mut builder = BatchBuilder::default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as i64);
    for _ in 0..records {
        let value: Vec<u8> = (0..load.record_bytes).map(|_| b'a' + random.random_range(0..16)).collect();
        builder.push(now, None, Some(&value), &[]);
    }
    builder.build(BatchOptions { compression: load.compression, ..BatchOptions::default() })
}

fn request(load: &ProduceLoad, share: &Share, batch: &Bytes) -> Result<Vec<u8>, BenchError> {
    let partition_data = share
        .partitions
        .iter()
        .map(|partition| PartitionProduceData { index: *partition, records: Some(batch.clone()) });
    let request = ProduceRequest {
        acks: load.acks.code(),
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: load.topic.as_str().into(),
            partition_data: partition_data.collect(),
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    };
    let header = RequestHeader {
        api_key: ApiKey::Produce,
        api_version: VERSION,
        correlation_id: 0,
        client_id: Some("ottla-bench".into()),
    };
    Ok(encode_request(&header, &request)?.to_vec())
}
