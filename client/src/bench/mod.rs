//! Load for a broker, measured: what `ottla bench` runs.
//!
//! Throughput is measured with as little work in the client as can be, since on one machine the client takes its CPU
//! from the broker: [`produce`] sends batches that were made once, [`consume`] looks at batch headers only, both on
//! threads of their own. [`end_to_end`] measures latency through the [`Producer`](crate::Producer) and the
//! [`Consumer`](crate::Consumer), as an application has it. All speak the protocol alone, so any Kafka broker can be
//! measured and compared.

mod consume;
mod end_to_end;
mod floor;
mod latency;
mod produce;
mod socket;

use std::io;
use std::time::Duration;

use ottla_protocol::{DecodeError, EncodeError};
use thiserror::Error;

pub use consume::{ConsumeLoad, consume};
pub use end_to_end::{EndToEndLoad, end_to_end};
pub use floor::sendfile_floor;
pub use latency::Latencies;
pub use produce::{ProduceLoad, produce};
use socket::Access;

use crate::client::Client;
use crate::error::ClientError;

/// Why a run failed.
#[derive(Debug, Error)]
pub enum BenchError {
    /// What the client met.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What the connection met.
    #[error("connection: {0}")]
    Io(#[from] io::Error),
    /// An answer that cannot be read.
    #[error("answer: {0}")]
    Decode(#[from] DecodeError),
    /// A request that cannot be written.
    #[error("request: {0}")]
    Encode(#[from] EncodeError),
    /// Not every record came back.
    #[error("{received} of {sent} records came back")]
    Lost {
        /// By the producer.
        sent: u64,
        /// By the consumer.
        received: u64,
    },
}

/// What a run did.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Records that were acknowledged or read.
    pub records: u64,
    /// Bytes of their batches on the wire.
    pub bytes: u64,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Of requests, or of records end to end.
    pub latencies: Latencies,
}

impl Report {
    /// Records per second.
    pub fn records_per_second(&self) -> f64 {
        self.records as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    /// Millions of bytes per second.
    pub fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    fn add(&mut self, other: &Report) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.latencies.add(&other.latencies);
    }
}

/// Partitions of a topic that one connection works on, all led by one broker.
#[derive(Clone)]
struct Share {
    host: String,
    port: u16,
    partitions: Vec<i32>,
    access: Access,
}

/// Divides a topic's partitions by leader, and those of one leader over several connections.
async fn shares(client: &Client, topic: &str, connections: usize) -> Result<Vec<Share>, ClientError> {
    let described = client.admin().describe_topic(topic).await?;
    // A topic that was just made has leaders that do not know it yet: this waits for them.
    let places = described.partitions.iter();
    let places: Vec<_> = places
        .map(|partition| (crate::TopicPartition::new(topic, partition.partition), crate::OFFSET_EARLIEST))
        .collect();
    client.admin().list_offsets(&places).await?;
    let cluster = client.admin().describe_cluster().await?;
    let access = Access::new(client.security())?;
    let mut shares = Vec::new();
    for broker in &cluster.brokers {
        let led = described.partitions.iter().filter(|partition| partition.leader == Some(broker.broker_id));
        let led: Vec<i32> = led.map(|partition| partition.partition).collect();
        for number in 0..connections.clamp(1, led.len().max(1)) {
            let partitions: Vec<i32> = led.iter().copied().skip(number).step_by(connections.max(1)).collect();
            if !partitions.is_empty() {
                let port = u16::try_from(broker.port).unwrap_or_default();
                shares.push(Share { host: broker.host.clone(), port, partitions, access: access.clone() });
            }
        }
    }
    Ok(shares)
}

/// Runs one blocking loop per share, each on a thread of its own, and adds up what they did.
async fn run_shares<F>(shares: Vec<Share>, work: F) -> Result<Report, BenchError>
where
    F: Fn(Share) -> Result<Report, BenchError> + Clone + Send + 'static,
{
    let running: Vec<_> = shares
        .into_iter()
        .map(|share| {
            let work = work.clone();
            tokio::task::spawn_blocking(move || work(share))
        })
        .collect();
    let mut total = Report::default();
    for share in running {
        let report = share.await.map_err(io::Error::other)??;
        total.add(&report);
    }
    Ok(total)
}
