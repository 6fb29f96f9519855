//! Giving out producer ids in blocks (KIP-730), so that an id is never used twice in the life of a cluster.

use ottla_protocol::messages::metadata_records::ProducerIdsRecord;

use super::image::ClusterImage;
use super::records::MetadataRecord;
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
