//! The task that brings this node's partitions in line with what is decided, and then publishes the image. The controller does not wait
//! for it: thousands of partitions that are made or change hands keep nobody from being heard. What is decided meanwhile is taken in
//! one go.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::blocking;
use super::owner::Decided;
use crate::controller::error::ControllerError;
use crate::controller::image::ClusterImage;
use crate::ids::Offset;
use crate::partition::Partitions;

/// See the module.
pub(super) struct Publisher {
    partitions: Arc<Partitions>,
    decided: watch::Receiver<Decided>,
    image: Arc<ArcSwap<ClusterImage>>,
    applied: watch::Sender<Offset>,
    settled: watch::Sender<Offset>,
    /// What belongs to no partition is not removed yet.
    is_untidy: bool,
}

/// What is published.
#[derive(Clone)]
pub(super) struct Published {
    pub image: Arc<ArcSwap<ClusterImage>>,
    /// Up to where in the metadata log that is.
    pub applied: watch::Receiver<Offset>,
    /// Up to where nothing is left to do, such as removing files.
    pub settled: watch::Receiver<Offset>,
}

impl Publisher {
    /// Opens what is decided so far, and publishes that.
    pub async fn open(
        partitions: Arc<Partitions>,
        mut decided: watch::Receiver<Decided>,
    ) -> Result<(Publisher, Published), ControllerError> {
        let Decided { image, next } = decided.borrow_and_update().clone();
        let is_untidy = !partitions.is_all_in(&image);
        let (opening, opened) = (partitions.clone(), image.clone());
        blocking(move || opening.open_all(&opened)).await?;
        let image = Arc::new(ArcSwap::new(image));
        let (applied, settled) = (watch::Sender::new(next), watch::Sender::new(next));
        let published =
            Published { image: image.clone(), applied: applied.subscribe(), settled: settled.subscribe() };
        Ok((Publisher { partitions, decided, image, applied, settled, is_untidy }, published))
    }

    /// Publishes for as long as there is somebody who decides.
    pub async fn run(mut self) {
        while self.decided.changed().await.is_ok() {
            let Decided { image, next } = self.decided.borrow_and_update().clone();
            self.publish(image, next).await;
        }
    }

    async fn publish(&mut self, image: Arc<ClusterImage>, next: Offset) {
        let before = self.image.load_full();
        if Arc::ptr_eq(&before, &image) {
            // Nothing but markers of the log has come.
            self.applied.send_replace(next);
        } else {
            let gone = self.partitions.take_gone(&before, &image).into_iter();
            let (replaced, gone): (Vec<_>, Vec<_>) =
                gone.partition(|gone| image.topic(gone.topic()).is_some());
            // Their files make room for those of the new topics of their names.
            self.partitions.delete(replaced).await;
            let (partitions, after) = (self.partitions.clone(), image.clone());
            let following = tokio::task::spawn_blocking(move || partitions.follow(&before, &after));
            let left = following.await.unwrap_or_else(|error| {
                tracing::error!(%error, "this node's partitions are not in line with what is decided");
                Vec::new()
            });
            self.image.store(image.clone());
            self.applied.send_replace(next);
            self.partitions.delete(gone.into_iter().chain(left).collect()).await;
            if self.is_untidy && self.partitions.is_all_in(&image) {
                self.tidy(image).await;
            }
        }
        self.settled.send_replace(next);
    }

    /// Once, when all that was decided before this node registered is known.
    async fn tidy(&mut self, image: Arc<ClusterImage>) {
        self.is_untidy = false;
        let partitions = self.partitions.clone();
        if let Err(error) = blocking(move || partitions.tidy(&image)).await {
            tracing::warn!(%error, "what belongs to no partition is left where it is");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ottla_protocol::messages::{PartitionRecord, TopicRecord};
    use ottla_protocol::records::{BatchBuilder, BatchOptions};
    use tokio::sync::mpsc;
    use uuid::Uuid;

    use super::*;
    use crate::controller::records::MetadataRecord;
    use crate::ids::NodeId;
    use crate::metrics::Metrics;
    use crate::partition::{Acks, HousekeepingConfig, LogDirPaths, LogDirs};
    use crate::replica::NodeRun;

    const ME: NodeId = NodeId(1);

    fn partitions(dir: &Path) -> Arc<Partitions> {
        let paths = LogDirPaths { log_dirs: vec![dir.to_owned()], metadata_log_dir: None };
        let sync_seconds = Metrics::new().sync_seconds;
        let log_dirs = LogDirs::open(&paths, ME, &HousekeepingConfig::default(), &sync_seconds).unwrap();
        let run = NodeRun { id: ME, incarnation: Uuid::new_v4(), is_alone: true };
        Arc::new(Partitions::new(Arc::new(log_dirs), run, mpsc::unbounded_channel().0))
    }

    /// A topic of one partition, which this node keeps.
    fn with_topic(partitions: &Partitions, topic_id: Uuid) -> Arc<ClusterImage> {
        let mut image = ClusterImage::default();
        image.apply(&MetadataRecord::Topic(TopicRecord { name: "t".into(), topic_id }));
        image.apply(&MetadataRecord::Partition(PartitionRecord {
            partition_id: 0,
            topic_id,
            replicas: vec![ME.0],
            isr: vec![ME.0],
            leader: ME.0,
            directories: partitions.log_dirs().ids(),
            ..PartitionRecord::default()
        }));
        Arc::new(image)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_topic_deleted_and_made_again_meanwhile_has_its_own_files() {
        let dir = tempfile::tempdir().unwrap();
        let partitions = partitions(dir.path());
        let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(u128::MAX));
        let nothing = Decided { image: Arc::default(), next: Offset(0) };
        let (decide, decided) = watch::channel(nothing);
        let (publisher, mut published) = Publisher::open(partitions.clone(), decided).await.unwrap();
        tokio::spawn(publisher.run());
        let mut settle = async |topic_id: Uuid, next: i64| {
            let image = with_topic(&partitions, topic_id);
            decide.send_replace(Decided { image, next: Offset(next) });
            published.settled.wait_for(|settled| *settled >= Offset(next)).await.unwrap();
        };
        let append = async |value: &[u8]| {
            let mut builder = BatchBuilder::default();
            builder.push(1, None, Some(value), &[]);
            let open = partitions.get("t", 0).expect("it is open");
            let batch = builder.build(BatchOptions::default());
            let appended = open.partition.append(batch, Acks::All { durable: true }).await;
            appended.unwrap().unwrap().base_offset
        };
        settle(first, 1).await;
        assert_eq!(append(b"old").await, Offset(0));
        // The new one, without having seen that there was none in between.
        settle(second, 2).await;
        assert_eq!(append(b"new").await, Offset(0), "nothing of the old one is there");
        let folder = dir.path().join("t-0");
        let held = std::fs::read_dir(&folder).expect("its files are there").flatten();
        assert!(held.into_iter().any(|entry| entry.path().extension().is_some_and(|it| it == "log")));
        let others = std::fs::read_dir(dir.path()).unwrap().flatten();
        let others: Vec<_> =
            others.filter(|entry| entry.file_name().to_string_lossy().starts_with("t-0")).collect();
        assert_eq!(others.len(), 1, "and no others: {others:?}");
    }
}
