//! Giving out producer ids in blocks (KIP-730), so that an id is never used twice in the life of a cluster.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use ottla_protocol::messages::metadata_records::ProducerIdsRecord;

use super::error::ControllerError;
use super::image::ClusterImage;
use super::records::MetadataRecord;
use super::runtime::Controller;
use crate::coordinator::ProducerIds;
use crate::ids::NodeId;

/// Ids in a block: one write to the metadata log serves this many producers.
const BLOCK_LEN: i64 = 1000;

/// Ids that a broker may give to producers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerIdBlock {
    /// The next to give out.
    pub next: i64,
    /// One past the last.
    pub end: i64,
}

impl ProducerIdBlock {
    /// Takes the next id, while there is one.
    pub fn take(&mut self) -> Option<i64> {
        (self.next < self.end).then(|| {
            self.next += 1;
            self.next - 1
        })
    }
}

/// Gives out the ids of one block after the other; cheap to clone.
#[derive(Clone)]
pub struct ProducerIdSource {
    controller: Controller,
    block: Arc<Mutex<ProducerIdBlock>>,
}

impl ProducerIdSource {
    /// Asks the controller for a block when the first id is wanted.
    pub fn new(controller: Controller) -> ProducerIdSource {
        ProducerIdSource { controller, block: Arc::new(Mutex::new(ProducerIdBlock { next: 0, end: 0 })) }
    }

    /// A producer id that was never given out before.
    ///
    /// # Errors
    /// When the metadata log cannot be written.
    pub async fn next_id(&self) -> Result<i64, ControllerError> {
        loop {
            if let Some(id) = self.block().take() {
                return Ok(id);
            }
            let block = self.controller.producer_ids().await?;
            // Another request may have brought a block too; the ids of the one that loses are never used.
            *self.block() = block;
        }
    }

    fn block(&self) -> MutexGuard<'_, ProducerIdBlock> {
        self.block.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProducerIds for ProducerIdSource {
    fn next(&self) -> BoxFuture<'static, Option<i64>> {
        let this = self.clone();
        async move {
            let next = this.next_id().await;
            next.inspect_err(|error| tracing::error!(%error, "no producer id can be given")).ok()
        }
        .boxed()
    }
}

/// Decides which block comes next.
pub(super) fn decide_block(image: &ClusterImage, node: NodeId) -> (Vec<MetadataRecord>, ProducerIdBlock) {
    let next = image.next_producer_id();
    let end = next + BLOCK_LEN;
    let record = ProducerIdsRecord { broker_id: node.0, broker_epoch: -1, next_producer_id: end };
    (vec![MetadataRecord::ProducerIds(record)], ProducerIdBlock { next, end })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_never_overlap_and_every_id_is_given_once() {
        let mut image = ClusterImage::default();
        let mut given = Vec::new();
        for _ in 0..3 {
            let (records, mut block) = decide_block(&image, NodeId(1));
            records.iter().for_each(|record| image.apply(record));
            while let Some(id) = block.take() {
                given.push(id);
            }
        }
        assert_eq!(given, (0..3 * BLOCK_LEN).collect::<Vec<_>>());
    }
}
