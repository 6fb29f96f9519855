//! The way to a broker: any one, one by id, or the controller, with retries until the call's time is up. Owns the
//! metadata cache and the pool of connections; knows nothing of what the requests mean.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use ottla_protocol::messages::k03_metadata::MetadataRequestTopic;
use ottla_protocol::messages::{MetadataRequest, MetadataResponse};
use ottla_protocol::{ErrorCode, Request};
use tokio::time::Instant;
use tracing::debug;

use crate::backoff::Backoff;
use crate::config::ClientConfig;
use crate::connection::Connection;
use crate::error::ClientError;
use crate::metadata::{Metadata, TopicDescription, TopicErrors};
use crate::pool::{Lane, Pool};
use crate::topic_partition::Endpoint;
use crate::transport::Transport;

/// After how long a coordinator that is still at work on the transaction before is asked again.
const CONCURRENT_TRANSACTIONS_PAUSE: Duration = Duration::from_millis(10);

/// Shared by a client and everything made from it.
pub(crate) struct Cluster {
    pub(crate) config: ClientConfig,
    pub(crate) pool: Pool,
    bootstrap: Vec<Endpoint>,
    metadata: RwLock<Arc<Metadata>>,
    /// One refresh at a time; it also numbers them, so that waiters can tell whether theirs was done meanwhile.
    refreshing: tokio::sync::Mutex<()>,
    next_owner: AtomicU64,
}

impl Cluster {
    pub(crate) fn new(config: ClientConfig, transport: Arc<dyn Transport>) -> Result<Cluster, ClientError> {
        let bootstrap = config
            .bootstrap_servers
            .iter()
            .flat_map(|list| list.split(','))
            .map(Endpoint::parse)
            .collect::<Result<Vec<_>, _>>()?;
        if bootstrap.is_empty() {
            return Err(ClientError::InvalidConfig("bootstrap_servers is empty".to_owned()));
        }
        Ok(Cluster {
            pool: Pool::new(config.clone(), transport),
            config,
            bootstrap,
            metadata: RwLock::default(),
            refreshing: tokio::sync::Mutex::default(),
            next_owner: AtomicU64::new(1),
        })
    }

    /// A number for a producer or consumer, by which it owns its connections.
    pub(crate) fn new_owner(&self) -> u64 {
        self.next_owner.fetch_add(1, Ordering::Relaxed)
    }

    /// What is known now.
    pub(crate) fn metadata(&self) -> Arc<Metadata> {
        self.metadata.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    pub(crate) fn backoff(&self) -> Backoff {
        Backoff::new(self.config.retry_backoff, self.config.retry_backoff_max)
    }

    /// A connection to whichever broker answers first: those known, then those configured.
    pub(crate) async fn any(&self) -> Result<Connection, ClientError> {
        let known: BTreeSet<Endpoint> = self.metadata().brokers.values().cloned().collect();
        let mut last = None;
        for endpoint in known.iter().chain(self.bootstrap.iter().filter(|each| !known.contains(each))) {
            match self.pool.get(endpoint, Lane::Control).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| ClientError::InvalidConfig("bootstrap_servers is empty".to_owned())))
    }

    /// A connection to the broker of that id. An unknown id is retriable: metadata may not have it yet.
    pub(crate) async fn broker(&self, broker_id: i32, lane: Lane) -> Result<Connection, ClientError> {
        let metadata = self.metadata();
        let Some(endpoint) = metadata.brokers.get(&broker_id) else {
            return Err(ClientError::broker(
                format!("looking up broker {broker_id}"),
                ErrorCode::LeaderNotAvailable,
            ));
        };
        self.pool.get(endpoint, lane).await
    }

    /// Retries `attempt` after retriable errors until the API timeout.
    pub(crate) async fn retry<T, F>(
        &self,
        what: impl Fn() -> String,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let started_at = Instant::now();
        let mut backoff = self.backoff();
        loop {
            let error = match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) if error.is_retriable() => error,
                Err(error) => return Err(error),
            };
            let pause = match error.code() {
                // The end of the transaction before is being written, which takes milliseconds.
                Some(ErrorCode::ConcurrentTransactions) => CONCURRENT_TRANSACTIONS_PAUSE,
                _ => backoff.next(),
            };
            let waited = started_at.elapsed();
            if waited + pause >= self.config.api_timeout {
                return Err(ClientError::Timeout { what: what(), waited, last: Arc::new(error) });
            }
            debug!(what = what(), %error, "retrying");
            tokio::time::sleep(pause).await;
        }
    }

    /// Sends to any broker, retrying connection errors.
    pub(crate) async fn send_any<R: Request>(&self, request: &R) -> Result<R::Response, ClientError> {
        self.retry(
            || format!("sending {}", R::API_KEY),
            async || self.any().await?.send(request, self.config.request_timeout).await,
        )
        .await
    }

    /// Sends to one broker, retrying connection errors.
    pub(crate) async fn send_broker<R: Request>(
        &self,
        broker_id: i32,
        request: &R,
    ) -> Result<R::Response, ClientError> {
        self.retry(
            || format!("sending {} to broker {broker_id}", R::API_KEY),
            async || {
                if !self.metadata().brokers.contains_key(&broker_id) {
                    self.refresh(Some(&[]), false).await?;
                }
                let connection = self.broker(broker_id, Lane::Control).await?;
                connection.send(request, self.config.request_timeout).await
            },
        )
        .await
    }

    /// Sends to the controller, or to any broker while none is known (with KRaft any broker passes it on).
    pub(crate) async fn send_controller<R: Request>(&self, request: &R) -> Result<R::Response, ClientError> {
        self.retry(
            || format!("sending {}", R::API_KEY),
            async || {
                let connection = match self.metadata().controller_id {
                    Some(id) => match self.broker(id, Lane::Control).await {
                        Ok(connection) => connection,
                        Err(_) => self.any().await?,
                    },
                    None => self.any().await?,
                };
                connection.send(request, self.config.request_timeout).await
            },
        )
        .await
    }

    /// Asks once for the metadata of the topics (`None`: of all) and renews the cache with it.
    pub(crate) async fn refresh(
        &self,
        topics: Option<&[&str]>,
        auto_create: bool,
    ) -> Result<(MetadataResponse, TopicErrors), ClientError> {
        let _one_at_a_time = self.refreshing.lock().await;
        self.refresh_now(topics, auto_create).await
    }

    async fn refresh_now(
        &self,
        topics: Option<&[&str]>,
        auto_create: bool,
    ) -> Result<(MetadataResponse, TopicErrors), ClientError> {
        let connection = self.any().await?;
        let version = connection.version_of::<MetadataRequest>(i16::MAX)?;
        // In version 0 null cannot be said; there an empty list asks for every topic.
        let topics = match topics {
            None if version == 0 => Some(Vec::new()),
            None => None,
            Some(names) => Some(
                names
                    .iter()
                    .map(|name| MetadataRequestTopic { name: Some((*name).into()), ..Default::default() })
                    .collect(),
            ),
        };
        let request = MetadataRequest {
            topics,
            // Before version 4 the broker always creates; saying otherwise could not be encoded.
            allow_auto_topic_creation: auto_create || version < 4,
            ..Default::default()
        };
        let response = connection.submit(&request, version, self.config.request_timeout)?.await?;
        crate::error::check(response.error_code, || "asking for metadata".to_owned())?;
        let mut metadata = self.metadata.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (next, errors) = metadata.updated(&response, Instant::now());
        *metadata = Arc::new(next);
        Ok((response, errors))
    }

    /// Forgets topics, because they are being made or deleted.
    pub(crate) fn forget_topics(&self, names: &[&str]) {
        let mut metadata = self.metadata.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        *metadata = Arc::new(metadata.without(names));
    }

    /// The topic, from the cache if it is young enough. A missing topic is waited for (and created, if that is
    /// allowed) until the API timeout.
    pub(crate) async fn topic(&self, name: &str) -> Result<Arc<TopicDescription>, ClientError> {
        self.topic_within(name, self.config.api_timeout, self.config.allow_auto_create_topics).await
    }

    pub(crate) async fn topic_within(
        &self,
        name: &str,
        time: Duration,
        auto_create: bool,
    ) -> Result<Arc<TopicDescription>, ClientError> {
        let cached = |cluster: &Cluster| {
            let metadata = cluster.metadata();
            let topic = metadata.topic(name, Instant::now(), cluster.config.metadata_max_age);
            topic.map(|topic| topic.description.clone())
        };
        if let Some(topic) = cached(self) {
            return Ok(topic);
        }
        let started_at = Instant::now();
        let mut backoff = self.backoff();
        loop {
            let asked = {
                let _one_at_a_time = self.refreshing.lock().await;
                // Whoever held the lock before may have asked for the same topic.
                if let Some(topic) = cached(self) {
                    return Ok(topic);
                }
                self.refresh_now(Some(&[name]), auto_create).await
            };
            let (error, was_told) = match asked {
                Ok((_, errors)) => match (cached(self), errors.get(name)) {
                    (Some(topic), _) => return Ok(topic),
                    // What was answered is forgotten already, by somebody who makes, deletes or describes it, too.
                    (None, None) => {
                        let code = ErrorCode::UnknownTopicOrPartition;
                        (ClientError::broker(format!("looking up topic {name}"), code), false)
                    }
                    (None, Some(code)) => {
                        (ClientError::broker(format!("looking up topic {name}"), *code), true)
                    }
                },
                Err(error) => (error, true),
            };
            // A topic that nobody will create will not come by waiting.
            let hopeless =
                was_told && !auto_create && error.code() == Some(ErrorCode::UnknownTopicOrPartition);
            if !error.is_retriable() || hopeless {
                return Err(error);
            }
            let pause = backoff.next();
            let waited = started_at.elapsed();
            if waited + pause >= time {
                let what = format!("looking up topic {name}");
                return Err(ClientError::Timeout { what, waited, last: Arc::new(error) });
            }
            tokio::time::sleep(pause).await;
        }
    }
}
