//! The streams that a query may read: names in SQL, and the topics, formats and columns behind them.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;

use super::plan::{ChangelogMode, QueryPlan};
use super::user_function::UserFunction;
use crate::sql::{CreateStream, SqlError};

/// A topic as SQL sees it: a stream of its records' values or, with a primary key, a table that they change.
#[derive(Debug, Clone, PartialEq)]
pub struct Stream {
    /// The topic read.
    pub topic: String,
    /// The format of the record values, one of [`ottla_formats::FORMAT_NAMES`].
    pub format: String,
    /// The columns. A record that lacks a column that is not nullable is a bad record.
    pub schema: SchemaRef,
    /// Event time, if the stream has one; without it, windows stay open and their rows are updated for ever.
    pub watermark: Option<Watermark>,
    /// The columns of a table's primary key: a record replaces the row of its key, and a record without value deletes
    /// the row that its key names, as a JSON object of these columns or as the one column's bare value. Of no columns
    /// for a table that is a single row; `None` for a stream, which only grows.
    pub primary_key: Option<Vec<String>>,
}

impl Stream {
    /// The result of a query in the topic that it writes: a stream, or a table of its upsert key.
    pub fn of_result(plan: &QueryPlan, topic: String, format: &str) -> Stream {
        let name = |column: &usize| plan.output_schema.field(*column).name().clone();
        Stream {
            topic,
            format: format.to_owned(),
            schema: plan.output_schema.clone(),
            watermark: None,
            primary_key: match plan.mode {
                ChangelogMode::Append => None,
                ChangelogMode::Upsert | ChangelogMode::Retract => {
                    Some(plan.upsert_key.iter().map(name).collect())
                }
            },
        }
    }
}

/// `WATERMARK FOR column AS column - delay`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    /// The event-time column, a timestamp.
    pub column: String,
    /// How far behind the newest row of its partition a row may be, in nanoseconds.
    pub delay_nanos: i64,
}

/// The streams known to a query, by their names in SQL, which are case-sensitive, and the functions besides those that are
/// built in.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Catalog {
    streams: BTreeMap<String, Stream>,
    functions: BTreeMap<String, UserFunction>,
}

impl Catalog {
    /// A catalog without streams.
    pub fn new() -> Self {
        Catalog::default()
    }

    /// Adds a stream, in place of one that had its name.
    pub fn insert(&mut self, name: impl Into<String>, stream: Stream) {
        self.streams.insert(name.into(), stream);
    }

    /// The same, for building a catalog in one expression.
    pub fn with(mut self, name: impl Into<String>, stream: Stream) -> Self {
        self.insert(name, stream);
        self
    }

    /// Adds a function, in place of one that had its name.
    pub fn with_function(mut self, function: UserFunction) -> Self {
        self.functions.insert(function.name().to_owned(), function);
        self
    }

    /// The functions, by name.
    pub fn functions(&self) -> impl Iterator<Item = &UserFunction> {
        self.functions.values()
    }

    /// The stream of this name.
    pub fn get(&self, name: &str) -> Option<&Stream> {
        self.streams.get(name)
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.streams.keys().map(String::as_str)
    }

    /// Adds what `CREATE STREAM` declares.
    ///
    /// # Errors
    /// When the name is taken, since a query that reads something else than it says would be a silent surprise.
    pub fn declare(&mut self, create: CreateStream) -> Result<(), SqlError> {
        if self.streams.contains_key(&create.name) {
            return Err(SqlError::new(
                create.position,
                format!("the stream `{}` is declared already", create.name),
            ));
        }
        let topic = create.options.topic.unwrap_or_else(|| create.name.clone());
        let format = create.options.format.unwrap_or_else(|| "json".to_owned());
        let watermark = create
            .watermark
            .map(|clause| Watermark { column: clause.column, delay_nanos: clause.delay_nanos });
        self.insert(
            create.name,
            Stream { topic, format, schema: create.schema, watermark, primary_key: create.primary_key },
        );
        Ok(())
    }
}
