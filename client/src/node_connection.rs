//! A connection from one node of a cluster to another: the layer below producers and consumers, for brokers and controllers that
//! know whom they ask. It is opened when it is used, and anew after it has failed; requests on it are pipelined and answered in order,
//! so what may be parked long has a connection of its own.

use std::sync::Arc;
use std::time::Duration;

use ottla_protocol::{Request, Str};

use crate::connection::Connection;
use crate::error::ClientError;
use crate::pool::connect;
use crate::topic_partition::Endpoint;
use crate::transport::Transport;

/// See the module; cheap to clone, and a clone is the same connection.
#[derive(Clone)]
pub struct NodeConnection(Arc<Shared>);

struct Shared {
    transport: Arc<dyn Transport>,
    endpoint: Endpoint,
    client_id: Str,
    open: tokio::sync::Mutex<Option<Connection>>,
}

impl NodeConnection {
    /// To the node at `host:port`, which is told `client_id` with every request.
    pub fn new(transport: Arc<dyn Transport>, host: &str, port: u16, client_id: &str) -> NodeConnection {
        let endpoint = Endpoint { host: host.to_owned(), port };
        let open = tokio::sync::Mutex::default();
        NodeConnection(Arc::new(Shared { transport, endpoint, client_id: client_id.into(), open }))
    }

    /// Asks in the highest version that both nodes speak, at most this one, and waits for the answer, opening the connection before where it is
    /// not open. So nodes of two releases understand each other.
    ///
    /// # Errors
    /// When the node cannot be reached, speaks no such version or none in which the request can be said, or does not answer in time, which
    /// ends the connection.
    pub async fn call<R: Request>(
        &self,
        request: &R,
        version_max: i16,
        within: Duration,
    ) -> Result<R::Response, ClientError> {
        let connection = self.open(within).await?;
        let version = connection.version_of::<R>(version_max)?;
        connection.submit(request, version, within)?.await
    }

    /// One caller opens it, others wait for the same one.
    async fn open(&self, within: Duration) -> Result<Connection, ClientError> {
        let Shared { transport, endpoint, client_id, open } = &*self.0;
        let mut open = open.lock().await;
        if let Some(connection) = open.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        *open = None;
        let connection = connect(&**transport, endpoint, client_id, within, within).await?;
        Ok(open.insert(connection).clone())
    }
}
