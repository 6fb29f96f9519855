//! WASM plugins: the WIT worlds in `wit/` and the host that runs components written to them.
//!
//! A plugin is a WebAssembly component that imports nothing, so all it can do is compute. The host bounds
//! what that may cost: memory, tables, CPU time per call, and how much a call may return ([`Limits`]). A
//! trap, a timeout or an answer that breaks the rules fails that call with the plugin's name and the reason
//! ([`PluginError`]); the host goes on.
//!
//! ```text
//!   Plugin::load ─► checks (size, sha256, imports, exports) ─► compile, or read from the cache ─┐
//!                                                                                   warm instances
//!   Transform::call(records)      ─► frame ─► one instance, exclusively ─► frame ─► records ◄───┤
//!   ScalarFunction::call(columns) ─► batch ─► one instance, exclusively ─► column           ◄───┘
//! ```
//!
//! This crate knows nothing of topics, offsets or pipelines: who calls it decides what a failure means.

mod any;
mod cache;
mod call;
pub mod columns;
mod componentize;
mod deadline;
mod error;
pub mod frame;
mod host;
mod limits;
mod plugin;
mod pool;
mod project;
mod scalar;
mod signature;
mod transform;
mod world;

pub use any::AnyPlugin;
pub use cache::CacheDir;
pub use columns::ColumnError;
pub use componentize::component_of;
pub use deadline::ThreadTime;
pub use error::{PluginError, PluginFault};
pub use frame::{FrameError, Record, RecordHeader};
pub use host::Host;
pub use limits::{Limits, MEMORY_MAX_BYTES};
pub use plugin::{Plugin, read_component, sha256_hex, worlds_of};
pub use project::{Language, ProjectFile, new_project};
pub use scalar::{ScalarFunction, ScalarPlugin};
pub use signature::{FunctionSignature, SignatureError, ValueType, parse_signatures};
pub use transform::Transform;
pub use world::World;
