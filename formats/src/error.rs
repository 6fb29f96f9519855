//! What can be wrong with a schema, an option or a whole file; never with a single record.

use arrow::datatypes::DataType;
use arrow::error::ArrowError;

/// Why nothing at all could be decoded or encoded.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The format has no way to write this type.
    #[error("column '{column}': the {format} format cannot hold the type {data_type}")]
    UnsupportedType {
        /// The column, with dots for nested ones.
        column: String,
        /// The format's name.
        format: &'static str,
        /// The type that was asked for.
        data_type: DataType,
    },
    /// The format has no way to write this column's name.
    #[error(
        "column '{column}' has no name that the {format} format can hold (letters, digits and _); rename it"
    )]
    BadName {
        /// The column.
        column: String,
        /// The format's name.
        format: &'static str,
    },
    /// A value that the schema of the output cannot hold.
    #[error("row {row} cannot be written as {format}: {reason}")]
    BadValue {
        /// Index of the row in its batch.
        row: usize,
        /// The format's name.
        format: &'static str,
        /// Which column, and what is wrong.
        reason: String,
    },
    /// A Parquet file cannot be written or read.
    #[error("parquet: {reason}")]
    Parquet {
        /// What is wrong.
        reason: String,
    },
    /// The schema registry does not answer; it may do so later.
    #[error("schema registry {url}: {reason}")]
    Registry {
        /// Where it is.
        url: String,
        /// Why it did not.
        reason: String,
    },
    /// The schema registry does not take the schema of the rows.
    #[error("schema registry {url}: the schema of these columns is refused for {subject}: {reason}")]
    SchemaRefused {
        /// Where it is.
        url: String,
        /// The subject.
        subject: String,
        /// What it said.
        reason: String,
    },
    /// A column of the schema is not in the header row.
    #[error("column '{column}' is not in the header: {header}")]
    MissingColumn {
        /// The column of the schema.
        column: String,
        /// The header's fields, joined by commas.
        header: String,
    },
    /// A column of the schema is in the header row twice, so nobody can say which one is meant.
    #[error("column '{column}' is in the header more than once")]
    AmbiguousColumn {
        /// The column of the schema.
        column: String,
    },
    /// The header row itself cannot be read.
    #[error("the header row cannot be read: {reason}")]
    BadHeader {
        /// What is wrong with it.
        reason: String,
    },
    /// An option makes no sense.
    #[error("{option}: {reason}")]
    BadOption {
        /// The option's name.
        option: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// An Arrow kernel refused; a broken invariant of this crate if it ever shows.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}
