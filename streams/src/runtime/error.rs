//! Why a running query stopped.

use datafusion::common::DataFusionError;
use ottla_client::ClientError;
use ottla_formats::FormatError;

use crate::planner::plain_message;
use crate::state::changelog::{ChangelogError, Epoch};

/// Why a query could not start or go on. What was committed before stays, and a restart goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The cluster could not be reached or refused.
    #[error("query {query}: {source}")]
    Client {
        /// The query's name.
        query: String,
        /// What happened.
        source: ClientError,
    },
    /// The changelog has a record that this Ottla cannot read.
    #[error("query {query}: offset {offset} of its changelog: {source}")]
    Changelog {
        /// The query's name.
        query: String,
        /// The record's offset.
        offset: i64,
        /// What is wrong with it.
        source: ChangelogError,
    },
    /// The changelog's records do not follow from each other.
    #[error(
        "query {query}: its changelog has a commit of epoch {epoch} after that of epoch {after}; it is damaged"
    )]
    ChangelogOrder {
        /// The query's name.
        query: String,
        /// The commit's epoch.
        epoch: Epoch,
        /// The epoch that was committed before.
        after: Epoch,
    },
    /// The changelog was made by another query text, or for another query.
    #[error(
        "query {query}: its state was made by another query ({made_by}); give the new one another name, or delete its changelog and its output"
    )]
    StateOfAnotherQuery {
        /// The query's name.
        query: String,
        /// Whose state it is.
        made_by: String,
    },
    /// Another instance of the query has begun and took over.
    #[error("query {query}: another instance of it has taken over; only one may run")]
    AnotherInstance {
        /// The query's name.
        query: String,
    },
    /// An operator failed over a whole group, or a function for no row's sake.
    #[error("query {query}: {}", plain_message(source))]
    Operator {
        /// The query's name.
        query: String,
        /// What happened.
        source: DataFusionError,
    },
    /// The result cannot be written in its format, or the input's schema cannot be read in its.
    #[error("query {query}: {source}")]
    Format {
        /// The query's name.
        query: String,
        /// What happened.
        source: FormatError,
    },
    /// A name in the configuration stands for nothing.
    #[error("query {query}: {reason}")]
    Config {
        /// The query's name.
        query: String,
        /// What is wrong.
        reason: String,
    },
    /// Nobody listens to the changes any more.
    #[error("query {query}: its listener has gone")]
    ListenerGone {
        /// The query's name.
        query: String,
    },
    /// The task that ran the query is gone without a word, e.g. because the runtime shut down.
    #[error("query {query} was torn down")]
    TornDown {
        /// The query's name.
        query: String,
    },
    /// A test ended the process here.
    #[cfg(test)]
    #[error("killed")]
    Killed,
}
