//! What the cluster has decided about a partition, as far as its replicas go by it.

use uuid::Uuid;

use crate::controller::{ClusterImage, PartitionImage};
use crate::ids::{LeaderEpoch, NodeId};

/// A node in one of its runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeRun {
    /// Which.
    pub id: NodeId,
    /// Of this run, as it registers with the controller.
    pub incarnation: Uuid,
    /// It is the whole cluster, and registers with nobody.
    pub is_alone: bool,
}

impl NodeRun {
    /// Whether a leadership of the node in this image is one of this run. What an earlier run led the controller takes from it
    /// when it registers; until this node has heard of that, it may lack what its earlier run had.
    pub fn may_lead(&self, image: &ClusterImage) -> bool {
        let registered = image.brokers().get(&self.id);
        self.is_alone || registered.is_some_and(|broker| broker.incarnation_id == self.incarnation)
    }
}

/// Who keeps a partition, who leads it, and who is in sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderAndIsr {
    /// The node whose replica this is about.
    pub me: NodeId,
    /// Who leads; nobody while no replica can.
    pub leader: Option<NodeId>,
    /// Grows with each change of the leader.
    pub leader_epoch: LeaderEpoch,
    /// Grows with each change at all.
    pub partition_epoch: i32,
    /// Who keeps it.
    pub replicas: Vec<NodeId>,
    /// Which of them have all that is committed.
    pub isr: Vec<NodeId>,
}

impl LeaderAndIsr {
    /// What an image says of a partition, to a node that `may_lead`.
    pub fn of(partition: &PartitionImage, me: NodeId, may_lead: bool) -> LeaderAndIsr {
        LeaderAndIsr {
            me,
            leader: partition.leader.filter(|leader| may_lead || *leader != me),
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
            replicas: partition.replicas.clone(),
            isr: partition.isr.clone(),
        }
    }

    /// Of the only replica, which leads.
    pub fn alone(me: NodeId, leader_epoch: LeaderEpoch) -> LeaderAndIsr {
        LeaderAndIsr {
            me,
            leader: Some(me),
            leader_epoch,
            partition_epoch: 0,
            replicas: vec![me],
            isr: vec![me],
        }
    }

    /// Whether this node leads.
    pub fn leads(&self) -> bool {
        self.leader == Some(self.me)
    }

    /// Whether it is this node's and no other's.
    pub fn is_alone(&self) -> bool {
        self.replicas == [self.me]
    }
}
