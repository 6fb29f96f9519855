//! The way to the other brokers of the cluster, by the listener that brokers reach each other by: what one of them leads or
//! coordinates is asked of it over a connection that is kept. Answers come in the order of requests, so what may be held up by
//! something else has an [`OtherBrokers`] of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ottla_client::{ClientError, NodeConnection};
use ottla_protocol::wire::Request;
use tokio::time::timeout;

use crate::controller::{ClusterImage, Controller};
use crate::ids::NodeId;
use crate::quorum::{NodeTransport, PeerAddress};

/// See the module; cheap to clone, and a clone has the same connections.
#[derive(Clone)]
pub struct OtherBrokers {
    controller: Controller,
    listener: Arc<str>,
    transport: NodeTransport,
    answer_time_max: Duration,
    connections: Arc<Mutex<BTreeMap<NodeId, Known>>>,
}

/// A connection, and where to.
struct Known {
    address: PeerAddress,
    connection: NodeConnection,
}

impl OtherBrokers {
    /// Those of the controller's image, over a transport, by the listener of that name. One may take so long about an answer.
    pub fn new(
        controller: Controller,
        listener: &str,
        transport: NodeTransport,
        answer_time_max: Duration,
    ) -> OtherBrokers {
        let connections = Arc::default();
        OtherBrokers { controller, listener: listener.into(), transport, answer_time_max, connections }
    }

    /// This node's id.
    pub fn me(&self) -> NodeId {
        self.controller.log().membership().config.me.id
    }

    /// Asks a broker in the newest version that is known here, for as long as the image `holds`: `None` when it does not any more, or
    /// the broker is not known, cannot be reached or does not answer in time.
    pub async fn ask<R: Request>(
        &self,
        id: NodeId,
        request: &R,
        holds: impl Fn(&ClusterImage) -> bool,
    ) -> Option<R::Response> {
        let connection = self.connection(id)?;
        let within = self.answer_time_max;
        let mut applied = self.controller.watch_applied();
        let changing = async { while holds(&self.controller.image()) && applied.changed().await.is_ok() {} };
        let answered: Result<R::Response, ClientError> = tokio::select! {
            answered = timeout(within, connection.call(request, R::VERSIONS.1, within)) => answered.ok()?,
            () = changing => return None,
        };
        let failed = |error: &ClientError| tracing::debug!(broker = %id, api = R::API_KEY.name(), %error, "a broker does not answer");
        answered.inspect_err(failed).ok()
    }

    fn connection(&self, id: NodeId) -> Option<NodeConnection> {
        let image = self.controller.image();
        let endpoint = image.brokers().get(&id)?.endpoint(&self.listener)?;
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let (host, port) = (endpoint.host.as_str(), endpoint.port);
        let is_there = |known: &&Known| (known.address.host.as_str(), known.address.port) == (host, port);
        if let Some(known) = connections.get(&id).filter(is_there) {
            return Some(known.connection.clone());
        }
        let address = PeerAddress { id, host: host.to_owned(), port };
        let connection = self.transport.connect(&address);
        connections.insert(id, Known { address, connection: connection.clone() });
        Some(connection)
    }
}
