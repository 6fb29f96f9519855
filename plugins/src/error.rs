//! What can go wrong with a plugin, always told with its name. It knows no policy: retrying, dead letters and
//! stopping are decided by the caller, who is helped by [`PluginError::is_about_a_batch`].

use std::path::PathBuf;

use crate::columns::ColumnError;
use crate::frame::FrameError;
use crate::signature::SignatureError;

/// A plugin's name and what went wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("plugin `{plugin}`: {fault}")]
pub struct PluginError {
    pub plugin: String,
    pub fault: PluginFault,
}

/// One fact about a plugin that could not be loaded or a call that failed.
#[derive(Debug, thiserror::Error)]
pub enum PluginFault {
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: std::io::Error },
    #[error("{} is {bytes} bytes long, more than the {bytes_max} allowed for a component", path.display())]
    ComponentTooLarge { path: PathBuf, bytes: u64, bytes_max: u64 },
    #[error("its sha256 is {actual}, but {expected} was asked for")]
    WrongHash { expected: String, actual: String },
    #[error("this is no WebAssembly component: {0}")]
    NotAComponent(String),
    #[error("it imports {}, but a plugin may import nothing", .0.join(", "))]
    ForbiddenImports(Vec<String>),
    #[error("it does not export `{export}` as {expected}: {reason}")]
    WrongExport { export: &'static str, expected: &'static str, reason: String },
    #[error("what its `functions` gives is no list of functions: {0}")]
    Functions(SignatureError),
    #[error("the limit {limit} is {value}, more than this host's {value_max}")]
    LimitTooHigh { limit: &'static str, value: u64, value_max: u64 },
    #[error("the host cannot run plugins: {0}")]
    Host(String),
    #[error("it could not be started: {0}")]
    Start(String),

    #[error("the call used more than its {budget_ms} ms of CPU time")]
    Deadline { budget_ms: u64 },
    #[error("it asked for more than its {memory_bytes} bytes of memory")]
    Memory { memory_bytes: usize },
    #[error("it trapped: {0}")]
    Trap(String),
    #[error("it refused the batch: {0}")]
    Refused(String),
    #[error("it returned {bytes} bytes for {given} bytes, more than the {bytes_max} allowed")]
    OutputBytes { given: usize, bytes: usize, bytes_max: usize },
    #[error("it returned {records} records for {given}, more than the {records_max} allowed")]
    OutputRecords { given: usize, records: usize, records_max: usize },
    #[error("it returned a record whose source is {source_index}, {why}")]
    OutputSource { source_index: u32, why: &'static str },
    #[error("it returned bytes that are no frame: {0}")]
    OutputFrame(FrameError),
    #[error("the batch cannot be framed: {0}")]
    InputFrame(FrameError),
    #[error("it returned bytes that are no column of the batch: {0}")]
    OutputColumn(ColumnError),
    #[error("the arguments do not fit: {0}")]
    InputColumns(ColumnError),
}

impl PluginFault {
    pub(crate) fn of(self, plugin: &str) -> PluginError {
        PluginError { plugin: plugin.to_owned(), fault: self }
    }
}

impl PluginError {
    /// True when it is the plugin that says so, in its own words, of what a batch holds: the only failure that the same batch
    /// is sure to meet again, wherever it is computed.
    pub fn is_refusal(&self) -> bool {
        matches!(self.fault, PluginFault::Refused(_))
    }

    /// True when another batch may well succeed: the plugin itself is loaded and able to run. False when it
    /// is not, so that trying further records is pointless.
    pub fn is_about_a_batch(&self) -> bool {
        match self.fault {
            PluginFault::Deadline { .. }
            | PluginFault::Memory { .. }
            | PluginFault::Trap(_)
            | PluginFault::Refused(_)
            | PluginFault::OutputBytes { .. }
            | PluginFault::OutputRecords { .. }
            | PluginFault::OutputSource { .. }
            | PluginFault::OutputFrame(_)
            | PluginFault::InputFrame(_)
            | PluginFault::OutputColumn(_)
            | PluginFault::InputColumns(_) => true,
            PluginFault::Unreadable { .. }
            | PluginFault::ComponentTooLarge { .. }
            | PluginFault::WrongHash { .. }
            | PluginFault::NotAComponent(_)
            | PluginFault::ForbiddenImports(_)
            | PluginFault::WrongExport { .. }
            | PluginFault::Functions(_)
            | PluginFault::LimitTooHigh { .. }
            | PluginFault::Host(_)
            | PluginFault::Start(_) => false,
        }
    }
}
