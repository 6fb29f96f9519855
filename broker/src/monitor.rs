//! A broker as its operators watch it: metrics, and whether it can do its work.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::ids::TopicPartition;
use crate::metrics::PartitionSeries;
use crate::server::Context;

/// A log dir that has not taken a small file within this time takes nothing.
const PROBE_TIME_MAX: Duration = Duration::from_secs(5);
/// Blocks of a file system that is full to the last page are not enough for it.
const PROBE_BYTES: usize = 4096;
/// Offline partitions that are named.
const NAMED_MAX: usize = 5;

/// Why a broker cannot do all of its work.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// Partitions that this broker keeps and cannot open.
    #[error("offline partitions ({count}): {}", named(first, *count))]
    OfflinePartitions {
        /// How many.
        count: usize,
        /// The first few by name.
        first: Vec<TopicPartition>,
    },
    /// A log dir that could not be used when the broker started; its partitions are offline until it starts again.
    #[error("log dir {path} is offline: {reason}")]
    OfflineDir {
        /// The log dir.
        path: PathBuf,
        /// What was wrong.
        reason: String,
    },
    /// The cluster does not count this broker among those that serve: it has just started or is about to stop, or the controller does not hear
    /// of it.
    #[error("the cluster does not count this broker among those that serve")]
    Fenced,
    /// Nothing can be written there: no records, and no changes of the cluster.
    #[error("log dir {path} cannot be written: {reason}")]
    Unwritable {
        /// The log dir.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}

fn named(first: &[TopicPartition], count: usize) -> String {
    let names: Vec<String> = first.iter().map(ToString::to_string).collect();
    let more = if count > first.len() { ", …" } else { "" };
    names.join(", ") + more
}

/// A view of a broker that outlives nothing: cheap to clone, and harmless once the broker is gone.
#[derive(Clone)]
pub struct Monitor {
    context: Arc<Context>,
}

impl Monitor {
    pub(crate) fn new(context: Arc<Context>) -> Monitor {
        Monitor { context }
    }

    /// What the broker measures about itself, in Prometheus' text format.
    pub async fn metrics(&self, series: PartitionSeries) -> String {
        let context = self.context.clone();
        let rendering = tokio::task::spawn_blocking(move || context.metrics.render(series));
        rendering.await.unwrap_or_default()
    }

    /// What keeps the broker from its work at this moment; nothing when it is well. Tries to write to the log dirs.
    pub async fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self.fenced().into_iter().collect();
        problems.extend(self.offline_dirs().chain(self.offline_partitions()));
        for path in self.log_dirs() {
            let probed = path.clone();
            let probing = tokio::task::spawn_blocking(move || probe(&probed));
            let reason = match tokio::time::timeout(PROBE_TIME_MAX, probing).await {
                Ok(Ok(Ok(()))) => continue,
                Ok(Ok(Err(error))) => error.to_string(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {} s", PROBE_TIME_MAX.as_secs()),
            };
            problems.push(Problem::Unwritable { path, reason });
        }
        problems
    }

    /// A broker that is alone serves.
    fn fenced(&self) -> Option<Problem> {
        if self.context.controller.log().is_alone() {
            return None;
        }
        let image = self.context.image();
        let own = image.brokers().get(&self.context.node_id());
        own.is_none_or(|own| own.is_fenced || own.in_controlled_shutdown).then_some(Problem::Fenced)
    }

    fn log_dirs(&self) -> Vec<PathBuf> {
        self.context.partitions.log_dirs().all().map(|dir| dir.path().to_owned()).collect()
    }

    fn offline_dirs(&self) -> impl Iterator<Item = Problem> {
        let offline = self.context.partitions.log_dirs().offline();
        offline.iter().map(|dir| Problem::OfflineDir { path: dir.path.clone(), reason: dir.reason.clone() })
    }

    fn offline_partitions(&self) -> Option<Problem> {
        let image = self.context.image();
        let mut first = Vec::new();
        let mut count = 0;
        for topic in image.topics() {
            for (number, partition) in (0i32..).zip(&topic.partitions) {
                let is_kept = partition.replicas.contains(&self.context.node_id());
                if !is_kept || self.context.partitions.is_served(&topic.name, number) {
                    continue;
                }
                count += 1;
                if first.len() < NAMED_MAX {
                    first.push(TopicPartition::new(topic.name.clone(), number));
                }
            }
        }
        (count > 0).then_some(Problem::OfflinePartitions { count, first })
    }
}

/// Writes a small file and takes it away again.
fn probe(dir: &Path) -> std::io::Result<()> {
    let path = dir.join(".probe");
    let written = std::fs::File::create(&path).and_then(|mut file| file.write_all(&[0; PROBE_BYTES]));
    // Another probe may have been faster.
    let _ = std::fs::remove_file(&path);
    written
}
