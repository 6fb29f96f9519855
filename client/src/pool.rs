//! Connections by broker address, opened when first needed and again after they end, with a pause after failures.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ottla_protocol::Str;
use tokio::time::Instant;
use tracing::debug;

use crate::backoff::backoff;
use crate::config::ClientConfig;
use crate::connection::Connection;
use crate::error::ClientError;
use crate::security::refusal;
use crate::topic_partition::Endpoint;
use crate::transport::Transport;

/// Answers come in order within a connection, so what may be parked long (a fetch, a join) gets a lane, that is a
/// connection, of its own and holds up nobody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// Short requests of everyone.
    Control,
    /// Produce requests of one producer.
    Produce(u64),
    /// Fetch requests of one consumer; the second number tells apart fetches that overlap.
    Fetch(u64, u8),
    /// Joins, syncs and heartbeats of one consumer.
    Group(u64),
}

impl Lane {
    fn owner(self) -> Option<u64> {
        match self {
            Lane::Control => None,
            Lane::Produce(owner) | Lane::Fetch(owner, _) | Lane::Group(owner) => Some(owner),
        }
    }
}

type Slots = HashMap<(Endpoint, Lane), Arc<tokio::sync::Mutex<Slot>>>;

#[derive(Default)]
struct Slot {
    connection: Option<Connection>,
    failures: u32,
    retry_at: Option<Instant>,
}

/// All connections of a client.
pub(crate) struct Pool {
    transport: Arc<dyn Transport>,
    config: ClientConfig,
    slots: Mutex<Slots>,
}

impl Pool {
    pub(crate) fn new(config: ClientConfig, transport: Arc<dyn Transport>) -> Pool {
        Pool { transport, config, slots: Mutex::default() }
    }

    /// An open connection to the broker. One caller opens it, others wait for the same one.
    pub(crate) async fn get(&self, endpoint: &Endpoint, lane: Lane) -> Result<Connection, ClientError> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            slots.entry((endpoint.clone(), lane)).or_default().clone()
        };
        let mut slot = slot.lock().await;
        if let Some(connection) = slot.connection.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        slot.connection = None;
        if let Some(retry_at) = slot.retry_at {
            tokio::time::sleep_until(retry_at).await;
        }
        match self.open(endpoint).await {
            Ok(connection) => {
                debug!(address = %endpoint, ?lane, "connected");
                *slot = Slot { connection: Some(connection.clone()), failures: 0, retry_at: None };
                Ok(connection)
            }
            Err(error) => {
                let pause = backoff(self.config.retry_backoff, self.config.retry_backoff_max, slot.failures);
                slot.failures = slot.failures.saturating_add(1);
                slot.retry_at = Some(Instant::now() + pause);
                Err(error)
            }
        }
    }

    async fn open(&self, endpoint: &Endpoint) -> Result<Connection, ClientError> {
        let ClientConfig { client_id, connect_timeout, request_timeout, .. } = &self.config;
        let client_id = Str::from(client_id.as_str());
        connect(&*self.transport, endpoint, &client_id, *connect_timeout, *request_timeout).await
    }

    /// Lets go of one lane's connections; the next request opens a fresh one.
    pub(crate) fn release_lane(&self, lane: Lane) {
        let mut slots = self.slots.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        slots.retain(|(_, each), _| *each != lane);
    }

    /// Lets go of the connections of a producer or consumer that is done.
    pub(crate) fn release(&self, owner: u64) {
        let mut slots = self.slots.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        slots.retain(|(_, lane), _| lane.owner() != Some(owner));
    }
}

/// Opens a connection; each step of its greeting may take as long as a request.
pub(crate) async fn connect(
    transport: &dyn Transport,
    endpoint: &Endpoint,
    client_id: &Str,
    connect_timeout: Duration,
    request_timeout: Duration,
) -> Result<Connection, ClientError> {
    let failed = |reason| ClientError::Connect { address: endpoint.to_string(), reason: Arc::new(reason) };
    let connecting = transport.connect(&endpoint.host, endpoint.port);
    let frames = match tokio::time::timeout(connect_timeout, connecting).await {
        Ok(Ok(frames)) => frames,
        Ok(Err(error)) => match refusal(&error) {
            Some(reason) => {
                return Err(ClientError::Tls { address: endpoint.to_string(), reason: reason.to_string() });
            }
            None => return Err(failed(error)),
        },
        Err(_) => return Err(failed(std::io::ErrorKind::TimedOut.into())),
    };
    let address = endpoint.to_string().into();
    Connection::open(frames, address, client_id.clone(), request_timeout).await
}
