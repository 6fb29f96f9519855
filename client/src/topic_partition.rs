//! The name of a partition, and the host and port of a broker.

use std::fmt;

use crate::error::ClientError;

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    pub topic: String,
    pub partition: i32,
}

impl TopicPartition {
    pub fn new(topic: impl Into<String>, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Where a broker listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Endpoint {
    /// Reads `host:port` or `[v6]:port`.
    pub(crate) fn parse(text: &str) -> Result<Endpoint, ClientError> {
        let wrong = || ClientError::InvalidConfig(format!("bootstrap server \"{text}\" is not HOST:PORT"));
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(wrong)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = port.parse().map_err(|_| wrong())?;
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(Endpoint { host: host.to_owned(), port })
    }

    /// From the fields of a response; a port outside of 0 to 65535 is refused.
    pub(crate) fn from_wire(host: &str, port: i32) -> Option<Endpoint> {
        Some(Endpoint { host: host.to_owned(), port: u16::try_from(port).ok()? })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_and_written_with_v6_in_brackets() {
        for text in ["localhost:9092", "[::1]:9092", "10.0.0.1:1"] {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), text);
        }
        for text in ["localhost", ":9092", "h:x", "h:70000", ""] {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
    }
}
