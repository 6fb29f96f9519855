//! What a broker measures about itself, in Prometheus' text format (OpenMetrics). `docs/metrics.md` lists it all.
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

mod partitions;
mod process;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ottla_protocol::ApiKey;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

pub use partitions::PartitionSeries;
use partitions::{PartitionCollector, PartitionSource};
use process::ProcessCollector;

use crate::controller::Controller;
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
struct ApiLabels {
    api: String,
}

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

/// What is measured of one API.
#[derive(Debug)]
struct Api {
    /// In the order of [`STAGES`].
    stages: [Histogram; 5],
    request_bytes: Counter,
    reply_bytes: Counter,
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// By API key. Made when an API is first called: no scrape carries series of what nobody uses.
    apis: Vec<OnceLock<Api>>,
    stages: Family<StageLabels, Histogram, fn() -> Histogram>,
    request_bytes: Family<ApiLabels, Counter>,
    reply_bytes: Family<ApiLabels, Counter>,
    /// Open connections.
    pub connections: Gauge,
    /// Connections that were ever opened.
    pub connections_opened: Counter,
    /// Connections that waited because broker, listener or address may open no more a second.
    pub connections_delayed: Counter,
    /// Connections that were closed because their address has as many as it may.
    pub connections_refused: Counter,
    /// Connections that ended because their bytes were no request.
    pub violations: Counter,
    /// Clients that showed who they are.
    pub authentications: Counter,
    /// Clients that did not manage to, by SASL or in the TLS handshake.
    pub authentications_failed: Counter,
    /// What clients asked for and may not do.
    pub authorizations_denied: Counter,
    /// Requests whose senders have to wait, because they took more than their quotas.
    pub throttled: Counter,
    /// One group commit.
    pub sync_seconds: Histogram,
    /// What is read whenever somebody asks.
    partitions: Option<PartitionSource>,
}

/// From 50 microseconds to 13 seconds.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(50e-6, 2.0, 19))
}

impl Metrics {
    /// Everything at zero.
    pub fn new() -> Metrics {
        let mut registry = Registry::with_prefix("ottla");
        let stages = Family::new_with_constructor(seconds as fn() -> Histogram);
        let help = "Time of requests by API and stage: queue, local, fsync, wait, send";
        registry.register_with_unit("request_stage", help, Unit::Seconds, stages.clone());
        let (request_bytes, reply_bytes) = (Family::default(), Family::default());
        let help = "Bytes of request frames by API";
        registry.register_with_unit("request", help, Unit::Bytes, request_bytes.clone());
        let help = "Bytes of reply frames by API";
        registry.register_with_unit("reply", help, Unit::Bytes, reply_bytes.clone());
        let connections = Gauge::default();
        registry.register("connections", "Open connections", connections.clone());
        let (connections_opened, violations) = (Counter::default(), Counter::default());
        let help = "Connections that were ever opened";
        registry.register("connections_opened", help, connections_opened.clone());
        let (connections_delayed, connections_refused) = (Counter::default(), Counter::default());
        let help = "Connections that waited because broker, listener or address may open no more a second";
        registry.register("connections_delayed", help, connections_delayed.clone());
        let help = "Connections closed because their address has as many as it may";
        registry.register("connections_refused", help, connections_refused.clone());
        let help = "Connections ended by bytes that are no request";
        registry.register("violations", help, violations.clone());
        let (authentications, authentications_failed) = (Counter::default(), Counter::default());
        let help = "Clients that showed by SASL who they are";
        registry.register("authentications", help, authentications.clone());
        let help = "Clients that failed to show who they are, by SASL or in the TLS handshake";
        registry.register("authentications_failed", help, authentications_failed.clone());
        let authorizations_denied = Counter::default();
        let help = "Operations that clients asked for and may not do";
        registry.register("authorizations_denied", help, authorizations_denied.clone());
        let throttled = Counter::default();
        let help = "Requests after which their senders had to wait for having taken more than their quotas";
        registry.register("throttled", help, throttled.clone());
        let sync_seconds = seconds();
        let help = "Time of group commits, of all log dirs";
        registry.register_with_unit("group_commit", help, Unit::Seconds, sync_seconds.clone());
        let keys = SERVED.iter().map(|served| place(served.key));
        let apis = (0..=keys.max().unwrap_or(0)).map(|_| OnceLock::new()).collect();
        Metrics {
            registry,
            apis,
            stages,
            request_bytes,
            reply_bytes,
            connections,
            connections_opened,
            connections_delayed,
            connections_refused,
            violations,
            authentications,
            authentications_failed,
            authorizations_denied,
            throttled,
            sync_seconds,
            partitions: None,
        }
    }

    /// Adds what is read off the partitions whenever somebody asks.
    pub fn with_partitions(mut self, partitions: Arc<Partitions>, controller: Controller) -> Metrics {
        let node_id = controller.log().membership().config.me.id;
        self.partitions = Some(PartitionSource { partitions, controller, node_id });
        self
    }

    fn api(&self, key: ApiKey) -> Option<&Api> {
        let made = || {
            let labels = ApiLabels { api: key.name().to_owned() };
            let stage = |name: &str| StageLabels { api: key.name().to_owned(), stage: name.to_owned() };
            Api {
                stages: STAGES.map(|(_, name)| self.stages.get_or_create(&stage(name)).clone()),
                request_bytes: self.request_bytes.get_or_create(&labels).clone(),
                reply_bytes: self.reply_bytes.get_or_create(&labels).clone(),
            }
        };
        self.apis.get(place(key)).map(|api| api.get_or_init(made))
    }

    /// Notes the frame of a request.
    pub fn note_request_bytes(&self, key: ApiKey, bytes: usize) {
        if let Some(api) = self.api(key) {
            api.request_bytes.inc_by(bytes as u64);
        }
    }

    /// Notes the frame of a reply.
    pub fn note_reply_bytes(&self, key: ApiKey, bytes: usize) {
        if let Some(api) = self.api(key) {
            api.reply_bytes.inc_by(bytes as u64);
        }
    }

    /// Notes where the time of one request went. `handling` is from the start of the handler to its reply.
    pub fn note_request(
        &self,
        key: ApiKey,
        queue: Duration,
        handling: Duration,
        send: Duration,
        waits: &Waits,
    ) {
        let Some(api) = self.api(key) else { return };
        let (fsync, wait) = (waits.fsync(), waits.wait());
        let local = handling.saturating_sub(fsync).saturating_sub(wait);
        for ((stage, _), histogram) in STAGES.iter().zip(&api.stages) {
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

    /// Everything in Prometheus' text format. Reads every partition and the state of the process: blocking.
    pub fn render(&self, series: PartitionSeries) -> String {
        let mut of_partitions = Registry::with_prefix("ottla");
        if let Some(source) = &self.partitions {
            of_partitions.register_collector(Box::new(PartitionCollector::read(source, series)));
        }
        let mut of_process = Registry::default();
        of_process.register_collector(Box::new(ProcessCollector));
        let mut text = String::new();
        for registry in [&self.registry, &of_partitions, &of_process] {
            // Writing to a string cannot fail.
            let _ = encode_registry(&mut text, registry);
        }
        let _ = encode_eof(&mut text);
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
        let text = metrics.render(PartitionSeries::Auto);
        for (stage, sum) in [("queue", "0.001"), ("local", "0.002"), ("fsync", "0.004"), ("wait", "0.0")] {
            let line = format!("ottla_request_stage_seconds_sum{{api=\"Produce\",stage=\"{stage}\"}} {sum}");
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.contains("ottla_connections 0"));
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn an_api_that_nobody_called_has_no_series() {
        let metrics = Metrics::new();
        metrics.note_request_bytes(ApiKey::Fetch, 7);
        let text = metrics.render(PartitionSeries::Auto);
        assert!(text.contains("ottla_request_bytes_total{api=\"Fetch\"} 7"), "{text}");
        assert!(!text.contains("Produce"), "{text}");
    }
}
