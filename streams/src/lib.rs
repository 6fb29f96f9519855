//! Ottla Streams: SQL over topics, planned by DataFusion, run as epochs.
//!
//! A query reads topics, passes changes of rows through operators over Arrow batches, and writes the result to another
//! topic. Every output is the exact answer for a prefix of the input, and a crash neither loses nor doubles one:
//! see [`runtime`].
//!
//! ```
//! use ottla_streams::{Catalog, plan};
//!
//! let plan = plan(
//!     "CREATE STREAM flights (origin STRING NOT NULL, dep_delay INT, time_hour TIMESTAMP NOT NULL);
//!      SELECT origin, window_start, AVG(dep_delay) AS avg_delay
//!      FROM TUMBLE(TABLE flights, DESCRIPTOR(time_hour), INTERVAL '1' HOUR)
//!      GROUP BY origin, window_start, window_end",
//!     &Catalog::new(),
//! )?;
//! assert_eq!(plan.output_schema.field(2).name(), "avg_delay");
//! assert_eq!(plan.upsert_key, [0, 1]);
//! # Ok::<(), ottla_streams::SqlError>(())
//! ```
//!
//! | module | what lives there |
//! |---|---|
//! | [`sql`] | dialect, statements, errors with positions. Pure |
//! | [`planner`] | SQL and a catalog to a [`QueryPlan`]. Pure |
//! | [`operators`] | one file per streaming operator. Pure |
//! | [`state`] | rows by key, and the records of the changelog. Pure |
//! | [`runtime`] | the epoch machine (pure) and the driver that runs it over a Kafka cluster |
//! | [`engine`] | statements that last, and their queries: SQL as a service |
//! | [`history`] | batch queries over what topics hold now, for `ottla sql` |
//! | [`nexmark`] | events and queries to measure by |

pub mod engine;
pub mod history;
pub mod nexmark;
pub mod operators;
pub mod planner;
pub mod runtime;
pub mod sql;
pub mod state;

pub use planner::{Catalog, ChangelogMode, QueryPlan, Stream, UserFunction, Watermark, plan};
pub use runtime::{Query, QueryConfig, QueryError, QueryHandle, QueryPhase, QueryStatus};
pub use sql::{Position, SqlError};
