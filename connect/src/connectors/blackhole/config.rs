//! The config of the blackhole sink, and the sink, which is hardly more.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::connector::{ConsumedOffset, Rejected, Sink, SinkBatch, SinkContext};
use crate::error::{ConnectorError, FieldError};
use crate::registry::{CheckConfig, SinkConfig};

/// Takes every record and keeps none. It keeps no offsets either: a task that starts again reads its topic from the start.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BlackholeSinkConfig {}

impl CheckConfig for BlackholeSinkConfig {
    fn check(&self) -> Vec<FieldError> {
        Vec::new()
    }
}

impl SinkConfig for BlackholeSinkConfig {
    fn open(&self, _: SinkContext) -> Result<Box<dyn Sink>, ConnectorError> {
        Ok(Box::new(Blackhole))
    }
}

struct Blackhole;

#[async_trait]
impl Sink for Blackhole {
    async fn committed(&mut self) -> Result<Vec<ConsumedOffset>, ConnectorError> {
        Ok(Vec::new())
    }

    async fn write(&mut self, _: SinkBatch) -> Result<Vec<Rejected>, ConnectorError> {
        Ok(Vec::new())
    }

    async fn commit(&mut self, _: &[ConsumedOffset]) -> Result<(), ConnectorError> {
        Ok(())
    }
}
