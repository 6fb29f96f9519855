//! Queries that rest: they keep their state and their place, and take nothing until they are resumed.

use ottla_client::Client;

use super::{EngineError, Outcome, State};
use crate::sql::Name;

impl State {
    /// Has a query rest, also over restarts. What is in hand is committed first.
    pub(super) async fn pause(&mut self, name: &Name) -> Result<Outcome, EngineError> {
        let name = self.objects.query(name)?.0.kept.name.clone();
        if self.paused.contains(&name) {
            return Ok(Outcome::Done(format!("QUERY {name} is paused already")));
        }
        // Kept first: a query that rests without a record of it would run again after a restart.
        self.store.keep_paused(&name, true).await?;
        self.paused.insert(name.clone());
        if let Some(query) = self.running.get(&name)
            && let Err(error) = query.stop().await
        {
            tracing::warn!(query = name, %error, "the query had failed before it was paused");
        }
        Ok(Outcome::Done(format!("QUERY {name} paused")))
    }

    /// Lets a query go on where it was; one that has failed is started again.
    pub(super) async fn resume_query(
        &mut self,
        client: &Client,
        name: &Name,
    ) -> Result<Outcome, EngineError> {
        let object = self.objects.query(name)?.0.clone();
        let name = object.kept.name.clone();
        let is_running = self.running.get(&name).is_some_and(|query| !query.has_ended());
        if is_running {
            return Ok(Outcome::Done(format!("QUERY {name} is running already")));
        }
        self.start(client, &object).await?;
        self.failed.remove(&name);
        if self.paused.remove(&name) {
            self.store.keep_paused(&name, false).await?;
        }
        Ok(Outcome::Done(format!("QUERY {name} resumed")))
    }
}
