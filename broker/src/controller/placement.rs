//! Which log dir a new partition gets: the one with the fewest, as in Kafka; the first of those where several have as few.
//! Pure.

use uuid::Uuid;

use super::image::ClusterImage;

/// The log dirs of a node with the partitions that they have, those included that were placed a moment ago.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    counts: Vec<(Uuid, usize)>,
}

impl Placement {
    /// Among these dirs.
    pub fn among(directories: &[Uuid], image: &ClusterImage) -> Placement {
        let counted = directories.iter().map(|id| (*id, image.partitions_in(*id)));
        Placement { counts: counted.collect() }
    }

    /// For one more partition; `None` where there are no dirs.
    pub fn place(&mut self) -> Option<Uuid> {
        let (id, count) = self.counts.iter_mut().min_by_key(|(_, count)| *count)?;
        *count += 1;
        Some(*id)
    }
}
