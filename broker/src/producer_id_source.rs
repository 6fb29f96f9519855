//! Giving ids to producers out of blocks that the active controller gives to this broker (KIP-730).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::active_controller::ActiveController;
use crate::controller::{ControllerError, ProducerIdBlock};
use crate::coordinator::ProducerIds;

/// Gives out the ids of one block after the other; cheap to clone.
#[derive(Clone)]
pub struct ProducerIdSource {
    controller: ActiveController,
    block: Arc<Mutex<ProducerIdBlock>>,
}

impl ProducerIdSource {
    /// Asks the controller for a block when the first id is wanted.
    pub fn new(controller: ActiveController) -> ProducerIdSource {
        ProducerIdSource { controller, block: Arc::new(Mutex::new(ProducerIdBlock { next: 0, end: 0 })) }
    }

    /// A producer id that was never given out before.
    ///
    /// # Errors
    /// When the controller gives none.
    pub async fn next_id(&self) -> Result<i64, ControllerError> {
        loop {
            if let Some(id) = self.block().take() {
                return Ok(id);
            }
            let block = self.controller.producer_ids().await?;
            // Another request may have brought a block too; the ids of the one that loses are never used.
            *self.block() = block;
        }
    }

    fn block(&self) -> MutexGuard<'_, ProducerIdBlock> {
        self.block.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProducerIds for ProducerIdSource {
    fn next(&self) -> BoxFuture<'static, Option<i64>> {
        let this = self.clone();
        async move {
            let next = this.next_id().await;
            next.inspect_err(|error| tracing::error!(%error, "no producer id can be given")).ok()
        }
        .boxed()
    }
}
