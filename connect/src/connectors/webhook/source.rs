//! The webhook source: requests as batches, each answered when its records are acknowledged by the cluster.
//!
//! Positions count the records of all runs. Nothing can be read again, so a position is never used twice: they go on after
//! the highest that stands in the topics, committed or not.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Map;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::config::{BodyFormat, WebhookSourceConfig};
use super::server::{Incoming, router};
use crate::connector::{Rows, Source, SourceBatch, SourceContext, SourceOffset};
use crate::error::ConnectorError;

/// Records that are put into one batch, so that many small requests wait for one write; a request is never cut.
const BATCH_SIZE_MIN: usize = 1_000;

/// An address that is listened at.
pub(crate) struct WebhookSource {
    incoming: mpsc::Receiver<Incoming>,
    /// Who is to be told, by the position of their last record.
    waiting: VecDeque<(u64, oneshot::Sender<()>)>,
    position: u64,
    what: String,
    address: SocketAddr,
    server: AbortHandle,
}

impl WebhookSource {
    /// Must be called on a runtime.
    pub(crate) fn open(config: &WebhookSourceConfig, context: SourceContext) -> Result<Self, ConnectorError> {
        let what = format!("listening at {}", config.listen);
        if config.format == BodyFormat::Raw && context.schema.is_some() {
            let reason = "records of the format raw have no columns";
            return Err(ConnectorError::fatal(what, reason).remedy("leave the schema out, or set `format`"));
        }
        // Another attempt of the same task may just be going.
        let taken = |error: std::io::Error| {
            ConnectorError::retriable(&what, error).remedy("set `listen` to an address that is free")
        };
        let listener = TcpListener::bind(&config.listen).map_err(taken)?;
        listener.set_nonblocking(true).map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(taken)?;
        let (sender, incoming) = mpsc::channel(config.requests_max);
        let router = router(config, context.schema, sender);
        let server = tokio::spawn(async move {
            // It ends with the source.
            let _ = axum::serve(listener, router).await;
        });
        let committed = context.offset.map_or(0, |offset| offset.position);
        tracing::info!(connector = context.name, %address, "webhook listens");
        Ok(Self {
            incoming,
            waiting: VecDeque::new(),
            position: committed,
            what,
            address,
            server: server.abort_handle(),
        })
    }

    /// Where it listens.
    #[cfg(test)]
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

#[async_trait]
impl Source for WebhookSource {
    async fn poll(&mut self) -> Result<Option<SourceBatch>, ConnectorError> {
        let (mut raw, mut batches, mut positions) =
            (Vec::<Bytes>::new(), Vec::<RecordBatch>::new(), Vec::new());
        while positions.is_empty() {
            let lost = || ConnectorError::retriable(&self.what, "its server has ended");
            // Nothing is awaited after something was taken.
            let mut next = Some(self.incoming.recv().await.ok_or_else(lost)?);
            while let Some(Incoming { rows, written }) = next {
                // Who has gone may come again with the same.
                if !written.is_closed() {
                    let count = rows.len() as u64;
                    positions.extend(self.position + 1..=self.position + count);
                    self.position += count;
                    self.waiting.push_back((self.position, written));
                    match rows {
                        Rows::Raw(values) => raw.extend(values),
                        Rows::Arrow(batch) => batches.push(batch),
                    }
                }
                next = if positions.len() < BATCH_SIZE_MIN { self.incoming.try_recv().ok() } else { None };
            }
        }
        let rows = match batches.first() {
            Some(first) => {
                let joined = concat_batches(first.schema_ref(), &batches);
                Rows::Arrow(joined.map_err(|error| ConnectorError::fatal(&self.what, error))?)
            }
            None => Rows::Raw(raw),
        };
        let resume = SourceOffset { position: self.position, state: Map::new() };
        Ok(Some(SourceBatch { rows, positions, bad: Vec::new(), resume }))
    }

    fn acknowledged(&mut self, position: u64) {
        while let Some((_, written)) = self.waiting.pop_front_if(|(last, _)| *last <= position) {
            // Its sender may have gone.
            let _ = written.send(());
        }
    }
}

impl Drop for WebhookSource {
    fn drop(&mut self) {
        tracing::debug!(address = %self.address, "webhook listens no more");
        self.server.abort();
    }
}
