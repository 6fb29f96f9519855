//! The client's own configuration. Producer and consumer have theirs beside them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::error::ClientError;
use crate::security::{ClientSecurity, parse_properties};

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
    /// Encryption and authentication of connections over TCP.
    pub security: ClientSecurity,
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
            security: ClientSecurity::default(),
        }
    }
}

impl ClientConfig {
    /// As [`with_properties`](ClientConfig::with_properties), of a file as Kafka's tools take it by `--command-config`.
    ///
    /// # Errors
    /// [`ClientError::InvalidConfig`] that names the file, and what is wrong with it.
    pub fn with_properties_file(self, path: &Path) -> Result<ClientConfig, ClientError> {
        let wrong = |reason: &dyn std::fmt::Display| {
            ClientError::InvalidConfig(format!("{}: {reason}", path.display()))
        };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
        self.with_properties(&parse_properties(&text)).map_err(|error| match error {
            ClientError::InvalidConfig(reason) => wrong(&reason),
            error => error,
        })
    }

    /// Takes over what Kafka's clients are told by properties of the same meaning (`bootstrap.servers`, `client.id`,
    /// `request.timeout.ms`, `default.api.timeout.ms`, `retry.backoff.ms`, `metadata.max.age.ms`, … and those of
    /// [`ClientSecurity::from_properties`]). Properties that mean nothing here are left alone, since one file serves many
    /// tools.
    ///
    /// # Errors
    /// [`ClientError::InvalidConfig`] that names the property.
    pub fn with_properties(
        mut self,
        properties: &BTreeMap<String, String>,
    ) -> Result<ClientConfig, ClientError> {
        let times = [
            ("request.timeout.ms", &mut self.request_timeout),
            ("default.api.timeout.ms", &mut self.api_timeout),
            ("socket.connection.setup.timeout.ms", &mut self.connect_timeout),
            ("retry.backoff.ms", &mut self.retry_backoff),
            ("retry.backoff.max.ms", &mut self.retry_backoff_max),
            ("metadata.max.age.ms", &mut self.metadata_max_age),
        ];
        for (name, time) in times {
            if let Some(text) = properties.get(name) {
                let wrong =
                    |_| ClientError::InvalidConfig(format!("{name} {text} is no number of milliseconds"));
                *time = Duration::from_millis(text.trim().parse().map_err(wrong)?);
            }
        }
        if let Some(servers) = properties.get("bootstrap.servers") {
            self.bootstrap_servers = servers.split(',').map(|server| server.trim().to_owned()).collect();
        }
        if let Some(client_id) = properties.get("client.id") {
            self.client_id = client_id.trim().to_owned();
        }
        self.security = ClientSecurity::from_properties(properties)?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::SecurityProtocol;

    #[test]
    fn properties_of_kafkas_clients_are_taken_over_and_strange_ones_left_alone() {
        let text = "bootstrap.servers=a:1, b:2\nrequest.timeout.ms=1500\nacks=all\nsecurity.protocol=SSL\n";
        let config = ClientConfig::default().with_properties(&parse_properties(text)).unwrap();
        assert_eq!(config.bootstrap_servers, ["a:1", "b:2"]);
        assert_eq!(config.request_timeout, Duration::from_millis(1500));
        assert_eq!(config.security.protocol, SecurityProtocol::Ssl);
        let wrong = parse_properties("request.timeout.ms=soon");
        let error = ClientConfig::default().with_properties(&wrong).unwrap_err();
        assert!(error.to_string().contains("request.timeout.ms"), "{error}");
    }
}
