//! Consume load: fetches of whole partitions, looked at no further than the batch headers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ottla_protocol::frame::{RequestHeader, decode_response, encode_request};
use ottla_protocol::messages::FetchRequest;
use ottla_protocol::messages::k01_fetch::{FetchPartition, FetchTopic};
use ottla_protocol::records::Batches;
use ottla_protocol::{ApiKey, ErrorCode};

use super::socket::Socket;
use super::{BenchError, Report, Share, run_shares, shares};
use crate::client::Client;
use crate::error::ClientError;
use crate::topic_partition::TopicPartition;

const VERSION: i16 = 12;

/// What to read.
#[derive(Debug, Clone)]
pub struct ConsumeLoad {
    /// From this topic, from all of its partitions.
    pub topic: String,
    /// How many records in all; the rest is left. Without it, those that are there at the start.
    pub records: Option<u64>,
    /// Ends the run before that.
    pub duration: Option<Duration>,
    /// Begin with the first record, instead of with what is written from now on.
    pub from_beginning: bool,
    /// Bytes of one answer.
    pub fetch_bytes: i32,
    /// Bytes of one partition in an answer.
    pub partition_bytes: i32,
    /// Connections per broker, each with a thread.
    pub connections: usize,
}

/// Reads until there were enough records. Latencies are of requests.
///
/// # Errors
/// What the broker answers, and what the connection meets.
pub async fn consume(client: &Client, load: ConsumeLoad) -> Result<Report, BenchError> {
    let shares = shares(client, &load.topic, load.connections).await?;
    let ends = offsets(client, &load.topic, &shares, crate::OFFSET_LATEST).await?;
    let starts = if load.from_beginning {
        offsets(client, &load.topic, &shares, crate::OFFSET_EARLIEST).await?
    } else {
        ends.clone()
    };
    let partitions = starts.len().max(1) as u128;
    run_shares(shares, move |share| {
        let mine = |records: u64| u128::from(records) * share.partitions.len() as u128 / partitions;
        let until = match load.records {
            Some(records) => Until::Records(u64::try_from(mine(records)).unwrap_or(u64::MAX)),
            None => Until::Offsets(&ends),
        };
        run(&load, &share, &starts, until)
    })
    .await
}

/// The offset of each partition at a special time.
async fn offsets(
    client: &Client,
    topic: &str,
    shares: &[Share],
    time: i64,
) -> Result<BTreeMap<i32, i64>, ClientError> {
    let places = shares.iter().flat_map(|share| &share.partitions);
    let places: Vec<_> = places.map(|partition| (TopicPartition::new(topic, *partition), time)).collect();
    let found = client.admin().list_offsets(&places).await?;
    Ok(found.into_iter().map(|(place, found)| (place.partition, found.offset)).collect())
}

/// Where a connection's reading ends.
enum Until<'a> {
    Records(u64),
    Offsets(&'a BTreeMap<i32, i64>),
}

impl Until<'_> {
    fn is_reached(&self, records: u64, positions: &BTreeMap<i32, i64>) -> bool {
        match self {
            Until::Records(wanted) => records >= *wanted,
            Until::Offsets(ends) => positions
                .iter()
                .all(|(partition, position)| ends.get(partition).is_none_or(|end| position >= end)),
        }
    }
}

fn run(
    load: &ConsumeLoad,
    share: &Share,
    starts: &BTreeMap<i32, i64>,
    until: Until<'_>,
) -> Result<Report, BenchError> {
    let mut positions: BTreeMap<i32, i64> = share
        .partitions
        .iter()
        .map(|partition| (*partition, starts.get(partition).copied().unwrap_or(0)))
        .collect();
    let mut socket = Socket::connect(&share.host, share.port, &share.access)?;
    let mut report = Report::default();
    let start = Instant::now();
    let mut correlation_id = 0;
    let is_late = || load.duration.is_some_and(|duration| start.elapsed() >= duration);
    while !until.is_reached(report.records, &positions) && !is_late() {
        let mut frame = request(load, &positions)?;
        let since = Instant::now();
        correlation_id += 1;
        socket.send(&mut frame, correlation_id)?;
        let (_, response) = decode_response::<FetchRequest>(socket.receive()?, VERSION)?;
        report.latencies.record(since.elapsed());
        check(response.error_code)?;
        for partition in response.responses.into_iter().flat_map(|topic| topic.partitions) {
            check(partition.error_code)?;
            let records = partition.records.unwrap_or_default().into_bytes();
            report.bytes += records.len() as u64;
            // The last batch may be cut off: the next fetch begins with it.
            for batch in Batches::new(records).map_while(Result::ok) {
                report.records += u64::try_from(batch.header.record_count).unwrap_or(0);
                positions.insert(partition.partition_index, batch.header.next_offset());
            }
        }
    }
    report.elapsed = start.elapsed();
    Ok(report)
}

fn check(code: i16) -> Result<(), BenchError> {
    match ErrorCode::from_code(code) {
        ErrorCode::None => Ok(()),
        code => Err(ClientError::broker("fetching", code).into()),
    }
}

fn request(load: &ConsumeLoad, positions: &BTreeMap<i32, i64>) -> Result<Vec<u8>, BenchError> {
    let partitions = positions.iter().map(|(partition, offset)| FetchPartition {
        partition: *partition,
        current_leader_epoch: -1,
        fetch_offset: *offset,
        partition_max_bytes: load.partition_bytes,
        ..FetchPartition::default()
    });
    let request = FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: load.fetch_bytes,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: load.topic.as_str().into(),
            partitions: partitions.collect(),
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    };
    let header = RequestHeader {
        api_key: ApiKey::Fetch,
        api_version: VERSION,
        correlation_id: 0,
        client_id: Some("ottla-bench".into()),
    };
    Ok(encode_request(&header, &request)?.to_vec())
}
