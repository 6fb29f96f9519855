//! The transport for clients in the same process: the same frames, without a socket.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use ottla_client::{FrameConnection, Transport};
use tokio::sync::mpsc;

use super::connection::serve_frames;
use super::context::Context;
use super::dispatch::Peer;

/// Frames that may wait in each direction.
const FRAMES_MAX: usize = 64;

/// Connects to the broker in this process, whatever address is asked for.
#[derive(Clone)]
pub struct InProcess {
    context: Arc<Context>,
}

impl InProcess {
    pub(crate) fn new(context: Arc<Context>) -> InProcess {
        InProcess { context }
    }
}

#[async_trait]
impl Transport for InProcess {
    async fn connect(&self, _host: &str, _port: u16) -> io::Result<FrameConnection> {
        let (requests, inbox) = mpsc::channel(FRAMES_MAX);
        let (outbox, responses) = mpsc::channel(FRAMES_MAX);
        let peer = Peer { host: "in-process".into() };
        tokio::spawn(serve_frames(inbox, outbox, peer, self.context.clone()));
        Ok(FrameConnection { requests, responses })
    }
}
