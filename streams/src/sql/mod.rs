//! The SQL front end: text to syntax trees, with positions.
//!
//! Owns the dialect, the statements Ottla adds to standard SQL, and the error type that every later stage reports
//! through. It must not know catalogs, plans or topics: whether a name exists is the planner's question.

mod ddl;
mod dialect;
mod error;
mod function;
mod interval;
mod parser;

pub use ddl::{CreateStream, StreamOptions, WatermarkClause};
pub(crate) use dialect::TABLE_PREFIX;
pub use error::{Position, SqlError, nearest};
pub use function::CreateFunction;
pub(crate) use interval::interval_nanos;
pub use parser::{
    CreateView, DropObject, Emit, Insert, Name, ObjectKind, QueryStatement, Statement, parse, parse_with_text,
};
