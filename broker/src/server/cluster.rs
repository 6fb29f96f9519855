//! The cluster as clients are told of it: which brokers there are, where they are reached, and which of them decides.

use ottla_protocol::wire::Str;

use super::context::Context;
use super::endpoint::Endpoint;
use crate::ids::NodeId;

/// A broker as clients of one listener reach it.
pub(super) struct ReachableBroker {
    pub id: NodeId,
    pub host: Str,
    pub port: i32,
    /// Where it stands.
    pub rack: Option<Str>,
    pub is_fenced: bool,
}

impl Context {
    /// The brokers that clients of a listener may be sent to, by that listener's name. A node that is alone is one for whoever
    /// comes in anywhere.
    pub(super) fn reachable_brokers(&self, endpoint: &Endpoint) -> Vec<ReachableBroker> {
        let image = self.image();
        // A client that is told of nobody may give up, where this node will know more in a moment.
        if self.controller.log().is_alone() || image.brokers().values().all(|broker| broker.is_fenced) {
            return vec![ReachableBroker {
                id: self.node_id(),
                host: endpoint.host.clone(),
                port: endpoint.port,
                rack: self.config.rack.as_deref().map(Into::into),
                is_fenced: false,
            }];
        }
        let reached = image.brokers().iter().filter_map(|(id, broker)| {
            let reached = broker.endpoint(&endpoint.name)?;
            Some(ReachableBroker {
                id: *id,
                host: reached.host.as_str().into(),
                port: i32::from(reached.port),
                rack: broker.rack.as_deref().map(Into::into),
                is_fenced: broker.is_fenced,
            })
        });
        reached.collect()
    }

    /// The id of the broker that takes what only the controller decides; -1 where none is known.
    pub(super) fn controller_id(&self) -> i32 {
        match self.controller.log().is_alone() {
            true => self.node_id().0,
            false => self.controller.log().state().leader.map_or(-1, |leader| leader.0),
        }
    }
}
