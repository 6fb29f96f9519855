//! The way to the coordinator of a group or a transactional id: found by any broker, remembered, and found again when it
//! moves.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ottla_protocol::messages::FindCoordinatorRequest;
use ottla_protocol::{ApiKey, ErrorCode, Request, Str};

use crate::cluster::Cluster;
use crate::connection::Connection;
use crate::error::ClientError;
use crate::pool::Lane;
use crate::topic_partition::Endpoint;

/// FindCoordinator names one key up to here, several from the next version on (KIP-699).
const FIND_ONE_KEY_VERSION_MAX: i16 = 3;

/// What is coordinated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyType {
    Group,
    Transaction,
}

impl KeyType {
    fn code(self) -> i8 {
        match self {
            KeyType::Group => 0,
            KeyType::Transaction => 1,
        }
    }

    fn name(self) -> &'static str {
        match self {
            KeyType::Group => "group",
            KeyType::Transaction => "transactional id",
        }
    }
}

/// Where a group or a transactional id is coordinated.
pub(crate) struct Coordinator {
    pub(crate) cluster: Arc<Cluster>,
    /// The group's id, or the transactional id.
    pub(crate) key: Str,
    key_type: KeyType,
    known: Mutex<Option<Endpoint>>,
}

impl Coordinator {
    pub(crate) fn of_group(cluster: Arc<Cluster>, group_id: &str) -> Coordinator {
        Coordinator { cluster, key: group_id.into(), key_type: KeyType::Group, known: Mutex::default() }
    }

    pub(crate) fn of_transactional_id(cluster: Arc<Cluster>, transactional_id: &str) -> Coordinator {
        let (key, key_type) = (transactional_id.into(), KeyType::Transaction);
        Coordinator { cluster, key, key_type, known: Mutex::default() }
    }

    /// For errors: an API, and whose coordinator is asked.
    fn what(&self, api: ApiKey) -> String {
        format!("{api} of {} {}", self.key_type.name(), self.key)
    }

    /// A connection to the coordinator, found if it is not known. Tries once.
    pub(crate) async fn connection(&self, lane: Lane) -> Result<Connection, ClientError> {
        let known = self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        let endpoint = match known {
            Some(endpoint) => endpoint,
            None => self.find().await?,
        };
        let connection = self.cluster.pool.get(&endpoint, lane).await;
        if connection.is_err() {
            self.forget();
        }
        connection
    }

    /// After an answer or a lost connection says that the coordinator is elsewhere.
    pub(crate) fn forget(&self) {
        *self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
    }

    async fn find(&self) -> Result<Endpoint, ClientError> {
        let connection = self.cluster.any().await?;
        let version = connection.version_of::<FindCoordinatorRequest>(i16::MAX)?;
        let key = self.key.clone();
        let mut request = FindCoordinatorRequest { key_type: self.key_type.code(), ..Default::default() };
        if version <= FIND_ONE_KEY_VERSION_MAX {
            request.key = key;
        } else {
            request.coordinator_keys = vec![key];
        }
        let response = connection.submit(&request, version, self.cluster.config.request_timeout)?.await?;
        let (code, host, port) = match response.coordinators.first() {
            Some(found) => (found.error_code, &found.host, found.port),
            None => (response.error_code, &response.host, response.port),
        };
        let what = || format!("finding the coordinator of {} {}", self.key_type.name(), self.key);
        crate::error::check(code, what)?;
        let endpoint = Endpoint::from_wire(host, port)
            .ok_or_else(|| ClientError::broker(what(), ErrorCode::CoordinatorNotAvailable))?;
        *self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(endpoint.clone());
        Ok(endpoint)
    }

    /// Sends to the coordinator once. `code` finds the error that decides in the response; one that says the
    /// coordinator is elsewhere makes it forgotten, so that the next try finds it anew.
    pub(crate) async fn send<R: Request>(
        &self,
        lane: Lane,
        version_max: i16,
        timeout: Duration,
        request: impl FnOnce(i16) -> R,
        code: impl FnOnce(&R::Response) -> i16,
    ) -> Result<R::Response, ClientError> {
        let connection = self.connection(lane).await?;
        let version = connection.version_of::<R>(version_max)?;
        let answer = connection.submit(&request(version), version, timeout)?;
        let response = match answer.await {
            Ok(response) => response,
            Err(error) => {
                self.forget();
                return Err(error);
            }
        };
        let code = ErrorCode::from_code(code(&response));
        if matches!(code, ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable) {
            self.forget();
        }
        if code != ErrorCode::None {
            return Err(ClientError::broker(self.what(R::API_KEY), code));
        }
        Ok(response)
    }

    /// As [`send`](Coordinator::send), retrying what is retriable.
    pub(crate) async fn send_retrying<R: Request>(
        &self,
        version_max: i16,
        request: impl Fn(i16) -> R,
        code: impl Fn(&R::Response) -> i16,
    ) -> Result<R::Response, ClientError> {
        self.cluster
            .retry(
                || self.what(R::API_KEY),
                async || {
                    let timeout = self.cluster.config.request_timeout;
                    self.send(Lane::Control, version_max, timeout, &request, &code).await
                },
            )
            .await
    }
}
