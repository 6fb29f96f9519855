//! The HTTP sink: records in requests, several at a time where the config says so.
//!
//! The target keeps no offsets, so they are in the connector's group and a record that was sent just before a crash is sent
//! again.

use async_trait::async_trait;
use ottla_formats::{Format as _, JsonFormat};

use super::bodies::{Limits, fits};
use super::config::{Body, HttpSinkConfig};
use super::delivery::Delivery;
use super::lanes::Lanes;
use super::requests::Requests;
use crate::connector::{Answers, ConsumedOffset, Rejected, Rows, Sink, SinkBatch};
use crate::error::ConnectorError;

/// An endpoint being sent to.
pub(crate) struct HttpSink {
    lanes: Lanes,
    body: Body,
    what: String,
}

impl HttpSink {
    /// Must be called on a runtime.
    pub(crate) fn open(config: &HttpSinkConfig) -> Result<Self, ConnectorError> {
        let delivery = Delivery::new(Requests::new(config.endpoint()?)?, config.method.into(), config.body);
        let records_max = if config.body == Body::Single { 1 } else { config.batch_size };
        let limits = Limits { records_max, bytes_max: config.batch_bytes_max };
        Ok(Self {
            body: config.body,
            what: delivery.what().to_owned(),
            lanes: Lanes::start(delivery, config.max_in_flight_requests, config.order, limits),
        })
    }
}

#[async_trait]
impl Sink for HttpSink {
    async fn committed(&mut self) -> Result<Vec<ConsumedOffset>, ConnectorError> {
        Ok(Vec::new())
    }

    async fn write(&mut self, batch: SinkBatch) -> Result<Vec<Rejected>, ConnectorError> {
        self.take(0, batch).await?.await
    }

    async fn take(&mut self, partition: i32, batch: SinkBatch) -> Result<Answers, ConnectorError> {
        let (values, is_json) = match batch.rows {
            Rows::Arrow(rows) => {
                // Some megabytes take some milliseconds: too long for a thread that serves connections.
                let encoded = tokio::task::spawn_blocking(move || JsonFormat.encode(&rows)).await;
                let encoded = encoded.map_err(|lost| ConnectorError::fatal(&self.what, lost))?;
                (encoded.map_err(|error| ConnectorError::fatal(&self.what, error))?, true)
            }
            Rows::Raw(values) => (values, false),
        };
        let mut unfit = Vec::new();
        let mut records = Vec::with_capacity(values.len());
        let mut keys = batch.keys.into_iter();
        for (row, value) in values.into_iter().enumerate() {
            let key = keys.next().flatten();
            // What is encoded here is JSON.
            match if is_json { Ok(()) } else { fits(self.body, &value) } {
                Ok(()) => records.push((row, key, value)),
                Err(reason) => unfit.push(Rejected { row, reason }),
            }
        }
        let answers = self.lanes.give(partition, is_json, records);
        Ok(Box::pin(async move {
            let mut rejected = answers.await?;
            rejected.extend(unfit);
            rejected.sort_by_key(|rejected| rejected.row);
            Ok(rejected)
        }))
    }

    fn takes_ahead(&self) -> bool {
        true
    }

    /// Everything that counts was delivered before.
    async fn commit(&mut self, _: &[ConsumedOffset]) -> Result<(), ConnectorError> {
        Ok(())
    }
}
