//! Sizes and offsets of partitions, and counts of the cluster, read whenever somebody asks.
//!
//! Every partition has series of its own as long as they are few: a broker with tens of thousands of them would make
//! each scrape megabytes long. Past [`SERIES_MAX`] only the sums over each topic's partitions stay, past as many topics
//! only what concerns the whole broker; how many partitions went without is a metric too.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

use crate::controller::{ClusterImage, Controller};
use crate::ids::NodeId;
use crate::partition::{PartitionState, Partitions, ReplicaLag, space_of};

/// Partitions, and topics, that have series of their own unless somebody asks for all or none.
const SERIES_MAX: usize = 2000;
/// A leader that does not say within this time how its followers are is left out: its disk hangs.
const LAGS_WITHIN: Duration = Duration::from_secs(1);

/// Which partitions get series of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PartitionSeries {
    /// All of them, as long as they are at most 2,000.
    #[default]
    Auto,
    /// All of them, however many.
    All,
    /// None: only sums.
    None,
}

/// Where it is read.
#[derive(Clone)]
pub(super) struct PartitionSource {
    pub partitions: Arc<Partitions>,
    pub controller: Controller,
    pub node_id: NodeId,
}

impl fmt::Debug for PartitionSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PartitionSource")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartitionLabels {
    topic: String,
    partition: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReplicaLabels {
    topic: String,
    partition: i32,
    replica: i32,
}

impl ReplicaLabels {
    fn of(lag: &ReplicaLag) -> ReplicaLabels {
        let name = &lag.name;
        ReplicaLabels { topic: name.topic.clone(), partition: name.partition, replica: lag.replica.0 }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TopicLabels {
    topic: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LogDirLabels {
    log_dir: String,
}

/// One partition, or the sums over a topic's.
#[derive(Debug, Clone, Copy, Default)]
struct Figures {
    partitions: i64,
    size_bytes: i64,
    log_start: i64,
    log_end: i64,
    high_watermark: i64,
    replicas: i64,
    in_sync_replicas: i64,
}

impl Figures {
    fn of(partition: &PartitionState, image: &ClusterImage) -> Figures {
        let name = &partition.name;
        let number = usize::try_from(name.partition).unwrap_or(usize::MAX);
        let topic = image.topic(&name.topic);
        let known = topic.and_then(|topic| topic.partitions.get(number));
        Figures {
            partitions: 1,
            size_bytes: i64::try_from(partition.size_bytes).unwrap_or(i64::MAX),
            log_start: partition.log_start.0,
            log_end: partition.log_end.0,
            high_watermark: partition.high_watermark.0,
            replicas: known.map_or(0, |known| count(known.replicas.len())),
            in_sync_replicas: known.map_or(0, |known| count(known.isr.len())),
        }
    }

    fn add(&mut self, other: &Figures) {
        self.partitions += other.partitions;
        self.size_bytes = self.size_bytes.saturating_add(other.size_bytes);
        self.log_start = self.log_start.saturating_add(other.log_start);
        self.log_end = self.log_end.saturating_add(other.log_end);
        self.high_watermark = self.high_watermark.saturating_add(other.high_watermark);
        self.replicas += other.replicas;
        self.in_sync_replicas += other.in_sync_replicas;
    }
}

type Column = (&'static str, &'static str, fn(&Figures) -> i64);

const OF_PARTITIONS: [Column; 6] = [
    ("log_size_bytes", "Bytes of a partition's log", |figures| figures.size_bytes),
    ("log_start_offset", "First offset of a partition", |figures| figures.log_start),
    ("log_end_offset", "Offset of a partition's next record", |figures| figures.log_end),
    ("high_watermark", "Offset below which a partition's records are readable", |figures| {
        figures.high_watermark
    }),
    ("replicas", "Replicas of a partition", |figures| figures.replicas),
    ("in_sync_replicas", "Replicas of a partition that are in sync", |figures| figures.in_sync_replicas),
];

const OF_TOPICS: [Column; 4] = [
    ("topic_partitions", "Partitions of a topic that are open here", |figures| figures.partitions),
    ("topic_log_size_bytes", "Bytes of the logs of a topic's partitions", |figures| figures.size_bytes),
    ("topic_log_start_offsets", "First offsets of a topic's partitions, added up", |figures| {
        figures.log_start
    }),
    ("topic_log_end_offsets", "Next offsets of a topic's partitions, added up", |figures| figures.log_end),
];

/// What was read for one scrape.
#[derive(Debug)]
pub(super) struct PartitionCollector {
    of_broker: Vec<(&'static str, &'static str, i64)>,
    topics: Vec<(TopicLabels, Figures)>,
    partitions: Vec<(PartitionLabels, Figures)>,
    lags: Vec<(ReplicaLabels, i64)>,
    log_dirs: Vec<(LogDirLabels, i64, i64)>,
}

fn count(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl PartitionCollector {
    pub fn read(source: &PartitionSource, series: PartitionSeries) -> PartitionCollector {
        let image = source.controller.image();
        let open = source.partitions.states();
        let mut partitions: Vec<(PartitionLabels, Figures)> = Vec::with_capacity(open.len());
        let mut topics: Vec<(TopicLabels, Figures)> = Vec::new();
        let mut total = Figures::default();
        // By name, so that those of a topic are neighbours.
        for partition in &open {
            let figures = Figures::of(partition, &image);
            total.add(&figures);
            let topic = partition.name.topic.clone();
            match topics.last_mut().filter(|(labels, _)| labels.topic == topic) {
                Some((_, sum)) => sum.add(&figures),
                None => topics.push((TopicLabels { topic: topic.clone() }, figures)),
            }
            partitions.push((PartitionLabels { topic, partition: partition.name.partition }, figures));
        }
        let closed = open.iter().filter(|partition| partition.is_closed).count();
        let me = source.node_id;
        let of_cluster = ClusterFigures::of(&image, me);
        let offline = of_cluster.kept.saturating_sub(open.len()) + closed;
        let few = |count: usize| match series {
            PartitionSeries::Auto => count <= SERIES_MAX,
            PartitionSeries::All => true,
            PartitionSeries::None => false,
        };
        let left_out = if few(partitions.len()) { 0 } else { partitions.len() };
        let lags = source.partitions.replica_lags(LAGS_WITHIN);
        let lag_max = lags.iter().map(|lag| lag.records).max().unwrap_or(0);
        let mut lags: Vec<_> = lags.iter().map(|lag| (ReplicaLabels::of(lag), lag.records)).collect();
        if left_out > 0 {
            partitions.clear();
            lags.clear();
        }
        if topics.len() > SERIES_MAX && series != PartitionSeries::All {
            topics.clear();
        }
        let of_broker = vec![
            ("topics", "Topics", count(image.topics().count())),
            ("partitions", "Partitions", count(image.partition_count())),
            ("offline_partitions", "Partitions that cannot be served", count(offline)),
            (
                "leaderless_partitions",
                "Partitions of the cluster that nobody leads",
                count(of_cluster.leaderless),
            ),
            ("led_partitions", "Partitions that this broker leads", count(of_cluster.led)),
            (
                "under_replicated_partitions",
                "Partitions that this broker leads with fewer in-sync replicas than replicas",
                count(of_cluster.under_replicated),
            ),
            (
                "under_min_isr_partitions",
                "Partitions that this broker leads with fewer in-sync replicas than min.insync.replicas",
                count(of_cluster.under_min_isr),
            ),
            (
                "replica_lag_max_records",
                "Records that the follower farthest behind has not, of the partitions that this broker leads",
                lag_max,
            ),
            ("broker_log_size_bytes", "Bytes of all logs", total.size_bytes),
            (
                "offline_log_dirs",
                "Log dirs that could not be used when the broker started",
                count(source.partitions.log_dirs().offline().len()),
            ),
            (
                "moving_partitions",
                "Partitions on their way to another log dir",
                count(source.partitions.moving().len()),
            ),
            (
                "partition_series_left_out",
                "Partitions that have no series of their own in this answer",
                count(left_out),
            ),
        ];
        let log_dirs = source.partitions.log_dirs().all().filter_map(|dir| {
            let (total, usable) = space_of(dir.path())?;
            Some((LogDirLabels { log_dir: dir.path().display().to_string() }, total, usable))
        });
        PartitionCollector { of_broker, topics, partitions, lags, log_dirs: log_dirs.collect() }
    }
}

impl Collector for PartitionCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, value) in &self.of_broker {
            let gauge = ConstGauge::new(*value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let total = self.log_dirs.iter().map(|(labels, total, _)| (labels, *total));
        let help = "Bytes of the file system of a log dir";
        family(&mut encoder, "log_dir_total_bytes", help, total)?;
        let usable = self.log_dirs.iter().map(|(labels, _, usable)| (labels, *usable));
        let help = "Bytes that are free on the file system of a log dir";
        family(&mut encoder, "log_dir_usable_bytes", help, usable)?;
        for (name, help, read) in OF_TOPICS {
            family(&mut encoder, name, help, self.topics.iter().map(|(labels, sum)| (labels, read(sum))))?;
        }
        for (name, help, read) in OF_PARTITIONS {
            let each = self.partitions.iter().map(|(labels, figures)| (labels, read(figures)));
            family(&mut encoder, name, help, each)?;
        }
        let lags = self.lags.iter().map(|(labels, records)| (labels, *records));
        let help = "Records that a follower has not, of a partition that this broker leads";
        family(&mut encoder, "replica_lag_records", help, lags)?;
        Ok(())
    }
}

/// One metric with a series for each of some labels.
fn family<'a, L: EncodeLabelSet + 'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    series: impl Iterator<Item = (&'a L, i64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, ConstGauge::new(0i64).metric_type())?;
    for (labels, value) in series {
        ConstGauge::new(value).encode(metric.encode_family(labels)?)?;
    }
    Ok(())
}

/// What the cluster's partitions are to one broker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct ClusterFigures {
    kept: usize,
    led: usize,
    leaderless: usize,
    /// Of those that it leads, as the next.
    under_replicated: usize,
    under_min_isr: usize,
}

impl ClusterFigures {
    fn of(image: &ClusterImage, me: NodeId) -> ClusterFigures {
        let mut figures = ClusterFigures::default();
        for topic in image.topics() {
            let min_isr = image.min_insync_replicas(topic);
            for partition in &topic.partitions {
                figures.kept += usize::from(partition.replicas.contains(&me));
                figures.leaderless += usize::from(partition.leader.is_none());
                if partition.leader == Some(me) {
                    figures.led += 1;
                    figures.under_replicated += usize::from(partition.isr.len() < partition.replicas.len());
                    figures.under_min_isr += usize::from(partition.isr.len() < min_isr);
                }
            }
        }
        figures
    }
}
