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
//!   Transform::call(records) ─► frame ─► one instance, exclusively ─► frame ─► records  ◄───────┘
//! ```
//!
//! This crate knows nothing of topics, offsets or pipelines: who calls it decides what a failure means.

mod cache;
mod deadline;
mod error;
pub mod frame;
mod host;
mod limits;
mod plugin;
mod pool;
mod transform;

pub use cache::CacheDir;
pub use error::{PluginError, PluginFault};
pub use frame::{FrameError, Record, RecordHeader};
pub use host::Host;
pub use limits::{Limits, MEMORY_MAX_BYTES};
pub use plugin::{Plugin, sha256_hex};
pub use transform::Transform;
