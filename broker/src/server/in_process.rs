//! The transport for clients in the same process: the same frames to this broker, without a socket, and connections to the others of its
//! cluster.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use ottla_client::{FrameConnection, Transport};
use tokio::sync::{mpsc, watch};

use super::connection::serve_frames;
use super::context::Context;
use super::listener::stopped;
use super::peer::Peer;
use crate::ids::NodeId;

/// Frames that may wait in each direction.
const FRAMES_MAX: usize = 64;

/// Connects to the broker in this process, and to another where the address is one by which brokers reach that. What is told in process are
/// the addresses of that listener.
#[derive(Clone)]
pub struct InProcess {
    context: Arc<Context>,
    /// By which brokers reach each other.
    listener: Arc<str>,
    /// How they do.
    others: Arc<dyn Transport>,
    /// True once the broker stops.
    stop: watch::Receiver<bool>,
}

impl InProcess {
    pub(crate) fn new(
        context: Arc<Context>,
        listener: Arc<str>,
        others: Arc<dyn Transport>,
        stop: watch::Receiver<bool>,
    ) -> InProcess {
        InProcess { context, listener, others, stop }
    }

    /// Whether another broker is reached there.
    fn is_of_another(&self, host: &str, port: u16) -> bool {
        let image = self.context.image();
        let is_there = |id: &NodeId| {
            let endpoint = image.brokers().get(id).and_then(|broker| broker.endpoint(&self.listener));
            endpoint.is_some_and(|endpoint| endpoint.host == host && endpoint.port == port)
        };
        let me = self.context.node_id();
        !is_there(&me) && image.brokers().keys().any(|id| *id != me && is_there(id))
    }
}

#[async_trait]
impl Transport for InProcess {
    async fn connect(&self, host: &str, port: u16) -> io::Result<FrameConnection> {
        if *self.stop.borrow() {
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "the broker has stopped"));
        }
        if self.is_of_another(host, port) {
            return self.others.connect(host, port).await;
        }
        let (requests, inbox) = mpsc::channel(FRAMES_MAX);
        let (outbox, responses) = mpsc::channel(FRAMES_MAX);
        let endpoints = &self.context.endpoints;
        let of_brokers = endpoints.iter().find(|endpoint| *endpoint.name == *self.listener);
        let Some(endpoint) = of_brokers.or(endpoints.first()).cloned() else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let peer = Peer::in_process(endpoint);
        let (context, mut stop) = (self.context.clone(), self.stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = serve_frames(inbox, outbox, peer, context) => {}
                () = stopped(&mut stop) => {}
            }
        });
        Ok(FrameConnection { requests, responses, failure: Arc::default(), sasl: None })
    }
}
