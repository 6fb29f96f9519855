//! The connectors of this process, as far as plugins are concerned: what they may call, and who has them once they are there.

use std::collections::BTreeMap;

use async_trait::async_trait;
use axum::http::StatusCode;
use bytes::Bytes;
use ottla_client::Client;
use ottla_connect::{ConnectorError, Herder, HerderError, InstalledPlugins};
use ottla_streams::engine::{EngineError, installed_plugins};
use tokio::sync::watch;

use crate::pipelines_api::Refusal;

/// The plugins that are installed in the cluster.
pub struct ClusterPlugins(pub Client);

#[async_trait]
impl InstalledPlugins for ClusterPlugins {
    async fn worlds(&self) -> Result<BTreeMap<String, String>, ConnectorError> {
        let (all, _) = installed_plugins(&self.0, &[]).await.map_err(|error| unread(&error))?;
        Ok(all.into_iter().map(|(name, plugin)| (name, plugin.world)).collect())
    }

    async fn component(&self, name: &str) -> Result<Option<Bytes>, ConnectorError> {
        let found = installed_plugins(&self.0, &[name.to_owned()]).await;
        let (_, mut components) = found.map_err(|error| unread(&error))?;
        Ok(components.remove(name))
    }
}

fn unread(error: &EngineError) -> ConnectorError {
    let what = "reading the installed plugins";
    match error {
        EngineError::Client(client) if ottla_connect::worker::may_pass(client) => {
            ConnectorError::retriable(what, client)
        }
        other => ConnectorError::fatal(what, other),
    }
}

/// The worker of connectors of this process, which starts while others wait for it.
#[derive(Clone)]
pub struct Connectors(watch::Receiver<Option<Herder>>);

impl Connectors {
    /// With what tells it when it has started.
    pub fn starting() -> (watch::Sender<Option<Herder>>, Connectors) {
        let (started, starting) = watch::channel(None);
        (started, Connectors(starting))
    }

    /// Once it has started and knows its connectors.
    ///
    /// # Errors
    /// When that takes too long, or the server ends before.
    pub async fn herder(&self) -> Result<Herder, Refusal> {
        let mut starting = self.0.clone();
        let found = starting.wait_for(Option::is_some).await.map(|found| found.clone());
        let ending = || Refusal::of(StatusCode::SERVICE_UNAVAILABLE, "the server is going away");
        let herder = found.ok().flatten().ok_or_else(ending)?;
        herder.loaded().await?;
        Ok(herder)
    }
}

impl From<HerderError> for Refusal {
    fn from(error: HerderError) -> Refusal {
        Refusal::of(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
    }
}
