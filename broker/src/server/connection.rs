//! One connection: frames in, replies out in the order of their requests. A connection that breaks the protocol ends,
//! and nothing else notices.
//!
//! Memory is bounded twice: the requests of one connection that are under way take at most
//! [`CONNECTION_REQUEST_BYTES_MAX`], and those of all connections `queued.max.request.bytes`. A connection that has
//! used its share is not read until replies have gone out; the client waits in its socket.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ottla_protocol::ApiKey;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use super::context::Context;
use super::dispatch::{Started, dispatch};
use super::frames::FrameReader;
use super::lane::Lane;
use super::peer::Peer;
use super::reply::Reply;
use super::transport::{Sink, Source};
use crate::metrics::Waits;

/// Requests of one connection that may be under way; clients send at most a handful, and a flood waits in its socket.
const REQUESTS_IN_FLIGHT_MAX: usize = 64;
/// Request bytes of one connection that may be under way. One larger request is taken alone.
const CONNECTION_REQUEST_BYTES_MAX: usize = 32 << 20;
/// A frame that has begun must end within this time.
const FRAME_TIME_MAX: Duration = Duration::from_secs(60);

/// Request bytes that may be in memory at the same time.
#[derive(Debug, Clone)]
pub(crate) struct RequestMemory {
    permits: Arc<Semaphore>,
    /// A request larger than everything counts as everything.
    bytes_max: u32,
}

impl RequestMemory {
    /// Of all connections together; `usize::MAX` is no limit.
    pub fn new(bytes_max: usize) -> RequestMemory {
        let permits = Arc::new(Semaphore::new(bytes_max.min(Semaphore::MAX_PERMITS)));
        RequestMemory { permits, bytes_max: u32::try_from(bytes_max).unwrap_or(u32::MAX) }
    }

    /// Waits until there is room. What was taken comes back when the value is dropped.
    async fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes_max);
        self.permits.clone().acquire_many_owned(bytes).await.ok()
    }
}

/// A request under way, with the memory it holds until its reply is made.
struct UnderWay {
    started: Started,
    memory: [Option<OwnedSemaphorePermit>; 2],
    frame_at: Instant,
}

/// A reply that is ready to go, and how long it took to get there.
struct Ready {
    key: ApiKey,
    reply: Option<Reply>,
    waits: Arc<Waits>,
    queue: Duration,
    handling: Duration,
}

impl UnderWay {
    async fn ready(self) -> io::Result<Ready> {
        let UnderWay { started: Started { key, waits, reply }, memory, frame_at } = self;
        let handling_at = Instant::now();
        let reply = reply.await.map_err(io::Error::other)?;
        drop(memory);
        let queue = handling_at.duration_since(frame_at);
        Ok(Ready { key, reply, waits, queue, handling: handling_at.elapsed() })
    }
}

/// What both kinds of connections share.
struct Requests {
    context: Arc<Context>,
    peer: Peer,
    own_memory: RequestMemory,
}

impl Requests {
    fn new(peer: Peer, context: Arc<Context>) -> Requests {
        context.metrics.connections.inc();
        context.metrics.connections_opened.inc();
        Requests { context, peer, own_memory: RequestMemory::new(CONNECTION_REQUEST_BYTES_MAX) }
    }

    async fn start(&self, frame: Bytes) -> io::Result<UnderWay> {
        let frame_at = Instant::now();
        let metrics = &self.context.metrics;
        let bytes = frame.len();
        let own = self.own_memory.take(bytes).await;
        let shared = self.context.request_memory.take(bytes).await;
        let started = dispatch(&self.context, &self.peer, frame).map_err(|violation| {
            metrics.violations.inc();
            io::Error::other(violation)
        })?;
        metrics.note_request_bytes(started.key, bytes);
        Ok(UnderWay { started, memory: [own, shared], frame_at })
    }

    /// Waits for a reply, lets `send` send it, and notes how long all of it took.
    async fn answer(
        &self,
        under_way: UnderWay,
        send: impl AsyncFnOnce(Reply) -> io::Result<()>,
    ) -> io::Result<()> {
        let Ready { key, reply, waits, queue, handling } = under_way.ready().await?;
        let send_at = Instant::now();
        if let Some(reply) = reply {
            self.context.metrics.note_reply_bytes(key, reply.len());
            send(reply).await?;
        }
        self.context.metrics.note_request(key, queue, handling, send_at.elapsed(), &waits);
        if self.peer.has_failed() {
            return Err(io::Error::other("authentication failed"));
        }
        Ok(())
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.context.metrics.connections.dec();
    }
}

/// Serves a connection until it ends, breaks the protocol or idles too long.
pub(super) async fn serve(mut reader: impl Source, mut writer: impl Sink, peer: Peer, context: Arc<Context>) {
    // Also for a client that takes no replies: they would hold their memory for as long as it likes.
    let idle = Duration::from_millis(context.config.connection_idle_ms_max);
    let request_bytes_max = context.config.request_bytes_max;
    let mut frames = FrameReader::new(request_bytes_max);
    let requests = Requests::new(peer, context);
    let waiting = Lane::new(REQUESTS_IN_FLIGHT_MAX);
    let writing = async {
        loop {
            let send = async |reply| timeout(idle, writer.send(reply)).await?;
            if let Err(error) = requests.answer(waiting.pop().await, send).await {
                return error;
            }
        }
    };
    let reading = async {
        loop {
            if frames.is_between_frames() {
                timeout(idle, reader.readable()).await??;
            }
            requests.peer.unmuted().await;
            frames.set_bytes_max(requests.peer.request_bytes_max(request_bytes_max));
            let Some(frame) = timeout(FRAME_TIME_MAX, frames.next(&mut reader)).await?? else {
                return Ok(());
            };
            // It may have begun to arrive before the last reply showed that its sender has to wait.
            requests.peer.unmuted().await;
            waiting.push(requests.start(frame).await?).await;
        }
    };
    // Whichever side ends first ends the other: replies to a client that is gone are not waited for.
    // Reading comes first: what it has pushed is popped in the same turn.
    let ended: io::Result<()> = tokio::select! {
        biased;
        result = reading => result,
        error = writing => Err(error),
    };
    match ended {
        Ok(()) => tracing::trace!(peer = %requests.peer.host, "connection ended"),
        Err(error) => tracing::debug!(peer = %requests.peer.host, %error, "connection closed"),
    }
}

/// Serves frames that come and go in memory, in one process with the client.
pub async fn serve_frames(
    mut inbox: mpsc::Receiver<Bytes>,
    responses: mpsc::Sender<Bytes>,
    peer: Peer,
    context: Arc<Context>,
) {
    let requests = Requests::new(peer, context);
    let waiting = Lane::new(REQUESTS_IN_FLIGHT_MAX);
    let writing = async {
        loop {
            let send = async |reply| responses.send(in_memory(reply).await?).await.map_err(io::Error::other);
            if let Err(error) = requests.answer(waiting.pop().await, send).await {
                return error;
            }
        }
    };
    let reading = async {
        while let Some(frame) = inbox.recv().await {
            waiting.push(requests.start(frame).await?).await;
        }
        Ok(())
    };
    let ended: io::Result<()> = tokio::select! {
        biased;
        result = reading => result,
        error = writing => Err(error),
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %requests.peer.host, %error, "connection closed");
    }
}

/// A reply's frame in one piece.
async fn in_memory(reply: Reply) -> io::Result<Bytes> {
    let read = if reply.has_files() {
        tokio::task::spawn_blocking(move || reply.into_frame()).await.map_err(io::Error::other)?
    } else {
        reply.into_frame()
    };
    read.map_err(io::Error::other)
}
