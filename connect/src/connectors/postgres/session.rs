//! Connections: each call has a time limit, and an error says whether it may pass.

use std::future::Future;
use std::time::Duration;

use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, NoTls};

use super::config::Place;
use super::tls::Tls;
use crate::error::ConnectorError;

/// A connection; what it has begun and not committed is rolled back when it is dropped.
pub(super) struct Session {
    pub(super) client: Client,
    timeout: Duration,
    what: String,
}

/// What a session has for its own, whatever a user's or a database's defaults are: times in UTC, and numbers and
/// intervals in full.
const SETTINGS: &str =
    "SET TIME ZONE 'UTC'; SET datestyle = 'ISO'; SET intervalstyle = 'iso_8601'; SET extra_float_digits = 1";

impl Session {
    pub(super) async fn connect(place: &Place, what: &str, name: &str) -> Result<Session, ConnectorError> {
        let config = place.connection().map_err(|reason| ConnectorError::fatal("reading `url`", reason));
        let mut config = config?;
        config.application_name(format!("ottla connector {name}"));
        let timeout = Duration::from_millis(place.timeout_ms.into());
        let what = what.to_owned();
        let too_long = |_| ConnectorError::retriable(&what, "connecting takes too long");
        let client = if config.get_ssl_mode() == SslMode::Require {
            let tls = Tls::new(place.ca_file.as_deref());
            let tls = tls.map_err(|reason| ConnectorError::fatal("reading `ca_file`", reason))?;
            let connected = tokio::time::timeout(timeout, config.connect(tls)).await.map_err(too_long)?;
            let (client, connection) = connected.map_err(|error| told(&what, &error))?;
            // Whoever uses it hears of its errors.
            tokio::spawn(async move { drop(connection.await) });
            client
        } else {
            let connected = tokio::time::timeout(timeout, config.connect(NoTls)).await.map_err(too_long)?;
            let (client, connection) = connected.map_err(|error| told(&what, &error))?;
            tokio::spawn(async move { drop(connection.await) });
            client
        };
        let session = Session { client, timeout, what };
        session.call(session.client.batch_execute(SETTINGS)).await?;
        Ok(session)
    }

    /// Waits for an answer, but not for ever.
    pub(super) async fn call<T>(
        &self,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, ConnectorError> {
        self.wait(answer).await?.map_err(|error| told(&self.what, &error))
    }

    /// As [`call`](Session::call), but an error about the rows alone is given back as its reason.
    pub(super) async fn call_with_rows<T>(
        &self,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<Result<T, String>, ConnectorError> {
        match self.wait(answer).await? {
            Ok(done) => Ok(Ok(done)),
            Err(error) if error.code().is_some_and(is_about_rows) => Ok(Err(described(&error))),
            Err(error) => Err(told(&self.what, &error)),
        }
    }

    async fn wait<T>(
        &self,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<Result<T, Error>, ConnectorError> {
        let too_long = |_| ConnectorError::retriable(&self.what, "the database takes too long to answer");
        tokio::time::timeout(self.timeout, answer).await.map_err(too_long)
    }
}

/// Data exceptions, broken constraints, a row touched twice, and what triggers raise.
fn is_about_rows(code: &SqlState) -> bool {
    ["22", "23", "21", "P0"].iter().any(|class| code.code().starts_with(class))
}

/// Connections lost, too little of something, the server going, locks and serialization: all may pass.
fn may_pass(code: &SqlState) -> bool {
    ["08", "53", "57", "58", "40", "55"].iter().any(|class| code.code().starts_with(class))
}

fn remedy(code: &SqlState) -> Option<&'static str> {
    match code.code() {
        "28000" | "28P01" => Some("set `username` and `password`"),
        "3D000" => Some("make the database, or name another in `url`"),
        "42501" => Some("grant the user what it needs, or set `username`"),
        "42P01" => Some("make the table, or set `table` and `table_schema`"),
        "42703" => Some("give the table this column, or the records another schema"),
        "42P10" => {
            Some("the table has no such primary key: set `primary_key` to the columns of a unique one")
        }
        _ => None,
    }
}

/// An error in the server's words, with what it says besides.
fn described(error: &Error) -> String {
    match error.as_db_error() {
        Some(error) => match error.detail() {
            Some(detail) => format!("{} ({detail})", error.message()),
            None => error.message().to_owned(),
        },
        None => {
            let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
            format!("{error}{}", cause.unwrap_or_default())
        }
    }
}

fn told(what: &str, error: &Error) -> ConnectorError {
    let reason = described(error);
    match error.code() {
        // Without a code it is the connection.
        None => ConnectorError::retriable(what, reason),
        Some(code) if may_pass(code) => ConnectorError::retriable(what, reason),
        Some(code) => match remedy(code) {
            Some(remedy) => ConnectorError::fatal(what, reason).remedy(remedy),
            None => ConnectorError::fatal(what, reason),
        },
    }
}
