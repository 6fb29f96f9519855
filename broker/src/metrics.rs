//! What a broker measures about itself, in Prometheus' text format.
//!
//! The time of a request is split in stages, so that a slow answer can be blamed on the right part:
//!
//! ```text
//!   queue   frame complete -> handling begins (memory, earlier requests of the connection)
//!   local   handling: decoding, appending, reading, deciding
//!   fsync   records appended -> on disk
//!   wait    nothing to answer yet (long polls)
//!   send    reply made -> handed to the kernel
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ottla_protocol::ApiKey;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::controller::{ClusterImage, Controller};
use crate::partition::Partitions;
use crate::server::SERVED;

/// A part of the time that a request takes, as told in the module's description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Before it is handled.
    Queue,
    /// At work.
    Local,
    /// Until records are on disk.
    Fsync,
    /// Nothing to do.
    Wait,
    /// On its way out.
    Send,
}

const STAGES: [(Stage, &str); 5] = [
    (Stage::Queue, "queue"),
    (Stage::Local, "local"),
    (Stage::Fsync, "fsync"),
    (Stage::Wait, "wait"),
    (Stage::Send, "send"),
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    api: String,
    stage: String,
}

/// How long a request waited for the disk and for something to answer; handlers note it, the rest is their own work.
#[derive(Debug, Default)]
pub struct Waits {
    fsync_ns: AtomicU64,
    wait_ns: AtomicU64,
}

impl Waits {
    /// Notes time until records were on disk. Of several partitions the longest counts: they wait side by side.
    pub fn note_fsync(&self, time: Duration) {
        self.fsync_ns.fetch_max(nanos(time), Ordering::Relaxed);
    }

    /// Adds time in which there was nothing to answer.
    pub fn add_wait(&self, time: Duration) {
        self.wait_ns.fetch_add(nanos(time), Ordering::Relaxed);
    }

    fn fsync(&self) -> Duration {
        Duration::from_nanos(self.fsync_ns.load(Ordering::Relaxed))
    }

    fn wait(&self) -> Duration {
        Duration::from_nanos(self.wait_ns.load(Ordering::Relaxed))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Everything that is counted; cheap to share.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// By API key; stages in the order of [`STAGES`].
    apis: Vec<Option<[Histogram; 5]>>,
    /// Open connections.
    pub connections: Gauge,
    /// Bytes of request frames.
    pub request_bytes: Counter,
    /// Bytes of reply frames.
    pub reply_bytes: Counter,
    /// Connections that ended because their bytes were no request.
    pub violations: Counter,
    /// One group commit.
    pub sync_seconds: Histogram,
}

/// From 50 microseconds to 13 seconds.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(50e-6, 2.0, 19))
}

impl Metrics {
    /// Everything at zero.
    pub fn new() -> Metrics {
        let mut registry = Registry::with_prefix("ottla");
        let stages = Family::<StageLabels, Histogram>::new_with_constructor(seconds);
        registry.register_with_unit(
            "request_stage",
            "Time of requests by API and stage",
            Unit::Seconds,
            stages.clone(),
        );
        let mut apis: Vec<Option<[Histogram; 5]>> = Vec::new();
        for served in SERVED {
            let labels =
                |name: &str| StageLabels { api: format!("{:?}", served.key), stage: name.to_owned() };
            let place = place(served.key);
            if apis.len() <= place {
                apis.resize(place + 1, None);
            }
            let histograms = STAGES.map(|(_, name)| stages.get_or_create(&labels(name)).clone());
            if let Some(slot) = apis.get_mut(place) {
                *slot = Some(histograms);
            }
        }
        let connections = Gauge::default();
        registry.register("connections", "Open connections", connections.clone());
        let (request_bytes, reply_bytes, violations) =
            (Counter::default(), Counter::default(), Counter::default());
        let bytes = Unit::Bytes;
        registry.register_with_unit("request", "Bytes of request frames", bytes, request_bytes.clone());
        let bytes = Unit::Bytes;
        registry.register_with_unit("reply", "Bytes of reply frames", bytes, reply_bytes.clone());
        registry.register("violations", "Connections ended by bytes that are no request", violations.clone());
        let sync_seconds = seconds();
        registry.register_with_unit(
            "group_commit",
            "Time of group commits, of all log dirs",
            Unit::Seconds,
            sync_seconds.clone(),
        );
        Metrics { registry, apis, connections, request_bytes, reply_bytes, violations, sync_seconds }
    }

    /// Adds what is read off the partitions whenever somebody asks.
    pub fn with_partitions(mut self, partitions: Arc<Partitions>, controller: Controller) -> Metrics {
        self.registry.register_collector(Box::new(PartitionCollector { partitions, controller }));
        self
    }

    /// Notes where the time of one request went. `handling` is from the start of the handler to its reply.
    pub fn note_request(
        &self,
        api: ApiKey,
        queue: Duration,
        handling: Duration,
        send: Duration,
        waits: &Waits,
    ) {
        let Some(Some(histograms)) = self.apis.get(place(api)) else { return };
        let (fsync, wait) = (waits.fsync(), waits.wait());
        let local = handling.saturating_sub(fsync).saturating_sub(wait);
        for ((stage, _), histogram) in STAGES.iter().zip(histograms) {
            let time = match stage {
                Stage::Queue => queue,
                Stage::Local => local,
                Stage::Fsync => fsync,
                Stage::Wait => wait,
                Stage::Send => send,
            };
            histogram.observe(time.as_secs_f64());
        }
    }

    /// Everything in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

fn place(api: ApiKey) -> usize {
    usize::try_from(api.code()).unwrap_or(usize::MAX)
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartitionLabels {
    topic: String,
    partition: i32,
}

/// Reads sizes and offsets off the open partitions, and counts off the image of the cluster.
struct PartitionCollector {
    partitions: Arc<Partitions>,
    controller: Controller,
}

impl std::fmt::Debug for PartitionCollector {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("PartitionCollector")
    }
}

impl Collector for PartitionCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let image = self.controller.image();
        let count = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        let open = self.partitions.all();
        let counts = [
            ("topics", "Topics", image.topics().count()),
            ("partitions", "Partitions", image.partition_count()),
            (
                "offline_partitions",
                "Partitions that cannot be served",
                image.partition_count().saturating_sub(open.len()),
            ),
            (
                "under_replicated_partitions",
                "Partitions with fewer in-sync replicas than replicas",
                under_replicated(&image),
            ),
        ];
        for (name, help, value) in counts {
            let gauge = ConstGauge::new(count(value));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let labels: Vec<PartitionLabels> = open
            .iter()
            .map(|partition| PartitionLabels {
                topic: partition.name().topic.clone(),
                partition: partition.name().partition,
            })
            .collect();
        type Read = fn(&crate::partition::Partition) -> i64;
        let of_each: [(&str, &str, Read); 4] = [
            ("log_size_bytes", "Bytes of a partition's log", |partition| {
                i64::try_from(partition.log().size_bytes()).unwrap_or(i64::MAX)
            }),
            ("log_start_offset", "First offset of a partition", |partition| partition.log().log_start().0),
            ("log_end_offset", "Offset of a partition's next record", |partition| {
                partition.log().log_end().0
            }),
            ("high_watermark", "Offset below which records are readable", |partition| {
                partition.high_watermark().0
            }),
        ];
        for (name, help, read) in of_each {
            let metric_type = ConstGauge::new(0i64).metric_type();
            let mut metric = encoder.encode_descriptor(name, help, None, metric_type)?;
            for (labels, partition) in labels.iter().zip(&open) {
                ConstGauge::new(read(partition)).encode(metric.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

fn under_replicated(image: &ClusterImage) -> usize {
    let partitions = image.topics().flat_map(|topic| &topic.partitions);
    partitions.filter(|partition| partition.isr.len() < partition.replicas.len()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_request_is_told_by_stage() {
        let metrics = Metrics::new();
        let waits = Waits::default();
        waits.note_fsync(Duration::from_millis(4));
        waits.note_fsync(Duration::from_millis(3));
        waits.add_wait(Duration::ZERO);
        let ms = Duration::from_millis;
        metrics.note_request(ApiKey::Produce, ms(1), ms(6), ms(0), &waits);
        let text = metrics.render();
        for (stage, sum) in [("queue", "0.001"), ("local", "0.002"), ("fsync", "0.004"), ("wait", "0.0")] {
            let line = format!("ottla_request_stage_seconds_sum{{api=\"Produce\",stage=\"{stage}\"}} {sum}");
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.contains("ottla_connections 0"));
    }
}
