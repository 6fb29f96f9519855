//! The client's own configuration. Producer and consumer have theirs beside them.

use std::time::Duration;

/// How to reach the cluster and how patient to be. Times and sizes default to Kafka's.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// `host:port` of some brokers; the others are learnt from them.
    pub bootstrap_servers: Vec<String>,
    /// Told to the broker with every request, for its logs and quotas.
    pub client_id: String,
    /// How long one request may take before its connection is given up.
    pub request_timeout: Duration,
    /// How long a call may retry.
    pub api_timeout: Duration,
    /// How long opening a connection may take.
    pub connect_timeout: Duration,
    /// The first pause before a retry; it doubles up to `retry_backoff_max`, with jitter.
    pub retry_backoff: Duration,
    /// The longest pause before a retry.
    pub retry_backoff_max: Duration,
    /// Age at which cached metadata is asked for again.
    pub metadata_max_age: Duration,
    /// Whether asking for a topic that does not exist creates it, where the broker allows it.
    pub allow_auto_create_topics: bool,
    /// The largest response frame that is read, in bytes.
    pub frame_len_max: usize,
}

impl Default for ClientConfig {
    fn default() -> ClientConfig {
        ClientConfig {
            bootstrap_servers: vec!["localhost:9092".to_owned()],
            client_id: "ottla".to_owned(),
            request_timeout: Duration::from_secs(30),
            api_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(10),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(1),
            metadata_max_age: Duration::from_secs(300),
            allow_auto_create_topics: true,
            frame_len_max: 256 << 20,
        }
    }
}
