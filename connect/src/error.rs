//! What can go wrong with a connector, and what stops a task.

use ottla_client::ClientError;
use ottla_formats::FormatError;

/// What is wrong with one field of a connector's config.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct FieldError {
    /// The field's name, with dots for nested ones; empty when the whole config is meant.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl FieldError {
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// What a connector reports about the system outside, or a transform about its plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {reason}{}", remedy.as_deref().map(|remedy| format!("; {remedy}")).unwrap_or_default())]
pub struct ConnectorError {
    /// What could not be done, naming the place: `reading /data/flights.csv`.
    pub what: String,
    /// Why, in the outside system's words.
    pub reason: String,
    /// What a person can do about it.
    pub remedy: Option<String>,
    /// Whether the same may work later with nothing changed, so that the worker should try again.
    pub retriable: bool,
}

impl ConnectorError {
    /// An error that trying again does not help.
    pub fn fatal(what: impl Into<String>, reason: impl ToString) -> Self {
        Self { what: what.into(), reason: reason.to_string(), remedy: None, retriable: false }
    }

    /// An error that may pass.
    pub fn retriable(what: impl Into<String>, reason: impl ToString) -> Self {
        Self { what: what.into(), reason: reason.to_string(), remedy: None, retriable: true }
    }

    /// The same error with what a person can do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// Why a task could not be started, or stopped by itself.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// There is no connector of this type and kind.
    #[error("there is no {kind} of type '{name}'; there are: {known}{}", did_you_mean(nearest))]
    UnknownType {
        /// `source` or `sink`.
        kind: &'static str,
        /// The type as written.
        name: String,
        /// The types there are, joined by commas.
        known: String,
        /// The one that was probably meant.
        nearest: Option<String>,
    },
    /// The connector's config does not pass its own validation.
    #[error("connector '{name}': {}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    InvalidConfig {
        /// The connector's name.
        name: String,
        /// Everything that is wrong, field by field.
        errors: Vec<FieldError>,
    },
    /// The system outside refused.
    #[error("connector '{name}': {error}")]
    Connector {
        /// The connector's name.
        name: String,
        /// What it reported.
        error: ConnectorError,
    },
    /// The cluster refused.
    #[error("connector '{name}': {what}: {error}")]
    Client {
        /// The connector's name.
        name: String,
        /// What was being done.
        what: String,
        /// What the client met.
        error: ClientError,
    },
    /// A schema or format that cannot work, whatever the records are.
    #[error("connector '{name}': {reason}")]
    Format {
        /// The connector's name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The schema registry does not answer.
    #[error("connector '{name}': {reason}")]
    Registry {
        /// The connector's name.
        name: String,
        /// Which registry, and why.
        reason: String,
    },
    /// A record was bad and the task's policy is to stop then.
    #[error("connector '{name}': {place}: {reason}; the policy is to stop (on_error: stop)")]
    BadRecord {
        /// The connector's name.
        name: String,
        /// Where the record is: `line 17` or `flights-0@42`.
        place: String,
        /// Why it is bad.
        reason: String,
    },
    /// Something that Ottla itself wrote cannot be read back.
    #[error("connector '{name}': the stored offset cannot be read: {reason}")]
    BadOffset {
        /// The connector's name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A task of the runtime ended without a result.
    #[error("connector '{name}': its task ended unexpectedly: {reason}")]
    TaskLost {
        /// The connector's name.
        name: String,
        /// What the runtime says.
        reason: String,
    },
}

impl ConnectError {
    /// Whether the worker should start the task again from its last committed place.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Connector { error, .. } => error.retriable,
            Self::Client { error, .. } => crate::worker::may_pass(error),
            Self::Registry { .. } => true,
            Self::UnknownType { .. }
            | Self::InvalidConfig { .. }
            | Self::Format { .. }
            | Self::BadRecord { .. }
            | Self::BadOffset { .. }
            | Self::TaskLost { .. } => false,
        }
    }

    pub(crate) fn connector(name: &str) -> impl Fn(ConnectorError) -> Self + '_ {
        move |error| Self::Connector { name: name.to_owned(), error }
    }

    pub(crate) fn client<'a>(name: &'a str, what: &'a str) -> impl Fn(ClientError) -> Self + 'a {
        move |error| Self::Client { name: name.to_owned(), what: what.to_owned(), error }
    }

    pub(crate) fn format(name: &str) -> impl Fn(FormatError) -> Self + '_ {
        move |error| {
            let (name, reason) = (name.to_owned(), error.to_string());
            match error {
                FormatError::Registry { .. } => Self::Registry { name, reason },
                _ => Self::Format { name, reason },
            }
        }
    }
}

fn did_you_mean(word: &Option<String>) -> String {
    word.as_deref().map(|word| format!(" (did you mean '{word}'?)")).unwrap_or_default()
}
