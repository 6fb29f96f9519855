//! The transport for clients in the same process: the same frames, without a socket.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use ottla_client::{FrameConnection, Transport};
use tokio::sync::{mpsc, watch};

use super::connection::serve_frames;
use super::context::Context;
use super::listener::stopped;
use super::peer::Peer;

/// Frames that may wait in each direction.
const FRAMES_MAX: usize = 64;

/// Connects to the broker in this process, whatever address is asked for.
#[derive(Clone)]
pub struct InProcess {
    context: Arc<Context>,
    /// True once the broker stops.
    stop: watch::Receiver<bool>,
}

impl InProcess {
    pub(crate) fn new(context: Arc<Context>, stop: watch::Receiver<bool>) -> InProcess {
        InProcess { context, stop }
    }
}

#[async_trait]
impl Transport for InProcess {
    async fn connect(&self, _host: &str, _port: u16) -> io::Result<FrameConnection> {
        if *self.stop.borrow() {
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "the broker has stopped"));
        }
        let (requests, inbox) = mpsc::channel(FRAMES_MAX);
        let (outbox, responses) = mpsc::channel(FRAMES_MAX);
        let Some(endpoint) = self.context.endpoints.first().cloned() else {
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
        Ok(FrameConnection { requests, responses, failure: Arc::default() })
    }
}
