//! The `ottla.source` header: which record of a topic a dead letter came from.
//!
//! `<connector>/<topic>-<partition>@<offset>`, e.g. `to_db/flights-2@4711`, on the dead letters of a sink. After a crash it
//! tells which were already written though the offset was not yet committed in the target.

use bytes::Bytes;
use ottla_client::Header;

/// The header's key.
pub(crate) const HEADER: &str = "ottla.source";

/// The records of one partition that one sink reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// `<connector>/<partition>@`
    prefix: String,
}

impl Origin {
    /// `partition` is `<topic>-<partition>`.
    pub(crate) fn new(connector: &str, partition: &str) -> Self {
        Self { prefix: format!("{connector}/{partition}@") }
    }

    pub(crate) fn header(&self, position: u64) -> Header {
        Header { key: HEADER.into(), value: Some(Bytes::from(format!("{}{position}", self.prefix))) }
    }

    /// The position in a record's header, if the record is of this origin.
    pub(crate) fn position(&self, headers: &[Header]) -> Option<u64> {
        let header = headers.iter().find(|header| header.key == HEADER)?;
        let text = std::str::from_utf8(header.value.as_deref()?).ok()?;
        text.strip_prefix(&self.prefix)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_its_own_position_and_nobody_elses() {
        let origin = Origin::new("csv", "0a");
        let headers = [origin.header(42)];
        assert_eq!(headers[0].value.as_deref(), Some(&b"csv/0a@42"[..]));
        assert_eq!(origin.position(&headers), Some(42));
        assert_eq!(Origin::new("csv", "0b").position(&headers), None);
        assert_eq!(Origin::new("cs", "0a").position(&headers), None);
        let odd = [Header { key: HEADER.into(), value: Some(Bytes::from_static(b"csv/0a@4x")) }];
        assert_eq!(origin.position(&odd), None);
        assert_eq!(origin.position(&[]), None);
    }
}
