//! The cluster's topics, and the configs of groups, as the group coordinator sees them: over the controller's image.

use std::sync::Arc;
use std::time::Duration;

use ottla_protocol::wire::{Str, Uuid};

use crate::controller::{
    ClusterImage, Controller, HEARTBEAT_INTERVAL_MS, OFFSETS_TOPIC, ResourceType, SESSION_TIMEOUT_MS,
    TopicImage,
};
use crate::coordinator::{ConsumerTimeouts, GroupCoordinator, TopicLookup};
use crate::groups::{TopicCatalog, TopicInfo, Topics};
use crate::server::ConsumerGroupSettings;

/// See the module.
pub struct GroupTopics {
    controller: Controller,
    settings: ConsumerGroupSettings,
}

impl GroupTopics {
    /// Over the controller of a broker with these settings.
    pub fn new(controller: Controller, settings: ConsumerGroupSettings) -> GroupTopics {
        GroupTopics { controller, settings }
    }
}

impl TopicLookup for GroupTopics {
    fn topic_id(&self, name: &str) -> Option<Uuid> {
        self.controller.image().topic(name).map(|topic| topic.id)
    }

    fn topic_name(&self, id: Uuid) -> Option<Str> {
        self.controller.image().topic_by_id(id).map(|topic| topic.name.as_str().into())
    }

    fn has_partition(&self, name: &str, partition: i32) -> bool {
        let image = self.controller.image();
        let count = image.topic(name).map_or(0, |topic| topic.partitions.len());
        usize::try_from(partition).is_ok_and(|partition| partition < count)
    }

    fn catalog(&self) -> Topics {
        Topics(Arc::new(Catalog(self.controller.image())))
    }

    fn consumer_timeouts(&self, group: &str) -> ConsumerTimeouts {
        let image = self.controller.image();
        let set = image.configs(ResourceType::Group, group);
        // A group's own is held within what the broker allows now, whatever it was when it was set.
        let own = |name: &str, (least, most): (u64, u64)| {
            let value = set.get(name).and_then(|value| value.trim().parse::<u64>().ok())?;
            Some(value.min(most).max(least))
        };
        let ConsumerGroupSettings { session_timeout_ms_range, heartbeat_interval_ms_range, .. } =
            self.settings;
        let session = own(SESSION_TIMEOUT_MS, session_timeout_ms_range);
        let interval = own(HEARTBEAT_INTERVAL_MS, heartbeat_interval_ms_range);
        ConsumerTimeouts {
            session: Duration::from_millis(session.unwrap_or(self.settings.session_timeout_ms)),
            heartbeat_interval: Duration::from_millis(
                interval.unwrap_or(self.settings.heartbeat_interval_ms),
            ),
        }
    }
}

/// Has the group coordinator forget what was committed in topics that are deleted, wherever that was decided, for as long as the
/// controller runs.
pub async fn forget_deleted(controller: Controller, groups: GroupCoordinator) {
    let mut applied = controller.watch_applied();
    let mut before = controller.image();
    while applied.changed().await.is_ok() {
        let image = controller.image();
        if image.topics_version() != before.topics_version() {
            let is_gone = |topic: &&Arc<TopicImage>| image.topic_by_id(topic.id).is_none();
            let deleted: Vec<&str> = before.topics().filter(is_gone).map(|topic| &*topic.name).collect();
            if !deleted.is_empty()
                && image.topic(OFFSETS_TOPIC).is_some()
                && let Err(error) = groups.on_topics_deleted(&deleted).await
            {
                // A topic of the same name that is made later has another id; its readers reset as for any lost offset.
                tracing::warn!(%error, "committed offsets of deleted topics stay behind");
            }
        }
        before = image;
    }
}

/// The topics of one image.
struct Catalog(Arc<ClusterImage>);

impl TopicCatalog for Catalog {
    fn version(&self) -> u64 {
        self.0.topics_version()
    }

    fn topic(&self, name: &str) -> Option<TopicInfo> {
        let topic = self.0.topic(name)?;
        let partition_count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        Some(TopicInfo { id: topic.id, partition_count })
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.0.topics().map(|topic| topic.name.as_str()))
    }
}
