//! The topics of the cluster as groups ask about them. Comes with each request, because the machine must not look at
//! anything but what it is given.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

/// A topic's id and how many partitions it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its id.
    pub id: Uuid,
    /// Their number.
    pub partition_count: i32,
}

/// Every topic at one moment.
pub trait TopicCatalog: Send + Sync {
    /// Differs between moments at which the topics differ.
    fn version(&self) -> u64;
    /// The topic of this name.
    fn topic(&self, name: &str) -> Option<TopicInfo>;
    /// All names, in order.
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_>;
}

/// A [`TopicCatalog`] that is passed along with a request.
#[derive(Clone)]
pub struct Topics(pub Arc<dyn TopicCatalog>);

impl fmt::Debug for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Topics").field(&self.0.version()).finish()
    }
}

impl PartialEq for Topics {
    fn eq(&self, other: &Topics) -> bool {
        self.0.version() == other.0.version()
    }
}
